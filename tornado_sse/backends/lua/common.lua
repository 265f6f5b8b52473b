-- What all scripts begin with.
local root, run = KEYS[1], ARGV[1]
local function text(number) return string.format('%.0f', number) end
local function number(value) return value and tonumber(value) or nil end
local function weight(value) return #value - BESIDE + OVERHEAD end
local function names(channel)
    return root .. '/i/' .. channel, root .. '/e/' .. channel,
           root .. '/k/' .. channel, root .. '/v/' .. channel
end
local function clock(ahead, last)
    local now = redis.call('TIME')
    return math.max(now[1] * 1000000 + now[2] + ahead, tonumber(last))
end
