#!lua flags=allow-oom
-- Take a worker that has ended off the list, unless it still holds messages: then it stays for
-- the reaper to find.
--
-- KEYS  1 workers (hash)  2 worker-info (hash)  3 processing (list)  4 ahead (set)
-- ARGV  1 worker id  2 the heartbeat it must still have, in ms; empty for any
-- Returns 1 when it is off the list.

local workers, infos, processing = KEYS[1], KEYS[2], KEYS[3]
local worker_id, heartbeat = ARGV[1], ARGV[2]

if redis.call("LLEN", processing) > 0 then
  return 0
end
-- A heartbeat that is no number counts as the oldest there can be.
local function last_heartbeat()
  return string.match(redis.call("HGET", workers, worker_id) or "", "^%d+$") or "0"
end

if heartbeat ~= "" and last_heartbeat() ~= heartbeat then
  return 0
end
redis.call("HDEL", workers, worker_id)
redis.call("HDEL", infos, worker_id)
redis.call("SPOP", KEYS[4], 10000) -- all of them: more than any worker holds ready
return 1
