#!lua flags=allow-oom
-- Take the leader lock if it is free, or keep it if it is ours: the reply to an earlier attempt was lost.
--
-- KEYS  1 lock (string)
-- ARGV  1 owner id  2 TTL in ms
-- Returns 1 when taken or kept, 0 when another owns it.

local owner = redis.call("GET", KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
return 1
