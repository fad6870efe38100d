/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Prometheus' text format, version 0.0.4: a family, then all its samples, then the next family. Writes to a stream;
 * that everything fitted is for the caller to ask the stream.
 */
#ifndef EB_EXPOSITION_H
#define EB_EXPOSITION_H

#include <stdint.h>
#include <stdio.h>

#include "base/histogram.h"

#define EB_EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct eb_label {
	const char *name;
	const char *value; /* any UTF-8; escaped here */
};

/* For the functions below: EB_LABELS({ "rule", name }, { "verdict", "drop" }). */
#define EB_LABELS(...) ((const struct eb_label[]){ __VA_ARGS__, { NULL, NULL } })
#define EB_NO_LABELS ((const struct eb_label[]){ { NULL, NULL } })

/* `type` is "counter", "gauge" or "histogram"; `help` is one line without backslashes. */
void eb_expose_family(FILE *out, const char *name, const char *type, const char *help);

void eb_expose(FILE *out, const char *name, const struct eb_label *labels, uint64_t value);
void eb_expose_seconds(FILE *out, const char *name, const struct eb_label *labels, uint64_t ns);
void eb_expose_histogram(FILE *out, const char *name, const struct eb_label *labels,
			 const struct eb_histogram *histogram);

#endif
