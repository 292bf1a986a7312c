#!lua flags=allow-oom
-- Take a job from a worker that no longer works on it and put it at the head of the queue.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 processing (list)  4 ahead (set)
-- ARGV  1 id  2 message, exactly as held  3 message to queue  4 the state it must still have
--       5 attempts to count, or empty when the job had not started and loses none
--       6 notify channel  7 events channel  8 createdAt  9 attempts of the message that is held
-- Returns 1 when recovered; 0 when the worker has moved on meanwhile, and then nothing changed.
-- Publishes "failing" to the waiters and "<id>:stalled" for a started job, else "<id>:queued".

--!include clock
--!include state
--!include unstarted

local jobs, queue, processing = KEYS[1], KEYS[2], KEYS[3]
local id, message, following, expected = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local attempts, notify, events = ARGV[5], ARGV[6], ARGV[7]

-- A renewal writes a new time into the state, so this line fences off a leader that slept.
if redis.call("HGET", jobs, id) ~= expected then
  return 0
end
if not redis.call("LPOS", processing, message) then
  return 0
end
redis.call("LPUSH", queue, following)
redis.call("SREM", KEYS[4], id)
redis.call("LREM", processing, 1, message) -- last, as in complete.lua
if attempts == "" then
  if read_state(expected) == "processing" then
    redis.call("HSET", jobs, id, unstarted_state(ARGV[8], ARGV[9]))
  end
  redis.call("PUBLISH", events, id .. ":queued")
else
  redis.call("HSET", jobs, id, "failing:" .. text_of(now_ms()) .. ":" .. attempts)
  redis.call("PUBLISH", notify, "failing")
  redis.call("PUBLISH", events, id .. ":stalled")
end
return 1
