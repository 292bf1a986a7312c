#!lua flags=allow-oom
-- Hand a job back to the head of the queue, as if it had never been taken. A cancelled message is dropped.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 processing (list)  4 cancelled (hash)
--       5 ahead (set)
-- ARGV  1 id  2 message, exactly as taken  3 createdAt  4 attempts  5 worker id  6 events channel
-- Returns 1 when released; 0 when the lease was already lost, and then nothing changed.
-- Publishes "<id>:queued".

--!include clock
--!include state
--!include tombstone
--!include unstarted

local jobs, queue, processing, cancelled = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, message, created_at, attempts = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local worker_id, events = ARGV[5], ARGV[6]

if not redis.call("LPOS", processing, message) then
  return 0
end
local state = redis.call("HGET", jobs, id)
local word, _, holder = read_state(state or "")
-- The state may be that of a new job of the same id.
redis.call("SREM", KEYS[5], id)
if take_tombstone(cancelled, id, created_at) or not state or is_terminal(word) then
  redis.call("LREM", processing, 1, message)
  return 1 -- cancelled or over meanwhile: nothing to run
end
if word == "processing" and holder == worker_id then
  redis.call("HSET", jobs, id, unstarted_state(created_at, attempts))
end
redis.call("LPUSH", queue, message)
redis.call("LREM", processing, 1, message) -- last, as in complete.lua
redis.call("PUBLISH", events, id .. ":queued")
return 1
