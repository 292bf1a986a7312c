#!lua flags=no-writes
-- What is kept of one job besides its state and outcome. A message in a list is looked for near
-- both ends, so the cost has a limit whatever the list's length.
--
-- KEYS  1 jobs (hash)  2 scheduled (zset)  3 scheduled:messages (hash)  4 dead (hash)
--       5 queue, or processing when the job runs (list)
-- ARGV  1 id  2 most messages to look at from either end  3 most bytes to look at
-- Returns {its message, when it is due, when it is forgotten}, each nil where there is none.

--!include message
--!include state

local jobs, scheduled, messages, dead, list = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, most, budget = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local CHUNK = 20

local state = redis.call("HGET", jobs, id)

-- A cancelled message may still lie in the list beside that of a new job of the same id.
local function find(first)
  for _, message in ipairs(redis.call("LRANGE", list, first, first + CHUNK - 1)) do
    budget = budget - #message
    local read_id, created_at, attempts = read_message(message)
    if read_id == id and is_live(state, created_at, attempts) then
      return message
    end
  end
  return false
end

local function find_in_list()
  local length = redis.call("LLEN", list)
  for start = 0, math.min(most, length) - 1, CHUNK do
    local message = find(start) or find(-start - CHUNK)
    if message or budget < 0 then
      return message
    end
  end
  return false
end

local message = redis.call("HGET", messages, id) or redis.call("HGET", dead, id)
if not message and state and not is_terminal((read_state(state))) then
  message = find_in_list()
end
return { message, redis.call("ZSCORE", scheduled, id), redis.call("HGET", jobs, id .. ":exp") }
