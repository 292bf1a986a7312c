#!lua flags=allow-oom
-- A worker's heartbeat: it lives, and the leases it names last one visibility timeout from now.
--
-- KEYS  1 jobs (hash)  2 workers (hash)  3 worker-info (hash)  4 processing (list)
-- ARGV  1 worker id  2 description of the worker (JSON)  3… id, message, id, message, …
-- Returns the messages whose lease is lost.

--!include clock

local jobs, workers, infos, processing = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local worker_id, info = ARGV[1], ARGV[2]

local now = text_of(now_ms())
redis.call("HSET", workers, worker_id, now)
redis.call("PERSIST", workers) -- the Node library lets the whole hash expire
redis.call("HSET", infos, worker_id, info)
local started = "processing:" .. now .. ":" .. worker_id
local lost = {}
for i = 3, #ARGV, 2 do
  if redis.call("LPOS", processing, ARGV[i + 1]) then
    redis.call("HSET", jobs, ARGV[i], started)
  else
    lost[#lost + 1] = ARGV[i + 1]
  end
end
return lost
