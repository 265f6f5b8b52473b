#!lua flags=no-writes
-- tail(channel, after, seen, size, events, bytes)
-- -> epoch, position, start, 1 if there are more with keys, and position, value of each in no order
--
-- First come those with keys after ``seen``, until they have a size; when there are no more of these, the
-- newest ones without keys after ``after``, as many as the limits allow. ``start`` is where the latter begin.
local channel, after, seen, size = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local most, room = tonumber(ARGV[6]), tonumber(ARGV[7])
local start, _, known = look(channel)
local tail = {epoch, position, start, 0}
if not known then return tail end
local _, events, keys, values = names(channel)
for at, value in keyed(keys, values, seen, '+inf') do
    if size <= 0 then tail[4] = 1 return tail end
    tail[#tail + 1], tail[#tail + 2] = at, value
    size = size - weight(value)
end
local taken = 0
for at, value in plain(events, 'XREVRANGE', '+', '(' .. after .. '-0') do
    local left = room and room - weight(value)
    if (most and taken >= most) or (left and left < 0 and taken > 0) then
        tail[3] = math.max(start, at)
        break
    end
    tail[#tail + 1], tail[#tail + 2] = at, value
    taken, room = taken + 1, left
end
return tail
