/*
 * tv_guard_internal.h
 *	  What the rings share among themselves.
 */
#ifndef TV_GUARD_INTERNAL_H
#define TV_GUARD_INTERNAL_H

#include "postgres.h"

#include "access/genam.h"
#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"
#include "nodes/primnodes.h"

#include "base/tv_settings.h"
#include "vault/tv_vault.h"

/* --- tv_guard.c: asking --- */

/*
 * May the session do action to relid?  Audits, and throws ERROR if not.  An
 * answer that allows is checked against the functions on the stack.
 */
extern void tv_guard_require(Oid relid, TvAction action);
extern void tv_guard_require_columns(Oid relid, TvAction action, const Bitmapset *columns);

/*
 * Is it known that the session may read relid, and does nothing on the stack
 * forbid it?  The transaction then carries rows of a realm, as after
 * tv_guard_recheck().  Whether memberships of roles have changed meanwhile is not
 * asked: for where tv_guard_recheck() has been called in the statement.
 */
extern bool tv_guard_reads(Oid relid);

/*
 * The same when memberships have been looked at, if such a read needs no audit
 * record either.  false: ask with tv_guard_require_columns().
 */
extern bool tv_guard_reads_unaudited(Oid relid);

/* The same without an audit record of what is allowed; command rules count if rules. */
extern void tv_guard_recheck(Oid relid, TvAction action, const Bitmapset *columns, bool rules);

/* The same as a question: no audit, no error. */
extern bool tv_guard_allows(Oid relid, TvAction action, const Bitmapset *columns);

/* A relation by name, as the statement at hand would find it; none: nothing. */
extern void tv_guard_require_name(const RangeVar *name, TvAction action);

/* Throw if the vault forbids that to what is in the schema, or in the database. */
extern void tv_guard_require_schema(Oid schema, TvAction action);
extern void tv_guard_require_database(TvAction action);

/*
 * What is role's own (a large object), object being how it is called; again:
 * it was allowed before, and is in the audit log.
 */
extern void tv_guard_require_owned(Oid role, const char *object, TvAction action, bool again);

/* Rows of these realms are read again, from where they were kept (object, as it is called). */
extern void tv_guard_require_realms(const Bitmapset *realms, const char *object);

/* How a relation is called in messages; palloc'd. */
extern char *tv_guard_name(Oid relid);

/*
 * Refuse what nobody but (hint: instead) may do while a vault is on: audit,
 * then ERROR.  what: "COPY with a file of the server", say.
 */
extern void tv_guard_refuse(const char *what, const char *hint) pg_attribute_noreturn();

/* The audit record of that. */
extern void tv_guard_audit_refusal(const char *what);

/* --- tv_guard_carried.c: of which realms the transaction at hand has rows --- */

/*
 * Has this session met a protected relation in the transaction at hand?  For
 * what may stand in the server's log.
 */
extern bool tv_guard_touched(void);
extern void tv_guard_touch(void);

/* The session is allowed rows of the realm, or of all of the set. */
extern void tv_guard_carry(uint32 realm);
extern void tv_guard_carry_all(const Bitmapset *realms);

/* It was given lines of the audit log: until the transaction ends it has these, too. */
extern void tv_guard_carry_log(void);
extern bool tv_guard_carries_log(void);

/*
 * The realms whose rows the session was allowed in the transaction at hand, or
 * the server works on: they may be in whatever is handed to functions.  NULL:
 * none.  Good until the next call; the number moves when the set has grown.
 */
extern const Bitmapset *tv_guard_carried(uint32 *number);

/* Are there any, or lines of the audit log? */
extern bool tv_guard_carrying(void);

/* CALL or DO, whose transactions count as one, begins and ends, also by an error. */
extern void tv_guard_block_begin(void);
extern void tv_guard_block_end(void);

/*
 * Does the server itself work on a realm's rows in the transaction at hand
 * (statistics, VACUUM, logical apply), whoever made it?  Then tv_guard_carried()
 * has them, too, and who is connected is no reason to trust a function.
 */
extern bool tv_guard_serving(void);

/* From now on it does, on those of relid, which is protected. */
extern void tv_guard_serve(Oid relid);

extern void tv_guard_carried_init(void);

/* Was the session ever allowed any?  They may be in its temporary tables, cursors, settings. */
extern bool tv_guard_handled(void);

/* --- tv_guard_audit.c: outside realms --- */

/* A statement is about to run; top: not one that another statement made. */
extern void tv_guard_audit_statement(Node *stmt, bool top);

/* Do settings ask for what queries do outside realms? */
static inline bool
tv_guard_audits_entries(void)
{
	return tv_setting_audit_reads || tv_setting_audit_writes;
}

/* A query will do actions (a mask) to relid. */
extern void tv_guard_audit_entry(Oid relid, int actions);

