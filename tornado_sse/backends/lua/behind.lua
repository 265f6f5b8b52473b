#!lua flags=no-writes
-- behind(after, channels) -> epoch, position, and those of the channels with something after a position
local after = tonumber(ARGV[2])
local behind = {epoch, position}
for i = 3, #ARGV do
    local floor, last = look(ARGV[i])
    if math.max(floor, last) > after then behind[#behind + 1] = ARGV[i] end
end
return behind
