#!lua flags=allow-oom
-- mark(topic) -> epoch, position
local found = redis.call('HMGET', root, 'epoch', 'position')
if not found[2] then return redis.error_reply('ANEW there is no log') end
redis.call('SPUBLISH', ARGV[2], found[1] .. ' ' .. found[2])
return {found[1], number(found[2])}
