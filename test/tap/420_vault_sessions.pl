# The vault among many sessions: policy changes under load, parallel workers,
# copies of a database, dump and restore, an emergency across a crash, recovery
# of the last administrator.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', master => 'cluster', conf => <<'CONF');
max_connections = 80
max_worker_processes = 8
max_parallel_workers = 8
CONF

sub as_user
{
	my ($user, $sql, $db) = @_;
	return $node->safe_psql($db // 'postgres', $sql, extra_params => [ '-U', $user ]);
}

sub fails_as
{
	my ($user, $sql, $pattern, $name, $db) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($ret, undef, $stderr) = $node->psql($db // 'postgres', $sql, extra_params => [ '-U', $user ]);
	like($stderr, $pattern, $name);
	return;
}

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE sec LOGIN;
CREATE ROLE officer LOGIN;
CREATE ROLE alice LOGIN;
CREATE ROLE dba LOGIN SUPERUSER;
CREATE ROLE auditor LOGIN IN ROLE vault_auditor;
CREATE TABLE patients (id int, name text) USING tde_heap;
INSERT INTO patients SELECT g, 'patient ' || g FROM generate_series(1, 20000) g;
CREATE TABLE loose (id int) USING tde_heap;
GRANT SELECT ON patients, loose TO alice;
GRANT vault_admin TO sec, officer;
CALL tde_vault.enable_vault();
SQL
as_user(sec => $_) foreach (
	q{CALL tde_vault.create_realm('pii', require_password => true)},
	q{CALL tde_vault.realm_add('pii', ARRAY['patients'])},
	q{CALL tde_vault.realm_authorize('pii', ARRAY['alice'])},
	q{CALL tde_vault.grant_vault_password('pii', 'alice', 'alice knows')});

# --- parallel workers find what their leader has unlocked ---------------------------

my $parallel = q{
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 4;
SET force_parallel_mode = on;};
is(as_user(alice => "CALL tde_vault.unlock_realm('pii', 'alice knows'); $parallel SELECT count(*) FROM patients WHERE id % 2 = 0"),
	'10000', 'a parallel query of an unlocked realm');
like(as_user(alice => "CALL tde_vault.unlock_realm('pii', 'alice knows'); $parallel EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT count(*) FROM patients"),
	qr/Workers Launched: [1-9]/, 'workers run');
fails_as(alice => "$parallel SELECT count(*) FROM patients", qr/vault password required/, 'and of a locked one');

# --- no password in SQL: the example program ------------------------------------------

my $example = "$FindBin::Bin/../../contrib/examples/unlock.c";
my $program = PostgreSQL::Test::Utils::tempdir() . '/unlock';
my $includes = qx(pg_config --includedir);
chomp $includes;
command_ok([ 'cc', '-Wall', '-Werror', '-o', $program, $example, "-I$includes", '-lpq', '-largon2', '-lcrypto' ], 'the example is compiled');
sub example
{
	my ($password) = @_;
	my ($in, $out, $err) = ("$password\n", '', '');
	IPC::Run::run([ $program, $node->connstr('postgres') . ' user=alice', 'pii', 'SELECT count(*) FROM patients' ], '<', \$in, '>', \$out, '2>', \$err);
	return $out . $err;
}
is(example('alice knows'), "20000\n", 'challenge and response unlocks');
like(example('alice guesses'), qr/vault password for realm "pii" is not correct/, 'not with another password');
like(example('alice guesses'), qr/vault password for realm "pii" is not correct/, 'and again');
is(example('alice knows'), "20000\n", 'a success forgives');

# --- 50 sessions, while the policy changes ---------------------------------------------

# Each asks what it may; an answer is the old or the new policy's, and once the change
# has returned, the new one's.
my $script = PostgreSQL::Test::Utils::tempdir() . '/ask.sql';
append_to_file($script, "SELECT verdict FROM tde_vault.vault_access('loose');\n");
my $pgbench = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '50', '-j', '2', '-T', '8', '-f', $script, '-U', 'alice', '-h', $node->host, '-p', $node->port, 'postgres' ],
	'>', \my $bench_out, '2>', \my $bench_err);
