/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scripts of the exchange (exchange.h). Times are microseconds of a clock that the lane keeps: the server's TIME
 * plus `shift`. It never goes back, and goes as far as a node expects that knows how long ago it heard of it. It does
 * not go far ahead of that, unless it was there before: so a server whose clock is an hour off, or is set, changes no
 * debt.
 *
 * Lua's numbers are exact up to 2^53; times since the epoch reach half of that in 2112. A value that is no time, or a
 * debt of more than 52 days, which no node can tell, counts as a full bucket.
 */
#ifndef EB_EXCHANGE_SCRIPTS_H
#define EB_EXCHANGE_SCRIPTS_H

/* 2^62 ticks are 52 days: EB_DEBT_MAX of gcra.h, in microseconds. */
#define EB_EXCHANGE_DEBT_MAX_US 4503599627370ULL

/*
 * KEYS: the lane's hash, the number of this node's last batch. ARGV: number, "add" or "view", the earliest and the
 * latest time that it can be by what this node knows (0: unknown), for how long the amounts have come together, then
 * fields and amounts. Answers 1, the time and the debts; or 0 and the number that it knows.
 *
 * What came together since a time is added to that time, where the bucket was full by then: else the refill since would
 * be lost, which is all that was admitted while a server was away. So a time can be past and still count; each call
 * looks at some fields, more than it adds, and removes those that have been past for ten seconds.
 */
static const char eb_exchange_script[] =
	"local TIME_MAX, DEBT_MAX = 4503599627370496, 4503599627370\n"
	"local function number(text)\n"
	"  local n = tonumber(text)\n"
	"  return n and n >= 0 and n <= 2 * TIME_MAX and math.floor(n) or 0\n"
	"end\n"
	"local clock = redis.call('TIME')\n"
	"local hash, batch = KEYS[1], number(ARGV[1])\n"
	"local least, most, age = number(ARGV[3]), number(ARGV[4]), number(ARGV[5])\n"
	"local is_view, seen = ARGV[2] == 'view', number(redis.call('GET', KEYS[2]) or '')\n"
	"if not is_view and seen ~= batch and seen ~= batch - 1 then return {0, seen} end\n"
	"local get = {'HMGET', hash, 'time', 'shift', 'cursor'}\n"
	"for i = 6, #ARGV, 2 do get[#get + 1] = ARGV[i] end\n"
	"local had = redis.call(unpack(get))\n"
	"local real, last = clock[1] * 1000000 + clock[2], number(had[1])\n"
	"local shift = tonumber(had[2] or '') or 0\n"
	"if not (shift >= -TIME_MAX and shift <= TIME_MAX) then shift = 0 end\n"
	"if last > TIME_MAX then last = 0 end\n"
	"local now = math.max(real + math.floor(shift), last, least)\n"
	"if most > 0 then now = math.min(now, math.max(most, last)) end\n"
	"local reply, set, longest, new = {1, now}, {}, now, 0\n"
	"for i = 6, #ARGV, 2 do\n"
	"  local text, amount = had[i / 2 + 1], number(ARGV[i + 1])\n"
	"  local full = number(text)\n"
	"  if full > now + DEBT_MAX then full = 0 end\n"
	"  if is_view then full = math.max(full, now + amount)\n"
	"  elseif seen ~= batch then full = math.max(full, now - age) + amount end\n"
	"  full = math.min(full, now + DEBT_MAX)\n"
	"  reply[#reply + 1] = math.max(full - now, 0)\n"
	"  longest = math.max(longest, full)\n"
	"  if not text then new = new + 1 end\n"
	"  set[#set + 1] = ARGV[i]; set[#set + 1] = full\n"
	"end\n"
	"local scan = redis.call('HSCAN', hash, number(had[3]), 'COUNT', 8 + 2 * new)\n"
	"local gone = {}\n"
	"for i = 1, #scan[2], 2 do\n"
	"  if #gone < 1000 and string.find(scan[2][i], '|', 1, true) and number(scan[2][i + 1]) < now - 10000000 then\n"
	"    gone[#gone + 1] = scan[2][i]\n"
	"  end\n"
	"end\n"
	"if #gone > 0 then redis.call('HDEL', hash, unpack(gone)) end\n"
	"redis.call('HSET', hash, 'time', now, 'shift', now - real, 'cursor', scan[1], unpack(set))\n"
	"local ttl = math.ceil((longest - now) / 1000) + 60000\n"
	"if redis.call('PTTL', hash) < ttl then redis.call('PEXPIRE', hash, 2 * ttl) end\n"
	"redis.call('SET', KEYS[2], batch, 'PX', 3600000)\n"
	"return reply\n";

/* KEYS: the hash of nodes. ARGV: name of this node, what it says of itself. Answers the server's time, and all fields
 * as they were, but for nodes that were not seen for a day, which go. */
static const char eb_exchange_nodes_script[] =
	"local clock = redis.call('TIME')\n"
	"local now = clock[1] * 1000000 + clock[2]\n"
	"local all, reply = redis.call('HGETALL', KEYS[1]), {string.format('%.0f', now)}\n"
	"for i = 1, #all, 2 do\n"
	"  local seen = tonumber(string.match(all[i + 1], '^%d+')) or 0\n"
	"  if math.abs(now - seen) > 86400000000 then redis.call('HDEL', KEYS[1], all[i])\n"
	"  elseif #reply < 8192 then reply[#reply + 1] = all[i]; reply[#reply + 1] = all[i + 1] end\n"
	"end\n"
	"redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f ', now) .. ARGV[2])\n"
	"redis.call('PEXPIRE', KEYS[1], 86400000)\n"
	"return reply\n";

#endif
