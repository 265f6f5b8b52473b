#!lua flags=allow-oom
-- begin(epoch, ahead) -> epoch, position, the positions of root/lost
--
-- A server that comes back may have lost its last events, whose positions have been told to somebody. So
-- whoever first sees another server process leaves out more positions than can have been lost, and notes
-- where.
local found = redis.call('HMGET', root, 'epoch', 'position', 'run')
local epoch, position = found[1], number(found[2])
if not epoch or not position then
    epoch, position = ARGV[2], 0
    redis.call('DEL', root, root .. '/lost', root .. '/due')
    redis.call('HSET', root, 'epoch', epoch, 'born', epoch, 'position', 0, 'floor', 0, 'run', run,
               'time', text(clock(tonumber(ARGV[3]), 0)))
elseif found[3] ~= run then
    redis.call('ZADD', root .. '/lost', text(position), text(position))
    redis.call('ZREMRANGEBYRANK', root .. '/lost', 0, -1001)
    position = position + SKIPPED
    redis.call('HSET', root, 'position', text(position), 'run', run)
end
return {epoch, position, unpack(redis.call('ZRANGE', root .. '/lost', 0, -1))}
