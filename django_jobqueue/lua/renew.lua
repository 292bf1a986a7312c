#!lua flags=allow-oom
-- A worker's heartbeat: it lives, and the leases it names last one visibility timeout from now.
--
-- KEYS  1 jobs (hash)  2 workers (hash)  3 worker-info (hash)  4 processing (list)  5 ahead (set)
-- ARGV  1 worker id  2 description of the worker (JSON)  3 how many leases are of jobs that have begun
--       4… id, message, id, message, …: those that have begun, then those that are held ready
-- Returns the messages whose lease is lost.

--!include clock

local jobs, workers, infos, processing, marks = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local worker_id, info, begun = ARGV[1], ARGV[2], tonumber(ARGV[3])

local now = text_of(now_ms())
redis.call("HSET", workers, worker_id, now)
redis.call("PERSIST", workers) -- the Node library lets the whole hash expire
redis.call("HSET", infos, worker_id, info)
local started = "processing:" .. now .. ":" .. worker_id
local lost, running = {}, {}
for i = 4, #ARGV, 2 do
  if redis.call("LPOS", processing, ARGV[i + 1]) then
    redis.call("HSET", jobs, ARGV[i], started)
    if i < 4 + 2 * begun then
      running[#running + 1] = ARGV[i]
    end
  else
    lost[#lost + 1] = ARGV[i + 1]
  end
end
-- A notice of a beginning may have been lost with its link. Last: a key of a wrong type ends the script here.
for _, id in ipairs(running) do
  redis.call("SREM", marks, id)
end
return lost
