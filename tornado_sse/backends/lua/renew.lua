#!lua flags=allow-oom
-- renew(old, new) -> epoch, position
if redis.call('HGET', root, 'epoch') == ARGV[2] then
    redis.call('HSET', root, 'epoch', ARGV[3])
end
local found = redis.call('HMGET', root, 'epoch', 'position')
return {found[1], number(found[2])}
