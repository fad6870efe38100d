// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/ban_requests.h"
#include "base/clock.h"
#include "base/grow.h"
#include "base/input.h"
#include "base/printable.h"
#include "config/ban_text.h"
#include "config/prefix.h"

/* A step takes so many orders, or what of a list fits into so many bytes. */
#define STEP 1000
#define STEP_BYTES (32 * 1024)

/* Steps that are taken at once: most requests need no other. */
#define FIRST_STEPS 4

struct request {
	struct request *next;
	struct eb_ban_asker asker;
	bool lifts;
	enum eb_ban_origin origin;
	uint32_t max;

	int list; /* -1: all has been read */
	off_t at;
	size_t lines;

	struct eb_ban_order *orders; /* to be put into force */
	size_t order_count, order_room;
	struct eb_prefix *prefixes; /* to be lifted */
	bool is_unsorted; /* lists of `edgebucket` are not */
	size_t prefix_count, prefix_room;
	size_t taken; /* of these, or of the orders */
	struct eb_ban_lift *lift;

	json_t *refused;
	size_t refused_count, done;
};

struct eb_ban_requests {
	struct eb_bans *bans;
	sd_event_source *steps; /* enabled while there are requests */
	struct request *first, **last;
	char text[STEP_BYTES + 1]; /* of a list */
};

/* ---- answers ---- */

__attribute__((format(printf, 3, 4))) static void refuse(struct request *request, size_t index, const char *format, ...)
{
	va_list args;
	char *text;

	request->refused_count++;
	if (json_array_size(request->refused) >= EB_BAN_ERRORS_MAX)
		return;
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	json_array_append_new(request->refused, json_pack("{s:I, s:o}", "index", (json_int_t)index, "error",
							  eb_printable_json(text ? text : "out of memory")));
	free(text);
}

static json_t *fail(const char *text)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", text);
}

static json_t *outcome(const struct request *request, int err)
{
	if (err)
		return json_pack("{s:b, s:s, s:I}", "ok", 0, "error", strerror(-err), "done",
				 (json_int_t)request->done);
	return json_pack("{s:b, s:I, s:O, s:I}", "ok", 1, "done", (json_int_t)request->done, "refused",
			 request->refused, "refused_count", (json_int_t)request->refused_count);
}

static void answer(const struct eb_ban_asker *asker, json_t *reply)
{
	asker->answer(asker->client, reply, asker->arg);
}

static void request_free(struct request *request)
{
	if (!request)
		return;
	if (request->list >= 0)
		close(request->list);
	eb_ban_lift_free(request->lift);
	json_decref(request->refused);
	free(request->orders);
	free(request->prefixes);
	free(request);
}

static struct request *request_new(const struct eb_ban_asker *asker, uint32_t max, bool lifts,
				   enum eb_ban_origin origin)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->asker = *asker;
	request->max = max;
	request->lifts = lifts;
	request->origin = origin;
	request->list = -1;
	request->refused = json_array();
	return request;
}

/* ---- what is asked for ---- */

static int append_order(struct request *request, const struct eb_ban_order *order)
{
	struct eb_ban_order *orders = eb_grow(request->orders, request->order_count, &request->order_room,
					      sizeof(*orders));

	if (!orders)
		return -ENOMEM;
	request->orders = orders;
	orders[request->order_count++] = *order;
	return 0;
}

static int append_prefix(struct request *request, const struct eb_prefix *prefix)
{
	struct eb_prefix *prefixes = eb_grow(request->prefixes, request->prefix_count, &request->prefix_room,
					     sizeof(*prefixes));

	if (!prefixes)
		return -ENOMEM;
	request->prefixes = prefixes;
	if (request->prefix_count && eb_prefix_compare(&prefixes[request->prefix_count - 1], prefix) >= 0)
		request->is_unsorted = true;
	prefixes[request->prefix_count++] = *prefix;
	return 0;
}

