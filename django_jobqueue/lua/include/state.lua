-- The parts of a state string: word, ms (text), detail (text, may be empty).
local function read_state(state)
  local word, ms, detail = string.match(state, "^(%a+):(%d+):?(.*)$")
  return word, ms, detail
end

local function is_terminal(word)
  return word == "completed" or word == "failed"
end

-- Whether a taken message is the one its job's state speaks of, and so may run.
local function is_live(state, created_at, attempts)
  if not state then
    return false -- cancelled by the Node library, which only deletes the state
  end
  local word, ms, detail = read_state(state)
  if word == "queued" then
    return ms == created_at
  end
  if word == "failing" then
    -- The Node reaper counts a stall in the state but leaves the message as it was.
    local counted = tonumber(detail)
    return counted == attempts or counted == attempts + 1
  end
  -- "processing": the reply that told us so was lost, or a Node reaper has put the message back
  -- and not yet written the state. The holder of the message decides, so it may run.
  return word == "processing"
end
