#!lua flags=allow-oom
-- Give a failed attempt another run: after a delay, or at once at the head.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 processing (list)  4 scheduled (zset)
--       5 scheduled:messages (hash)
-- ARGV  1 id  2 message, exactly as claimed  3 message of the next attempt  4 its attempts
--       5 delay in ms  6 notify channel  7 events channel  8 channel of the schedule
-- Returns 1 when the job will run again; 2 when that was already so (a repeated sending); 0 when
--         the lease was lost, and then nothing changed.
-- Publishes "failing" to the waiters and "<id>:failing"; when it is due on the channel of the schedule, if no
--           other is due sooner.

--!include clock

local jobs, queue, processing, scheduled, messages = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, message, following, attempts = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local delay_ms, notify, events = tonumber(ARGV[5]), ARGV[6], ARGV[7]

if not redis.call("LPOS", processing, message) then
  local state = redis.call("HGET", jobs, id)
  return state and string.match(state, "^failing:%d+:(%d+)$") == attempts and 2 or 0
end

local now, is_first = now_ms(), false
if delay_ms > 0 then
  redis.call("HSET", messages, id, following)
  redis.call("ZADD", scheduled, text_of(now + delay_ms), id)
  is_first = redis.call("ZRANK", scheduled, id) == 0
else
  redis.call("LPUSH", queue, following)
end
redis.call("HSET", jobs, id, "failing:" .. text_of(now) .. ":" .. attempts)
redis.call("LREM", processing, 1, message) -- last, as in complete.lua
redis.call("PUBLISH", notify, "failing")
redis.call("PUBLISH", events, id .. ":failing")
if is_first then
  redis.call("PUBLISH", ARGV[8], text_of(now + delay_ms))
end
return 1
