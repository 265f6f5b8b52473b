-- What scripts that read begin with, besides.
local found = redis.call('HMGET', root, 'epoch', 'position', 'floor', 'born')
if not found[2] then return redis.error_reply('ANEW there is no log') end
local epoch, position, floor = found[1], tonumber(found[2]), tonumber(found[3])
local function look(channel)
    local info = names(channel)
    local known = redis.call('HMGET', info, 'born', 'floor', 'last')
    if known[1] ~= found[4] then return floor, floor, false end
    return tonumber(known[2] or floor), tonumber(known[3] or 0), true
end

-- Iterators over the positions and values of a run. They fetch one event at first, and twice as many each
-- time: so little more is fetched than is used, however large the events are.
local function fetching(fetch)
    local some, i, count = {}, 1, 1
    return function()
        if i > #some and count then
            some, i = fetch(count), 1
            count = #some == count and math.min(2 * count, 64)
        end
        local one = some[i]
        i = i + 1
        if one then return one[1], one[2] end
    end
end
local function plain(events, command, from, to)
    return fetching(function(count)
        local some = redis.call(command, events, from, to, 'COUNT', count)
        for i, entry in ipairs(some) do
            from = '(' .. entry[1]
            some[i] = {tonumber(string.match(entry[1], '^%d+')), entry[2][2]}
        end
        return some
    end)
end
local function keyed(keys, values, after, upto)
    return fetching(function(count)
        local some = {}
        local range = redis.call('ZRANGE', keys, '(' .. after, upto, 'BYSCORE', 'LIMIT', 0, count,
                                 'WITHSCORES')
        for i = 1, #range, 2 do
            after = range[i + 1]
            some[#some + 1] = {tonumber(after), redis.call('HGET', values, range[i])}
        end
        return some
    end)
end
