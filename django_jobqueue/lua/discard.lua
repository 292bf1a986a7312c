#!lua flags=allow-oom
-- Drop an outdated message (its job is over or was cancelled) from a processing list.
--
-- KEYS  1 jobs (hash)  2 processing (list)  3 cancelled (hash)
-- ARGV  1 id  2 message, exactly as held  3 createdAt  4 the state it must still have, or empty
-- Returns 1 when dropped; 0 when the job's state has changed, and then nothing changed.

--!include tombstone

local jobs, processing, cancelled = KEYS[1], KEYS[2], KEYS[3]
local id, message, created_at, expected = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if (redis.call("HGET", jobs, id) or "") ~= expected then
  return 0
end
take_tombstone(cancelled, id, created_at)
return redis.call("LREM", processing, 1, message)
