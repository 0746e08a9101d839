/*
 * unit.h
 *	  The few words a unit test needs.  Output is TAP.
 *
 * A test calls ok() for each check and ends in "return unit_done();".
 */
#ifndef UNIT_H
#define UNIT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int	unit_count;
static int	unit_failed;

/* One check: condition, and what it shows (a format). */
#define ok(condition, ...) \
	unit_ok((condition), __FILE__, __LINE__, __VA_ARGS__)

__attribute__((format(printf, 4, 5), unused))
static bool
unit_ok(bool condition, const char *file, int line, const char *fmt,...)
{
	va_list		args;

	printf("%sok %d - ", condition ? "" : "not ", ++unit_count);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	if (!condition)
	{
		unit_failed++;
		printf("# failed at %s:%d\n", file, line);
	}
	fflush(stdout);
	return condition;
}

/* A check that cannot be made here, and why. */
__attribute__((unused))
static void
unit_skip(const char *why)
{
	printf("ok %d # SKIP %s\n", ++unit_count, why);
}

/* Print the plan; the result is for main() to return. */
__attribute__((unused))
static int
unit_done(void)
{
	printf("1..%d\n", unit_count);
	if (unit_failed > 0)
		printf("# %d of %d checks failed\n", unit_failed, unit_count);
	return unit_failed > 0 || unit_count == 0 ? 1 : 0;
}

#endif							/* UNIT_H */
