/*
 * fixture.h
 *	  Bytes of earlier formats that later versions must read, from
 *	  test/unit/fixtures.
 *
 * Once a format was released its fixtures are never changed; a new version of
 * a format gets new files.
 */
#ifndef FIXTURE_H
#define FIXTURE_H

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Open a fixture, which lies beside this file; exits if it is not there. */
static FILE *
fixture_open(const char *name)
{
	char		path[1024];
	const char *slash = strrchr(__FILE__, '/');
	FILE	   *file;

	snprintf(path, sizeof(path), "%.*sfixtures/%s",
			 slash ? (int) (slash - __FILE__ + 1) : 0, __FILE__, name);
	file = fopen(path, "rb");
	if (file == NULL)
	{
		perror(path);
		exit(1);
	}
	return file;
}

/* Read a binary fixture of at most cap bytes; returns how many. */
__attribute__((unused))
static size_t
fixture_read(const char *name, uint8_t *out, size_t cap)
{
	FILE	   *file = fixture_open(name);
	size_t		len = fread(out, 1, cap, file);

	fclose(file);
	return len;
}

/*
 * Read a fixture of hexadecimal numbers of two digits; a number sign starts a
 * comment.  Returns the number of bytes.
 */
__attribute__((unused))
static size_t
fixture_read_hex(const char *name, uint8_t *out, size_t cap)
{
	FILE	   *file = fixture_open(name);
	char		line[256];
	size_t		len = 0;

	while (fgets(line, sizeof(line), file))
	{
		char	   *p = line;

		line[strcspn(line, "#")] = '\0';
		while (isspace((unsigned char) *p))
			p++;
		while (*p)
		{
			char	   *end;
			unsigned long value = strtoul(p, &end, 16);

			if (end != p + 2 || len == cap)
			{
				fprintf(stderr, "%s: bad byte at: %s\n", name, p);
				exit(1);
			}
			out[len++] = (uint8_t) value;
			p = end;
			while (isspace((unsigned char) *p))
				p++;
		}
	}
	fclose(file);
	return len;
}

#endif							/* FIXTURE_H */
