/* fuzz-needs: spill */
/*
 * fuzz_spill.c
 *	  Headers in temporary files: what is read is written the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "spill/tv_spill_format.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool ok)
{
	if (!ok)
		abort();
}

static void
read_header(const uint8_t *data, size_t size)
{
	TvSpillHeader header;
	uint8_t		out[TV_SPILL_HEADER];
	TvStatus	status = tv_spill_header_decode(data, size, &header);

	check((status == TV_ERR_TRUNCATED) == (size < TV_SPILL_HEADER));
	if (status != TV_OK)
	{
		check(status == TV_ERR_TRUNCATED || status == TV_ERR_CORRUPT || status == TV_ERR_VERSION);
		return;
	}
	check(header.length > 0 && header.length <= TV_SPILL_UNIT);
	tv_spill_header_encode(&header, out);
	check(memcmp(out, data, sizeof(out)) == 0);
}

static void
read_size(const uint8_t *data, size_t size)
{
	uint64_t	value = 0;
	int64_t		visible;

	memcpy(&value, data, size < sizeof(value) ? size : sizeof(value));
	visible = tv_spill_visible_size((int64_t) (value >> 2));
	check(visible >= 0 && visible <= (int64_t) (value >> 2));
	check(tv_spill_visible_size(tv_spill_disk_size(visible)) == visible);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t		marked[TV_SPILL_HEADER] = {'T', 'V', 'S', '1'};

	read_header(data, size);
	memcpy(marked + 4, data, size < sizeof(marked) - 4 ? size : sizeof(marked) - 4);
	read_header(marked, sizeof(marked));
	read_size(data, size);
	return 0;
}
