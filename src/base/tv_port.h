/*
 * tv_port.h
 *	  The server's Port (MyProcPort) without the headers of GSSAPI.
 *
 * libpq-be.h wants gssapi.h only for a structure that Port points to; Port's
 * own layout is the same without it ("store a NULL pointer to keep struct
 * offsets the same", libpq-be.h).  Include it after postgres.h, first.
 */
#ifndef TV_PORT_H
#define TV_PORT_H

#ifdef ENABLE_GSS
#undef ENABLE_GSS
#endif
#include "libpq/libpq-be.h"

#endif							/* TV_PORT_H */
