# Renames and syncs of directories that fail under the vault's policy, the counts
# of wrong passwords and the audit log: the statement is an error or the server
# restarts; the policy is the old or the new one, never half, and no record of
# the audit log is missing unnoticed.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use FailingDisk;
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = FailingDisk->new;
$ENV{LD_PRELOAD} = $disk->library;
my $node = realm_server(conf => "fsync = on\nrestart_after_crash = on\ntde_vault.audit_file_size = 1MB\n");
my $oid = $node->safe_psql('postgres', 'SELECT oid FROM pg_database WHERE datname = current_database()');
my $policy = $node->data_dir . "/tde_vault/vault/$oid";

sub mend
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($disk->mend, "$name: it failed");
	return;
}
sub describe { return run_as('security', "ALTER REALM pii DESCRIPTION '$_[0]';") }
sub description { return run_as('security', q{SELECT description FROM tde_vault.realms WHERE realm = 'pii';}) =~ s/\n//r }
sub binds
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	attack("$name: the realm stays closed", 'mallory', 'SELECT * FROM secret.small;', qr/TV031: not authorized for realm/);
	like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, "$name: and open to who may");
	return;
}
sub restarted { return $node->poll_query_until('postgres', 'SELECT 1', '1') }

# --- the policy ----------------------------------------------------------------------------

describe('first');
$disk->fail('fsync', '/tde_vault', times => 1);
like(describe('refused'), qr/ERROR: .*could not fsync file "tde_vault": Input\/output error.*HINT/s, 'before anything is written: an error');
mend('directory of the vault');
is(description(), 'first', 'nothing is changed');
binds('directory of the vault');

# once the log has the policy, there is no way back
foreach my $case ([ 'rename', "/vault/$oid", 'rename' ], [ 'fsync', '/tde_vault/vault', 'fsync' ])
{
	my ($call, $suffix, $what) = @$case;
	my $from = -s $node->logfile;

	$disk->fail($call, $suffix, times => 1);
	like(describe("by $call"), qr/server closed the connection|terminating connection|PANIC/, "$call fails once: the server restarts");
	ok(restarted(), "$call fails once: and is back");
	mend("$call fails once");
	like(slurp_file($node->logfile, $from), qr/PANIC:  .*could not $what file/, "$call fails once: PANIC, which says why");
	is(description(), "by $call", "$call fails once: the policy is the new one");
	binds("$call fails once");

	# recovery cannot put it in place either
	$from = -s $node->logfile;
	$disk->fail($call, $suffix);
	describe("again by $call");
	$node->wait_for_log(qr/FATAL:  .*could not $what file|shutting down due to startup process failure/, $from);
	wait_for_end();
	mend("$call fails still");
	isnt($node->psql('postgres', 'SELECT 1'), 0, "$call fails still: the server stays down");
	$node->{_pid} = undef;
	$node->start;
	is(description(), "again by $call", "$call fails still: and has the new policy when it starts");
	binds("$call fails still");
}

sub wait_for_end
{
	for (my $i = 0; $i < 100 * $PostgreSQL::Test::Utils::timeout_default && -e $node->data_dir . '/postmaster.pid'; $i++) { select undef, undef, undef, 0.01 }
	return;
}

# the copy only: the policy is in force, the copy is an old one, which is never taken
foreach my $case ([ 'rename', "/vault/$oid.copy" ], [ 'fsync', '/tde_vault/vault', skip => 1 ])
{
	my ($call, $suffix, @how) = @$case;

	$disk->fail($call, $suffix, @how, times => 1);
	like(describe("copy by $call"), qr/WARNING: .*could not $call file.*ALTER REALM/s, "$call of the copy fails: a warning");
	mend("$call of the copy");
	is(description(), "copy by $call", "$call of the copy: the policy is the new one");
	binds("$call of the copy");
	if ($call eq 'rename')
	{
		rename $policy, "$policy.away" or die;
		$node->restart;
		attack('with the old copy alone the vault is closed', $_, 'SELECT * FROM secret.small;', qr/TV033: the vault of this database is closed/) foreach qw(mallory alice);
		rename "$policy.away", $policy or die;
		$node->restart;
		is(description(), "copy by $call", 'back, it is the new one');
	}
}
is(describe('last'), "ALTER REALM\n", 'the next change is as ever');
is(slurp_file($policy), slurp_file("$policy.copy"), 'and both files are the same');
ok(!-e "$policy.new", 'nothing is left behind');

