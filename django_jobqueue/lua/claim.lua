#!lua flags=allow-oom
-- Take up to `limit` jobs from the head of the queue and mark them as started by this worker.
-- Cancelled and outdated messages on the way are dropped. What this script cannot read is taken but
-- not started: the worker reads more (unknown fields, half a surrogate pair) and decides.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 processing (list)  4 cancelled (hash)
-- ARGV  1 limit  2 worker id  3 events channel
-- Returns {messages still in the queue, {started message, …}, {unread message, …}}.
-- Publishes "<id>:processing" for each that was started.

--!include clock
--!include message
--!include state
--!include tombstone

local jobs, queue, processing, cancelled = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local limit, worker_id, events = tonumber(ARGV[1]), ARGV[2], ARGV[3]

local started = "processing:" .. text_of(now_ms()) .. ":" .. worker_id
local claimed, unread = {}, {}
-- The second bound keeps one call short when thousands of cancelled messages lie at the head.
for _ = 1, limit + 200 do
  if #claimed + #unread == limit then
    break
  end
  local message = redis.call("LINDEX", queue, 0)
  if not message then
    break
  end
  local id, created_at, attempts = read_message(message)
  -- Looked up before anything moves: a key of a wrong type ends the script here, and must not lose the job.
  local state = id and redis.call("HGET", jobs, id)
  if not id then
    redis.call("LMOVE", queue, processing, "LEFT", "RIGHT")
    unread[#unread + 1] = message
  elseif not take_tombstone(cancelled, id, created_at) and is_live(state, created_at, attempts) then
    redis.call("LMOVE", queue, processing, "LEFT", "RIGHT")
    redis.call("HSET", jobs, id, started)
    redis.call("PUBLISH", events, id .. ":processing")
    claimed[#claimed + 1] = message
  else
    redis.call("LPOP", queue)
  end
end
return { redis.call("LLEN", queue), claimed, unread }
