#!lua flags=allow-oom
-- Keep the leader lock, if it is still ours.
--
-- KEYS  1 lock (string)
-- ARGV  1 owner id  2 TTL in ms
-- Returns 1 when kept, 0 when another owns it or nobody does.

if redis.call("GET", KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call("PEXPIRE", KEYS[1], ARGV[2])
