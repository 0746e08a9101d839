# Break-glass, recovery shares and separation of duties, attacked: one person
# in two roles, borrowed identities, steps repeated, undone, cut off by a crash,
# taken at the same time, on a standby.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

use constant READ => 'SELECT left(v, 5) FROM secret.small;';
use constant ASK => q{EMERGENCY UNLOCK REALM pii AUTHORIZED BY officer REASON 'why' VALID FOR INTERVAL '1 HOUR';};

my $node = realm_server(streaming => 1, conf => "max_prepared_transactions = 2\n", sql => <<'SQL');
CREATE ROLE officer LOGIN;
CREATE ROLE officers;
CREATE ROLE bob LOGIN;
CREATE ROLE twin LOGIN;
GRANT officers TO officer, bob;
GRANT bob TO twin;
GRANT SELECT ON ALL TABLES IN SCHEMA secret TO bob, twin, officer;
SQL
run_as('security', 'GRANT vault_admin TO officer;');

sub ask
{
	my ($id) = run_as('bob', ASK) =~ /^(\d+)$/m;
	return $id // -1;
}
sub review { return run_as('security', "REVIEW EMERGENCY UNLOCK $_[0] NOTE 'seen';") }
sub state { return $node->safe_psql('postgres', "SELECT state FROM tde_vault.emergency_unlocks WHERE id = $_[0]", extra_params => [ '-U', 'security' ]) }
sub refused { my ($name, $out, $why) = @_; like($out, $why // qr/only "officer" can do that/, $name); return }

# --- who approves ------------------------------------------------------------------------

my $id = ask();
is($id, 1, 'an emergency');
refused('by who asked', run_as('bob', "APPROVE EMERGENCY UNLOCK $id;"));
refused('by another administrator', run_as('security', "APPROVE EMERGENCY UNLOCK $id;"));
refused('by a superuser', run_as('mallory', "APPROVE EMERGENCY UNLOCK $id;"));
refused('SET ROLE', run_as('mallory', "SET ROLE officer; APPROVE EMERGENCY UNLOCK $id;"));
refused('SET SESSION AUTHORIZATION', run_as('mallory', "SET SESSION AUTHORIZATION officer; APPROVE EMERGENCY UNLOCK $id;"));
refused('a function of the officer', run_as('officer', <<'SQL') . run_as('bob', "SELECT public.approve($id);"), qr/not from within function "approve"/);
CREATE FUNCTION public.approve(id bigint) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN CALL tde_vault.approve_emergency_unlock(id); END';
GRANT EXECUTE ON FUNCTION public.approve TO PUBLIC;
SQL
refused('the officer made to run a function of who asks',
	run_as('bob', "CREATE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS 'BEGIN CALL tde_vault.approve_emergency_unlock($id); RETURN 1; END'; GRANT EXECUTE ON FUNCTION public.trap TO PUBLIC;")
	. run_as('officer', 'SELECT public.trap();'), qr/not from within function "trap"/);
foreach my $sql ('GRANT vault_admin TO bob', 'ALTER REALM pii DISABLE', q{ALTER ROLE officer PASSWORD ''x''}, 'ALTER ROLE officer SET search_path = public', 'ALTER REALM pii AUTHORIZE bob', 'ALTER DATABASE DISABLE DATABASE VAULT', 'GRANT vault_auditor TO bob', q{CALL tde_vault.set_vault_password(''pii'', ''bob'', ''x'')})
{
	run_as('bob', "CREATE OR REPLACE FUNCTION public.trap() RETURNS int LANGUAGE plpgsql AS 'BEGIN $sql; RETURN 1; END';");
	refused("a trap for an administrator: $sql", run_as('officer', 'SELECT public.trap();'), qr/not from within function "trap"/);
}
is(state($id), 'waits for approval', 'none of it approved it');
refused('one person in two roles: the group as officer', run_as('bob', q{EMERGENCY UNLOCK REALM pii AUTHORIZED BY officers REASON 'x' VALID FOR INTERVAL '1 HOUR';}), qr/cannot authorize it/);
refused('oneself as officer', run_as('officer', ASK), qr/cannot be authorized by who asks for it/);
refused('PUBLIC as officer', run_as('bob', q{EMERGENCY UNLOCK REALM pii AUTHORIZED BY public REASON 'x' VALID FOR INTERVAL '1 HOUR';}), qr/PUBLIC|syntax error/);
run_as('mallory', 'CREATE ROLE late LOGIN; GRANT officers TO late;');
refused('a role made after the vault was on', run_as('bob', q{EMERGENCY UNLOCK REALM pii AUTHORIZED BY late REASON 'x' VALID FOR INTERVAL '1 HOUR';}), qr/cannot authorize it/);
refused('made administrator by a superuser', run_as('mallory', 'GRANT vault_admin TO late; GRANT officer TO late; GRANT security TO late;'), qr/only a vault administrator/);
refused('in somebody else\'s transaction block', run_as('bob', 'BEGIN; ' . ASK), qr/cannot run inside a transaction block/);

# --- approved, and undone ----------------------------------------------------------------

my $said = run_as('officer', "BEGIN; APPROVE EMERGENCY UNLOCK $id; ROLLBACK;");
like($said, qr/WARNING: .*\d functions and views of role "bob" are trusted with rows of realm "pii" from now on/, 'who approves is told whose code will be trusted');
like($said, qr/ROLLBACK/, 'an approval that is rolled back');
is(state($id), 'waits for approval', 'is none');
refused('a prepared approval', run_as('officer', "BEGIN; APPROVE EMERGENCY UNLOCK $id; PREPARE TRANSACTION 'x';"), qr/cannot PREPARE a transaction that has changed the vault/);
is(state($id), 'waits for approval', 'is none');
my $approves = $node->background_psql('postgres', extra_params => [ '-U', 'officer' ]);
$approves->query("BEGIN; APPROVE EMERGENCY UNLOCK $id");
$approves->{stderr} = '';
attack('before the approval commits', 'bob', READ, qr/not authorized for realm/);
my $out = '';
my $second = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres') . ' user=officer', '-c', "APPROVE EMERGENCY UNLOCK $id" ], '>', \$out, '2>&1');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'APPROVE%' AND wait_event_type = 'Lock'}), 'two approve at once: one waits');
$approves->query_safe('COMMIT');
$approves->quit;
$second->finish;
like($out, qr/has been approved already/, 'and comes too late');
like(run_as('bob', READ), qr/^qmark$/m, 'approved, it opens the realm');
attack('to nobody else', $_, READ, qr/not authorized for realm|vault password required/) foreach qw(twin mallory officer);
attack('nor by SET ROLE', 'mallory', 'SET ROLE bob; ' . READ, qr/not authorized for realm/);
attack('nor by SET SESSION AUTHORIZATION', 'mallory', 'SET SESSION AUTHORIZATION bob; ' . READ, qr/not authorized for realm/);
attack('nor as a member', 'twin', 'SET ROLE bob; ' . READ, qr/not authorized for realm/);

# Who has an emergency is somebody whom only the vault's administrators change.
foreach my $sql (q{ALTER ROLE bob PASSWORD 'x'}, 'ALTER ROLE bob RENAME TO robert', 'GRANT bob TO mallory', 'DROP ROLE bob',
	'DROP OWNED BY bob CASCADE', q{ALTER ROLE bob SET search_path = public}, 'CREATE ROLE robin IN ROLE bob')
{
	like(run_as('mallory', "$sql;"), qr/refused while a vault is on/, "while it lasts: $sql");
}

# --- a crash in between -------------------------------------------------------------------

$node->crash;
like(run_as('bob', READ), qr/^qmark$/m, 'it survives a crash');
refused('a review by who asked', run_as('bob', "REVIEW EMERGENCY UNLOCK $id NOTE 'fine';"), qr/only a vault administrator or auditor|cannot be reviewed by who asked/);
refused('a review by who approved', run_as('officer', "REVIEW EMERGENCY UNLOCK $id NOTE 'fine';"), qr/TV036: REVIEW EMERGENCY UNLOCK: it cannot be reviewed by who approved it.*HINT/s);
refused('nor as another', run_as('mallory', "SET SESSION AUTHORIZATION security; REVIEW EMERGENCY UNLOCK $id NOTE 'fine';"), qr/only a vault administrator or auditor/);
my $open = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'bob' ]);
is($open->query_safe('SELECT count(*) FROM secret.small'), 1, 'a session that works');
review($id);
$said = $open->query('SELECT count(*) FROM secret.small');
like($open->{stderr}, qr/not authorized for realm/, 'the review ends it there, too');
$open->quit;
refused('approved once more', run_as('officer', "APPROVE EMERGENCY UNLOCK $id;"), qr/has been approved already/);
attack('after the end', 'bob', READ, qr/not authorized for realm/);
like(run_as('mallory', 'ALTER ROLE bob SET work_mem = 1000;'), qr/^ALTER ROLE$/m, 'and who asked is anybody again');

