/*
 * tv_page_checksum.h
 *	  The server's page checksum, compiled for the CPU at hand.
 */
#ifndef TV_PAGE_CHECKSUM_H
#define TV_PAGE_CHECKSUM_H

#include "postgres.h"

#include "storage/block.h"

/* As pg_checksum_page() (storage/checksum_impl.h), also for pd_upper = 0. */
extern uint16 tv_page_checksum(const char *page, BlockNumber block);

#endif							/* TV_PAGE_CHECKSUM_H */
