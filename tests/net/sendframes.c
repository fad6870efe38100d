// SPDX-License-Identifier: GPL-2.0-only
/*
 * sendframes: sends UDP frames out of a veth interface, and answers for each of them having reached the program on the
 * other end, or fails.
 *
 * A veth with XDP on its other end queues 256 frames and silently drops what comes faster. Its transmit statistics
 * count what the other end has worked off (drivers/net/veth.c, veth_get_stats64), so they serve as the window.
 *
 * Prints "SENT A B C D LEFT MOST" with times in seconds (CLOCK_MONOTONIC): the first frame arrived between A and B, the
 * last one between C and D. With -t RATE, a bucket that was empty at the start, or with -e TIME at that time, and gets
 * so many tokens a second has at most LEFT of them at the end, and had at most MOST at any time: more than a few when
 * this process was held up.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WINDOW 64 /* frames under way; a quarter of veth's queue */
#define PATIENCE_NS 20000000000ULL
#define FRAME_MAX 9018
#define NS_PER_S 1000000000ULL

static const uint8_t card_mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 1 };
static const uint8_t far_mac[ETH_ALEN] = { 2, 0, 0, 0, 0, 2 };

struct options {
	const char *interface;
	int family;
	uint8_t src[16], dst[16];
	uint64_t count;   /* 0: until a signal */
	uint64_t rate;    /* frames a second; 0: as fast as they are worked off */
	uint64_t tokens;  /* a second */
	uint64_t empty;   /* CLOCK_MONOTONIC, ns; 0: at the first frame */
	uint32_t sources; /* consecutive addresses, in turn */
	uint16_t dport;
	uint16_t vlans[2];
	int vlan_count;
	size_t len;       /* of the frame */
	bool lossy;       /* the other end may go away or be too slow: no reason to fail */
};

struct sender {
	struct options options;
	int fd;
	_Alignas(4) uint8_t pad[2]; /* so that IP headers are aligned behind an Ethernet header */
	uint8_t frame[FRAME_MAX];
	uint8_t *ip;      /* in the frame */
	uint32_t packets; /* transmit statistics before the first frame */
	uint32_t drops;
	uint64_t sent;
	uint64_t before_first, after_first, before_last, after_last; /* CLOCK_MONOTONIC */
	double lead;      /* the most by which frames were ahead of tokens, at any frame */
	double most;
};

static volatile sig_atomic_t stopped;

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("sendframes: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
	struct timespec until = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };

	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL); /* a signal may end it early */
}

/* ---- what is sent ---- */

static void parse_address(const char *text, struct options *options, uint8_t *out)
{
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;

	if (options->family && options->family != family)
		die("source and destination are of different families");
	options->family = family;
	if (inet_pton(family, text, out) != 1)
		die("not an address: %s", text);
}

static void parse_options(int argc, char **argv, struct options *out)
{
	int option;

	*out = (struct options){ .count = 1, .sources = 1, .dport = 9, .len = ETH_ZLEN };
	while ((option = getopt(argc, argv, "i:s:d:n:r:t:e:k:p:l:v:x")) != -1) {
		switch (option) {
		case 'i':
			out->interface = optarg;
			break;
		case 's':
			parse_address(optarg, out, out->src);
			break;
		case 'd':
			parse_address(optarg, out, out->dst);
			break;
		case 'n':
			out->count = strtoull(optarg, NULL, 10);
			break;
		case 'r':
			out->rate = strtoull(optarg, NULL, 10);
			break;
		case 't':
			out->tokens = strtoull(optarg, NULL, 10);
			break;
		case 'e':
			out->empty = strtod(optarg, NULL) * NS_PER_S;
			break;
		case 'k':
			out->sources = strtoul(optarg, NULL, 10);
			break;
		case 'p':
			out->dport = strtoul(optarg, NULL, 10);
			break;
		case 'l':
			out->len = strtoul(optarg, NULL, 10);
			break;
		case 'v':
			if (out->vlan_count == 2)
				die("at most two VLAN tags");
			out->vlans[out->vlan_count++] = strtoul(optarg, NULL, 10);
			break;
		case 'x':
			out->lossy = true;
			break;
		default:
			die("usage: sendframes -i INTERFACE -s SOURCE -d DESTINATION [-n COUNT] [-r RATE] [-t RATE] "
			    "[-e TIME] [-k SOURCES] [-p PORT] [-l LENGTH] [-v VLAN]... [-x]");
		}
	}
	if (!out->interface || !out->family || !out->sources || out->len > FRAME_MAX)
		die("needs an interface, a source and a destination");
}

