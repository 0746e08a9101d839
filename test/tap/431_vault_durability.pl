# The vault's policy outlives crashes, goes along with base backups, standbys
# and recovery to a point in time, and is missed when somebody takes it away.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $archive = PostgreSQL::Test::Utils::tempdir_short();
my $primary = TdeVault->create('primary', streaming => 1, master => 'cluster', conf => <<"CONF");
wal_keep_size = 1GB
archive_mode = on
archive_command = 'cp %p $archive/%f'
tde_vault.max_failed_unlocks = 3
CONF
my $node = $primary;

sub as_user
{
	my ($user, $sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $user ]);
}

sub verdict
{
	my ($user, $table) = @_;
	return as_user($user, "SELECT verdict FROM tde_vault.vault_access('$table')");
}

sub verdicts_are
{
	my ($want, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $got = join ', ', map { "$_->[0] " . verdict(@$_) } @{ $_[2] // [ [ alice => 'patients' ], [ postgres => 'patients' ], [ postgres => 'loose' ], [ postgres => 'plain' ] ] };
	is($got, $want, $name);
	return;
}

sub policy_path { my ($of) = @_; $of //= $node; return $of->data_dir . '/tde_vault/vault/' . $of->{tv_dboid}; }

$primary->safe_psql('postgres', <<'SQL');
CREATE ROLE sec LOGIN;
CREATE ROLE alice LOGIN;
CREATE ROLE auditor LOGIN IN ROLE vault_auditor;
CREATE TABLE patients (id int PRIMARY KEY, name text) USING tde_heap;
CREATE TABLE loose (id int) USING tde_heap;
CREATE TABLE plain (id int);
GRANT SELECT ON patients TO alice;
GRANT vault_admin TO sec;
CALL tde_vault.enable_vault();
SQL
$primary->{tv_dboid} = $primary->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'postgres'});
$primary->backup('before');
$primary->backup('before_copy');
as_user(sec => $_) foreach (
	q{CALL tde_vault.create_realm('pii', require_password => true)},
	q{CALL tde_vault.realm_add('pii', ARRAY['patients'])},
	q{CALL tde_vault.realm_authorize('pii', ARRAY['alice'])},
	q{CALL tde_vault.grant_vault_password('pii', 'alice', 'alice knows')});
my $protected = 'alice locked, postgres not authorized, postgres not protected, postgres not protected';
verdicts_are($protected, 'the realm is in force');
unlike(slurp_file(policy_path()), qr/alice|pii/, 'the policy is ciphertext');
is(sprintf('%04o', (stat policy_path())[2] & 07777), '0600', 'and nobody else may read it');

# --- crashes -----------------------------------------------------------------

$node->crash;
verdicts_are($protected, 'after a crash, too');

# A change that has not committed is gone after a crash, and one that has, not.
my ($in, $out, $err) = ('', '', '');
my $timer = IPC::Run::timeout(60);
my $open = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=sec' ], '<', \$in, '>', \$out, '2>', \$err, $timer);
$in .= "BEGIN; CALL tde_vault.drop_realm('pii'); SELECT 'waiting';\n";
$open->pump until $out =~ /waiting/;
$node->kill_postmaster;
eval { $open->finish };
$node->start;
verdicts_are($protected, 'a change that did not commit is gone after a crash');
as_user(sec => q{CALL tde_vault.realm_mode('pii', 'disable')});
$node->crash;
verdicts_are('alice not protected, postgres not protected, postgres not protected, postgres not protected',
	'one that did commit is not');
as_user(sec => q{CALL tde_vault.realm_mode('pii', 'enable')});

# The file gets lost: WAL has it, until a checkpoint has synced it.
as_user(sec => q{CALL tde_vault.realm_add('pii', ARRAY['loose'])});
$node->kill_postmaster;
unlink policy_path() or die;
$node->start;
is(verdict(postgres => 'loose'), 'not authorized', 'recovery restores the file from WAL');
as_user(sec => q{CALL tde_vault.realm_remove('pii', ARRAY['loose'])});

# Dropped in a transaction that does not commit: still protected.
$in = $out = $err = '';
$open = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=sec' ], '<', \$in, '>', \$out, '2>', \$err, $timer);
$in .= "BEGIN; CALL tde_vault.realm_description('pii', 'x'); SAVEPOINT a; CALL tde_vault.drop_realm('pii'); ROLLBACK TO a; COMMIT; SELECT 'done';\n";
$open->pump until $out =~ /done/;
$open->finish;
is(as_user(sec => q{SELECT description FROM tde_vault.realms}), 'x', 'what came before the savepoint is committed');
verdicts_are($protected, 'what came after it is not');

# --- wrong passwords are counted for ever --------------------------------------

foreach my $how ('crash', 'restart')
{
	my ($ret, undef, $stderr) = $node->psql('postgres', q{CALL tde_vault.unlock_realm('pii', 'wrong')}, extra_params => [ '-U', 'alice' ]);
	like($stderr, qr/vault password for realm "pii" is not correct/, "a wrong password, then a $how");
	$how eq 'crash' ? $node->kill_postmaster : $node->stop_clean;
	$node->start;
}
my (undef, undef, $stderr) = $node->psql('postgres', q{CALL tde_vault.unlock_realm('pii', 'wrong')}, extra_params => [ '-U', 'alice' ]);
like($stderr, qr/is locked out of the realm now/, 'the third locks out');
$node->stop_clean;
$node->start;
(undef, undef, $stderr) = $node->psql('postgres', q{CALL tde_vault.unlock_realm('pii', 'alice knows')}, extra_params => [ '-U', 'alice' ]);
like($stderr, qr/locked out of realm "pii"/, 'and that survives a restart');
as_user(sec => q{CALL tde_vault.grant_vault_password('pii', 'alice', 'alice knows')});

# --- standby, base backup, point in time ------------------------------------------

$primary->safe_psql('postgres', 'SELECT pg_create_restore_point($$realm$$)');
my $standby = TdeVault->create_from_backup('standby', $primary, 'before', has_streaming => 1);
$standby->{tv_dboid} = $primary->{tv_dboid};
$standby->append_conf('postgresql.conf', 'archive_mode = off');
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$node = $standby;
verdicts_are($protected, 'a standby from an older backup enforces the realm');
is(as_user(alice => q{CALL tde_vault.unlock_realm('pii', 'alice knows'); SELECT verdict FROM tde_vault.vault_access('patients')}),
	'allowed', 'and can be unlocked');
(undef, undef, $stderr) = $node->psql('postgres', q{CALL tde_vault.drop_realm('pii')}, extra_params => [ '-U', 'sec' ]);
like($stderr, qr/cannot execute DROP REALM/, 'but not changed');
$node = $primary;
as_user(sec => q{CALL tde_vault.realm_revoke('pii', ARRAY['alice'])});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$node = $standby;
is(verdict(alice => 'patients'), 'not authorized', 'a change arrives');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
as_user(sec => q{CALL tde_vault.realm_authorize('pii', ARRAY['alice'])});
is(verdict(alice => 'patients'), 'locked', 'promoted, it goes on by itself');
$standby->stop;

$node = $primary;
my $segment = $primary->safe_psql('postgres', 'SELECT pg_walfile_name(pg_current_wal_lsn())');
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->poll_query_until('postgres', "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver") or die;
$primary->backup('after');
my $restored = TdeVault->create_from_backup('restored', $primary, 'before_copy');
$restored->{tv_dboid} = $primary->{tv_dboid};
$restored->append_conf('postgresql.conf', <<"CONF");
restore_command = 'cp $archive/%f %p'
recovery_target_name = 'realm'
recovery_target_action = 'promote'
archive_mode = off
CONF
$restored->append_conf('recovery.signal', '');
$restored->start;
$node = $restored;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die;
verdicts_are($protected, 'at a point in time the policy is that of then');
$restored->stop;
my $copy = TdeVault->create_from_backup('copy', $primary, 'after');
$copy->append_conf('postgresql.conf', 'archive_mode = off');
$copy->start;
$node = $copy;
is(verdict(alice => 'patients'), 'not authorized', 'a base backup has the policy');
$copy->stop;

# --- tampering -------------------------------------------------------------------------

$node = $primary;
as_user(sec => q{CALL tde_vault.realm_authorize('pii', ARRAY['alice'])});
my $open_again = 'alice locked, postgres not authorized, postgres not protected, postgres not protected';
my $closed = 'alice closed, postgres closed, postgres closed, postgres not protected';
my $good = slurp_file(policy_path());

sub put_policy
{
	my ($bytes) = @_;
	foreach my $path (policy_path(), policy_path() . '.copy')
	{
		unlink $path;
		next unless defined $bytes;
		open my $fh, '>', $path or die;
		binmode $fh;
		print $fh $bytes;
		close $fh;
	}
	return;
}

# A session that begins now meets these bytes.
sub with_policy
{
	my ($bytes, $want, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	put_policy($bytes);
	verdicts_are($want, $name);
	return;
}

with_policy(undef, $closed, 'without its policy every tde_heap table is closed');
$node->stop_clean;
$node->start;
verdicts_are($closed, 'after a restart, too');
(undef, undef, $stderr) = $node->psql('postgres', q{CALL tde_vault.create_realm('mine')}, extra_params => [ '-U', 'sec' ]);
like($stderr, qr/policy cannot be read.*vault policy of database \d+ is missing/s, 'no new policy can be made over it');
foreach my $place (8, 10, 12, 16, 24, 33, 48, 70, length($good) - 1)
{
	my $bad = $good;
	substr($bad, $place, 1) = chr(ord(substr($bad, $place, 1)) ^ 1);
	with_policy($bad, $closed, "a flipped bit at byte $place closes it");
}
with_policy(substr($good, 0, 100), $closed, 'a policy that is cut off does');
with_policy('', $closed, 'an empty one does');
with_policy($good, $open_again, 'the right one opens it again');

# Each of the two files is enough; an older one is not taken because the newest is gone.
unlink policy_path();
verdicts_are($open_again, 'the copy does');
open my $half, '>', policy_path() or die;
print $half substr($good, 0, 200);
close $half;
$node->stop_clean;
$node->start;
verdicts_are($open_again, 'also after a restart, next to half a file');
as_user(sec => q{CALL tde_vault.realm_description('pii', 'once more')});
verdicts_are($open_again, 'the next change writes both');
is(slurp_file(policy_path()), slurp_file(policy_path() . '.copy'), 'with the same bytes');
rename policy_path() . '.copy', policy_path() . '.kept' or die;
as_user(sec => q{CALL tde_vault.realm_description('pii', 'and once more')});
unlink policy_path() . '.copy' or die;
rename policy_path() . '.kept', policy_path() . '.copy' or die;
$good = slurp_file(policy_path());
unlink policy_path();
verdicts_are($closed, 'an older copy alone closes it');
put_policy($good);
verdicts_are($open_again, 'the right one opens it again');

# An older one, while the server runs: what is in force stays, and who comes later finds it closed.
as_user(sec => q{CALL tde_vault.realm_revoke('pii', ARRAY['alice'])});
my $new = slurp_file(policy_path());
put_policy($good);
is(verdict(alice => 'patients'), 'closed', 'an older policy closes the vault');
$node->stop_clean;
$node->start;
is(verdict(alice => 'patients'), 'closed', 'after a restart, too');
$node->crash;
is(verdict(alice => 'patients'), 'closed', 'and after a crash');
put_policy($new);
is(verdict(alice => 'patients'), 'not authorized', 'the newest opens it again');

# --- the provider is away ------------------------------------------------------------------

$node->stop_clean;
$node->hide_token;
$node->start;
verdicts_are('alice closed, postgres closed, postgres closed, postgres not protected', 'without the key provider it is closed');
$node->restore_token;
$node->stop_clean;
$node->start;
is(verdict(postgres => 'patients'), 'not authorized', 'and open again with it');
is(as_user(auditor => 'SELECT ok FROM tde_vault.audit_verify()'), 't', 'the audit log is whole');
$node->stop;
done_testing();
