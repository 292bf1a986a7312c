// A Node.js producer, worker and reaper for the interoperability tests.
//
// Started as `node peer.mjs '{"url":…,"keyPrefix":…,"name":…}'`; `name` may be missing. Then it speaks JSON,
// one object a line:
//
//   stdin   {"call": number, "command": name, "arguments": {…}}
//   stdout  {"call": number, "result": value}  or  {"call": number, "error": {"name", "message", …}}
//           {"event": "ready" | "run" | "queue-event", …}  at any time
//
// Calls run side by side, so one that waits does not hold up the next. The process ends with its stdin.

import { createInterface } from 'node:readline'
import { Queue, Reaper, RedisStorage } from '@platformatic/job-queue'

const { url, keyPrefix, name } = JSON.parse(process.argv[2])

function send (line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

function report (where) {
  return error => console.error(`${where}:`, error)
}

// enqueueAndWait of 0.5.0 rejects a promise before anyone waits for it when the job fails while its enqueue is
// still under way. Without this line that ends the process; with it the caller gets the error a moment later.
process.on('unhandledRejection', report('rejected early'))

// A storage of its own for each part: stopping a Queue disconnects its storage.
async function connect () {
  const root = new RedisStorage({ url, keyPrefix })
  await root.connect()
  if (!name) return root
  const storage = root.createNamespace(name)
  await storage.connect()
  return storage
}

const storage = await connect()
const producer = new Queue({ storage })
let worker = null
let reaper = null

const held = new Map() // job id → lets its run return

// What a payload asks for; the same words as in tests/interop/handlers.py.
const actions = {
  return: ({ value }) => value,

  throw: ({ message, code }) => {
    throw Object.assign(new Error(message), { code })
  },

  fail_first: ({ times, value }, { attempts }) => {
    if (attempts <= times) throw new Error(`attempt ${attempts} fails as asked`)
    return value
  },

  // The worker takes no other job and stops when this one is stored.
  fail_and_stop: (_, { attempts }) => {
    worker.stop().catch(report('stopping the worker'))
    throw new Error(`attempt ${attempts} fails as asked`)
  },

  hold: ({ value }, { id }) => new Promise(resolve => held.set(id, () => resolve(value)))
}

async function handle (job) {
  send({ event: 'run', id: job.id, attempts: job.attempts, payload: job.payload })
  return actions[job.payload.do](job.payload, job)
}

const commands = {
  // The answer comes behind all events before it.
  sync: () => null,

  enqueue ({ id, payload, options, extraFields }) {
    if (!extraFields) return producer.enqueue(id, payload, options)
    const payloadSerde = {
      serialize: message => Buffer.from(JSON.stringify({ ...message, ...extraFields })),
      deserialize: buffer => JSON.parse(buffer.toString())
    }
    return new Queue({ storage, payloadSerde }).enqueue(id, payload, options)
  },

  enqueueAndWait: ({ id, payload, options }) => producer.enqueueAndWait(id, payload, options),
  cancel: ({ id }) => producer.cancel(id),
  getResult: ({ id }) => producer.getResult(id),
  getStatus: ({ id }) => producer.getStatus(id),
  updateResultTTL: ({ id, ttl }) => producer.updateResultTTL(id, ttl),
  getJobStates: async ({ ids }) => Object.fromEntries(await storage.getJobStates(ids)),

  async listen () {
    await storage.subscribeToEvents((id, kind) => send({ event: 'queue-event', id, kind }))
  },

  // What a worker does first with a job, and no more.
  async take ({ workerId, visibilityTimeout }) {
    await storage.registerWorker(workerId, visibilityTimeout * 2)
    const message = await storage.dequeue(workerId, 5)
    return message && message.toString()
  },

  async startWorker (options) {
    worker = new Queue({ storage: await connect(), ...options })
    worker.on('error', report('worker'))
    worker.execute(handle)
    await worker.start()
  },

  stopWorker: () => worker.stop(),

  release ({ id }) {
    held.get(id)()
    held.delete(id)
  },

  async startReaper (options) {
    reaper = new Reaper({ storage: await connect(), ...options })
    reaper.on('error', report('reaper'))
    await reaper.start()
    return reaper.reaperId
  },

  isLeader: () => reaper.isLeader,
  stopReaper: () => reaper.stop()
}

createInterface({ input: process.stdin })
  .on('line', async line => {
    const { call, command, arguments: given } = JSON.parse(line)
    try {
      const result = await commands[command](given)
      send({ call, result: result ?? null })
    } catch (error) {
      const { name, message, code, stack, originalError } = error
      send({ call, error: { name, message, code, stack, originalError } })
    }
  })
  .on('close', () => process.exit())

send({ event: 'ready', version: process.version })
