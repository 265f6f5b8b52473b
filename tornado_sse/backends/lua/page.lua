#!lua flags=no-writes
-- page(channel, after, upto, size) -> epoch, position, floor, 1 if there is more, and position, value of each
local channel, after, upto, size = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local floor, _, known = look(channel)
local page = {epoch, position, floor, 0}
if not known then return page end
local _, events, keys, values = names(channel)
local next_plain = plain(events, 'XRANGE', '(' .. after .. '-0', upto .. '-0')
local next_keyed = keyed(keys, values, after, upto)
local one, value = next_plain()
local other, latest = next_keyed()
while one or other do
    if size <= 0 then page[4] = 1 break end
    if not other or (one and one < other) then
        page[#page + 1], page[#page + 2] = one, value
        size = size - weight(value)
        one, value = next_plain()
    else
        page[#page + 1], page[#page + 2] = other, latest
        size = size - weight(latest)
        other, latest = next_keyed()
    end
end
return page
