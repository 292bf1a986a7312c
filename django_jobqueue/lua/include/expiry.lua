-- When a finished job is forgotten, in ms; nothing where that is not set, or set to what is no number.
local function expiry_of(jobs, id)
  local text = redis.call("HGET", jobs, id .. ":exp")
  return text and string.find(text, "^%d+$") and tonumber(text) or nil
end

local function is_forgotten(jobs, id)
  local expires_at = expiry_of(jobs, id)
  return expires_at ~= nil and now_ms() >= expires_at
end