static uint16_t checksum(const uint8_t *header, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += header[i] << 8 | header[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static uint8_t *put(uint8_t *to, const void *header, size_t len)
{
	memcpy(to, header, len);
	return to + len;
}

static uint8_t *put_u16(uint8_t *to, uint16_t value)
{
	value = htons(value);
	return put(to, &value, sizeof(value));
}

static uint8_t *build_ethernet(struct sender *sender)
{
	const struct options *options = &sender->options;
	uint8_t *pos = put(put(sender->frame, card_mac, ETH_ALEN), far_mac, ETH_ALEN);

	for (int i = 0; i < options->vlan_count; i++) {
		bool outer = i + 1 < options->vlan_count;

		pos = put_u16(pos, outer ? ETH_P_8021AD : ETH_P_8021Q);
		pos = put_u16(pos, options->vlans[i]);
	}
	return put_u16(pos, options->family == AF_INET ? ETH_P_IP : ETH_P_IPV6);
}

static void build_frame(struct sender *sender)
{
	const struct options *options = &sender->options;
	bool is_v4 = options->family == AF_INET;
	size_t header = is_v4 ? sizeof(struct iphdr) : sizeof(struct ip6_hdr);
	struct udphdr udp = { .source = htons(40000), .dest = htons(options->dport) };
	uint8_t *pos;

	sender->ip = build_ethernet(sender);
	pos = sender->ip + header;
	if (pos + sizeof(udp) > sender->frame + options->len)
		sender->options.len = pos + sizeof(udp) - sender->frame;
	/* UDP without a checksum: nobody behind the counters looks. */
	udp.len = htons(sender->frame + options->len - pos);
	put(pos, &udp, sizeof(udp));
	if (is_v4) {
		struct iphdr ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP };

		ip.tot_len = htons(header + ntohs(udp.len));
		memcpy(&ip.daddr, options->dst, sizeof(ip.daddr));
		put(sender->ip, &ip, sizeof(ip));
	} else {
		struct ip6_hdr ip = { .ip6_flow = htonl(6 << 28), .ip6_nxt = IPPROTO_UDP, .ip6_hlim = 64 };

		ip.ip6_plen = udp.len;
		memcpy(&ip.ip6_dst, options->dst, sizeof(ip.ip6_dst));
		put(sender->ip, &ip, sizeof(ip));
	}
}

/* The frame's source: the first one, or one of those that follow it. */
static void set_source(struct sender *sender)
{
	const struct options *options = &sender->options;
	bool is_v4 = options->family == AF_INET;
	const uint8_t *last = options->src + (is_v4 ? 0 : 12);
	uint32_t addr;

	memcpy(&addr, last, sizeof(addr));
	addr = htonl(ntohl(addr) + sender->sent % options->sources);
	if (is_v4) {
		struct iphdr *ip = (struct iphdr *)sender->ip;

		ip->saddr = addr;
		ip->check = 0;
		ip->check = checksum(sender->ip, sizeof(*ip));
	} else {
		struct ip6_hdr *ip = (struct ip6_hdr *)sender->ip;

		memcpy(&ip->ip6_src, options->src, 12);
		memcpy(&ip->ip6_src.s6_addr[12], &addr, sizeof(addr));
	}
}

/* ---- sending ---- */

static bool read_statistics(const struct sender *sender, uint32_t *packets, uint32_t *drops)
{
	struct ifaddrs *list, *item;
	bool found = false;

	if (getifaddrs(&list))
		die("cannot read the interfaces: %s", strerror(errno));
	for (item = list; item; item = item->ifa_next) {
		const struct rtnl_link_stats *stats = item->ifa_data;

		if (!item->ifa_addr || item->ifa_addr->sa_family != AF_PACKET || !stats ||
		    strcmp(item->ifa_name, sender->options.interface) != 0)
			continue;
		*packets = stats->tx_packets;
		*drops = stats->tx_dropped;
		found = true;
	}
	freeifaddrs(list);
	return found;
}

/* Waits until the other end has worked off all that was sent. False when the interface is gone. */
static bool confirm(const struct sender *sender)
{
	uint64_t give_up = now_ns() + (sender->options.lossy ? PATIENCE_NS / 100 : PATIENCE_NS);
	uint32_t packets, drops;

	for (;;) {
		if (!read_statistics(sender, &packets, &drops))
			return false;
		packets -= sender->packets;
		drops -= sender->drops;
		if (drops && !sender->options.lossy)
			die("%u frames were lost on the way", drops);
		if ((uint64_t)packets + drops >= sender->sent)
			return true;
		if (now_ns() > give_up && sender->options.lossy)
			return true;
		if (now_ns() > give_up)
			die("%lu frames sent, but only %u arrived", sender->sent, packets);
		sleep_until(now_ns() + 20000);
	}
}

/* Frames that may be under way; the first one is waited for, so that the time of its arrival is known. */
static bool is_window_full(const struct sender *sender)
{
	return sender->sent == 1 || sender->sent % WINDOW == 0;
}

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* What the bucket got since it was empty. */
static double tokens_by(const struct sender *sender, uint64_t time)
{
	uint64_t empty = sender->options.empty ? sender->options.empty : sender->before_first;

	return (double)sender->options.tokens * (time - empty) / NS_PER_S;
}

/*
 * What is left of it now, at most. It was empty then or at some frame k, and since then it got tokens while n - k
 * frames took some; the k for which that is most is the one with the largest lead.
 */
static double tokens_left(const struct sender *sender)
{
	return tokens_by(sender, now_ns()) - sender->sent + sender->lead;
}

static bool send_frame(struct sender *sender)
{
	uint64_t before = now_ns();

	set_source(sender);
	if (send(sender->fd, sender->frame, sender->options.len, 0) < 0) {
		if (sender->options.lossy && (errno == ENETDOWN || errno == ENXIO || errno == ENODEV))
			return false;
		if (sender->options.lossy && errno == ENOBUFS) /* up, but not ready to carry yet */
			return true;
		die("cannot send: %s", strerror(errno));
	}
	sender->before_last = before;
	if (sender->sent++ == 0)
		sender->before_first = before;
	sender->lead = larger(sender->lead, sender->sent - tokens_by(sender, before));
	if (is_window_full(sender) && !confirm(sender))
		return false;
	if (sender->sent == 1)
		sender->after_first = now_ns();
	if (is_window_full(sender))
		sender->most = larger(sender->most, tokens_left(sender) + WINDOW);
	return true;
}

static void send_all(struct sender *sender)
{
	const struct options *options = &sender->options;
	uint64_t start = now_ns();
	bool gone = false;

	while (!stopped && !gone && (options->count == 0 || sender->sent < options->count)) {
		if (options->rate)
			sleep_until(start + sender->sent * NS_PER_S / options->rate);
		gone = !send_frame(sender);
	}
	if (!gone)
		(void)confirm(sender);
	sender->after_last = now_ns();
}

static void open_socket(struct sender *sender)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET };

	address.sll_ifindex = if_nametoindex(sender->options.interface);
	sender->fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (sender->fd < 0 || bind(sender->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("%s: %s", sender->options.interface, strerror(errno));
	if (!read_statistics(sender, &sender->packets, &sender->drops))
		die("%s: no statistics", sender->options.interface);
}

int main(int argc, char **argv)
{
	static struct sender sender;
	struct sigaction action = { .sa_handler = on_signal };
	double left;

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	parse_options(argc, argv, &sender.options);
	build_frame(&sender);
	open_socket(&sender);
	send_all(&sender);
	left = tokens_left(&sender);
	close(sender.fd);
	printf("%lu %.9f %.9f %.9f %.9f %.3f %.3f\n", sender.sent, sender.before_first / 1e9, sender.after_first / 1e9,
	       sender.before_last / 1e9, sender.after_last / 1e9, left, larger(sender.most, left));
	return EXIT_SUCCESS;
}
