/* fuzz-needs: wal */
/*
 * fuzz_wal_trailer.c
 *	  The trailer of sealed WAL records: what is read is written the same.  The
 *	  first two bytes are those of the record's header.
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
	uint16_t	spare;
	uint16_t	again;
	TvStatus	status;

	if (size < 2)
		return 0;
	spare = (uint16_t) (data[0] | (data[1] << 8));
	data += 2;
	size -= 2;
	status = tv_wal_trailer_decode(data, size, spare, &trailer, &used);
	if (status != TV_OK)
	{
		check(status == TV_ERR_TRUNCATED || status == TV_ERR_CORRUPT || status == TV_ERR_VERSION);
		return 0;
	}
	check(used <= size && used <= TV_WAL_TRAILER_MAX);
	check(trailer.epoch > 0 && trailer.epoch <= 4095);
	check((spare != 0) == (trailer.form == TV_WAL_FORM_COMPACT));
	check(tv_wal_trailer_encode(&trailer, out, &again) == used && again == spare);
	check(memcmp(out, data + size - used, used) == 0);
	return 0;
}
