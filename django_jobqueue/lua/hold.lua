#!lua flags=allow-oom
-- Hold ready the message that BLMOVE has just put at the tail of the processing list. Sent right behind BLMOVE, so
-- that no round trip is between them. Whatever needs a closer look is left to start.lua.
--
-- KEYS  1 jobs (hash)  2 processing (list)  3 cancelled (hash)  4 queue (list)  5 ahead (set)
-- ARGV  1 worker id  2 events channel  3 TTL of the set in ms
-- Returns {messages still in the queue, message}; no message when there is none that waits to be started, or when it
--         was cancelled, is outdated or cannot be read: then nothing changed.
-- Publishes "<id>:processing" when held.

--!include clock
--!include message
--!include state
--!include tombstone

local jobs, processing, cancelled, queue, marks = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local worker_id, events = ARGV[1], ARGV[2]

local message = redis.call("LINDEX", processing, -1)
local id, created_at, attempts
if message then
  id, created_at, attempts = read_message(message)
end
local state = id and redis.call("HGET", jobs, id)
local word = state and read_state(state)
-- Not when it is processing: BLMOVE brought nothing, and this is an earlier one.
if
  (word == "queued" or word == "failing")
  and is_live(state, created_at, attempts)
  and not has_tombstone(cancelled, id, created_at)
then
  redis.call("SADD", marks, id)
  redis.call("PEXPIRE", marks, ARGV[3])
  redis.call("HSET", jobs, id, "processing:" .. text_of(now_ms()) .. ":" .. worker_id)
  redis.call("PUBLISH", events, id .. ":processing")
  return { redis.call("LLEN", queue), message }
end
return { redis.call("LLEN", queue) }
