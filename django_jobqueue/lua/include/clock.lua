-- The server's clock in milliseconds since the epoch.
local function now_ms()
  local time = redis.call("TIME")
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Whole milliseconds as text; Lua's own tostring would write large numbers as 1.7e+12.
local function text_of(ms)
  return string.format("%.0f", ms)
end
