#!lua flags=allow-oom
-- Move an unreadable message out of the way, where a person can look at it. When at least its id
-- can be read, its job fails, so that nobody waits for it for ever.
--
-- KEYS  1 processing (list)  2 malformed (list)  3 jobs (hash)  4 errors (hash)  5 failed (zset)
-- ARGV  1 message, exactly as held  2 most messages to keep  3 error  4 TTL in ms
--       5 prefix of the notify channels  6 events channel  7 worker id
-- Returns 1 when moved; 0 when it was no longer held.
-- Publishes "failed" to the waiters and "<id>:failed" when a job fails.

--!include clock
--!include message
--!include state
--!include condemn

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

local id, created_at, attempts = read_message(message)
local is_whole = id ~= nil
id = id or read_id(message)
local state = id and redis.call("HGET", jobs, id)
if state and (is_whole and is_live(state, created_at, attempts) or not is_whole and awaits_message(state)) then
  condemn(jobs, errors, failed, id, failure, ttl_ms, notify_prefix .. id, events)
end
redis.call("RPUSH", malformed, message)
redis.call("LTRIM", malformed, -quarantine, -1)
redis.call("LREM", processing, 1, message) -- last, as in complete.lua
return 1