my $wrong = 0;
foreach my $round (1 .. 12)
{
	my $in = $round % 2;
	as_user(sec => sprintf(q{CALL tde_vault.realm_%s('pii', ARRAY['loose'])}, $in ? 'add' : 'remove'));
	my $answers = as_user(alice => q{SELECT verdict FROM tde_vault.vault_access('loose')});
	$wrong++ if $answers ne ($in ? 'locked' : 'not protected');
}
$pgbench->finish;
is($wrong, 0, 'after a change has returned, nobody sees the policy before it');
like($bench_out, qr/number of failed transactions: 0 /, 'and 50 sessions that asked meanwhile were answered');
my ($one, $two) = map {
	my ($in, $out) = ('', '');
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=alice' ], '<', \$in, '>', \$out, '2>&1');
	{ in => \$in, out => \$out, h => $session, timer => undef };
} 1 .. 2;
sub ask
{
	my ($session, $sql) = @_;
	${ $session->{out} } = '';
	${ $session->{in} } .= "$sql;\n\\echo done\n";
	$session->{h}->pump until ${ $session->{out} } =~ /done/;
	my $answer = ${ $session->{out} };
	$answer =~ s/\s*done\s*//;
	return $answer;
}
is(ask($one, q{CALL tde_vault.unlock_realm('pii', 'alice knows'); SELECT count(*) FROM patients}), '20000', 'a session unlocks');
is(ask($two, q{SELECT verdict FROM tde_vault.vault_access('patients')}), 'locked', 'another of the same user has not');
as_user(sec => q{CALL tde_vault.grant_vault_password('pii', 'alice', 'another')});
is(ask($one, q{SELECT verdict FROM tde_vault.vault_access('patients')}), 'locked', 'a new password ends what the old one has unlocked');
is(ask($one, q{CALL tde_vault.unlock_realm('pii', 'another'); SELECT verdict FROM tde_vault.vault_access('patients')}), 'allowed', 'it unlocks again');
is(as_user(sec => q{SELECT count(*) FROM tde_vault.unlocked_realms}), '1', 'administrators see it');
is(as_user(dba => q{SELECT count(*) FROM tde_vault.unlocked_realms}), '0', 'others do not');
as_user(sec => q{CALL tde_vault.revoke_vault_password('pii', 'alice')});
is(ask($one, q{SELECT verdict FROM tde_vault.vault_access('patients')}), 'locked', 'a revoked password ends it, too');
as_user(sec => q{CALL tde_vault.grant_vault_password('pii', 'alice', 'short', '6 seconds')});
is(ask($one, q{CALL tde_vault.unlock_realm('pii', 'short'); SELECT verdict FROM tde_vault.vault_access('patients')}), 'allowed', 'a password for six seconds unlocks');
my $answer = 'allowed';
my $end = time + 60;
$answer = ask($one, q{SELECT verdict FROM tde_vault.vault_access('patients')}) while $answer eq 'allowed' && time < $end;
is($answer, 'locked', 'and no longer');
${ $_->{in} } .= "\\q\n", $_->{h}->finish foreach ($one, $two);

# --- an emergency, by two people, across a crash ------------------------------------------

is(as_user(dba => q{CALL tde_vault.emergency_unlock('pii', 'officer', 'the ward cannot read', '1 hour')}), '1', 'an emergency is asked for');
fails_as(dba => 'SELECT count(*) FROM patients', qr/not authorized for realm/, 'which opens nothing');
$node->crash;
as_user(officer => 'CALL tde_vault.approve_emergency_unlock(1)');
$node->crash;
is(as_user(dba => 'SELECT count(*) FROM patients'), '20000', 'approved by the officer it opens, also after a crash');
fails_as(postgres => 'SELECT count(*) FROM patients', qr/not authorized for realm/, 'to who asked, and nobody else');
as_user(auditor => q{CALL tde_vault.review_emergency_unlock(1, 'was right')});
fails_as(dba => 'SELECT count(*) FROM patients', qr/not authorized for realm/, 'a review ends it');
is(as_user(auditor => q{SELECT string_agg(detail ->> 'id' || ' ' || severity, ', ' ORDER BY event_id) FROM tde_vault.audit_log WHERE event_type = 'EMERGENCY'}),
	'1 CRITICAL, 1 CRITICAL, 1 CRITICAL', 'all three steps are in the log');

# --- a copy of the database is closed --------------------------------------------------------

