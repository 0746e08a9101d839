/*
 * tv_vault_show.h
 *	  What the authenticated user may see of the policy.
 *
 * Vault administrators and auditors see all; the owner of a realm what is
 * about that realm; the parties of an emergency that emergency.
 */
#ifndef TV_VAULT_SHOW_H
#define TV_VAULT_SHOW_H

#include "vault/tv_vault_internal.h"

/* The policy to show; NULL if there is none that can be had.  No verifiers may be shown. */
extern const TvPolicy *tv_vault_shown_policy(void);

/* May the user see what is about the realm (0: about no realm)? */
extern bool tv_vault_shows_realm(const TvPolicy *policy, uint32 realm);
extern bool tv_vault_shows_emergency(const TvPolicy *policy, const TvEmergency *emergency);

#endif							/* TV_VAULT_SHOW_H */
