#!lua flags=allow-oom
-- Move an unreadable message out of the way, where a person can look at it.
--
-- KEYS  1 processing (list)  2 malformed (list)
-- ARGV  1 message, exactly as held  2 most messages to keep
-- Returns 1 when moved; 0 when it was no longer held.

local processing, malformed = KEYS[1], KEYS[2]
local message, quarantine = ARGV[1], tonumber(ARGV[2])

if redis.call("LREM", processing, 1, message) == 0 then
  return 0
end
redis.call("RPUSH", malformed, message)
redis.call("LTRIM", malformed, -quarantine, -1)
return 1
