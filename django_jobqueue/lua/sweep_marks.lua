#!lua flags=allow-oom
-- Drop tombstones of messages that the Node library consumed, and progress of jobs that are gone.
-- One page of an incremental walk through both.
--
-- KEYS  1 cancelled (hash)  2 progress (hash)  3 jobs (hash)
-- ARGV  1 cursor in cancelled  2 cursor in progress  3 page size  4 age in ms from which a
--       tombstone is useless
-- Returns the two next cursors; "0" when a walk is complete.

--!include clock

local cancelled, progress, jobs = KEYS[1], KEYS[2], KEYS[3]

local oldest = now_ms() - tonumber(ARGV[4])
local marks = redis.call("HSCAN", cancelled, ARGV[1], "COUNT", ARGV[3])
for i = 1, #marks[2], 2 do
  local newest = string.match(marks[2][i + 1], "(%d+)$")
  if not newest or tonumber(newest) <= oldest then
    redis.call("HDEL", cancelled, marks[2][i])
  end
end

local reports = redis.call("HSCAN", progress, ARGV[2], "COUNT", ARGV[3])
for i = 1, #reports[2], 2 do
  if redis.call("HEXISTS", jobs, reports[2][i]) == 0 then
    redis.call("HDEL", progress, reports[2][i])
  end
end
return { marks[1], reports[1] }
