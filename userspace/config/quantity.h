/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers with units: counts, sizes, rates, durations. Pure and exact: all arithmetic uses integers and their ratios.
 *
 * A number is decimal. It can have a decimal point, an exponent that is not negative, and one of the suffixes k, M, G
 * (powers of 1000) or Ki, Mi, Gi (powers of 1024).
 * Every function returns 0, or -EINVAL. *reason then says what is wrong and what would be right, worded to follow the
 * quoted text: "is not a rate of packets; write it like ..."; it is a constant. Outputs are only written on success.
 */
#ifndef EB_QUANTITY_H
#define EB_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

struct eb_rate;

/* Only digits; gives no reason. */
int eb_quantity_integer(const char *text, uint64_t *out);

/* 400, 10k, 1Mi, 1.5k */
int eb_quantity_count(const char *text, uint64_t *out, const char **reason);

/* 1MB, 64KiB, 400 (bytes), 8Mbit */
int eb_quantity_size(const char *text, uint64_t *out, const char **reason);

/* 200/s, 10k/min, 0.5/s, 1/h; from 1/h to 100M/s. Sets only tokens and period_ns. */
int eb_quantity_packet_rate(const char *text, struct eb_rate *out, const char **reason);

/* 8Mbit/s, 1MB/s, 100kB/min; from 1B/s to 400Gbit/s. Sets only tokens and period_ns. */
int eb_quantity_byte_rate(const char *text, struct eb_rate *out, const char **reason);

/* Whether a rate is above the highest of these. */
bool eb_quantity_rate_is_high(const struct eb_rate *rate, bool is_bytes);

/* 500ms, 1s, 1.5s, 2min or 2m, 1h, 7d; 0s too */
int eb_quantity_duration(const char *text, uint64_t *out_ns, const char **reason);

/* true, yes, on, 1 or false, no, off, 0: the words of YAML 1.1, and the numbers that are usual in the environment. */
int eb_quantity_bool(const char *text, bool *out);

#endif
