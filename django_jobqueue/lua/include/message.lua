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
  if id and created_at then
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
  if type(fields.createdAt) ~= "number" or type(fields.attempts) ~= "number" then
    return nil
  end
  return fields.id, string.format("%.0f", fields.createdAt), fields.attempts
end