static bool parse_prefix(struct request *request, size_t index, const json_t *item, struct eb_prefix *out)
{
	const char *text = json_string_value(item);
	struct eb_prefix_error error;

	if (!text)
		refuse(request, index, "has no prefix");
	else if (eb_prefix_parse(text, out, &error))
		refuse(request, index, "%s %s", eb_input_quote(text).text, error.text);
	else
		return true;
	return false;
}

static bool parse_ban(struct request *request, size_t index, const json_t *item, struct eb_ban_order *out)
{
	const json_t *span = json_object_get(item, "for"), *reason = json_object_get(item, "reason");
	const char *why;
	uint64_t for_ns = 0;

	*out = (struct eb_ban_order){ .until_ns = EB_BAN_FOREVER, .origin = request->origin, .index = index };
	if (!parse_prefix(request, index, json_object_get(item, "prefix"), &out->prefix))
		return false;
	if ((span && !json_is_string(span)) || (reason && !json_is_string(reason))) {
		refuse(request, index, "for and reason must be text");
		return false;
	}
	if (span && eb_ban_parse_span(json_string_value(span), &for_ns, &why)) {
		refuse(request, index, "for: %s %s", eb_input_quote(json_string_value(span)).text, why);
		return false;
	}
	if (span)
		out->until_ns = eb_monotonic_ns() + for_ns;
	eb_ban_copy_reason(reason ? json_string_value(reason) : "", out->reason);
	return true;
}

static int take_json_item(struct request *request, size_t index, const json_t *item)
{
	struct eb_ban_order order;
	struct eb_prefix prefix;

	if (request->lifts)
		return parse_prefix(request, index, item, &prefix) ? append_prefix(request, &prefix) : 0;
	return parse_ban(request, index, item, &order) ? append_order(request, &order) : 0;
}

static int take_line(struct request *request, char *text, uint64_t now_ns)
{
	struct eb_ban_order order = { .origin = request->origin, .index = request->lines++ };
	struct eb_ban_line line;

	if (!eb_ban_parse_line(text, &line)) {
		refuse(request, order.index, "is no line of a list; does edgebucket have another version?");
		return 0;
	}
	if (request->lifts)
		return append_prefix(request, &line.prefix);
	order.prefix = line.prefix;
	order.until_ns = line.for_ns ? now_ns + line.for_ns : EB_BAN_FOREVER;
	memcpy(order.reason, line.reason, sizeof(order.reason));
	return append_order(request, &order);
}

/* Takes some lines of the list, whose last one needs no newline. */
static int read_list(struct eb_ban_requests *requests, struct request *request)
{
	ssize_t size = pread(request->list, requests->text, STEP_BYTES, request->at);
	char *text = requests->text, *end = text + (size > 0 ? size : 0), *newline;
	uint64_t now_ns = eb_monotonic_ns();
	int err = size < 0 ? -errno : 0;

	if (size < STEP_BYTES)
		*end++ = '\n';
	for (int i = 0; !err && i < STEP && (newline = memchr(text, '\n', end - text)); i++) {
		*newline = '\0';
		if (*text)
			err = take_line(request, text, now_ns);
		text = newline + 1;
	}
	if (text == requests->text)
		err = err ? err : -EMSGSIZE;
	request->at += text - requests->text;
	if (!err && (size < STEP_BYTES && text == end)) {
		close(request->list);
		request->list = -1;
	}
	return err;
}

/* ---- doing it ---- */

/* A feed does not shorten what the operator said. */
static bool is_outlasted(const struct eb_bans *bans, const struct eb_ban_order *order)
{
	struct eb_ban_view view;

	return order->origin == EB_BAN_FEED && eb_bans_get(bans, &order->prefix, &view) && view.ban.kind == EB_BAN &&
	       view.ban.origin == EB_BAN_OPERATOR && view.ban.until_ns >= order->until_ns;
}

