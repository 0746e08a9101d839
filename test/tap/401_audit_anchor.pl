# An audit log that is put back as it was before, head and all, is not the one
# that the keyring knows.  And the logs of copies, which the keyring knows
# nothing of, are no false alarm.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::RecursiveCopy;
use File::Path ();
use Test::More;

my $node = TdeVault->create('main', master => 'cluster', streaming => 1, initdb => [ '--encoding=UTF8', '--no-locale' ],
	conf => "restart_after_crash = on\n");
my $dir = $node->data_dir . '/tde_vault/audit';
my $keyring = $node->data_dir . '/tde_vault/keyring';
my $copy = $node->basedir . '/copy';

sub copy_log { PostgreSQL::Test::RecursiveCopy::copypath($dir, "$copy.$_[0]"); return; }

sub put_back
{
	File::Path::remove_tree($dir);
	PostgreSQL::Test::RecursiveCopy::copypath("$copy.$_[0]", $dir);
	return;
}

sub verify
{
	my ($server) = @_;
	return ($server // $node)->safe_psql('postgres', q{SELECT ok, reason FROM tde_vault.audit_verify()});
}

sub remark { my ($text, $server) = @_; return ($server // $node)->psql('postgres', "SELECT tde_vault.audit_note('$text')"); }

sub last_start
{
	return $node->safe_psql('postgres',
		q{SELECT severity, reason FROM tde_vault.audit_log WHERE event_type = 'AUDIT_START' ORDER BY file DESC LIMIT 1});
}

# --- an older log, put back while the server is down ------------------------------------

remark('one');
$node->stop;
copy_log('early');
$node->start;
is(verify(), 't|', 'a restart is no alarm');
remark("covered up $_") foreach 1 .. 3;
$node->stop;
copy_log('right');
put_back('early');
$node->start;
is(verify(), 'f|records are missing at the end of the log', 'an older log with its head');
is(remark('after'), 0, 'the log goes on');
is(verify(), 'f|a file is missing', 'and does not pass for the right one');
is(last_start(), 'CRITICAL|records are missing before this one', 'which is an event');
$node->stop;
put_back('right');
$node->start;
is(verify(), 'f|records are missing at the end of the log', 'the right one does not pass for it afterwards');
remark('goes on');
$node->stop;

# --- the same after a crash: what was told with a change is enough -------------------------

$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE officer LOGIN;
CALL tde_vault.enable_vault();
GRANT vault_admin TO officer;
SQL
$node->safe_psql('postgres', q{GRANT vault_auditor TO postgres}, extra_params => [ '-U', 'officer' ]);
$node->kill_postmaster;
copy_log('before');
$node->start;
$node->safe_psql('postgres', 'CREATE REALM covered_up', extra_params => [ '-U', 'officer' ]);
$node->kill_postmaster;
put_back('before');
$node->start;
like(verify(), qr/^f\|/, 'cut to before a change of the policy, after SIGKILL');
remark('after the crash');
is($node->safe_psql('postgres', q{SELECT count(*) FROM tde_vault.audit_log WHERE event_type = 'AUDIT_START' AND reason = 'records are missing before this one' AND severity = 'CRITICAL'}), 2,
	'it is recorded');
$node->safe_psql('postgres', 'ALTER DATABASE DISABLE DATABASE VAULT', extra_params => [ '-U', 'officer' ]);

# --- no log at all -----------------------------------------------------------------------

$node->stop;
File::Path::remove_tree($dir);
$node->start;
is(verify(), 'f|the log is missing', 'the whole directory removed');
remark('begins again');
like(verify(), qr/^f\|a file is missing/, 'and a new one does not pass for it');
$node->stop;

# --- copies ---------------------------------------------------------------------------------

my $clean = TdeVault->create('clean', master => 'cluster', streaming => 1, initdb => [ '--encoding=UTF8', '--no-locale' ],
	conf => "wal_keep_size = 512MB\n");
remark('on the primary', $clean);
$clean->backup('one');
$clean->backup('two');
remark("not in the backup $_", $clean) foreach 1 .. 3;
$clean->restart;
is(verify($clean), 't|', 'the primary is right');

my $standby = TdeVault->create_from_backup('standby', $clean, 'one', has_streaming => 1);
$standby->start;
$clean->wait_for_catchup($standby);
is(remark('on the standby', $standby), 0, 'a standby has a log of its own');
like(verify($standby), qr/^t\|/, 'which is not the one that its keyring knows');
$standby->restart;
like(verify($standby), qr/^t\|/, 'nor after a restart');
$standby->promote;
is(remark('promoted', $standby), 0, 'it is promoted');
like(verify($standby), qr/^t\|/, 'and goes on');
$standby->restart;
like(verify($standby), qr/^t\|/, 'its own log is known to its keyring now');
my $standby_log = $standby->data_dir . '/tde_vault/audit';
PostgreSQL::Test::RecursiveCopy::copypath($standby_log, "$copy.standby");
remark("promoted $_", $standby) foreach 1 .. 40;
$standby->restart;
remark('once more', $standby);
$standby->stop;

# The log of another server, with the same key and a longer one, in the place of ours.
$clean->stop;
my $log = $clean->data_dir . '/tde_vault/audit';
PostgreSQL::Test::RecursiveCopy::copypath($log, "$copy.clean");
File::Path::remove_tree($log);
PostgreSQL::Test::RecursiveCopy::copypath($standby_log, $log);
$clean->start;
is(verify($clean), 'f|the log is not the one that the keyring knows: it was put in its place', 'the log of another server');
remark('on it', $clean);
like(verify($clean), qr/^f\|the log (before this record was|is) not the one that the keyring knows: it was put in its place/, 'nor does it pass later');
$clean->stop;
$clean->start;
remark('on it again', $clean);
like(verify($clean), qr/^f\|/, 'nor after another start');
$clean->stop;

# A base backup, started as it is: same timeline.
my $restored = TdeVault->create_from_backup('restored', $clean, 'two');
$restored->start;
like(verify($restored), qr/^t\|/, 'a restored backup is no alarm');
ok($restored->poll_query_until('postgres', q{SELECT count(*) = 1 FROM tde_vault.audit_log WHERE event_type = 'SERVER_START' AND reason = 'from a base backup'}),
	'it says that it was restored');
$restored->restart;
like(verify($restored), qr/^t\|[0-9a-f]+-\d+ was written when there was no head file/, 'nor is it after a restart');
$restored->stop;

done_testing();
