-- The state of a job whose message waits, as if it had never been taken. `attempts` is text.
local function unstarted_state(created_at, attempts)
  if attempts == "0" then
    return "queued:" .. created_at
  end
  return "failing:" .. text_of(now_ms()) .. ":" .. attempts
end
