// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

int eb_fail(int err, char **out, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (vasprintf(out, format, args) < 0)
		*out = NULL;
	va_end(args);
	return err;
}
