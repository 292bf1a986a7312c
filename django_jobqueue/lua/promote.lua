#!lua
-- Move jobs whose time has come into the queue: delayed ones to the tail, retries to the head. A job
-- whose message is gone or cannot be its own fails, so that nobody waits for it for ever.
--
-- It also takes the TTL off results and errors that the Node library puts on the whole hash, before it can wipe
-- everybody's, and tells that there was one: where Node works, this must run about once a second.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 scheduled (zset)  4 scheduled:messages (hash)
--       5 results (hash)  6 errors (hash)  7 failed (zset)  8 malformed (list)
-- ARGV  1 most jobs to move  2 events channel  3 prefix of the notify channels  4 error
--       5 TTL of it in ms  6 most malformed messages to keep
-- Returns {jobs moved, ms until the next is due, or -1 when none waits, jobs failed, hashes that had a TTL}.
-- Publishes "<id>:queued" for each moved; "failed" and "<id>:failed" for each that fails.

--!include clock
--!include message
--!include state
--!include condemn

local jobs, queue, scheduled, messages = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local limit, events = tonumber(ARGV[1]), ARGV[2]

local had_ttl = redis.call("PERSIST", KEYS[5]) + redis.call("PERSIST", KEYS[6])

-- An id that JSON may have escaped is left to whoever takes the message: Lua's reader may be unable.
local function is_message_of(message, id)
  return message and (read_id(message) == id or string.find(id, '["\\%c\128-\255]') ~= nil)
end

local function reject(id, message)
  condemn(jobs, KEYS[6], KEYS[7], id, ARGV[4], tonumber(ARGV[5]), ARGV[3] .. id, events)
  if message then
    redis.call("RPUSH", KEYS[8], message)
    redis.call("LTRIM", KEYS[8], -tonumber(ARGV[6]), -1)
  end
end

local now = now_ms()
local due = redis.call("ZRANGEBYSCORE", scheduled, "-inf", text_of(now), "LIMIT", 0, limit)
local moved, rejected = 0, 0
for _, id in ipairs(due) do
  local message = redis.call("HGET", messages, id)
  local word, ms = read_state(redis.call("HGET", jobs, id) or "")
  -- Another state, or none, means that the Node library cancelled the job, perhaps to enqueue it anew.
  if word == "scheduled" or word == "failing" then
    if not is_message_of(message, id) then
      reject(id, message)
      rejected = rejected + 1
    else
      if word == "scheduled" then
        redis.call("RPUSH", queue, message)
        redis.call("HSET", jobs, id, "queued:" .. ms)
      else
        redis.call("LPUSH", queue, message)
      end
      redis.call("PUBLISH", events, id .. ":queued")
      moved = moved + 1
    end
  end
  redis.call("ZREM", scheduled, id)
  redis.call("HDEL", messages, id)
end
local next_due = redis.call("ZRANGE", scheduled, 0, 0, "WITHSCORES")
-- A score of infinity is never due, and no number that a reply could hold.
local wait = next_due[2] and tonumber(next_due[2]) - now or math.huge
return { moved, wait < math.huge and math.max(0, math.ceil(wait)) or -1, rejected, had_ttl }
