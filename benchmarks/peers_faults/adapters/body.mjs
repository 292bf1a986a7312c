// What the jobs of the Node.js peers do, and where they note it; see body.py for the variables and verbs.

import { appendFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

export const { PEER_URL: url, PEER_ROW: row } = process.env

function note (what, id) {
  const seconds = (Date.now() / 1000).toFixed(3)
  appendFileSync(process.env.PEER_JOURNAL, `${what} ${id} ${process.pid} ${seconds}\n`)
}

export const kinds = {
  async sleep (id, seconds) {
    note('begin', id)
    await pause(seconds * 1000)
    note('end', id)
    return process.pid
  },

  async poison (id, seconds) {
    note('begin', id)
    await pause(seconds * 1000)
    process.exit(17)
  }
}

export async function main ({ worker, enqueue, result }) {
  const [verb, ...given] = process.argv.slice(2)
  if (verb === 'worker') return worker()
  if (verb === 'enqueue') {
    for (const id of given[1].split(',')) await enqueue(given[0], id, Number(given[2]))
  }
  if (verb === 'result') console.log(JSON.stringify(await result(given[0]) ?? null))
  process.exit(0)
}
