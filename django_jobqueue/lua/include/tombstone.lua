-- A cancelled message stays in the list until it is taken. `cancelled` remembers, for each id,
-- the createdAt of its cancelled messages, separated by commas.

local function find_tombstone(marks, created_at)
  return string.find("," .. marks .. ",", "," .. created_at .. ",", 1, true)
end

local function has_tombstone(cancelled, id, created_at)
  local marks = redis.call("HGET", cancelled, id)
  return marks and find_tombstone(marks, created_at) ~= nil
end

local function add_tombstone(cancelled, id, created_at)
  local marks = redis.call("HGET", cancelled, id)
  if not marks then
    redis.call("HSET", cancelled, id, created_at)
  elseif not find_tombstone(marks, created_at) then
    redis.call("HSET", cancelled, id, marks .. "," .. created_at)
  end
end

-- Use up the tombstone of a message; whether there was one.
local function take_tombstone(cancelled, id, created_at)
  local marks = redis.call("HGET", cancelled, id)
  local from = marks and find_tombstone(marks, created_at)
  if not from then
    return false
  end
  local rest = string.sub(marks, 1, from - 1) .. string.sub(marks, from + #created_at + 1)
  rest = string.gsub(rest, ",$", "")
  if rest == "" then
    redis.call("HDEL", cancelled, id)
  else
    redis.call("HSET", cancelled, id, rest)
  end
  return true
end
