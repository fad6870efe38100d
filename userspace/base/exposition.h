/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The text format of Prometheus, version 0.0.4: a family, then all its samples, then the next family. The functions
 * write to a stream and report no errors; the caller checks the stream with ferror().
 */
#ifndef EB_EXPOSITION_H
#define EB_EXPOSITION_H

#include <stdint.h>
#include <stdio.h>

#include "base/histogram.h"

#define EB_EXPOSITION_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct eb_label {
	const char *name;
	const char *value; /* any UTF-8; the functions below escape it */
};

/* For the functions below: EB_LABELS({ "rule", name }, { "verdict", "drop" }). */
#define EB_LABELS(...) ((const struct eb_label[]){ __VA_ARGS__, { NULL, NULL } })
#define EB_NO_LABELS ((const struct eb_label[]){ { NULL, NULL } })

/* Begins a family. `type` is "counter", "gauge" or "histogram"; `help` is one line without backslashes. */
void eb_expose_family(FILE *out, const char *name, const char *type, const char *help);

/* Write one sample of the current family. `labels` ends with an entry whose name is NULL. eb_expose_seconds() takes
 * nanoseconds and writes seconds. */
void eb_expose(FILE *out, const char *name, const struct eb_label *labels, uint64_t value);
void eb_expose_seconds(FILE *out, const char *name, const struct eb_label *labels, uint64_t ns);
void eb_expose_histogram(FILE *out, const char *name, const struct eb_label *labels,
			 const struct eb_histogram *histogram);

#endif
