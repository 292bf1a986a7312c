#!lua flags=allow-oom
-- Mark a message that BLMOVE has taken as started, or drop it when its job was cancelled.
--
-- KEYS  1 jobs (hash)  2 processing (list)  3 cancelled (hash)  4 queue (list)  5 ahead (set)
-- ARGV  1 id  2 message, exactly as taken  3 createdAt  4 attempts  5 worker id  6 events channel
-- Returns {verdict, messages still in the queue}; the verdict is "started", "dropped" (cancelled
--         or outdated; no longer held) or "lost" (the lease was gone, nothing changed).
-- Publishes "<id>:processing" when started.

--!include clock
--!include state
--!include tombstone

local jobs, processing, cancelled, queue = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, message, created_at, attempts = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local worker_id, events = ARGV[5], ARGV[6]

if not redis.call("LPOS", processing, message) then
  return { "lost", redis.call("LLEN", queue) }
end
-- Of a claim that held it ready, and whose answer was lost.
redis.call("SREM", KEYS[5], id)
if
  take_tombstone(cancelled, id, created_at)
  or not is_live(redis.call("HGET", jobs, id), created_at, attempts)
then
  redis.call("LREM", processing, 1, message)
  return { "dropped", redis.call("LLEN", queue) }
end
redis.call("HSET", jobs, id, "processing:" .. text_of(now_ms()) .. ":" .. worker_id)
redis.call("PUBLISH", events, id .. ":processing")
return { "started", redis.call("LLEN", queue) }
