/*
 * tv_vault_init.c
 *	  Set up the vault.
 */
#include "vault/tv_vault_internal.h"

#include "vault/tv_vault_failures.h"
#include "vault/tv_vault_ticket.h"

void
tv_vault_init(void)
{
	tv_vault_shared_init();
	tv_vault_session_init();
	tv_vault_ticket_init();
	tv_vault_failures_init();
	tv_vault_file_init();
	tv_vault_local_init();
	tv_vault_closure_init();
	tv_vault_change_init();
}