/* --- tv_guard_builtin.c --- */

/* In _PG_init: what stood there. */
extern PGFunction tv_guard_replace_builtin(Oid function, PGFunction replacement);

/* Was it?  Then nobody may call it by its name. */
extern bool tv_guard_is_replaced_builtin(Oid function);
extern void tv_guard_builtin_init(void);

/* --- tv_guard_written.c --- */

/*
 * Is the function called by the text of a statement, or of a function, and not
 * by an expression that is stored (a default, check, view, rule, policy,
 * operator, cast ...), nor within what one of these has told a function to do?
 */
extern bool tv_guard_is_written(const FmgrInfo *flinfo);

/* It takes a value where others find it: throw if it may be given rows by a stored expression. */
extern void tv_guard_check_sent(const FmgrInfo *flinfo);

extern void tv_guard_written_init(void);

/* --- tv_guard_large_object.c --- */

/* May the session, by that call, read (ACL_SELECT) or change it?  Throws if not. */
extern void tv_guard_check_large_object(Oid object, AclMode mode, const FmgrInfo *flinfo);

/* To be called in _PG_init. */
extern void tv_guard_large_object_init(void);

/* Its owner is about to change, or something else of it. */
extern void tv_guard_large_object_altered(Oid object);

/* Is the entry pg_largeobject with what is in it?  Then refuse. */
extern bool tv_guard_is_large_object_data(const RangeTblEntry *rte);
extern void tv_guard_refuse_large_objects(void) pg_attribute_noreturn();

/* --- tv_guard_planted.c --- */

/* An object was made or changed: refuse if it is in the name of a role of the vault. */
extern void tv_guard_check_planted(Oid class, Oid object);

/* A relation was made, renamed or moved, or a schema renamed: refuse what stands before a table of a realm. */
extern void tv_guard_check_shadow(Oid class, Oid object);

/* A trigger is made of the function: refuse if that is of a role with a place, and who makes it has less. */
extern void tv_guard_check_lent(Oid function);

/*
 * Something is done that outlasts the function which does it, and that counts as
 * role's own: throw if that function is of somebody who may have less than role.
 */
extern void tv_guard_check_left(Oid role, const char *what);

/* The owner; InvalidOid if there is no such relation. */
extern Oid	tv_guard_owner_of_relation(Oid relid);

/* The same for one that brings queries along (view, rules, policies); else InvalidOid. */
extern Oid	tv_guard_owner_of_queries(Oid relid);

/* --- tv_guard_query.c --- */

/* Executors that run, one inside the other. */
extern int	tv_guard_executor_depth(void);

/* The innermost statement that runs (NULL: none); good until its end. */
typedef struct TvRunning TvRunning;
extern const TvRunning *tv_guard_running(void);

/* Does it write to a table that is not in the realm? */
extern bool tv_guard_writes_elsewhere(const TvRunning *statement, uint32 realm);

/* Is entry rti only locked: SELECT FOR UPDATE, which the server takes for an UPDATE? */
extern bool tv_guard_only_locked(const PlannedStmt *stmt, Index rti);

/* Columns for who names none, so that only rules on the whole table count. */
extern const Bitmapset *tv_guard_no_column(void);

/*
 * Does a statement that runs use relations of somebody who has no place in all of
 * the realms, and that are not in them?  any: all count, and what is written to,
 * because these can have defaults and checks; else those that bring queries along.
 */
extern bool tv_guard_runs_others(bool any, const Bitmapset *realms);

/* The same with those that bring queries along, for the audit log. */
extern bool tv_guard_runs_others_for_log(void);

/* COPY TO begins or ends: what is read meanwhile is exported. */
extern void tv_guard_copying(bool copying);

/* COPY FROM begins or ends; the table that it fills (InvalidOid: none). */
extern void tv_guard_filling(bool filling);
extern Oid	tv_guard_filled(void);

/*
 * How many statements that run read foreign tables, and are these for rows of
 * realms that the transaction is given now?  Throws.
 */
extern int	tv_guard_foreign_running;
extern void tv_guard_check_foreign_running(void);

/* The session may have lost what it had when the statement was started: throws. */
extern void tv_guard_check_again(const PlannedStmt *stmt);

/* The columns that a rule about the action looks at. */
extern const Bitmapset *tv_guard_columns_of(const RangeTblEntry *rte, TvAction action);

extern void tv_guard_query_init(void);

/* --- tv_guard_plan.c --- */

extern void tv_guard_plan_init(void);

extern void tv_guard_cursor_init(void); /* tv_guard_cursor.c */

/* --- tv_guard_view.c: all throw what they refuse --- */

