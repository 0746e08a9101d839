/*
 * base_status_test.c
 *	  Error text.
 */
#include <string.h>

#include "base/tv_status.h"
#include "unit.h"

int
main(void)
{
	TvError		err;
	char		longer[2 * TV_ERROR_TEXT_MAX];

	memset(&err, 0xff, sizeof(err));
	ok(tv_error(&err, TV_ERR_IO, "could not read \"%s\"", "x") == TV_ERR_IO,
	   "the status is returned");
	ok(err.status == TV_ERR_IO && strcmp(err.message, "could not read \"x\"") == 0,
	   "status and message are set");
	ok(err.detail[0] == '\0' && err.hint[0] == '\0', "detail and hint are cleared");

	tv_error_detail(&err, "Read %d bytes.", 3);
	tv_error_hint(&err, "Check %s.", "the disk");
	ok(strcmp(err.detail, "Read 3 bytes.") == 0 &&
	   strcmp(err.hint, "Check the disk.") == 0, "detail and hint are added");
	ok(strcmp(err.message, "could not read \"x\"") == 0, "the message stays");

	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	tv_error(&err, TV_ERR_CORRUPT, "%s", longer);
	ok(strlen(err.message) == TV_ERROR_TEXT_MAX - 1, "text too long is cut");
	ok(err.detail[0] == '\0', "a new error starts without detail");

	ok(tv_error(NULL, TV_ERR_AUTH, "x") == TV_ERR_AUTH, "no error text is wanted");
	tv_error_detail(NULL, "x");
	tv_error_hint(NULL, "x");
	return unit_done();
}
