#!lua flags=allow-oom
-- Move an unreadable message out of the way, where a person can look at it. When at least its id
-- can be read, its job fails, so that nobody waits for it for ever.
--
-- KEYS  1 processing (list)  2 malformed (list)  3 jobs (hash)  4 errors (hash)  5 failed (zset)
-- ARGV  1 message, exactly as held  2 most messages to keep  3 error  4 TTL in ms
--       5 prefix of the notify channels  6 events channel
-- Returns 1 when moved; 0 when it was no longer held.
-- Publishes "failed" to the waiters and "<id>:failed" when a job fails.

--!include clock
--!include message
--!include state

local processing, malformed, jobs, errors, failed = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local message, quarantine, failure, ttl_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local notify_prefix, events = ARGV[5], ARGV[6]

if redis.call("LREM", processing, 1, message) == 0 then
  return 0
end
redis.call("RPUSH", malformed, message)
redis.call("LTRIM", malformed, -quarantine, -1)

local id, created_at, attempts = read_message(message)
local state = id and redis.call("HGET", jobs, id)
if state and is_live(state, created_at, attempts) then
  local now = now_ms()
  local expires_at = text_of(now + ttl_ms)
  redis.call("HSET", jobs, id, "failed:" .. text_of(now), id .. ":exp", expires_at)
  redis.call("HSET", errors, id, struct.pack(">i8", now + ttl_ms) .. failure)
  redis.call("ZADD", failed, expires_at, id)
  redis.call("PUBLISH", notify_prefix .. id, "failed")
  redis.call("PUBLISH", events, id .. ":failed")
end
return 1
