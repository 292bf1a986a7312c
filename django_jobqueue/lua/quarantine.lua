#!lua flags=allow-oom
-- Move an unreadable message out of the way, where a person can look at it. When at least its id
-- can be read, its job fails, so that nobody waits for it for ever.
--
-- KEYS  1 processing (list)  2 malformed (list)  3 jobs (hash)  4 errors (hash)  5 failed (zset)
--       6 cancelled (hash)
-- ARGV  1 message, exactly as held  2 most messages to keep  3 error  4 TTL in ms
--       5 prefix of the notify channels  6 events channel  7 worker id
-- Returns 1 when moved; 0 when it was no longer held.
-- Publishes "failed" to the waiters and "<id>:failed" when a job fails.

--!include clock
--!include message
--!include state
--!include condemn
--!include tombstone

local processing, malformed, jobs, errors, failed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local message, quarantine, failure, ttl_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local notify_prefix, events, worker_id = ARGV[5], ARGV[6], ARGV[7]

-- Whether a job waits for a message of its id, or this worker was seen to start it.
local function awaits_message(state)
  local word, _, holder = read_state(state)
  return not word or word == "queued" or word == "failing" or (word == "processing" and holder == worker_id)
end

if not redis.call("LPOS", processing, message) then
  return 0
end

-- Whether the message is the one that its job's state speaks of, as far as it can be read.
local function is_awaited(id, created_at, attempts)
  local state = redis.call("HGET", jobs, id)
  if not created_at then
    return state and awaits_message(state)
  end
  return not take_tombstone(KEYS[6], id, created_at) and is_live(state, created_at, attempts)
end

local id, created_at, attempts = read_message(message)
id = id or read_id(message)
if id and is_awaited(id, created_at, attempts) then
  condemn(jobs, errors, failed, id, failure, ttl_ms, notify_prefix .. id, events)
end
redis.call("RPUSH", malformed, message)
redis.call("LTRIM", malformed, -quarantine, -1)
redis.call("LREM", processing, 1, message) -- last, as in complete.lua
return 1
