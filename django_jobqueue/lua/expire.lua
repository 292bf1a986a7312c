#!lua flags=allow-oom
-- Forget finished jobs whose time is over: state, result or error, and kept message.
--
-- KEYS  1 jobs (hash)  2 completed or failed (zset)  3 results or errors (hash)  4 dead (hash)
-- ARGV  1 "completed" or "failed", as in the second key  2 most jobs to look at
-- Returns the number of jobs looked at; as many as the limit means that there may be more.

--!include clock
--!include state

local jobs, index, payloads, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ending, limit = ARGV[1], tonumber(ARGV[2])

local now = now_ms()
local due = redis.call("ZRANGEBYSCORE", index, "-inf", text_of(now), "LIMIT", 0, limit)
for _, id in ipairs(due) do
  local word = read_state(redis.call("HGET", jobs, id) or "")
  local expires_at = redis.call("HGET", jobs, id .. ":exp")
  if word == ending and expires_at and tonumber(expires_at) > now then
    redis.call("ZADD", index, expires_at, id) -- the Node library has raised the TTL
  else
    if word == ending then
      redis.call("HDEL", jobs, id, id .. ":exp")
    end
    -- Under another state the id has been used anew, and these are what the old job left behind.
    redis.call("HDEL", payloads, id)
    if ending == "failed" then
      redis.call("HDEL", dead, id)
    end
    redis.call("ZREM", index, id)
  end
end
return #due
