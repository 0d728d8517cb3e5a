"""What changes a store of latency tables in Redis: scripts, each of which is done whole.

Those that gateways are to learn of tell them first: a user who may not publish has then changed
nothing, and nobody can read before the script has ended. docs/latency-tables.md has the keys.
"""

# Keys: current, versions, the class's tables. Given: channel, class, document, its digest and,
# where the put depends on it, what `current` is to say now.
PUT = """
if ARGV[5] and (redis.call('HGET', KEYS[1], ARGV[2]) or '') ~= ARGV[5] then return 0 end
redis.call('PUBLISH', ARGV[1], ARGV[2])
local version
repeat version = redis.call('HINCRBY', KEYS[2], ARGV[2], 1)
until redis.call('HSETNX', KEYS[3], version, ARGV[3]) == 1
redis.call('HSET', KEYS[3], version .. '.sha256', ARGV[4])
redis.call('HSET', KEYS[1], ARGV[2], version .. ' ' .. ARGV[4])
return version
"""

# Keys: current, the class's tables. Given: channel, class, version or 0.
ROLLBACK = """
local pointer = '0'
if ARGV[3] ~= '0' then
    local sha256 = redis.call('HGET', KEYS[2], ARGV[3] .. '.sha256')
    if not sha256 or redis.call('HEXISTS', KEYS[2], ARGV[3]) == 0 then return 0 end
    pointer = ARGV[3] .. ' ' .. sha256
elseif redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('PUBLISH', ARGV[1], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[2], pointer)
return 1
"""

# Keys: current, the class's tables. Given: channel, class.
DELETE = """
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('PUBLISH', ARGV[1], ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[2], '0')
return 1
"""

# Keys: current, the class's tables. Given: class, versions.
PRUNE = """
local current = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^%d+')
for i = 2, #ARGV do
    if ARGV[i] ~= current then redis.call('HDEL', KEYS[2], ARGV[i], ARGV[i] .. '.sha256') end
end
"""

# Keys: aliases. Given: channel, alias, class.
SET_ALIAS = """
redis.call('PUBLISH', ARGV[1], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
"""

# Keys: the class's evidence. Given: member, document, seconds to keep.
SHARE_EVIDENCE = """
local now, keep = tonumber(redis.call('TIME')[1]), tonumber(ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], keep)
local kept, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    local at, document = string.match(all[i + 1], '^(%d+) (.*)$')
    if at and math.abs(now - tonumber(at)) <= keep then kept[#kept + 1] = document
    else redis.call('HDEL', KEYS[1], all[i]) end
end
return kept
"""
