#!lua flags=allow-oom
-- Let a finished job be forgotten at another time, counted from now.
--
-- KEYS  1 jobs (hash)  2 results (hash)  3 errors (hash)  4 completed (zset)  5 failed (zset)
-- ARGV  1 id  2 TTL in ms
-- Returns "updated", "not_found", "not_terminal" or "missing_payload".

--!include clock
--!include state
--!include expiry

local jobs, id, ttl_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])

local word = read_state(redis.call("HGET", jobs, id) or "")
if not word then
  return "not_found"
end
if not is_terminal(word) then
  return "not_terminal"
end
local now = now_ms()
if is_forgotten(jobs, id) then
  return "not_found"
end
local payloads, index = KEYS[2], KEYS[4]
if word == "failed" then
  payloads, index = KEYS[3], KEYS[5]
end
local stored = redis.call("HGET", payloads, id)
if not stored then
  return "missing_payload"
end

-- A legacy entry has no envelope; it gets one.
local has_envelope = #stored >= 8 and struct.unpack(">i8", stored) > 0
local payload = has_envelope and string.sub(stored, 9) or stored
local expires_at = text_of(now + ttl_ms)
redis.call("HSET", payloads, id, struct.pack(">i8", now + ttl_ms) .. payload)
redis.call("PERSIST", payloads) -- as in complete.lua
redis.call("HSET", jobs, id .. ":exp", expires_at)
redis.call("ZADD", index, expires_at, id)
return "updated"
