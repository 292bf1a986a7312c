#!lua
-- Put a new job at the tail of the queue, unless its id is taken.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 cancelled (hash)
-- ARGV  1 id  2 message  3 createdAt  4 "1" when sent again after a lost reply  5 events channel
--       6 "1" when a job that is there already is to be replicated again
-- Returns "queued" when the job is in the queue;
--         "clash" when a cancelled message with this createdAt still lies in the list: nothing
--         changed, send again with a later createdAt;
--         else the state of the job that has the id, and nothing changed.
-- Publishes "<id>:queued".

--!include clock
--!include state
--!include expiry
--!include tombstone
--!include touch
--!include dedup

local jobs, queue, cancelled = KEYS[1], KEYS[2], KEYS[3]
local id, message, created_at, resent, events = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local replicates = ARGV[6] == "1"
local queued = "queued:" .. created_at

local refused = refusal(jobs, cancelled, id, created_at, queued, resent, replicates)
if refused then
  return refused
end

-- The state goes last: a key of a wrong type ends the script where it stands, and must not take the id.
redis.call("RPUSH", queue, message)
redis.call("HSET", jobs, id, queued)
redis.call("PUBLISH", events, id .. ":queued")
return "queued"
