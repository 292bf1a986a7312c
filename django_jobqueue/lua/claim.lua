#!lua flags=allow-oom
-- Take up to `limit` jobs from the head of the queue and mark them as started by this worker, and up to
-- `ahead` more that it holds ready: those count as started only when it says that it begins them.
-- Cancelled and outdated messages on the way are dropped. What this script cannot read is taken but
-- not started: the worker reads more (unknown fields, half a surrogate pair) and decides.
--
-- KEYS  1 jobs (hash)  2 queue (list)  3 processing (list)  4 cancelled (hash)  5 ahead (set)
-- ARGV  1 limit  2 worker id  3 events channel  4 ahead  5 TTL of the set in ms
--       6 bytes of messages in one answer from which on none is held ready
-- Returns {messages still in the queue, {started message, …}, {unread message, …}, {ready message, …}}.
-- Publishes "<id>:processing" for each that was started or is ready.

--!include clock
--!include message
--!include state
--!include tombstone

local jobs, queue, processing, cancelled, marks = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local limit, worker_id, events = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local total = limit + tonumber(ARGV[4])

local started = "processing:" .. text_of(now_ms()) .. ":" .. worker_id
local claimed, unread, ready, bytes = {}, {}, {}, 0
-- The second bound keeps one call short when thousands of cancelled messages lie at the head.
for _ = 1, total + 200 do
  if #claimed + #unread + #ready == total then
    break
  end
  local message = redis.call("LINDEX", queue, 0)
  local is_ready = #claimed + #unread >= limit
  if not message or (is_ready and bytes >= tonumber(ARGV[6])) then
    break
  end
  bytes = bytes + #message
  local id, created_at, attempts = read_message(message)
  -- Looked up before anything moves: a key of a wrong type ends the script here, and must not lose the job.
  local state = id and redis.call("HGET", jobs, id)
  if not id then
    redis.call("LMOVE", queue, processing, "LEFT", "RIGHT")
    unread[#unread + 1] = message
  elseif not take_tombstone(cancelled, id, created_at) and is_live(state, created_at, attempts) then
    if is_ready then
      redis.call("SADD", marks, id)
      ready[#ready + 1] = message
    else
      claimed[#claimed + 1] = message
    end
    redis.call("LMOVE", queue, processing, "LEFT", "RIGHT")
    redis.call("HSET", jobs, id, started)
    redis.call("PUBLISH", events, id .. ":processing")
  else
    redis.call("LPOP", queue)
  end
end
if #ready > 0 then
  redis.call("PEXPIRE", marks, ARGV[5]) -- nobody else removes them when the worker falls off the list
end
return { redis.call("LLEN", queue), claimed, unread, ready }
