// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/input.h"
#include "config/inputs.h"

struct eb_inputs *eb_inputs_new(void)
{
	return calloc(1, sizeof(struct eb_inputs));
}

void eb_inputs_free(struct eb_inputs *inputs)
{
	if (!inputs)
		return;
	for (size_t i = 0; i < inputs->count; i++) {
		free(inputs->items[i].path);
		eb_input_free(inputs->items[i].text, inputs->items[i].size);
	}
	free(inputs->items);
	free(inputs);
}

bool eb_inputs_equal(const struct eb_inputs *a, const struct eb_inputs *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct eb_input_file *left = &a->items[i], *right = &b->items[i];

		if (strcmp(left->path, right->path) != 0 || left->size != right->size ||
		    memcmp(left->text, right->text, left->size) != 0)
			return false;
	}
	return true;
}

static struct eb_input_file *find(const struct eb_inputs *inputs, const char *path)
{
	for (size_t i = 0; i < inputs->count; i++)
		if (!strcmp(inputs->items[i].path, path))
			return &inputs->items[i];
	return NULL;
}

/* Takes over the text, also on failure. */
static int add(struct eb_inputs *inputs, const char *path, struct eb_input_file *file)
{
	struct eb_input_file *items = reallocarray(inputs->items, inputs->count + 1, sizeof(*items));

	if (items)
		inputs->items = items;
	file->path = strdup(path);
	if (!items || !file->path) {
		free(file->path);
		eb_input_free(file->text, file->size);
		return -ENOMEM;
	}
	items[inputs->count++] = *file;
	return 0;
}

static char *copy_text(const char *text, size_t size)
{
	char *copy = malloc(size + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, size);
	copy[size] = '\0';
	return copy;
}

int eb_inputs_add(struct eb_inputs *inputs, const char *path, mode_t mode, const char *text, size_t size)
{
	struct eb_input_file file = { .mode = mode, .text = copy_text(text, size), .size = size };

	return file.text ? add(inputs, path, &file) : -ENOMEM;
}

static int merge_file(struct eb_inputs *inputs, const struct eb_input_file *from)
{
	struct eb_input_file *file = find(inputs, from->path);
	char *text;

	if (!file)
		return inputs->is_update ? eb_inputs_add(inputs, from->path, from->mode, from->text, from->size) : 0;
	text = copy_text(from->text, from->size);
	if (!text)
		return -ENOMEM;
	eb_input_free(file->text, file->size);
	file->text = text;
	file->size = from->size;
	return 0;
}

int eb_inputs_merge(struct eb_inputs *inputs, const struct eb_inputs *update)
{
	int err = 0;

	for (size_t i = 0; !err && i < update->count; i++)
		err = merge_file(inputs, &update->items[i]);
	return err;
}

int eb_inputs_read(struct eb_inputs *inputs, const char *path, size_t max, mode_t *mode, char **out, size_t *size)
{
	const struct eb_input_file *file = inputs ? find(inputs, path) : NULL;
	int err;

	if (file) {
		*out = copy_text(file->text, file->size);
		*size = file->size;
		*mode = file->mode;
		return *out ? 0 : -ENOMEM;
	}
	if (inputs && inputs->is_kept)
		return -ENOENT;
	err = eb_input_read(path, max, mode, out, size);
	if (err || !inputs)
		return err;
	err = eb_inputs_add(inputs, path, *mode, *out, *size);
	if (err)
		eb_input_free(*out, *size);
	return err;
}

/* One list in two rules says the same in both: it is read once. */
int eb_inputs_list(struct eb_inputs *inputs, const char *path, const struct eb_input_file **out)
{
	struct eb_input_file file = { .text = NULL };
	int err;

	*out = find(inputs, path);
	if (*out)
		return 0;
	if (inputs->is_kept)
		return -ENOENT;
	err = eb_list_read(path, &file.text, &file.size, &file.mark);
	inputs->is_partial |= err == -EBUSY;
	if (err)
		return err;
	err = add(inputs, path, &file);
	if (err)
		return err;
	*out = &inputs->items[inputs->count - 1];
	return 0;
}
