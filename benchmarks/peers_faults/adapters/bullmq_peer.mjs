// BullMQ. Row "tuned": locks of 3 s, stalled jobs sought every 3 s, two stalls and three attempts allowed.

import { Queue, Worker } from 'bullmq'
import { kinds, main, row, url } from './body.mjs'

const { hostname: host, port } = new URL(url)
const connection = { host, port: Number(port) }
const tuned = row === 'tuned'
const locks = tuned ? { lockDuration: 3000, stalledInterval: 3000, maxStalledCount: 2 } : {}

main({
  worker () {
    const worker = new Worker('peers', job => kinds[job.name](job.data.id, job.data.seconds), { connection, ...locks })
    worker.on('error', error => console.error(error))
    worker.on('failed', (job, error) => console.error(`failed ${job?.id}: ${error.message}`))
  },

  enqueue: (kind, id, seconds) =>
    new Queue('peers', { connection }).add(kind, { id, seconds }, { jobId: id, attempts: tuned ? 3 : undefined }),

  result: async id => (await new Queue('peers', { connection }).getJob(id))?.returnvalue
})