/* An entry of the statement (NULL: no plan), if a rule or view brings it along. */
extern void tv_guard_check_borrowed(const PlannedStmt *stmt, const RangeTblEntry *rte);

/* Views, and rules and policies of tables, in a statement (NULL: no plan) with these entries, more than one. */
extern void tv_guard_check_views(const PlannedStmt *stmt, const List *rtable);

/* A foreign table, or those that a statement (NULL: no plan) with these entries reads. */
extern void tv_guard_check_foreign(Oid table);
extern void tv_guard_check_foreign_in(const PlannedStmt *stmt, const List *rtable);

/* --- tv_guard_log.c --- */

/* The function may not have lines of the audit log: audit, then ERROR. */
extern void tv_guard_refuse_log(Oid function) pg_attribute_noreturn();

/* --- tv_guard_statistics.c --- */

/* Is it a catalog with values of tables in it? */
extern bool tv_guard_is_statistics(Oid relid);

/* Entry rti of stmt (NULL: no plan) is such a catalog: throw unless filtered. */
extern void tv_guard_check_statistics(const PlannedStmt *stmt, Index rti, Oid relid);

/*
 * May the planner use statistics of the relation that have values of its
 * partitions or children, too?  These may be in realms, and be left out of a plan
 * before anybody has asked for them.
 */
extern bool tv_guard_uses_inherited(Oid relid);

/*
 * Entry rti of a query that is being planned is pg_statistic or
 * pg_statistic_ext_data: leave out what is protected.
 */
extern void tv_guard_filter_statistics(PlannerInfo *root, RangeTblEntry *rte, Index rti);

/* --- tv_guard_table.c --- */

/*
 * VACUUM, ANALYZE, REINDEX or CLUSTER runs: begin returns what to hand to end.
 * listed: of all tables of a schema or database, which it rewrites.
 */
typedef struct TvMaintenance
{
	bool		active;
	int			depth;			/* of executors, where it began */
} TvMaintenance;

extern TvMaintenance tv_guard_maintenance_begin(bool listed);
extern void tv_guard_maintenance_end(TvMaintenance before);
extern void tv_guard_table_init(void);

/* --- tv_guard_code.c --- */

typedef struct TvCode
{
	Oid			function;
	bool		dangerous;
	bool		untrusted_language;
	bool		foreign;		/* neither the server's nor an extension's */
	bool		aggregate;
	bool		inlined;		/* reads no table, or becomes part of the query */
	bool		replaced;		/* another name for a function of the server that we stand in front of */
	bool		telling;		/* runs SQL that it is told */
	bool		keeps;			/* foreign, in a language whose functions can leave code for each other */
	bool		by_relation;	/* a module's: does action to the relation that it is given */
	TvAction	action;
	Oid			owner;
} TvCode;

extern TvCode tv_guard_code(Oid function);

/* Is it the server's own, and none of the dangerous?  Reads nothing. */
extern bool tv_guard_is_harmless_builtin(Oid function);

/* Is the language one whose functions may do what the server's process may? */
extern bool tv_guard_untrusted_language(Oid language);

/*
 * Functions of most languages share an interpreter by the role that they run as:
 * what one defines there, or puts in the place of what others call, is run by
 * others later.  Is it such a language?
 */
extern bool tv_guard_keeps_code(Oid language);

extern void tv_guard_code_init(void);

/* --- tv_guard_function.c --- */

/* Is owner the authenticated user, or has a place in all of the realms? */
extern bool tv_guard_trusted_owner(Oid owner, const Bitmapset *realms);

/* Has the role a place in that one? */
extern bool tv_guard_has_place(Oid role, uint32 realm);

/* The same for lines of the audit log: or may read it. */
extern bool tv_guard_trusted_with_log(Oid owner);

/*
 * A statement calls that function, which is no harmless one of the server's; a
 * vault is on somewhere.  Throws if it may not.
 */
extern void tv_guard_function_used(Oid function);

extern void tv_guard_function_init(void);

/* --- tv_guard_stack.c: functions on the stack that are watched --- */

/* How many. */
extern int	tv_guard_stack_depth;

/* The i-th, from the bottom. */
extern Oid	tv_guard_on_stack(int i);

/* One is called, as flinfo says (NULL: who knows how), and returns. */
extern void tv_guard_push(Oid function, Oid owner, const FmgrInfo *flinfo);
extern void tv_guard_pop(Oid function);

/*
 * A function on the stack that rows of the realm (of one of them) must not be
 * given to, or InvalidOid: its owner is neither the authenticated user nor a role
 * with a place in it, no table of it runs the function, and it is not part of the
 * server or an extension.  Or it is trusted, and called by an expression that is
 * stored, in a statement that writes what it returns where it is not protected.
 */
extern Oid	tv_guard_untrusted_on_stack(uint32 realm);
extern Oid	tv_guard_untrusted_function_of(const Bitmapset *realms);

