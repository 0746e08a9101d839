/*
 * tv_spill.c
 *	  Where the server writes and reads what does not fit into memory.
 *
 * Two of the server's files do so: buffile.c (sorts, hashes, tuple stores,
 * builds of GiST indexes, streamed transactions, also those that processes
 * share) and reorderbuffer.c (transactions that are decoded).  Both say by a
 * wait event of their own what they read and write, and nobody else uses those
 * (fd.c takes the event as an argument).  The size of a file comes without
 * one, and only buffile.c's calls of that are led here.
 */
#include "spill/tv_spill.h"

#include "postgres.h"

#include <unistd.h>

#include "utils/wait_event.h"

#include "attach/tv_attach.h"
#include "spill/tv_spill_private.h"

TvFileRead	tv_spill_server_read = NULL;
TvFileWrite tv_spill_server_write = NULL;

static int
file_read(File file, char *buffer, int amount, off_t offset, uint32 wait_event_info)
{
	if (unlikely(wait_event_info == WAIT_EVENT_BUFFILE_READ))
		return tv_spill_buffile_read(file, buffer, amount, offset);
	if (unlikely(wait_event_info == WAIT_EVENT_REORDER_BUFFER_READ))
		return tv_spill_decoding_read(file, buffer, amount, offset, wait_event_info);
	return tv_spill_server_read(file, buffer, amount, offset, wait_event_info);
}

static int
file_write(File file, char *buffer, int amount, off_t offset, uint32 wait_event_info)
{
	if (unlikely(wait_event_info == WAIT_EVENT_BUFFILE_WRITE))
		return tv_spill_buffile_write(file, buffer, amount, offset);
	return tv_spill_server_write(file, buffer, amount, offset, wait_event_info);
}

static ssize_t
plain_write(int fd, const void *data, size_t len)
{
	if (unlikely(*my_wait_event_info == WAIT_EVENT_REORDER_BUFFER_WRITE))
		return tv_spill_decoding_write(fd, data, len);
	return write(fd, data, len);
}

void
tv_spill_init(void)
{
	tv_spill_key_init();
	tv_spill_server_read = (TvFileRead)
		tv_attach_detour((void *) FileRead, "FileRead", (void *) file_read);
	tv_spill_server_write = (TvFileWrite)
		tv_attach_detour((void *) FileWrite, "FileWrite", (void *) file_write);
	tv_attach_import((void *) write, "write", (void *) plain_write);
	tv_attach_calls((void *) FileSize, "FileSize", "BufFileSeek", (void *) tv_spill_buffile_size);
	tv_attach_calls((void *) FileSize, "FileSize", "BufFileSize", (void *) tv_spill_buffile_size);
	tv_attach_calls((void *) FileTruncate, "FileTruncate", "BufFileTruncateFileSet",
					(void *) tv_spill_buffile_truncate);
}
