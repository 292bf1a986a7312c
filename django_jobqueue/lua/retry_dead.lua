#!lua flags=allow-oom
-- Give a failed job a fresh start from its kept message.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 errors (hash)  4 failed (zset)  5 dead (hash)
--       6 cancelled (hash)
-- ARGV  1 id  2 the kept message  3 the fresh message  4 its createdAt  5 events channel
--       6 "1" when a job that has changed already is to be replicated again
-- Returns "queued"; "clash" as in enqueue.lua; "changed" when the job is no longer failed with
--         that message, and then nothing changed.
-- Publishes "<id>:queued".

--!include clock
--!include state
--!include expiry
--!include tombstone
--!include touch

local jobs, queue, errors, failed, dead, cancelled =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, kept, fresh, created_at, events = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local replicates = ARGV[6] == "1"

local state = redis.call("HGET", jobs, id)
if
  read_state(state or "") ~= "failed"
  or is_forgotten(jobs, id)
  or redis.call("HGET", dead, id) ~= kept
then
  if state and replicates then
    touch(jobs, id, state)
  end
  return "changed"
end
if has_tombstone(cancelled, id, created_at) then
  return "clash"
end
redis.call("RPUSH", queue, fresh) -- first: a key of a wrong type ends the script, and must not lose the job
redis.call("HSET", jobs, id, "queued:" .. created_at)
redis.call("HDEL", jobs, id .. ":exp")
redis.call("HDEL", dead, id)
redis.call("HDEL", errors, id)
redis.call("ZREM", failed, id)
redis.call("PUBLISH", events, id .. ":queued")
return "queued"
