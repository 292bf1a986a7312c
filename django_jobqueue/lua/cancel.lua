#!lua flags=allow-oom
-- Cancel a job that has not started.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 scheduled (zset)  4 scheduled:messages (hash)
--       5 cancelled (hash)
-- ARGV  1 id  2 notify channel  3 events channel  4 the job's message where the caller found it, or empty
--       5 when sent again after a lost reply: the state of the job before; else empty
-- Returns "cancelled"; "not_found"; "processing", "completed" or "failed" when it is too late;
--         "unlocated" when a retried job's message is not near the head: nothing changed, look for
--         it and call again with it.
-- Publishes "cancelled" to the waiters and "<id>:cancelled".

--!include clock
--!include message
--!include state
--!include tombstone

local jobs, queue, scheduled, messages, cancelled = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, notify, events, located, seen = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

-- A retry without back-off, or a recovered job, was put at the head; others may have come after.
local function remove_from_queue()
  if located ~= "" then
    return redis.call("LREM", queue, 1, located) == 1
  end
  for _, message in ipairs(redis.call("LRANGE", queue, 0, 999)) do
    if read_message(message) == id then
      return redis.call("LREM", queue, 1, message) == 1
    end
  end
  return false
end

-- A job that waits for its first run is told from others of its id by its createdAt. One that has run
-- never waits so again.
local function is_another_job(word, ms)
  if word ~= "queued" and word ~= "scheduled" then
    return false
  end
  local seen_word, seen_ms = read_state(seen)
  return seen_word == "failing" or seen_ms ~= ms
end

local state = redis.call("HGET", jobs, id)
local word, ms = read_state(state or "")
if seen ~= "" and (not state or is_another_job(word, ms)) then
  return "cancelled" -- the first sending did it
end
if not state then
  return "not_found"
end
if is_terminal(word) then
  local expires_at = redis.call("HGET", jobs, id .. ":exp")
  return expires_at and now_ms() >= tonumber(expires_at) and "not_found" or word
end

if word == "processing" then
  return "processing"
elseif word == "queued" then
  -- Its message stays where it is; whoever takes it drops it.
  add_tombstone(cancelled, id, ms)
elseif redis.call("ZREM", scheduled, id) == 1 then
  redis.call("HDEL", messages, id)
elseif not remove_from_queue() then
  return "unlocated"
end
redis.call("HDEL", jobs, id, id .. ":exp")
redis.call("PUBLISH", notify, "cancelled")
redis.call("PUBLISH", events, id .. ":cancelled")
return "cancelled"
