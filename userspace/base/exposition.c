// SPDX-License-Identifier: GPL-2.0-only
#include <inttypes.h>

#include "base/exposition.h"

#define SECOND_NS 1000000000ULL

void eb_expose_family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n') {
			fputs("\\n", out);
			continue;
		}
		if (*text == '\\' || *text == '"')
			putc('\\', out);
		putc(*text, out);
	}
}

/* `bound` is that of a histogram's bucket, NULL for other samples. */
static void write_labels(FILE *out, const struct eb_label *labels, const char *bound)
{
	const char *separator = "{";

	for (; labels->name; labels++) {
		fprintf(out, "%s%s=\"", separator, labels->name);
		write_escaped(out, labels->value);
		putc('"', out);
		separator = ",";
	}
	if (bound) {
		fprintf(out, "%sle=\"%s\"", separator, bound);
		separator = ",";
	}
	if (*separator == ',')
		putc('}', out);
}

void eb_expose(FILE *out, const char *name, const struct eb_label *labels, uint64_t value)
{
	fputs(name, out);
	write_labels(out, labels, NULL);
	fprintf(out, " %" PRIu64 "\n", value);
}

static void write_seconds(FILE *out, const char *name, const char *suffix, const struct eb_label *labels, uint64_t ns)
{
	fprintf(out, "%s%s", name, suffix);
	write_labels(out, labels, NULL);
	fprintf(out, " %" PRIu64 ".%09" PRIu64 "\n", (uint64_t)(ns / SECOND_NS), (uint64_t)(ns % SECOND_NS));
}

void eb_expose_seconds(FILE *out, const char *name, const struct eb_label *labels, uint64_t ns)
{
	write_seconds(out, name, "", labels, ns);
}

static void write_bucket(FILE *out, const char *name, const struct eb_label *labels, const char *bound, uint64_t count)
{
	fprintf(out, "%s_bucket", name);
	write_labels(out, labels, bound);
	fprintf(out, " %" PRIu64 "\n", count);
}

void eb_expose_histogram(FILE *out, const char *name, const struct eb_label *labels,
			 const struct eb_histogram *histogram)
{
	uint64_t count = 0;
	char bound[24];

	for (int i = 0; i < EB_HISTOGRAM_BOUNDS; i++) {
		count += histogram->counts[i];
		/* %g: shorter than what seconds are written as elsewhere, and what people write into queries. */
		snprintf(bound, sizeof(bound), "%g", eb_histogram_bounds_ns[i] / 1e9);
		write_bucket(out, name, labels, bound, count);
	}
	count += histogram->counts[EB_HISTOGRAM_BOUNDS];
	write_bucket(out, name, labels, "+Inf", count);
	write_seconds(out, name, "_sum", labels, histogram->sum_ns);
	fprintf(out, "%s_count", name);
	write_labels(out, labels, NULL);
	fprintf(out, " %" PRIu64 "\n", count);
}
