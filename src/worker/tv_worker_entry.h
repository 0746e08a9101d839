/*
 * tv_worker_entry.h
 *	  Where the postmaster starts our processes, by name.
 */
#ifndef TV_WORKER_ENTRY_H
#define TV_WORKER_ENTRY_H

#include "postgres.h"

/* A worker; the argument is the number of its operation's slot. */
extern PGDLLEXPORT void tv_worker_main(Datum main_arg);

/* The launcher, one for the server. */
extern PGDLLEXPORT void tv_worker_launcher_main(Datum main_arg);

/* Looks into a database; the argument is its OID. */
extern PGDLLEXPORT void tv_worker_visit_main(Datum main_arg);

/* Goes on with rotations of master keys that were cut off. */
extern PGDLLEXPORT void tv_worker_rotation_main(Datum main_arg);

#endif							/* TV_WORKER_ENTRY_H */
