/*
 * tv_vault.h
 *	  The vault's one question: may this be done, and why (not)?
 *
 * Policy is a file a database under tde_vault/vault, sealed under a key of the
 * keyring, logged in WAL, with a generation in shared memory: every process
 * asks the latest policy, never a snapshot's.  Asking is a look-up in a table
 * of this process, rebuilt when the generation has moved.
 *
 * Identity is always GetAuthenticatedUserId(), by OID; never the current role.
 */
#ifndef TV_VAULT_H
#define TV_VAULT_H

#include "postgres.h"

#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"

#include "vault/tv_vault_fast.h"

/* Actions, as command rules name them; a bit each. */
typedef enum TvAction
{
	TV_ACTION_SELECT = 0x0001,
	TV_ACTION_INSERT = 0x0002,
	TV_ACTION_UPDATE = 0x0004,
	TV_ACTION_DELETE = 0x0008,
	TV_ACTION_TRUNCATE = 0x0010,
	TV_ACTION_COPY = 0x0020,	/* export: COPY, CREATE TABLE AS, materialised view */
	TV_ACTION_DROP = 0x0040,
	TV_ACTION_ALTER = 0x0080,	/* also index, trigger, rule, policy, statistics, comment, lock */
	TV_ACTION_GRANT = 0x0100,
	TV_ACTION_MAINTAIN = 0x0200	/* VACUUM, ANALYZE, REINDEX, CLUSTER by a session */
} TvAction;

#define TV_ACTION_ALL 0x01ff	/* FOR ALL of a command rule */

typedef enum TvAnswerKind
{
	TV_ANSWER_NOT_PROTECTED,	/* no realm, no rule: go on */
	TV_ANSWER_ALLOW,
	TV_ANSWER_LOCKED,			/* authorized, but the vault password is missing */
	TV_ANSWER_NOT_AUTHORIZED,	/* not among the realm's roles */
	TV_ANSWER_RULE,			/* a command rule denies */
	TV_ANSWER_CLOSED			/* policy cannot be had, is damaged or a clone's */
} TvAnswerKind;

typedef struct TvAnswer
{
	TvAnswerKind	verdict;
	bool		simulate;		/* audit the denial, and go on */
	bool		emergency;		/* allowed by an emergency unlock */
	TimestampTz until;			/* allowed: what allows it ends then */
	const char *realm;			/* name, or NULL; good until the end of the statement */
	const char *rule;			/* name of the command rule, or NULL */
	const char *message;		/* of the command rule, or NULL */
} TvAnswer;

/* Read every policy that nobody has read since the server started. */
extern void tv_vault_verify_all(void);

/*
 * Is relid protected: in a realm itself, by its schema, or as part of the
 * closure of a relation that is (TOAST, index, owned sequence, partition,
 * child)?  O(1) after the first time.  May look into the relation cache, so
 * not inside its invalidation.
 */
extern bool tv_vault_protects(Oid relid);

/* Are partitions or children of relid in realms that it is not in? */
extern bool tv_vault_is_above(Oid relid);

/* May the session do action to relation relid?  Neither throws nor audits. */
extern void tv_vault_ask(Oid relid, TvAction action, TvAnswer *answer);

/*
 * The same, but rules ON COLUMN count only for those columns, offset by
 * FirstLowInvalidHeapAttributeNumber as in a range table entry (a whole-row
 * reference is all of them; NULL too).
 */
extern void tv_vault_ask_columns(Oid relid, TvAction action, const Bitmapset *columns,
								 TvAnswer *answer);

/* The same for a schema, and for statements that concern the database (rules ON DATABASE). */
extern void tv_vault_ask_schema(Oid schema, TvAction action, TvAnswer *answer);
extern void tv_vault_ask_database(TvAction action, TvAnswer *answer);

/*
 * The same for what is in no realm itself, but role's own (a large object):
 * it is as open as any of the realms that role is authorized for.
 */
extern void tv_vault_ask_owned(Oid role, TvAction action, TvAnswer *answer);

/*
 * The same for rows of the realms that are kept somewhere (a cursor): as closed as
 * all of these are.
 */
extern void tv_vault_ask_realms(const Bitmapset *realms, TvAction action, TvAnswer *answer);

/*
 * Audit the answer for what was asked and, unless it allows, throw ERROR with
 * the SQLSTATE and text that users search for ("vault password required", the
 * rule's message, ...).  object: how it is called in messages.
 */
extern void tv_vault_enforce(const TvAnswer *answer, const char *object, TvAction action);

/* Is there nothing for tv_vault_enforce() to do? */
extern bool tv_vault_passes(const TvAnswer *answer, TvAction action);

/* ask, then enforce. */
extern void tv_vault_require(Oid relid, TvAction action);

/* "SELECT", "DROP" ... and back ("ALL" too); throws if there is none. */
extern const char *tv_vault_action_name(TvAction action);
extern TvAction tv_vault_action_named(const char *name);

/* --- separation of duties: of the authenticated user, superuser or not --- */

extern bool tv_vault_is_admin(void);
extern bool tv_vault_is_auditor(void);

/*
 * Bootstrap: may the authenticated user, who enabled the vault, name the first
 * vault administrator?  And: one was named (in this transaction).
 */
extern bool tv_vault_may_name_admin(void);
extern void tv_vault_admin_named(void);