# --- counts of wrong passwords ----------------------------------------------------------------

unlink $node->data_dir . '/tde_vault/failures';
$node->restart;
$disk->fail('fsync', '/tde_vault', times => 1);
my $guess = run_as('alice', q{UNLOCK REALM pii PASSWORD 'guess';});
mend('directory of the counts');
like($guess, qr/ERROR: .*the attempt cannot be counted/, 'an attempt whose count may be lost is none');
run_as('alice', q{UNLOCK REALM pii PASSWORD 'guess';}) foreach 1 .. 4;
$node->crash;
like(run_as('alice', UNLOCK), qr/locked out of realm/, 'and counted after a crash');
run_as('security', q{GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD 'open sesame';});
binds('a new password');

# --- the audit log ----------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE ROLE auditor LOGIN');
run_as('security', 'GRANT vault_auditor TO auditor;');
sub remark { return run_as('security', "SELECT tde_vault.audit_note('$_[0]');") }
sub chain { return run_as('auditor', 'SELECT ok, first_bad, reason FROM tde_vault.audit_verify();') =~ s/\n//r }
sub noted { return run_as('auditor', q{SELECT string_agg(detail->>'note', ',' ORDER BY file, "position") FROM tde_vault.audit_log WHERE detail ? 'note';}) =~ s/\n//r }
my @told;
foreach my $case ([ 'rename', '.jsonl' ], [ 'fsync', '/tde_vault/audit' ], [ 'fsync', '/audit/new' ])
{
	my ($call, $suffix) = @$case;
	my $name = "$call of $suffix";

	# the next file: as the first after a start, and after one whose sync failed
	foreach my $how ('start', 'next')
	{
		if ($how eq 'start')
		{
			$node->restart;
			$disk->fail($call, $suffix, times => 3);
		}
		else
		{
			$disk->fail('fdatasync', '.jsonl', times => 1);
			like(remark('lost'), qr/ERROR:  TV020: .*could not fsync/s, "$name, $how: a failed sync");
			mend("$name, $how: a failed sync");
			$disk->fail($call, $suffix, times => 3);
		}
		like(run_as('alice', UNLOCK), qr/ERROR:  TV020: could not write audit event/, "$name, $how: nobody unlocks");
		attack("$name, $how: a refusal stays one", 'mallory', 'SELECT * FROM secret.small;', qr/ERROR:  TV020: could not write audit event|not authorized for realm/);
		like(describe('unseen'), qr/ERROR:  TV020/, "$name, $how: no policy is changed");
		mend("$name, $how");
		push @told, my $note = "$call $suffix $how" =~ s/[^a-z ]//gr;
		unlike(remark($note), qr/ERROR/, "$name, $how: it goes on when the disk does");
		is(description(), 'last', "$name, $how: nothing was done");
		like(chain(), qr/^t\|\|/, "$name, $how: the chain is whole") if $how eq 'start';
	}
	# a crash, with a name that may not be on disk
	$node->kill_postmaster;
	$disk->fail('fsync', '/tde_vault/audit', times => 1);
	$node->start;
	run_as('alice', UNLOCK);
	mend("$name, after a crash");
	$node->crash;
	push @told, "after $call";
	unlike(remark("after $call"), qr/ERROR/, "$name: and after another it goes on");
}
like(noted(), qr/^@{[ join ',', map { "(?:lost,)?\Q$_\E" } @told ]}$/, 'every event that was said to be written is there');
$node->restart;
like(chain(), qr/^[tf]\|.*/, 'the chain is checked');
binds('after all that');

$node->stop;
done_testing();
