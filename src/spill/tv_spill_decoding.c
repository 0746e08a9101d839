/*
 * tv_spill_decoding.c
 *	  What logical decoding writes to disk while it reads a large transaction.
 *
 * A transaction that does not fit into logical_decoding_work_mem goes to
 * pg_replslot/SLOT/xid-*.spill (reorderbuffer.c), is read back by the process
 * that wrote it, and is worth nothing to anybody else: files left by a crash
 * are removed unread.  So a random key of this process's own is enough.  All
 * spilled changes are sealed, of plain tables as well.
 *
 * A change is a fixed part (numbers, pointers) and the data behind it, written
 * at once and read in two steps.  The data is sealed with XTS, whose tweak is
 * file and offset.  The wait events tell these writes and reads from others.
 */
#include "spill/tv_spill_private.h"

#include <sys/stat.h>
#include <unistd.h>

#include "replication/reorderbuffer.h"

#include "base/tv_secret.h"
#include "crypto/tv_kdf.h"

#define UNIT (1024 * 1024)		/* of XTS; the last one may be longer */
#define UNIT_MIN 16				/* less: OIDs of truncated tables, left as they are */

/* Mirrors ReorderBufferDiskChange, reorderbuffer.c. */
typedef struct DiskChange
{
	Size		size;			/* of all, in bytes */
	ReorderBufferChange change;
} DiskChange;

static TvCipherContext *context = NULL;

/* The data that the next read is expected to get. */
static struct
{
	File		file;
	off_t		offset;
	Size		len;
}			expected;

static bool
make_key(void)
{
	uint8	   *key = tv_secret_alloc(TV_CIPHER_KEY_MAX);
	TvCipherContext *made = tv_secret_alloc(tv_cipher_context_size(TV_CIPHER_AES_256_XTS));

	if (key != NULL && made != NULL && tv_random(key, TV_CIPHER_KEY_MAX) == TV_OK &&
		tv_cipher_init(made, TV_CIPHER_AES_256_XTS, key, TV_CIPHER_KEY_MAX) == TV_OK)
		context = made;
	else
		tv_secret_free(made);
	tv_secret_free(key);
	return context != NULL;
}

/* Seal or open len bytes of the file inode that are at offset of it. */
static bool
transform(bool seal, ino_t inode, off_t offset, uint8 *data, Size len)
{
	while (len >= UNIT_MIN)
	{
		Size		unit = len < UNIT + UNIT_MIN ? len : UNIT;
		uint64		tweak[2] = {(uint64) inode, (uint64) offset};
		TvStatus	status;

		StaticAssertStmt(sizeof(tweak) == TV_TWEAK_LEN, "length of a tweak");
		status = seal ?
			tv_cipher_seal(context, (uint8 *) tweak, NULL, 0, data, data, unit, NULL) :
			tv_cipher_open(context, (uint8 *) tweak, NULL, 0, data, data, unit, NULL);
		if (status != TV_OK)
			return false;
		data += unit;
		offset += unit;
		len -= unit;
	}
	return true;
}

/* A spilled change, about to be appended to its file? */
static bool
is_spilled_change(int fd, const void *data, size_t len, struct stat *st)
{
	Size		size;

	if (len < sizeof(DiskChange))
		return false;
	memcpy(&size, data, sizeof(size));
	return size == len && fstat(fd, st) == 0 && S_ISREG(st->st_mode);
}

ssize_t
tv_spill_decoding_write(int fd, const void *data, size_t len)
{
	struct stat st;
	uint8	   *copy;
	ssize_t		done = -1;

	if (!is_spilled_change(fd, data, len, &st))
		return write(fd, data, len);

	if (context == NULL && !make_key())
	{
		errno = ENOMEM;
		return -1;
	}
	copy = malloc(len);
	if (copy == NULL)
		return -1;
	memcpy(copy, data, len);
	if (transform(true, st.st_ino, st.st_size + (off_t) sizeof(DiskChange),
				  copy + sizeof(DiskChange), len - sizeof(DiskChange)))
		done = write(fd, copy, len);
	else
		errno = EIO;
	free(copy);
	return done;
}

int
tv_spill_decoding_read(File file, char *buffer, int amount, off_t offset,
					   uint32 wait_event_info)
{
	int			got = tv_spill_server_read(file, buffer, amount, offset, wait_event_info);
	struct stat st;
	Size		size;

	if (got != amount)
		return got;
	if (expected.len > 0 && expected.file == file && expected.offset == offset &&
		expected.len == (Size) amount)
	{
		expected.len = 0;
		if (context != NULL && fstat(FileGetRawDesc(file), &st) == 0 &&
			transform(false, st.st_ino, offset, (uint8 *) buffer, amount))
			return got;
		errno = EIO;
		return -1;
	}
	if (amount == sizeof(DiskChange))
	{
		memcpy(&size, buffer, sizeof(size));
		expected.file = file;
		expected.offset = offset + amount;
		expected.len = size - sizeof(DiskChange);
	}
	return got;
}
