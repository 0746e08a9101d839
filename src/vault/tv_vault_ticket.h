/*
 * tv_vault_ticket.h
 *	  Tickets: the next session of the same user is unlocked, too.
 */
#ifndef TV_VAULT_TICKET_H
#define TV_VAULT_TICKET_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "vault/tv_vault_internal.h"

#define TV_TICKET_LEN 64		/* hexadecimal digits */

/*
 * A ticket for as many sessions, valid for that many seconds, for the realms
 * that this session has unlocked.  ticket: TV_TICKET_LEN + 1 bytes, which the
 * caller wipes.  Throws ERROR: nothing is unlocked, no room.
 */
extern void tv_vault_create_ticket(int sessions, int seconds, char *ticket);

/*
 * Use the ticket that this session was started with (tde_vault.unlock_ticket),
 * once: adds what it unlocks to the session.
 */
extern void tv_vault_redeem_ticket(void);

/* Is there one, not used yet? */
extern bool tv_vault_ticket_waits(void);

/* In _PG_init. */
extern void tv_vault_ticket_init(void);

#endif							/* TV_VAULT_TICKET_H */
