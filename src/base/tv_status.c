/*
 * tv_status.c
 *	  Error text for code that runs without a server.
 */
#include "base/tv_status.h"

#include <stdarg.h>
#include <stdio.h>

/*
 * Format into one of the fixed-size parts of a TvError.  Text that does not
 * fit is cut; the result always ends in a NUL.
 */
static void
format_part(char part[TV_ERROR_TEXT_MAX], const char *fmt, va_list args)
{
	if (vsnprintf(part, TV_ERROR_TEXT_MAX, fmt, args) < 0)
		part[0] = '\0';
}

/*
 * Set status and message, clear detail and hint, return status.
 */
TvStatus
tv_error(TvError *err, TvStatus status, const char *fmt,...)
{
	va_list		args;

	if (err == NULL)
		return status;

	err->status = status;
	err->detail[0] = '\0';
	err->hint[0] = '\0';
	va_start(args, fmt);
	format_part(err->message, fmt, args);
	va_end(args);
	return status;
}

/*
 * Set the detail of an error already set.
 */
void
tv_error_detail(TvError *err, const char *fmt,...)
{
	va_list		args;

	if (err == NULL)
		return;
	va_start(args, fmt);
	format_part(err->detail, fmt, args);
	va_end(args);
}

/*
 * Set the hint of an error already set.
 */
void
tv_error_hint(TvError *err, const char *fmt,...)
{
	va_list		args;

	if (err == NULL)
		return;
	va_start(args, fmt);
	format_part(err->hint, fmt, args);
	va_end(args);
}
