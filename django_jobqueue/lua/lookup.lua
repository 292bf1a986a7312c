#!lua flags=no-writes
-- What is known about some jobs, each in one consistent view.
--
-- KEYS  1 jobs (hash)  2 results (hash)  3 errors (hash)  4 dead (hash)  5 progress (hash)
-- ARGV  ids
-- Returns for each id {state, stored result or error, kept message, progress}, each nil where
--         there is none; {} when the job is unknown or its time is over.

--!include clock
--!include state
--!include expiry

local jobs, results, errors, dead, progress = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local now = now_ms()
local found = {}
for i, id in ipairs(ARGV) do
  local state = redis.call("HGET", jobs, id)
  local word = read_state(state or "")
  local expires_at = is_terminal(word) and expiry_of(jobs, id)
  if not state or (expires_at and now >= expires_at) then
    found[i] = {}
  elseif word == "completed" then
    found[i] = { state, redis.call("HGET", results, id), false, false }
  elseif word == "failed" then
    found[i] = { state, redis.call("HGET", errors, id), redis.call("HGET", dead, id), false }
  else
    found[i] = { state, false, false, redis.call("HGET", progress, id) }
  end
end
return found
