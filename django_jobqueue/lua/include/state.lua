local STATES =
  { queued = true, scheduled = true, processing = true, failing = true, completed = true, failed = true }

-- The parts of a state string: word, ms (text), detail (text, may be empty). Nothing when it is no state.
local function read_state(state)
  local word, ms, detail = string.match(state, "^(%l+):(%d+):?(.*)$")
  if not STATES[word] or (detail ~= "" and #state ~= #word + #ms + #detail + 2) then
    return nil
  end
  if word == "failing" and not string.find(detail, "^%d+$") then
    return nil
  end
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
  if not word then
    return true -- nobody can read the state, and the message is the better witness; the run mends it
  end
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
