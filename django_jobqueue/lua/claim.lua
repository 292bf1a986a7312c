#!lua flags=allow-oom
-- Take up to `limit` jobs from the head of the queue and mark them as started by this worker.
-- Cancelled and outdated messages on the way are dropped, unreadable ones quarantined.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 processing (list)  4 cancelled (hash)  5 malformed (list)
-- ARGV  1 limit  2 worker id  3 events channel  4 most messages to keep in malformed
-- Returns {messages still in the queue, {message, …}}.
-- Publishes "<id>:processing" for each.

--!include clock
--!include message
--!include state
--!include tombstone

local jobs, queue, processing, cancelled, malformed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local limit, worker_id, events, quarantine = tonumber(ARGV[1]), ARGV[2], ARGV[3], tonumber(ARGV[4])

local started = "processing:" .. text_of(now_ms()) .. ":" .. worker_id
local claimed = {}
-- The second bound keeps one call short when thousands of cancelled messages lie at the head.
for _ = 1, limit + 200 do
  if #claimed == limit then
    break
  end
  local message = redis.call("LPOP", queue)
  if not message then
    break
  end
  local id, created_at, attempts = read_message(message)
  if not id then
    redis.call("RPUSH", malformed, message)
    redis.call("LTRIM", malformed, -quarantine, -1)
  elseif
    not take_tombstone(cancelled, id, created_at)
    and is_live(redis.call("HGET", jobs, id), created_at, attempts)
  then
    redis.call("RPUSH", processing, message)
    redis.call("HSET", jobs, id, started)
    redis.call("PUBLISH", events, id .. ":processing")
    claimed[#claimed + 1] = message
  end
end
return { redis.call("LLEN", queue), claimed }