$id = ask();
$node->crash;
is(state($id), 'waits for approval', 'what was asked for survives a crash');
attack('and opens nothing', 'bob', READ, qr/not authorized for realm/);
run_as('security', 'REVOKE vault_admin FROM officer;');
refused('an officer who is none any more', run_as('officer', "APPROVE EMERGENCY UNLOCK $id;"), qr/can no longer authorize it/);
run_as('security', 'GRANT vault_admin TO officer;');
run_as('bob', q{EMERGENCY UNLOCK REALM pii AUTHORIZED BY officer REASON 'short' VALID FOR INTERVAL '1 second';});
my $short = $id + 1;
run_as('officer', "APPROVE EMERGENCY UNLOCK $short;");
for (my $i = 0; $i < 500 && run_as('bob', READ) !~ /not authorized/; $i++) { select undef, undef, undef, 0.02 }
refused('nor reviews who approved it what has run out', run_as('officer', "REVIEW EMERGENCY UNLOCK $short NOTE 'fine';"), qr/cannot be reviewed by who approved it/);
like(run_as('officer', "REVIEW EMERGENCY UNLOCK $id NOTE 'not needed';"), qr/^REVIEW EMERGENCY UNLOCK$/m, 'but closes what was not approved');
attack('an approval that has run out', 'bob', READ, qr/not authorized for realm/);
refused('approved again', run_as('officer', "APPROVE EMERGENCY UNLOCK $short;"), qr/has been approved already/);

