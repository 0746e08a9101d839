/*
 * tv_file.h
 *	  What those who write files of their own have in common.
 */
#ifndef TV_FILE_H
#define TV_FILE_H

#include "postgres.h"

#include "base/tv_status.h"

/* TV_ERR_IO from errno: could not "what" file "path". */
extern TvStatus tv_io_error(TvError *err, const char *what, const char *path);

/*
 * Make names in a directory durable: that of a file that was made, renamed or
 * removed.  Nothing with fsync = off.  Does not throw.
 */
extern TvStatus tv_sync_directory(const char *path, TvError *err);

#endif							/* TV_FILE_H */
