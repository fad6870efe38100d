/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Prints aligned tables to stdout. It asks for each row twice, once to measure and once to print, so that a table of a
 * million rows needs no memory. Both answers must be the same.
 */
#ifndef EB_TABLE_PRINT_H
#define EB_TABLE_PRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/print.h"

#define TABLE_COLUMNS_MAX 16

struct table_column {
	const char *title;
	bool right;    /* right-aligned, for numbers */
	bool optional; /* omitted if it contains "-" in every row */
};

struct table_cell {
	struct text text;
	enum colour colour;
};

/* Fills the cells of a row, which are empty before. */
typedef void (*table_row)(const void *arg, size_t row, struct table_cell *cells);

void table_print(const struct table_column *columns, size_t column_count, size_t row_count, table_row row,
		 const void *arg);

#endif
