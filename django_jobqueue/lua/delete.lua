#!lua flags=allow-oom
-- Forget a finished job before its time: state, result or error, and kept message.
--
-- KEYS  1 jobs (hash)  2 results (hash)  3 errors (hash)  4 completed (zset)  5 failed (zset)
--       6 dead (hash)  7 progress (hash)
-- ARGV  1 id  2 when sent again after a lost reply: the state of the job before; else empty
-- Returns "deleted"; "not_found"; else the state's word, when the job is not finished: nothing changed.

--!include clock
--!include state

local jobs, id, seen = KEYS[1], ARGV[1], ARGV[2]

local state = redis.call("HGET", jobs, id)
local word = read_state(state or "")
if seen ~= "" and state ~= seen and (not word or is_terminal(word)) then
  return "deleted" -- the first sending did it; what is there now has ended since
end
if not word then
  return "not_found"
end
if not is_terminal(word) then
  return word
end
local expires_at = redis.call("HGET", jobs, id .. ":exp")
if expires_at and now_ms() >= tonumber(expires_at) then
  return "not_found" -- expire.lua is about to do the same
end

redis.call("HDEL", jobs, id, id .. ":exp")
for _, hash in ipairs({ KEYS[2], KEYS[3], KEYS[6], KEYS[7] }) do
  redis.call("HDEL", hash, id)
end
redis.call("ZREM", KEYS[4], id)
redis.call("ZREM", KEYS[5], id)
return "deleted"
