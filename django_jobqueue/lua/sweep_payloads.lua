#!lua flags=allow-oom
-- Drop results and errors whose envelope says that their time is over; the Node library leaves
-- them behind when it forgets a job. One page of an incremental walk through both.
--
-- KEYS  1 results (hash)  2 errors (hash)
-- ARGV  1 cursor in results  2 cursor in errors  3 page size
-- Returns the two next cursors; "0" when a walk is complete.

--!include clock

local now = now_ms()

local function sweep(payloads, cursor)
  local page = redis.call("HSCAN", payloads, cursor, "COUNT", ARGV[3])
  local fields = page[2]
  for i = 1, #fields, 2 do
    local stored = fields[i + 1]
    local expires_at = #stored >= 8 and struct.unpack(">i8", stored) or 0
    if expires_at > 0 and expires_at <= now then
      redis.call("HDEL", payloads, fields[i])
    end
  end
  redis.call("PERSIST", payloads) -- the Node library lets the whole hash expire
  return page[1]
end

return { sweep(KEYS[1], ARGV[1]), sweep(KEYS[2], ARGV[2]) }