/*
 * Does something of the vault hang on this role (vault_*, their members, realm
 * owners, authorized roles and their members)?  Then only a vault administrator
 * changes, renames, drops or grants it, or sets its password.
 */
extern bool tv_vault_role_protected(Oid role);

/* --- realms, by their ids: whose rows, and who has a place in them --- */

/*
 * Stands for what nobody has a place in: tables that are closed because the
 * policy cannot be had.
 */
#define TV_REALM_UNKNOWN 0

/*
 * Stands for the audit log, whose lines are given to code as rows are: who may
 * read it has a place there.  Not in sets.
 */
#define TV_REALM_AUDIT_LOG (PG_UINT32_MAX - 1)

/*
 * The realms (a set of the caller's) that relid is in.  simulated: also those
 * that are tried out.
 */
extern Bitmapset *tv_vault_realms_of(Oid relid, bool simulated);

/* Is it in that one? */
extern bool tv_vault_in_realm(Oid relid, uint32 realm);

/* Those that what is role's own (a large object) may have rows of. */
extern Bitmapset *tv_vault_realms_of_owned(Oid role);

/*
 * Until when may what role owns be given rows of the realm: while role, or one
 * that it is a member of, is authorized for it, has a password or an emergency
 * that has not run out, or is its owner.  An office of the vault is no reason: it
 * gives no rows.  0: it may not; for tv_vault_before().
 */
extern TimestampTz tv_vault_role_trusted_until(Oid role, uint32 realm);

/* The realms whose rows what role owns may be given now; and until when those of all realms. */
extern Bitmapset *tv_vault_realms_of_role(Oid role);
extern TimestampTz tv_vault_role_trusted_everywhere_until(Oid role);

/* Has role an office of the vault, or a realm, so that it can change who may do what? */
extern bool tv_vault_role_governs(Oid role);

/*
 * Has the authenticated user, locked or not, a place in any realm here: what it
 * types may be rows of one?  As it was when tv_vault_look_at_user() was called
 * last, in a transaction; asking reads nothing, also while an error is reported.
 */
extern bool tv_vault_user_has_realm(void);

/* The same, or an office of the vault, or is the owner of a realm. */
extern bool tv_vault_user_has_place(void);

/* In a transaction, while a vault is on somewhere. */
extern void tv_vault_look_at_user_anew(void);

static inline void
tv_vault_look_at_user(void)
{
	if (unlikely(tv_vault_fast.user != tv_vault_generation()))
		tv_vault_look_at_user_anew();
}

/*
 * Rights of the vault are used by who has them, not by code of somebody else
 * that they happen to run: ERROR if a function is on the stack that is neither
 * the authenticated user's nor the server's nor an extension's.  The guard
 * knows what is on the stack: it sets who answers that (InvalidOid: none).
 */
extern void tv_vault_refuse_borrowed(const char *command);
typedef Oid (*TvBorrower) (void);
extern void tv_vault_set_borrower(TvBorrower function);

/*
 * Is the function one that a protected relation runs (frozen closure)?  And one
 * that a relation of the realm runs?
 */
extern bool tv_vault_function_frozen(Oid function);
extern bool tv_vault_function_runs_for(Oid function, uint32 realm);

/*
 * The protected relations (OIDs; a list of the caller's) that an object which
 * is no relation works for: a domain, a member of an operator family ...
 * Sees what the command at hand has made.
 */
extern List *tv_vault_users_of(Oid class, Oid object);

/* --- sessions --- */

/* DISCARD ALL, role change, end of session: forget every unlock of this one. */
extern void tv_vault_lock_session(void);

/* --- objects --- */

/*
 * A realm that relation relid would leave if it stood in schema and, if alone,
 * had no parent, table or owner any more; NULL: none.  Good until the end of
 * the statement.
 */
extern const char *tv_vault_leaves(Oid relid, Oid schema, bool alone);

/* Realms (a set of the caller's) that the view reads, itself or through other views. */
extern Bitmapset *tv_vault_realms_of_view(Oid view);

/* The same for row security policies of the table; what they read of the table itself does not count. */
extern Bitmapset *tv_vault_realms_of_policies(Oid relid);

/* A table of a realm that is called like that, in any schema; InvalidOid: none. */
extern Oid	tv_vault_namesake(const char *name);

/* A relation was made: if what protects it wants it encrypted, it must be. */
extern void tv_vault_object_created(Oid relid);

/*
 * Dropped by this transaction: when it commits, the policy forgets what it said
 * of them.  Made by this transaction: what the policy says of that OID is of
 * something that was dropped; it is forgotten at once.
 */
extern void tv_vault_object_dropped(Oid relid);
extern void tv_vault_schema_dropped(Oid schema);
extern void tv_vault_object_new(Oid relid);
extern void tv_vault_schema_new(Oid schema);

/*
 * A role is about to be dropped: ERROR if the vault of any database names it,
 * whoever drops it.  Locks the role against being given a place meanwhile.
 */
extern void tv_vault_role_dropped(Oid role);

/* A database was copied or dropped. */
extern void tv_vault_database_copied(Oid from, Oid to);
extern void tv_vault_database_dropped(Oid database);

/* In _PG_init. */
extern void tv_vault_init(void);

#endif							/* TV_VAULT_H */
