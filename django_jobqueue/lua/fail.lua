#!lua flags=allow-oom
-- End a job that failed for good; its message is kept so that it can be shown and retried.
--
-- KEYS  1 jobs (hash)  2 errors (hash)  3 processing (list)  4 failed (zset)  5 dead (hash)
-- ARGV  1 id  2 message, exactly as claimed  3 error  4 TTL in ms  5 notify channel
--       6 events channel  7 the state the job must still have; empty when the caller holds the lease
-- Returns 1 when failed; 2 when it already was (a repeated sending); 0 when the lease was lost or
--         the state has changed, and then nothing changed.
-- Publishes "failed" to the waiters and "<id>:failed".

--!include clock

local jobs, errors, processing, failed, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, message, failure, ttl_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local notify, events, expected = ARGV[5], ARGV[6], ARGV[7]

local state = redis.call("HGET", jobs, id)
if expected ~= "" and state ~= expected then
  return 0
end
if not redis.call("LPOS", processing, message) then
  return state and string.find(state, "failed:", 1, true) == 1 and 2 or 0
end

local now = now_ms()
local expires_at = text_of(now + ttl_ms)
redis.call("HSET", errors, id, struct.pack(">i8", now + ttl_ms) .. failure)
redis.call("PERSIST", errors) -- as in complete.lua
redis.call("HSET", dead, id, message)
redis.call("ZADD", failed, expires_at, id)
redis.call("HSET", jobs, id, "failed:" .. text_of(now), id .. ":exp", expires_at)
redis.call("LREM", processing, 1, message) -- last, as in complete.lua
redis.call("PUBLISH", notify, "failed")
redis.call("PUBLISH", events, id .. ":failed")
return 1
