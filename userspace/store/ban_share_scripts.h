/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scripts of ban_share.h. KEYS are always the hash and the journal. An entry of the journal is what one call wrote:
 * fields and values. Its position is its id, which only grows; '' stands for the one of an empty journal.
 *
 * Who is not trusted could have written anything: of a field or a value, the first 200 bytes are answered, more than
 * any of ours has, and of an entry of the journal as many as a batch has.
 */
#ifndef EB_BAN_SHARE_SCRIPTS_H
#define EB_BAN_SHARE_SCRIPTS_H

#define LAST_POSITION                                                                                                  \
	"local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)\n"                                        \
	"last = last[1] and last[1][1] or ''\n"

/* ARGV: where to go on, how many fields. Answers the journal's last position, where to go on, fields and values. */
static const char eb_ban_share_scan_script[] =
	LAST_POSITION
	"local scan = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])\n"
	"local reply = {last, scan[1]}\n"
	"for _, text in ipairs(scan[2]) do reply[#reply + 1] = string.sub(text, 1, 200) end\n"
	"return reply\n";

/*
 * ARGV: position; how long the keys must last at least (0: as they do), and how long they last otherwise, in
 * milliseconds; how many entries. Answers the position of the last entry that is answered, 1 when there are more,
 * fields and values; or the empty list where there is no entry of this position.
 */
static const char eb_ban_share_news_script[] =
	"local least = tonumber(ARGV[2])\n"
	"if least > 0 and redis.call('PTTL', KEYS[1]) < least then\n"
	"  for i = 1, 2 do redis.call('PEXPIRE', KEYS[i], ARGV[3]) end\n"
	"end\n"
	"local from, count = ARGV[1], tonumber(ARGV[4]) + 1\n"
	"local list = redis.call('XRANGE', KEYS[2], from == '' and '-' or from, '+', 'COUNT', count)\n"
	"if from == '' and not list[1] then return {'', 0} end\n"
	"if not list[1] or list[1][1] ~= from then return {} end\n"
	"local reply = {list[#list][1], #list == count and 1 or 0}\n"
	"for i = 2, #list do\n"
	"  local texts = list[i][2]\n"
	"  for j = 1, math.min(#texts, 256) do reply[#reply + 1] = string.sub(texts[j], 1, 200) end\n"
	"end\n"
	"return reply\n";

/* ARGV: where to go on to look for what is over, before when it must have ended, in nanoseconds since the Unix epoch,
 * how long the keys must last at least, in milliseconds, how many entries the journal keeps; then fields and values.
 * Answers the positions before and after, and where to go on. It looks at more fields than it adds, and removes those
 * that are over. */
static const char eb_ban_share_write_script[] =
	LAST_POSITION
	"local before, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])\n"
	"redis.call('HSET', KEYS[1], unpack(ARGV, 5))\n"
	"local position = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', unpack(ARGV, 5))\n"
	"local scan, gone = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', #ARGV + 4), {}\n"
	"for i = 1, #scan[2], 2 do\n"
	"  local ends = tonumber(string.match(scan[2][i + 1], '^%d+'))\n"
	"  if #gone < 1000 and ends and ends < before then gone[#gone + 1] = scan[2][i] end\n"
	"end\n"
	"if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end\n"
	"for i = 1, 2 do\n"
	"  if redis.call('PTTL', KEYS[i]) < ttl then redis.call('PEXPIRE', KEYS[i], ARGV[3]) end\n"
	"end\n"
	"return {last, position, scan[1]}\n";

#undef LAST_POSITION

#endif
