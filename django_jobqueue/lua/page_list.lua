#!lua flags=no-writes
-- Some messages of a list, cut short.
--
-- KEYS  1 queue, processing or malformed (list)
-- ARGV  1 first index  2 number of messages  3 most bytes of each
-- Returns {length of the list, {id or "" when none can be read, size, its first bytes}, …}.

--!include message

local list = KEYS[1]
local first, limit, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local found = { redis.call("LLEN", list) }
for _, message in ipairs(redis.call("LRANGE", list, first, first + limit - 1)) do
  found[#found + 1] = { read_id(message) or "", #message, string.sub(message, 1, most) }
end
return found