static inline Oid
tv_guard_untrusted_function(uint32 realm)
{
	return likely(tv_guard_stack_depth == 0) ? InvalidOid : tv_guard_untrusted_on_stack(realm);
}

/* Is the latter so of that one, which is on the stack? */
extern bool tv_guard_is_stored_call(Oid function);

/* A function on the stack that is not the user's own, whatever place its owner has. */
extern Oid	tv_guard_others_function(void);

/*
 * A function that runs what it is told was told by a stored expression: whose
 * that is nobody knows, so until the end it is one on the stack that may not
 * have a realm's data, nor use rights of the user.
 */
extern void tv_guard_begin_told(Oid function);
extern void tv_guard_end_told(Oid function);
extern bool tv_guard_is_told(void);

/*
 * Does the script of an extension do what happens now, and not somebody's
 * function that an event trigger, say, calls meanwhile?  CREATE and ALTER
 * EXTENSION run between begin and end, which gets what begin returned.
 */
extern bool tv_guard_in_script(void);
extern int	tv_guard_script_begin(void);
extern void tv_guard_script_end(int before);

/*
 * Workers of a parallel query, which runs between show and hide (that gets what
 * show returned), begin with what is on their leader's stack.
 */
extern uint32 tv_guard_show_stack(void);
extern void tv_guard_hide_stack(uint32 before);
extern void tv_guard_import_stack(void);

extern void tv_guard_stack_init(void);

/* --- tv_guard_object.c --- */

/* Relations that statements made, for when they can be seen. */
extern void tv_guard_objects_created(void);
extern void tv_guard_object_init(void);

/* The relation that an object is on; InvalidOid if it is on none. */
extern Oid	tv_guard_relation_of(Oid class, Oid object);

/* Is the object one of the extension's own? */
extern bool tv_guard_is_ours(Oid class, Oid object);

/* Throw if the object is, or is on, one of the extension's own; what: "changing", say. */
extern void tv_guard_check_ours(Oid class, Oid object, const char *what);

/* The tuple of a catalog with that OID; scan ends with tv_guard_end_lookup(). */
typedef struct TvLookup
{
	Relation	catalog;
	SysScanDesc scan;
} TvLookup;
extern HeapTuple tv_guard_lookup(TvLookup *lookup, Oid catalog, Oid index, int column, Oid object);
extern HeapTuple tv_guard_lookup_as_of(TvLookup *lookup, Oid catalog, Oid index, int column, Oid object,
									   Snapshot snapshot);
extern void tv_guard_end_lookup(TvLookup *lookup);

/* --- statements, by what they are about; all throw what they refuse --- */

extern void tv_guard_relation_statement(Node *stmt);	/* tv_guard_relation.c */

/* Does it write tables anew? */
extern bool tv_guard_is_vacuum_full(const VacuumStmt *stmt);

/* A schema by name, and every relation in it. */
extern void tv_guard_require_all_in(const char *schema, TvAction action);
extern void tv_guard_server_statement(Node *stmt);	/* tv_guard_server.c */
extern void tv_guard_unsafe_statement(Node *stmt);	/* tv_guard_unsafe.c */
extern void tv_guard_role_statement(Node *stmt);	/* tv_guard_role.c */
extern void tv_guard_statement_init(void);	/* tv_guard_statement.c */

/* --- tv_guard_role.c --- */

/* A GRANT or REVOKE of the vault's roles by somebody who may, but whom the server would refuse? */
extern bool tv_guard_role_elevated(Node *stmt);

/* Does it name the first vault administrator? */
extern bool tv_guard_role_names_admin(Node *stmt);

/* CREATE ROLE of what the extension has made already: a notice, and true. */
extern bool tv_guard_role_exists(Node *stmt);

/* The role has been changed or is about to be dropped: throws what is refused. */
extern void tv_guard_role_altered(Oid role);

/* GRANT of roles is done: warn of what members of the vault's roles own already. */
extern void tv_guard_role_granted(Node *stmt);

/* The statement is over. */
extern void tv_guard_role_forget(void);

/* --- the rest --- */

extern void tv_guard_settings_init(void);	/* tv_guard_settings.c */
extern void tv_guard_alter_system(Node *stmt);

/* Would it make others' sessions mean other objects by the same names, or act as somebody else? */
extern bool tv_guard_setting_misleads(const char *name);

/* Does it change a setting of the vault, by one of its administrators? */
extern bool tv_guard_settings_elevated(Node *stmt);
extern void tv_guard_messages_init(void);	/* tv_guard_messages.c */
extern void tv_guard_decode_init(void); /* tv_guard_decode.c */

#endif							/* TV_GUARD_INTERNAL_H */
