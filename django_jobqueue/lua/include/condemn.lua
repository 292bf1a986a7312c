-- Fail a job whose message nobody can read, so that nobody waits for it for ever.
local function condemn(jobs, errors, failed, id, failure, ttl_ms, notify, events)
  local now = now_ms()
  local expires_at = text_of(now + ttl_ms)
  redis.call("ZADD", failed, expires_at, id)
  redis.call("HSET", errors, id, struct.pack(">i8", now + ttl_ms) .. failure)
  redis.call("HSET", jobs, id, "failed:" .. text_of(now), id .. ":exp", expires_at)
  redis.call("PUBLISH", notify, "failed")
  redis.call("PUBLISH", events, id .. ":failed")
end
