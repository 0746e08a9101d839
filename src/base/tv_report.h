/*
 * tv_report.h
 *	  From TvStatus and TvError to the server's error reports, once, at the
 *	  top of each call path.
 */
#ifndef TV_REPORT_H
#define TV_REPORT_H

#include "postgres.h"

#include "base/tv_status.h"

/* Private SQLSTATE class TV: nobody else in the server or the standard uses it. */
#define ERRCODE_TV_PROVIDER_UNAVAILABLE MAKE_SQLSTATE('T','V','0','0','1')
#define ERRCODE_TV_PROVIDER_DENIED MAKE_SQLSTATE('T','V','0','0','2')
#define ERRCODE_TV_KEY_MISSING MAKE_SQLSTATE('T','V','0','0','3')
#define ERRCODE_TV_KEY_MISMATCH MAKE_SQLSTATE('T','V','0','0','4')
#define ERRCODE_TV_KEYRING MAKE_SQLSTATE('T','V','0','0','5')
#define ERRCODE_TV_UNDECIDED MAKE_SQLSTATE('T','V','0','0','6')
#define ERRCODE_TV_PLAINTEXT_REFUSED MAKE_SQLSTATE('T','V','0','0','7')
#define ERRCODE_TV_VAULT_LOCKED MAKE_SQLSTATE('T','V','0','3','0')
#define ERRCODE_TV_VAULT_NOT_AUTHORIZED MAKE_SQLSTATE('T','V','0','3','1')
#define ERRCODE_TV_VAULT_RULE MAKE_SQLSTATE('T','V','0','3','2')
#define ERRCODE_TV_VAULT_CLOSED MAKE_SQLSTATE('T','V','0','3','3')
#define ERRCODE_TV_VAULT_PASSWORD MAKE_SQLSTATE('T','V','0','3','4')
#define ERRCODE_TV_VAULT_LOCKED_OUT MAKE_SQLSTATE('T','V','0','3','5')
#define ERRCODE_TV_VAULT_ADMIN MAKE_SQLSTATE('T','V','0','3','6')
/* TV020 to TV029: audit */
#define ERRCODE_TV_AUDIT_FAILED MAKE_SQLSTATE('T','V','0','2','0')

/* Raise err at elevel (ERROR, FATAL or WARNING). */
extern void tv_report(int elevel, const TvError *err);

/* ERROR on a standby, or in a transaction that is read only. */
extern void tv_require_writable(const char *statement);

#endif							/* TV_REPORT_H */
