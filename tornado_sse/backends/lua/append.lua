#!lua
-- append(epoch, topics, nonce, number, window, ahead, channels,
--        channels times: channel, events, bytes, keys, age,
--        for each event: which of the channels, "" or "k" and its key, its message id or "", body)
-- -> the log's position and those of the events, as one text
--
-- It refuses for memory before it begins (that is what the first line is for), or does not at all.
local epoch, topics, nonce, batch, window, ahead = unpack(ARGV, 2, 7)
local found = redis.call('HMGET', root, 'run', 'epoch', 'position', 'time', 'floor', 'born')
if found[1] ~= run or found[2] ~= epoch then return redis.error_reply('ANEW the log has begun anew') end
local position, born = tonumber(found[3]), found[6]

local writer = root .. '/w/' .. nonce
local done = redis.call('HMGET', writer, 'number', 'answer')
if done[1] and tonumber(done[1]) > tonumber(batch) then
    return redis.error_reply('LATE a later one is done')
end
if done[1] == batch then
    redis.call('SPUBLISH', topics .. 'p/' .. nonce, epoch .. ' ' .. text(position))
    return done[2]
end

local now = clock(tonumber(ahead), found[4])
local time = text(now)
local channels = {}
local place = 9
for i = 1, tonumber(ARGV[8]) do
    local channel = {name = ARGV[place], limit = {}}
    channel.info, channel.events, channel.keys, channel.values = names(channel.name)
    for j, limit in ipairs({'events', 'bytes', 'keys', 'age'}) do
        channel.limit[limit] = tonumber(ARGV[place + j])
    end
    local known = redis.call('HMGET', channel.info, 'born', 'floor', 'bytes', 'age')
    if known[1] ~= born then
        redis.call('DEL', channel.info, channel.events, channel.keys, channel.values)
        known = {born, found[5], 0, false}
        redis.call('HSET', channel.info, 'born', born, 'floor', found[5], 'bytes', 0)
    end
    channel.floor, channel.bytes = tonumber(known[2]), tonumber(known[3])
    local age = channel.limit.age
    if age ~= number(known[4]) then
        if age then
            redis.call('HSET', channel.info, 'age', text(age))
            redis.call('ZADD', root .. '/due', text(known[4] and now or now + age), channel.name)
        else
            redis.call('HDEL', channel.info, 'age')
            redis.call('ZREM', root .. '/due', channel.name)
        end
    end
    channels[i] = channel
    place = place + 5
end

local answer = {}
for place = place, #ARGV, 4 do
    local channel, key, id = channels[tonumber(ARGV[place])], ARGV[place + 1], ARGV[place + 2]
    local message = root .. '/m/' .. channel.name .. '/' .. id
    local at = id ~= '' and redis.call('GET', message)
    if not at then
        position = position + 1
        at = text(position)
        local value = time .. ' ' .. ARGV[place + 3]
        if key == '' then
            redis.call('XADD', channel.events, at .. '-0', 'v', value)
            channel.bytes = channel.bytes + weight(value)
        else
            key = string.sub(key, 2)
            redis.call('ZADD', channel.keys, at, key)
            redis.call('HSET', channel.values, key, value)
        end
        if id ~= '' then redis.call('SET', message, at, 'PX', window) end
        redis.call('SPUBLISH', topics .. 'c/' .. channel.name, epoch .. ' ' .. at .. ' ' .. value)
        channel.last = at
    end
    answer[#answer + 1] = at
end

local function exceeds(count, limit) return limit and count > limit + math.floor(limit / 8) end

local function drop_plain(channel)
    local limit, count = channel.limit, redis.call('XLEN', channel.events)
    if not (exceeds(count, limit.events) or exceeds(channel.bytes, limit.bytes)) then return end
    local from, upto = '-', nil
    local function fits()
        return count == 1 or ((not limit.events or count <= limit.events)
                              and (not limit.bytes or channel.bytes <= limit.bytes))
    end
    while not fits() do
        for _, entry in ipairs(redis.call('XRANGE', channel.events, from, '+', 'COUNT', 32)) do
            if fits() then break end
            count = count - 1
            channel.bytes = channel.bytes - weight(entry[2][2])
            from = '(' .. entry[1]
            upto = tonumber(string.match(entry[1], '^%d+'))
        end
    end
    redis.call('XTRIM', channel.events, 'MINID', text(upto + 1) .. '-0')
    channel.floor = math.max(channel.floor, upto)
end

local function drop_keyed(channel)
    local limit, count = channel.limit.keys, redis.call('ZCARD', channel.keys)
    if not exceeds(count, limit) then return end
    local oldest = redis.call('ZRANGE', channel.keys, 0, count - limit - 1, 'WITHSCORES')
    for i = 1, #oldest, 2 do redis.call('HDEL', channel.values, oldest[i]) end
    redis.call('ZREMRANGEBYRANK', channel.keys, 0, count - limit - 1)
    channel.floor = math.max(channel.floor, tonumber(oldest[#oldest]))
end

for _, channel in ipairs(channels) do
    if channel.last then
        drop_plain(channel)
        drop_keyed(channel)
        redis.call('HSET', channel.info, 'floor', text(channel.floor), 'bytes', text(channel.bytes),
                   'last', channel.last)
    end
end
redis.call('HSET', root, 'position', text(position), 'time', time)
answer = text(position) .. ' ' .. table.concat(answer, ' ')
redis.call('HSET', writer, 'number', batch, 'answer', answer)
redis.call('PEXPIRE', writer, 3600000)
redis.call('SPUBLISH', topics .. 'p/' .. nonce, epoch .. ' ' .. text(position))
return answer
