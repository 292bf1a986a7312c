#!lua
-- Keep a new job until its time has come, unless its id is taken.
--
-- KEYS  1 jobs (hash)  2 scheduled (zset)  3 scheduled:messages (hash)  4 cancelled (hash)
-- ARGV  1 id  2 message  3 createdAt  4 "1" when sent again after a lost reply  5 delay in ms
--       6 "1" when a job that is there already is to be replicated again  7 channel of the schedule
-- Returns "scheduled" when the job waits; "clash" or the state in the way as in enqueue.lua.
-- Publishes when it is due on the channel of the schedule, if no other is due sooner; promote.lua publishes
-- "<id>:queued".

--!include clock
--!include state
--!include expiry
--!include tombstone
--!include touch
--!include dedup

local jobs, scheduled, messages, cancelled = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, message, created_at, resent, delay_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local replicates = ARGV[6] == "1"
local waiting = "scheduled:" .. created_at

local refused = refusal(jobs, cancelled, id, created_at, waiting, resent, replicates)
if refused then
  return refused
end

local due = text_of(now_ms() + tonumber(delay_ms))
redis.call("ZADD", scheduled, due, id)
redis.call("HSET", messages, id, message)
redis.call("HSET", jobs, id, waiting) -- last, as in enqueue.lua
if redis.call("ZRANK", scheduled, id) == 0 then
  redis.call("PUBLISH", ARGV[7], due)
end
return "scheduled"