/* What is outlasted is done, too. */
static int add(struct eb_ban_requests *requests, struct request *request, struct eb_ban_order *orders, size_t count)
{
	struct eb_ban_outcome added;
	size_t kept = 0;
	int err;

	for (size_t i = 0; i < count; i++)
		if (!is_outlasted(requests->bans, &orders[i]))
			orders[kept++] = orders[i];
	err = eb_bans_add(requests->bans, orders, kept, request->max, &added);
	request->done += count - kept + added.done;
	for (size_t i = 0; i < added.refused; i++)
		refuse(request, orders[i].index, "is one too many: there are %zu bans, and bans.max is %u",
		       eb_bans_count(requests->bans), request->max);
	return err;
}

/* Returns 1 while there is more to do, 0 at the end, or negative errno. */
static int step_ban(struct eb_ban_requests *requests, struct request *request)
{
	size_t count;
	int err = 0;

	if (request->list >= 0) {
		request->order_count = request->taken = 0;
		err = read_list(requests, request);
	}
	count = request->order_count - request->taken;
	if (count > STEP)
		count = STEP;
	if (!err)
		err = add(requests, request, request->orders + request->taken, count);
	request->taken += count;
	return err ? err : request->list >= 0 || request->taken < request->order_count;
}

/* A feed takes back what it banned, and no more: the end of its decision is none about others. */
static int withdraw(struct eb_ban_requests *requests, struct request *request)
{
	size_t left = request->prefix_count - request->taken, count = left < STEP ? left : STEP, lifted;
	int err = eb_bans_withdraw(requests->bans, request->prefixes + request->taken, count, request->origin, &lifted);

	request->taken += count;
	request->done += lifted;
	return err ? err : request->taken < request->prefix_count;
}

static int begin_lifting(struct eb_ban_requests *requests, struct request *request)
{
	if (request->is_unsorted)
		request->prefix_count = eb_ban_lift_sort(request->prefixes, request->prefix_count);
	return eb_ban_lift_new(requests->bans, request->prefixes, request->prefix_count, &request->lift);
}

/* As step_ban(). */
static int step_unban(struct eb_ban_requests *requests, struct request *request)
{
	int ret;

	if (request->list < 0 && request->origin == EB_BAN_FEED)
		return withdraw(requests, request);
	if (request->list >= 0 || !request->lift) {
		ret = request->list >= 0 ? read_list(requests, request) : begin_lifting(requests, request);
		return ret ? ret : 1;
	}
	ret = eb_ban_lift_step(request->lift);
	request->done = eb_ban_lift_lifted(request->lift);
	return ret;
}

static int step(struct eb_ban_requests *requests, struct request *request)
{
	return request->lifts ? step_unban(requests, request) : step_ban(requests, request);
}

static void end_first(struct eb_ban_requests *requests, int err)
{
	struct request *request = requests->first;

	requests->first = request->next;
	if (!requests->first)
		requests->last = &requests->first;
	answer(&request->asker, outcome(request, err));
	request_free(request);
}

static int on_step(sd_event_source *source, void *arg)
{
	struct eb_ban_requests *requests = arg;
	int ret = step(requests, requests->first);

	if (ret <= 0)
		end_first(requests, ret);
	return requests->first ? 0 : sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

/* Takes over `request`. */
static void begin(struct eb_ban_requests *requests, struct request *request)
{
	bool waits = requests->first;
	int ret = 1;

	*requests->last = request;
	requests->last = &request->next;
	for (int i = 0; !waits && ret > 0 && i < FIRST_STEPS; i++)
		ret = step(requests, request);
	if (ret <= 0)
		end_first(requests, ret);
	else
		(void)sd_event_source_set_enabled(requests->steps, SD_EVENT_ON);
}

/* ---- requests ---- */

static void begin_array(struct eb_ban_requests *requests, uint32_t max, const json_t *items, bool lifts,
			enum eb_ban_origin origin, const struct eb_ban_asker *asker)
{
	struct request *request = request_new(asker, max, lifts, origin);
	int err = request ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < json_array_size(items); i++)
		err = take_json_item(request, i, json_array_get(items, i));
	if (!err) {
		begin(requests, request);
		return;
	}
	request_free(request);
	answer(asker, fail(strerror(-err)));
}

