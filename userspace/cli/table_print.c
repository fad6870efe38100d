// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "cli/table_print.h"

struct layout {
	const struct table_column *columns;
	size_t column_count;
	size_t last; /* column shown; nothing is padded behind it */
	int width[TABLE_COLUMNS_MAX];
	bool is_shown[TABLE_COLUMNS_MAX];
};

static void get_row(table_row row, const void *arg, size_t index, struct table_cell cells[TABLE_COLUMNS_MAX])
{
	memset(cells, 0, TABLE_COLUMNS_MAX * sizeof(*cells));
	row(arg, index, cells);
}

static void measure_row(struct layout *layout, const struct table_cell *cells)
{
	for (size_t i = 0; i < layout->column_count; i++) {
		int len = strlen(cells[i].text.s);

		if (len > layout->width[i])
			layout->width[i] = len;
		if (strcmp(cells[i].text.s, "-"))
			layout->is_shown[i] = true;
	}
}

static void measure(struct layout *layout, size_t row_count, table_row row, const void *arg)
{
	struct table_cell cells[TABLE_COLUMNS_MAX];

	for (size_t i = 0; i < layout->column_count; i++) {
		layout->width[i] = strlen(layout->columns[i].title);
		layout->is_shown[i] = !layout->columns[i].optional;
	}
	for (size_t i = 0; i < row_count; i++) {
		get_row(row, arg, i, cells);
		measure_row(layout, cells);
	}
	for (size_t i = 0; i < layout->column_count; i++)
		if (layout->is_shown[i])
			layout->last = i;
}

/* Colours enclose the text alone: their bytes take no room. */
static void print_cell(const struct layout *layout, size_t column, const char *text, enum colour colour)
{
	int pad = layout->width[column] - (int)strlen(text);
	bool right = layout->columns[column].right;

	printf("%*s%s%s%s", right ? pad : 0, "", print_colour(colour), text, print_colour_end(colour));
	if (column != layout->last)
		printf("%*s  ", right ? 0 : pad, "");
}

static void print_row(const struct layout *layout, const struct table_cell *cells)
{
	for (size_t i = 0; i < layout->column_count; i++)
		if (layout->is_shown[i])
			print_cell(layout, i, cells[i].text.s, cells[i].colour);
	putchar('\n');
}

void table_print(const struct table_column *columns, size_t column_count, size_t row_count, table_row row,
		 const void *arg)
{
	struct layout layout = { .columns = columns, .column_count = column_count };
	struct table_cell cells[TABLE_COLUMNS_MAX];

	measure(&layout, row_count, row, arg);
	for (size_t i = 0; i < column_count; i++)
		if (layout.is_shown[i])
			print_cell(&layout, i, columns[i].title, COLOUR_BOLD);
	putchar('\n');
	for (size_t i = 0; i < row_count; i++) {
		get_row(row, arg, i, cells);
		print_row(&layout, cells);
	}
}
