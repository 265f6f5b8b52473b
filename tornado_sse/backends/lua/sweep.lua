#!lua flags=allow-oom
-- sweep(ahead, channels, events) -> time, 1 if there is more to do
--
-- It looks at so many channels, and drops so many events, at most. A channel of which nothing is left is
-- forgotten, its floor becomes part of the common one: so names may come and go for ever.
local found = redis.call('HMGET', root, 'time', 'floor', 'born', 'swept')
if not found[1] then return redis.error_reply('ANEW there is no log') end
local now, common, born = clock(tonumber(ARGV[2]), found[1]), tonumber(found[2]), found[3]
if found[4] and now - tonumber(found[4]) < 500000 then return {now, 0} end
local most, left = tonumber(ARGV[3]), tonumber(ARGV[4])

local function aged(value, before) return tonumber(string.match(value, '^%d+')) < before end

local function drop_plain(events, before)
    local upto, freed, from = nil, 0, '-'
    while true do
        local some = redis.call('XRANGE', events, from, '+', 'COUNT', 32)
        for _, entry in ipairs(some) do
            if left == 0 or not aged(entry[2][2], before) then some = {} break end
            upto, from, left = tonumber(string.match(entry[1], '^%d+')), '(' .. entry[1], left - 1
            freed = freed + weight(entry[2][2])
        end
        if #some == 0 then break end
    end
    if upto then redis.call('XTRIM', events, 'MINID', text(upto + 1) .. '-0') end
    return upto or 0, freed
end

local function drop_keyed(keys, values, before)
    local upto = 0
    while left > 0 do
        local oldest = redis.call('ZRANGE', keys, 0, 0, 'WITHSCORES')
        if #oldest == 0 or not aged(redis.call('HGET', values, oldest[1]) or '0', before) then break end
        redis.call('ZREM', keys, oldest[1])
        redis.call('HDEL', values, oldest[1])
        upto, left = tonumber(oldest[2]), left - 1
    end
    return upto
end

local function first(events, keys, values)
    local time
    local entry = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
    local key = redis.call('ZRANGE', keys, 0, 0)[1]
    if entry then time = tonumber(string.match(entry[2][2], '^%d+')) end
    if key then
        local other = tonumber(string.match(redis.call('HGET', values, key) or '0', '^%d+'))
        time = time and math.min(time, other) or other
    end
    return time
end

local due = redis.call('ZRANGE', root .. '/due', '-inf', text(now), 'BYSCORE', 'LIMIT', 0, most)
for i, channel in ipairs(due) do
    local info, events, keys, values = names(channel)
    local known = redis.call('HMGET', info, 'born', 'floor', 'bytes', 'age')
    if known[1] ~= born or not known[4] then
        redis.call('ZREM', root .. '/due', channel)
    else
        local before = now - tonumber(known[4])
        local upto, freed = drop_plain(events, before)
        local floor = math.max(tonumber(known[2] or common), upto, drop_keyed(keys, values, before))
        local oldest = first(events, keys, values)
        if oldest then
            redis.call('HSET', info, 'floor', text(floor), 'bytes', text(tonumber(known[3] or 0) - freed))
            redis.call('ZADD', root .. '/due', text(oldest + known[4]), channel)
        else
            common = math.max(common, floor)
            redis.call('DEL', info, events, keys, values)
            redis.call('ZREM', root .. '/due', channel)
        end
    end
    if left == 0 then break end
end
local more = (#due == most or left == 0) and 1 or 0
if common > tonumber(found[2]) then redis.call('HSET', root, 'floor', text(common)) end
if more == 0 then redis.call('HSET', root, 'swept', text(now)) end
return {now, more}
