#!lua flags=no-writes
-- Some jobs of an index, with the beginnings of what is kept of them.
--
-- KEYS  1 scheduled, completed or failed (zset)  2… hashes of messages, results or errors
-- ARGV  1 first index  2 number of jobs  3 most bytes of each entry  4 "1" for the highest scores first
-- Returns {size of the zset, {id, score, size in hash 2, first bytes, size in hash 3, …}, …}.

local index = KEYS[1]
local first, limit, most, descending = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local read = descending == "1" and "ZREVRANGE" or "ZRANGE"
local members = redis.call(read, index, first, first + limit - 1, "WITHSCORES")
local found = { redis.call("ZCARD", index) }
for i = 1, #members, 2 do
  local entry = { members[i], members[i + 1] }
  for k = 2, #KEYS do
    local kept = redis.call("HGET", KEYS[k], members[i]) or ""
    entry[#entry + 1] = #kept
    entry[#entry + 1] = string.sub(kept, 1, most)
  end
  found[#found + 1] = entry
end
return found
