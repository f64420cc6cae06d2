// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
/* Strings of JSON. */
#include "drive.h"

void drive_print_json_string(FILE *out, const char *text)
{
	putc('"', out);
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20)
			fprintf(out, "\\u%04x", c);
		else
			putc(c, out);
	}
	putc('"', out);
}
