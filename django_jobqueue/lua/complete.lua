#!lua flags=allow-oom
-- Finish a job with its result.
--
-- KEYS  1 jobs (hash)  2 results (hash)  3 processing (list)  4 completed (zset)
-- ARGV  1 id  2 message, exactly as claimed  3 result  4 TTL in ms  5 notify channel
--       6 events channel
-- Returns 1 when completed; 2 when it already was (a repeated sending); 0 when the lease was
--         lost, and then nothing changed.
-- Publishes "completed" to the waiters and "<id>:completed".

--!include clock

local jobs, results, processing, completed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, message, result, ttl_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local notify, events = ARGV[5], ARGV[6]

if not redis.call("LPOS", processing, message) then
  local state = redis.call("HGET", jobs, id)
  return state and string.find(state, "completed:", 1, true) == 1 and 2 or 0
end

local now = now_ms()
local expires_at = text_of(now + ttl_ms)
redis.call("HSET", results, id, struct.pack(">i8", now + ttl_ms) .. result)
-- The Node library puts a TTL on the whole hash; that would wipe everybody's results.
redis.call("PERSIST", results)
redis.call("ZADD", completed, expires_at, id)
redis.call("HSET", jobs, id, "completed:" .. text_of(now), id .. ":exp", expires_at)
-- The lease goes last: a key of a wrong type ends the script where it stands, and must not lose the job.
redis.call("LREM", processing, 1, message)
redis.call("PUBLISH", notify, "completed")
redis.call("PUBLISH", events, id .. ":completed")
return 1
