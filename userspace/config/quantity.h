/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers with units: counts, sizes, rates, durations. Pure and exact: integers and ratios of integers throughout.
 *
 * A number is decimal, with a point and an exponent that is not negative if you like, and may carry k, M, G (powers of
 * 1000) or Ki, Mi, Gi (of 1024).
 * Every function returns 0, or -EINVAL with *reason set to what is wrong and what would be right, made to follow the
 * quoted text: "is not a rate of packets; write it like ...". Outputs are written on success only.
 */
#ifndef EB_QUANTITY_H
#define EB_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

struct eb_rate;

/* Digits alone; no reason given. */
int eb_quantity_integer(const char *text, uint64_t *out);

/* 400, 10k, 1Mi, 1.5k */
int eb_quantity_count(const char *text, uint64_t *out, const char **reason);

/* 1MB, 64KiB, 400 (bytes), 8Mbit */
int eb_quantity_size(const char *text, uint64_t *out, const char **reason);

/* 200/s, 10k/min, 0.5/s, 1/h; from 1/h to 100M/s. Sets tokens and period_ns alone. */
int eb_quantity_packet_rate(const char *text, struct eb_rate *out, const char **reason);

/* 8Mbit/s, 1MB/s, 100kB/min; from 1B/s to 400Gbit/s. Sets tokens and period_ns alone. */
int eb_quantity_byte_rate(const char *text, struct eb_rate *out, const char **reason);

/* 500ms, 1s, 1.5s, 2min or 2m, 1h, 7d; 0s too */
int eb_quantity_duration(const char *text, uint64_t *out_ns, const char **reason);

/* true, yes, on, 1 or false, no, off, 0, as YAML 1.1 has them, and as people write them into the environment. */
int eb_quantity_bool(const char *text, bool *out);

#endif
