// @platformatic/job-queue, with the reaper that its documentation asks for, in the worker's process.
// Row "tuned": a visibility timeout of 3 s.

import { Queue, Reaper, RedisStorage } from '@platformatic/job-queue'
import { kinds, main, row, url } from './body.mjs'

const timeouts = row === 'tuned' ? { visibilityTimeout: 3000 } : {}
const election = { enabled: true, ...(row === 'tuned' ? { lockTTL: 3000, renewalInterval: 1000, acquireRetryInterval: 500 } : {}) }

async function connected () {
  const storage = new RedisStorage({ url })
  await storage.connect()
  return storage
}

main({
  async worker () {
    const reaper = new Reaper({ storage: await connected(), leaderElection: election, ...timeouts })
    reaper.on('error', error => console.error('reaper:', error))
    await reaper.start()
    const queue = new Queue({ storage: await connected(), ...timeouts })
    queue.on('error', error => console.error('worker:', error))
    queue.execute(({ payload: { kind, id, seconds } }) => kinds[kind](id, seconds))
    await queue.start()
  },

  async enqueue (kind, id, seconds) {
    await new Queue({ storage: await connected() }).enqueue(id, { kind, id, seconds })
  },

  result: async id => new Queue({ storage: await connected() }).getResult(id)
})
