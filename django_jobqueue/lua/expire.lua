#!lua flags=allow-oom
-- Forget finished jobs whose time is over: state, result or error, and kept message.
--
-- KEYS  1 jobs (hash)  2 completed (zset)  3 results (hash)  4 failed (zset)  5 errors (hash)
--       6 dead (hash)
-- ARGV  1 most jobs to look at, of each ending
-- Returns the greater of the two numbers looked at; as many as the limit means that there may be more.

--!include clock
--!include state
--!include expiry

local jobs, dead = KEYS[1], KEYS[6]
local limit, now = tonumber(ARGV[1]), now_ms()

local function forget(ending, index, payloads)
  local due = redis.call("ZRANGEBYSCORE", index, "-inf", text_of(now), "LIMIT", 0, limit)
  for _, id in ipairs(due) do
    local word = read_state(redis.call("HGET", jobs, id) or "")
    local expires_at = expiry_of(jobs, id)
    if word == ending and expires_at and expires_at > now then
      redis.call("ZADD", index, text_of(expires_at), id) -- the Node library has raised the TTL
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
end

return math.max(forget("completed", KEYS[2], KEYS[3]), forget("failed", KEYS[4], KEYS[5]))
