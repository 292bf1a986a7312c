-- The state of a job that stands in the way of a new one with the same id; nothing when none does.
-- A terminal job whose time is over makes room, and so does a state that nobody can read: its fields go.
local function standing_state(jobs, id)
  local state = redis.call("HGET", jobs, id)
  if not state then
    return nil
  end
  local word = read_state(state)
  if not word or (is_terminal(word) and is_forgotten(jobs, id)) then
    redis.call("HDEL", jobs, id, id .. ":exp")
    return nil
  end
  return state
end

-- The answer to a new job that cannot have `fresh` as its state; nothing when it can.
-- `replicates` writes a standing state anew, so that a WAIT that follows covers it.
-- Sent again after a lost reply, it may find that the first sending did it.
local function refusal(jobs, cancelled, id, created_at, fresh, resent, replicates)
  local standing = standing_state(jobs, id)
  if standing and replicates then
    touch(jobs, id, standing)
  end
  if standing == fresh and resent == "1" then
    return (read_state(fresh))
  end
  if standing then
    return standing
  end
  if has_tombstone(cancelled, id, created_at) then
    return "clash"
  end
end
