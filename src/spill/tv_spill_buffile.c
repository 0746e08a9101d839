/*
 * tv_spill_buffile.c
 *	  Temporary files of buffile.c, sealed.
 *
 * buffile.c reads and writes up to a block at any offset, writes places again,
 * and goes on after having got less than it asked for.  So each call here
 * concerns one unit (tv_spill_format.h): a write seals it whole under a number
 * of its own, having opened what it does not replace; a read gives what the
 * unit has from the offset on.
 *
 * The server's functions keep the accounts: temp_file_limit, log_temp_files
 * and pg_ls_tmpdir() see the bytes on disk.
 */
#include "spill/tv_spill_private.h"

#include "utils/wait_event.h"

#include "spill/tv_spill_format.h"

/* A unit as it is on disk.  Its bytes begin at a cache line. */
static uint8 aligned[TV_SPILL_HEADER + TV_SPILL_STRIDE] pg_attribute_aligned(64);
static uint8 *const disk = aligned + 64 - TV_SPILL_HEADER;
static uint8 *const bytes = aligned + 64;

StaticAssertDecl(TV_SPILL_HEADER <= 64 && sizeof(aligned) >= 64 + TV_SPILL_UNIT,
				 "room for a unit");
StaticAssertDecl(MAXPGPATH <= TV_SPILL_PATH_MAX, "room for a path");

static const TvCipherContext *
cipher(void)
{
	const TvCipherContext *context = tv_spill_context();

	if (context == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory for the key of temporary files")));
	return context;
}

static void
refuse(File file, uint64 unit, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("temporary file \"%s\" cannot be decrypted", FilePathName(file)),
			 errdetail("Block %llu %s.", (unsigned long long) unit, detail),
			 errhint("Find out what writes to the server's temporary files. Nothing but this statement is affected.")));
}

/*
 * Read a unit and open it to out, which has room for it.  Returns the number
 * of its bytes: 0 past the end, -1 with errno set when it could not be read.
 */
static int
load(File file, uint64 unit, uint8 *out)
{
	TvSpillHeader header;
	uint8		nonce[TV_NONCE_LEN];
	uint8		aad[TV_SPILL_AAD_MAX];
	size_t		aad_len;
	const TvCipherContext *context = cipher();
	int			got = tv_spill_server_read(file, (char *) disk, TV_SPILL_STRIDE,
										   (off_t) unit * TV_SPILL_STRIDE, WAIT_EVENT_BUFFILE_READ);

	if (got <= 0)
		return got;
	if (tv_spill_header_decode(disk, got, &header) != TV_OK)
		refuse(file, unit, "has no valid header");
	/* nothing leaves gaps (logtape.c fills them), and gaps are not made here */
	if (got != TV_SPILL_HEADER + header.length)
		refuse(file, unit, "has not the length that it was written with");
	tv_spill_nonce(&header, nonce);
	aad_len = tv_spill_aad(&header, unit, FilePathName(file), aad);
	if (aad_len == 0 ||
		tv_cipher_open(context, nonce, aad, aad_len, bytes, out, header.length, header.tag) != TV_OK)
		refuse(file, unit, "does not authenticate");
	return header.length;
}

/* Seal len of bytes, and write them as a unit.  False with errno set. */
static bool
store(File file, uint64 unit, int len)
{
	TvSpillHeader header;
	uint8		nonce[TV_NONCE_LEN];
	uint8		aad[TV_SPILL_AAD_MAX];
	size_t		aad_len;
	const TvCipherContext *context = cipher();
	int			total = TV_SPILL_HEADER + len;
	int			done;

	header.length = (uint16) len;
	header.number = tv_spill_next_number();
	tv_spill_nonce(&header, nonce);
	aad_len = tv_spill_aad(&header, unit, FilePathName(file), aad);
	if (aad_len == 0 ||
		tv_cipher_seal(context, nonce, aad, aad_len, bytes, bytes, len, header.tag) != TV_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not encrypt temporary file \"%s\"", FilePathName(file))));
	tv_spill_header_encode(&header, disk);
	done = tv_spill_server_write(file, (char *) disk, total,
								 (off_t) unit * TV_SPILL_STRIDE, WAIT_EVENT_BUFFILE_WRITE);
	if (done >= 0 && done < total)
		errno = ENOSPC;			/* as fd.c has it */
	return done == total;
}

int
tv_spill_buffile_read(File file, char *buffer, int amount, off_t offset)
{
	uint64		unit = offset / TV_SPILL_UNIT;
	int			skip = offset % TV_SPILL_UNIT;
	bool		direct = skip == 0 && amount >= TV_SPILL_UNIT;
	int			len = load(file, unit, direct ? (uint8 *) buffer : bytes);

	if (direct || len < 0)
		return len;
	if (len <= skip)
		return 0;
	len = Min(len - skip, amount);
	memcpy(buffer, bytes + skip, len);
	return len;
}

int
tv_spill_buffile_write(File file, const char *buffer, int amount, off_t offset)
{
	uint64		unit = offset / TV_SPILL_UNIT;
	int			skip = offset % TV_SPILL_UNIT;
	int			take = Min(amount, TV_SPILL_UNIT - skip);
	int			len = 0;

	if (take < TV_SPILL_UNIT)
	{
		len = load(file, unit, bytes);
		if (len < 0)
			return len;
		if (len < skip)
		{
			errno = ESPIPE;		/* a gap: the server makes none */
			return -1;
		}
	}
	memcpy(bytes + skip, buffer, take);
	return store(file, unit, Max(len, skip + take)) ? take : -1;
}

/* To a size that is not larger than it was. */
int
tv_spill_buffile_truncate(File file, off_t offset, uint32 wait_event_info)
{
	uint64		unit = offset / TV_SPILL_UNIT;
	int			keep = offset % TV_SPILL_UNIT;

	if (keep > 0)
	{
		int			len = load(file, unit, bytes);

		if (len < 0)
			return -1;
		if (len < keep)
		{
			errno = EINVAL;
			return -1;
		}
		if (len > keep && !store(file, unit, keep))
			return -1;
	}
	return FileTruncate(file, tv_spill_disk_size(offset), wait_event_info);
}

off_t
tv_spill_buffile_size(File file)
{
	off_t		size = FileSize(file);

	return size < 0 ? size : tv_spill_visible_size(size);
}