$node->safe_psql('template1', 'CREATE DATABASE stolen TEMPLATE postgres', extra_params => [ '-U', 'dba' ]);
fails_as(dba => 'SELECT count(*) FROM patients', qr/the vault of this database is closed.*is a copy of one with a vault/s, 'a copy is closed', 'stolen');
fails_as(alice => q{CALL tde_vault.unlock_realm('pii', 'alice knows')}, qr/vault of this database is closed/, 'to authorized users, too', 'stolen');
fails_as(dba => 'CALL tde_vault.enable_vault()', qr/only a vault administrator/, 'a superuser does not open it', 'stolen');
fails_as(sec => q{CALL tde_vault.drop_realm('pii')}, qr/the vault of this database is closed/, 'nor is it changed while it is closed', 'stolen');
$node->crash;
fails_as(dba => 'SELECT count(*) FROM patients', qr/the vault of this database is closed/, 'closed after a crash, too', 'stolen');
as_user(sec => 'CALL tde_vault.enable_vault()', 'stolen');
fails_as(dba => 'SELECT count(*) FROM patients', qr/not authorized for realm/, 'a vault administrator opens it, and the realm holds', 'stolen');
my $stolen = $node->data_dir . '/tde_vault/vault/' . $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'stolen'});
ok(-e $stolen, 'it has a policy of its own');
as_user(sec => 'CALL tde_vault.disable_vault()', 'stolen');
$node->safe_psql('postgres', 'DROP DATABASE stolen', extra_params => [ '-U', 'dba' ]);
ok(!-e $stolen, 'which goes with the database');

# --- dump and restore -----------------------------------------------------------------------------

as_user(sec => q{CALL tde_vault.grant_vault_password('pii', 'alice', 'alice knows')});
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_fails_like([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') . ' user=dba' ],
	qr/not authorized for realm/, 'a superuser cannot dump the realm');
as_user(sec => q{CALL tde_vault.realm_mode('pii', 'simulate')});
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') . ' user=dba' ], 'a dump while the realm is simulated');
as_user(sec => q{CALL tde_vault.realm_mode('pii', 'enable')});
my $text = slurp_file($dump);
like($text, qr/CREATE REALM pii OWNER sec REQUIRE VAULT PASSWORD/, 'it holds the policy as statements');
like($text, qr/ALTER REALM pii ADD TABLE public\.patients/, 'all of it');
unlike($text, qr/argon2|alice knows/, 'and no password');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0', extra_params => [ '-U', 'dba' ]);
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('restored') ], 'it is restored');
is($node->safe_psql('restored', q{SELECT count(*) FROM tde_vault.vault_script WHERE statement LIKE 'CREATE REALM pii%'}), '1', 'the statements are rows');
is($node->safe_psql('restored', q{SELECT count(*) FROM tde_vault.realms}), '0', 'and nothing is in force by itself');
fails_as(dba => 'CALL tde_vault.enable_vault()', qr/only a vault administrator/, 'nor does a superuser switch on a second vault', 'restored');
as_user(sec => 'CALL tde_vault.enable_vault()', 'restored');
as_user(sec => $_, 'restored') foreach split /\n/, as_user(sec => 'SELECT statement FROM tde_vault.vault_script ORDER BY number', 'restored');
as_user(sec => q{CALL tde_vault.realm_mode('pii', 'enable')}, 'restored');
is(as_user(sec => q{SELECT realm || ' ' || object FROM tde_vault.realm_objects}, 'restored'), 'pii public.patients', 'a vault administrator runs them');
fails_as(dba => 'SELECT count(*) FROM patients', qr/not authorized for realm/, 'and they are in force', 'restored');

# --- the last administrator is gone -----------------------------------------------------------------

my @shares = split /\n/, as_user(sec => 'SELECT share FROM tde_vault.create_recovery_shares(2, 3)');
is(scalar @shares, 3, 'three shares');
unlike(slurp_file($node->data_dir . '/tde_vault/vault/' . $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'postgres'})),
	qr/tv1-/, 'which are not in the policy');
fails_as(dba => 'GRANT vault_admin TO dba', qr/vault administrator/, 'a superuser cannot name one');
fails_as(dba => "CALL tde_vault.recover_vault_admin(ARRAY['$shares[0]'], 'dba')", qr/2 shares are needed/, 'with one share neither');
$node->stop_clean;
$node->start;
as_user(dba => "CALL tde_vault.recover_vault_admin(ARRAY['$shares[2]', '$shares[0]'], 'officer')");
is($node->safe_psql('postgres', q{SELECT pg_has_role('officer', 'vault_admin', 'MEMBER')}), 't', 'two shares do, after a restart');
is(as_user(auditor => 'SELECT ok FROM tde_vault.audit_verify()'), 't', 'the audit log is whole');
$node->stop;
done_testing();
