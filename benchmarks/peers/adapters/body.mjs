// What the jobs of the Node.js peers do, and how the benchmark drives an adapter; see body.py.

import { appendFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

export const { PEER_URL: url } = process.env
export const concurrency = Number(process.env.PEER_CONCURRENCY)
export const patience = 60_000
const warmUp = 20

export async function work (milliseconds, isMarked) {
  const began = Date.now()
  if (milliseconds) await pause(milliseconds)
  if (isMarked) appendFileSync(process.env.PEER_MARKS, `${began / 1000} ${Date.now() / 1000}\n`)
  return 1
}

async function fill (enqueue, count, milliseconds) {
  await enqueue(milliseconds, true)
  await pause(10)
  for (let left = count - 1 - concurrency; left > 0; left--) await enqueue(milliseconds, false)
  await pause(10)
  for (let left = concurrency; left > 0; left--) await enqueue(milliseconds, true)
}

async function enqueueFor (enqueue, seconds) {
  for (let left = warmUp; left > 0; left--) await enqueue(0, false)
  let jobs = 0
  const began = performance.now()
  while (performance.now() - began < seconds * 1000) {
    await enqueue(0, false)
    jobs++
  }
  return { jobs, seconds: (performance.now() - began) / 1000 }
}

async function askFor (ask, seconds) {
  for (let left = warmUp; left > 0; left--) await ask(0, false)
  const answers = []
  const began = performance.now()
  while (performance.now() - began < seconds * 1000) {
    const asked = performance.now()
    if (await ask(0, false) !== 1) throw new Error("the answer is not the job's result")
    answers.push((performance.now() - asked) / 1000)
  }
  return answers
}

export async function main ({ worker, enqueue, ask }) {
  const [verb, ...given] = process.argv.slice(2)
  if (verb === 'worker') return worker()
  if (verb === 'fill') await fill(enqueue, ...given.map(Number))
  if (verb === 'enqueue') console.log(JSON.stringify(await enqueueFor(enqueue, Number(given[0]))))
  if (verb === 'ask') console.log(JSON.stringify(await askFor(ask, Number(given[0]))))
  process.exit(0)
}
