#!lua flags=allow-oom
-- Index finished jobs that the Node library wrote, and TTLs that it changed, so that they are counted
-- and expire like ours. One page of an incremental walk.
--
-- KEYS  1 jobs (hash)  2 completed (zset)  3 failed (zset)
-- ARGV  1 cursor  2 page size  3 TTL in ms for entries without expiry
-- Returns the next cursor; "0" when the walk is complete.

--!include clock
--!include state
--!include expiry

local jobs, completed, failed = KEYS[1], KEYS[2], KEYS[3]
local page = redis.call("HSCAN", jobs, ARGV[1], "COUNT", ARGV[2])
local fields = page[2]
for i = 1, #fields, 2 do
  local id, word = fields[i], read_state(fields[i + 1])
  if is_terminal(word) then
    local index = word == "completed" and completed or failed
    local expires_at = expiry_of(jobs, id)
    if not expires_at then
      expires_at = now_ms() + tonumber(ARGV[3])
      redis.call("HSET", jobs, id .. ":exp", text_of(expires_at))
    end
    if tonumber(redis.call("ZSCORE", index, id) or "0") ~= expires_at then
      redis.call("ZADD", index, text_of(expires_at), id)
    end
  end
end
return page[1]
