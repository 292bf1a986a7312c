#!lua flags=allow-oom
-- Give the leader lock up, if it is still ours, and tell those who wait for it.
--
-- KEYS  1 lock (string)
-- ARGV  1 owner id  2 channel of the lock
-- Returns 1 when given up, 0 when another owns it or nobody does.
-- Publishes "released" on the lock's channel.

if redis.call("GET", KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call("DEL", KEYS[1])
redis.call("PUBLISH", ARGV[2], "released")
return 1