# --- recovery shares ------------------------------------------------------------------------

my @shares = run_as('security', 'SELECT share FROM tde_vault.create_recovery_shares(2, 3);') =~ /(tv1-\S+)/g;
is(scalar @shares, 3, 'shares');
sub recover { my ($admin, @s) = @_; return "CALL tde_vault.recover_vault_admin(ARRAY[" . join(', ', map { "'$_'" } @s) . "], '$admin');" }
refused('one is not enough', run_as('bob', recover('bob', $shares[0])), qr/2 shares are needed/);
refused('nor twice the same', run_as('bob', recover('bob', @shares[0, 0])), qr/twice/);
refused('nor a forged one', run_as('bob', recover('bob', $shares[0], 'tv1-02-' . 'a' x 64 . '-00000000')), qr/mistyped/);
like(run_as('bob', 'BEGIN; ' . recover('late', @shares[0, 1]) . ' ROLLBACK;'), qr/ROLLBACK/, 'a recovery that is rolled back');
is($node->safe_psql('postgres', q{SELECT pg_has_role('late', 'vault_admin', 'member')}), 'f', 'names nobody');
my $recovers = $node->background_psql('postgres', extra_params => [ '-U', 'bob' ]);
$recovers->query_safe('BEGIN');
$recovers->query_safe(recover('late', @shares[0, 1]));
$out = '';
$second = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres') . ' user=bob', '-c', recover('mallory', @shares[1, 2]) ], '>', \$out, '2>&1');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL tde_vault.recover%' AND wait_event_type = 'Lock'}), 'two recover at once: one waits');
$recovers->query_safe('COMMIT');
$recovers->quit;
$second->finish;
like($out, qr/there are no recovery shares/, 'and has nothing to recover with');
is($node->safe_psql('postgres', q{SELECT pg_has_role('late', 'vault_admin', 'member'), (SELECT count(*) FROM pg_auth_members WHERE roleid = 'vault_admin'::regrole AND member = 'mallory'::regrole)}),
	't|0', 'one administrator was named, the other not');
refused('used again', run_as('mallory', recover('mallory', @shares)), qr/there are no recovery shares/);

# --- a standby ------------------------------------------------------------------------------

$node->backup('copy');
my $standby = TdeVault->create_from_backup('standby', $node, 'copy', has_streaming => 1);
$standby->start;
sub there { my ($who, $sql) = @_; my ($rc, $o, $e) = $standby->psql('postgres', $sql, extra_params => [ '-U', $who ]); return "$o$e" }
refused('asked on a standby', there('bob', ASK), qr/cannot execute EMERGENCY UNLOCK|read-only transaction/);
like(there('bob', READ), qr/not authorized for realm/, 'a standby is as closed as its primary');
$id = ask();
refused('approved on a standby', there('officer', "APPROVE EMERGENCY UNLOCK $id"), qr/read-only transaction|during recovery/);
run_as('officer', "APPROVE EMERGENCY UNLOCK $id;");
$node->wait_for_catchup($standby);
like(there('bob', READ), qr/^qmark$/m, 'what was approved on the primary is so on the standby');
review($id);
$node->wait_for_catchup($standby);
like(there('bob', READ), qr/not authorized for realm/, 'as is its end');
refused('recovery on a standby', there('bob', recover('mallory', @shares)), qr/read-only transaction|during recovery/);
$standby->stop;

$node->stop;
done_testing();
