// @platformatic/job-queue, with the reaper that its documentation asks for, in the worker's process.

import { randomUUID } from 'node:crypto'
import { Queue, Reaper, RedisStorage } from '@platformatic/job-queue'
import { concurrency, main, patience, url, work } from './body.mjs'

async function connected () {
  const storage = new RedisStorage({ url })
  await storage.connect()
  return storage
}

let started

async function producer () {
  const queue = new Queue({ storage: await connected() })
  await queue.start()
  return queue
}

main({
  async worker () {
    const reaper = new Reaper({ storage: await connected(), leaderElection: { enabled: true } })
    reaper.on('error', error => console.error('reaper:', error))
    await reaper.start()
    const queue = new Queue({ storage: await connected(), concurrency })
    queue.on('error', error => console.error('worker:', error))
    queue.execute(({ payload: [milliseconds, isMarked] }) => work(milliseconds, isMarked))
    await queue.start()
  },

  async enqueue (...payload) {
    const queue = await (started ??= producer())
    await queue.enqueue(randomUUID(), payload)
  },

  async ask (...payload) {
    const queue = await (started ??= producer())
    return queue.enqueueAndWait(randomUUID(), payload, { timeout: patience })
  }
})
