local function is_whole(value)
  return type(value) == "number" and value >= 0 and value < 2 ^ 53 and value == math.floor(value)
end

-- Read id, createdAt (text) and attempts (number) of a message without decoding its payload.
-- Nothing when the bytes are no message.
--
-- A quote inside a JSON string is always escaped, so what the patterns find at the two ends can
-- only be the top-level fields.
local function read_message(raw)
  local id = string.match(raw, '^{"id":"([^"\\]+)",')
  local tail = string.sub(raw, -160)
  local created_at, attempts =
    string.match(tail, ',"createdAt":(%d+),"attempts":(%d+),"maxAttempts":%d+,"resultTTL":%d+}$')
  -- More digits are no whole number that Python and JavaScript could read.
  if id and created_at and #created_at <= 16 and #attempts <= 16 then
    return id, created_at, tonumber(attempts)
  end

  -- Another field order, an escaped id, further fields, or no message at all.
  local ok, fields = pcall(cjson.decode, raw)
  if not ok or type(fields) ~= "table" then
    return nil
  end
  if type(fields.id) ~= "string" or fields.id == "" then
    return nil
  end
  if not is_whole(fields.createdAt) or not is_whole(fields.attempts) then
    return nil
  end
  return fields.id, string.format("%.0f", fields.createdAt), fields.attempts
end

-- The id alone, also of a message that is damaged elsewhere: by its beginning, or else from its JSON.
local function read_id(raw)
  local id = string.match(raw, '^{"id":"([^"\\]+)"')
  if id then
    return id
  end
  local ok, fields = pcall(cjson.decode, raw)
  if ok and type(fields) == "table" and type(fields.id) == "string" and fields.id ~= "" then
    return fields.id
  end
end