/* False where it is neither. */
static bool parse_origin(const json_t *from, enum eb_ban_origin *out)
{
	const char *text = from ? json_string_value(from) : "operator";

	*out = text && strcmp(text, "feed") == 0 ? EB_BAN_FEED : EB_BAN_OPERATOR;
	return *out == EB_BAN_FEED || (text && strcmp(text, "operator") == 0);
}

static void dispatch(struct eb_ban_requests *requests, uint32_t max, const json_t *document,
		     const struct eb_ban_asker *asker)
{
	const char *word = json_string_value(json_object_get(document, "request"));
	bool bans = word && strcmp(word, "ban") == 0, lifts = word && strcmp(word, "unban") == 0;
	const json_t *items = json_object_get(document, bans ? "bans" : "prefixes");
	enum eb_ban_origin origin;

	if (!parse_origin(json_object_get(document, "from"), &origin))
		answer(asker, fail("from: must be operator or feed"));
	else if (!bans && !lifts)
		answer(asker, fail("unknown request: ban or unban"));
	else if (lifts && json_is_true(json_object_get(document, "all")))
		eb_ban_requests_lift_all(requests, asker);
	else if (!json_is_array(items))
		answer(asker, fail(bans ? "bans: must be a list" : "prefixes: must be a list"));
	else
		begin_array(requests, max, items, lifts, origin, asker);
}

void eb_ban_requests_json(struct eb_ban_requests *requests, uint32_t max, const char *text,
			  const struct eb_ban_asker *asker)
{
	json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	if (document)
		dispatch(requests, max, document, asker);
	else
		answer(asker, fail("the request is no JSON object"));
	json_decref(document);
}

void eb_ban_requests_list(struct eb_ban_requests *requests, uint32_t max, bool lifts, int file,
			  const struct eb_ban_asker *asker)
{
	struct request *request;
	struct stat status;

	if (file < 0 || fstat(file, &status) || !S_ISREG(status.st_mode)) { /* any other could keep the agent waiting */
		answer(asker, fail("no list was passed"));
		return;
	}
	request = request_new(asker, max, lifts, EB_BAN_OPERATOR);
	if (request)
		request->list = fcntl(file, F_DUPFD_CLOEXEC, 0);
	if (request && request->list >= 0) {
		begin(requests, request);
		return;
	}
	request_free(request);
	answer(asker, fail("out of memory"));
}

void eb_ban_requests_lift_all(struct eb_ban_requests *requests, const struct eb_ban_asker *asker)
{
	struct request *request = request_new(asker, 0, true, EB_BAN_OPERATOR);

	if (request && !append_prefix(request, &(struct eb_prefix){ .family = 4 }) &&
	    !append_prefix(request, &(struct eb_prefix){ .family = 6 })) {
		begin(requests, request);
		return;
	}
	request_free(request);
	answer(asker, fail("out of memory"));
}

/* ---- life ---- */

int eb_ban_requests_new(sd_event *loop, struct eb_bans *bans, struct eb_ban_requests **out)
{
	struct eb_ban_requests *requests = calloc(1, sizeof(*requests));
	int err;

	if (!requests)
		return -ENOMEM;
	requests->bans = bans;
	requests->last = &requests->first;
	err = sd_event_add_defer(loop, &requests->steps, on_step, requests);
	if (err >= 0)
		err = sd_event_source_set_enabled(requests->steps, SD_EVENT_OFF);
	if (err < 0) {
		eb_ban_requests_free(requests);
		return err;
	}
	*out = requests;
	return 0;
}

void eb_ban_requests_free(struct eb_ban_requests *requests)
{
	struct request *next;

	if (!requests)
		return;
	for (struct request *request = requests->first; request; request = next) {
		next = request->next;
		request_free(request);
	}
	sd_event_source_disable_unref(requests->steps);
	free(requests);
}
