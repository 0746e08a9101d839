/*
 * tv_spill_private.h
 *	  What the files of this folder share.
 */
#ifndef TV_SPILL_PRIVATE_H
#define TV_SPILL_PRIVATE_H

#include "postgres.h"

#include "storage/fd.h"

#include "crypto/tv_cipher.h"

/* The server's own functions, behind our detours. */
typedef int (*TvFileRead) (File file, char *buffer, int amount, off_t offset,
						   uint32 wait_event_info);
typedef int (*TvFileWrite) (File file, char *buffer, int amount, off_t offset,
							uint32 wait_event_info);

extern TvFileRead tv_spill_server_read;
extern TvFileWrite tv_spill_server_write;

/* tv_spill_key.c */

/* In _PG_init: a key for each time that shared memory is made. */
extern void tv_spill_key_init(void);

/*
 * The cipher under that key, ready; NULL when out of memory.  It belongs to
 * the process.
 */
extern const TvCipherContext *tv_spill_context(void);

/* A number that no other call, in any process, gets under this key. */
extern uint64 tv_spill_next_number(void);

/* tv_spill_buffile.c: as the server's functions, of files of buffile.c */

extern int	tv_spill_buffile_read(File file, char *buffer, int amount, off_t offset);
extern int	tv_spill_buffile_write(File file, const char *buffer, int amount, off_t offset);
extern int	tv_spill_buffile_truncate(File file, off_t offset, uint32 wait_event_info);
extern off_t tv_spill_buffile_size(File file);

/* tv_spill_decoding.c: as write(2), and as FileRead */

extern ssize_t tv_spill_decoding_write(int fd, const void *data, size_t len);
extern int	tv_spill_decoding_read(File file, char *buffer, int amount, off_t offset,
								   uint32 wait_event_info);

#endif							/* TV_SPILL_PRIVATE_H */
