#!lua flags=allow-oom
-- Drop results or errors whose envelope says that their time is over; the Node library leaves
-- them behind when it forgets a job. One page of an incremental walk.
--
-- KEYS  1 results or errors (hash)
-- ARGV  1 cursor  2 page size
-- Returns the next cursor; "0" when the walk is complete.

--!include clock

local payloads = KEYS[1]
local page = redis.call("HSCAN", payloads, ARGV[1], "COUNT", ARGV[2])
local fields, now = page[2], now_ms()
for i = 1, #fields, 2 do
  local stored = fields[i + 1]
  local expires_at = #stored >= 8 and struct.unpack(">i8", stored) or 0
  if expires_at > 0 and expires_at <= now then
    redis.call("HDEL", payloads, fields[i])
  end
end
redis.call("PERSIST", payloads) -- the Node library lets the whole hash expire
return page[1]
