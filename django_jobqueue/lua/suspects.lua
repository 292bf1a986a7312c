#!lua flags=allow-oom,no-writes
-- Find what a worker holds without being seen to work on it.
--
-- KEYS  1 jobs (hash)  2 workers (hash)  3 processing (list)  4 cancelled (hash)
--       5 ahead (set)
-- ARGV  1 worker id  2 visibility timeout in ms  3 most messages to look at
-- Returns {kind, message, state, …} with three entries a suspect. The kinds:
--         "stalled": started, and its lease ran out;
--         "unstarted": held ready and not begun, and its lease ran out; or taken, not started or of unreadable
--         state, and the worker's heartbeat is overdue;
--         "outdated": its job is over or was cancelled, and the heartbeat is overdue;
--         "unread": this script cannot read it, and the heartbeat is overdue.
--         The state is empty where there is none.

--!include clock
--!include message
--!include state
--!include tombstone

local jobs, workers, processing, cancelled = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local worker_id, visibility_ms, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local oldest = now_ms() - visibility_ms
local heartbeat = tonumber(redis.call("HGET", workers, worker_id) or "0") or 0
local overdue = heartbeat <= oldest
local found = {}
local function suspect(kind, message, state)
  found[#found + 1] = kind
  found[#found + 1] = message
  found[#found + 1] = state or ""
end

for _, message in ipairs(redis.call("LRANGE", processing, 0, limit - 1)) do
  local id, created_at = read_message(message)
  local state = id and redis.call("HGET", jobs, id)
  local word, ms = read_state(state or "")
  -- A state beside a cancelled message is that of a new job of the same id.
  local is_cancelled = id and has_tombstone(cancelled, id, created_at)
  if word == "processing" and not is_cancelled then
    if tonumber(ms) <= oldest then
      local is_ready = redis.call("SISMEMBER", KEYS[5], id) == 1
      suspect(is_ready and "unstarted" or "stalled", message, state)
    end
  elseif overdue then
    if not id then
      suspect("unread", message)
    elseif is_cancelled then
      suspect("outdated", message, state)
    elseif word == "queued" or word == "failing" or (state and not word) then
      suspect("unstarted", message, state)
    else
      suspect("outdated", message, state)
    end
  end
end
return found
