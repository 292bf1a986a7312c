#!lua
-- Move jobs whose time has come into the queue: delayed ones to the tail, retries to the head.
--
-- As this runs about once a second, it also takes the TTL off results and errors that the Node
-- library puts on the whole hash, before it can wipe everybody's.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 scheduled (zset)  4 scheduled:messages (hash)
--       5 results (hash)  6 errors (hash)
-- ARGV  1 most jobs to move  2 events channel
-- Returns {jobs moved, ms until the next is due, or -1 when none waits}.
-- Publishes "<id>:queued" for each.

--!include clock
--!include state

local jobs, queue, scheduled, messages = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local limit, events = tonumber(ARGV[1]), ARGV[2]

redis.call("PERSIST", KEYS[5])
redis.call("PERSIST", KEYS[6])

local now = now_ms()
local due = redis.call("ZRANGEBYSCORE", scheduled, "-inf", text_of(now), "LIMIT", 0, limit)
local moved = 0
for _, id in ipairs(due) do
  local message = redis.call("HGET", messages, id)
  local word, ms = read_state(redis.call("HGET", jobs, id) or "")
  redis.call("ZREM", scheduled, id)
  redis.call("HDEL", messages, id)
  -- Another state, or none, means that the Node library cancelled the job, perhaps to enqueue it anew.
  if message and (word == "scheduled" or word == "failing") then
    if word == "scheduled" then
      redis.call("HSET", jobs, id, "queued:" .. ms)
      redis.call("RPUSH", queue, message)
    else
      redis.call("LPUSH", queue, message)
    end
    redis.call("PUBLISH", events, id .. ":queued")
    moved = moved + 1
  end
end
local next_due = redis.call("ZRANGE", scheduled, 0, 0, "WITHSCORES")
return { moved, next_due[2] and math.max(0, math.ceil(tonumber(next_due[2]) - now)) or -1 }
