/* fuzz-needs: wal */
/*
 * fuzz_wal_trailer.c
 *	  The trailer of sealed WAL records: what is read is written the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wal/tv_wal_format.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool ok)
{
	if (!ok)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	TvWalTrailer trailer;
	uint8_t		out[TV_WAL_TRAILER_MAX];
	size_t		used;
	TvStatus	status = tv_wal_trailer_decode(data, size, &trailer, &used);

	if (status != TV_OK)
	{
		check(status == TV_ERR_TRUNCATED || status == TV_ERR_CORRUPT || status == TV_ERR_VERSION);
		return 0;
	}
	check(used <= size && used <= TV_WAL_TRAILER_MAX);
	check(trailer.epoch > 0 && trailer.epoch <= 4095);
	check(tv_wal_trailer_encode(&trailer, out) == used);
	check(memcmp(out, data + size - used, used) == 0);
	return 0;
}
