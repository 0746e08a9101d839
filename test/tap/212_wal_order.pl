# A change of the keyring is in WAL before another process can use it: a session
# that makes a new version of a key is stopped when the keyring has it, and WAL
# does not, while another one writes to the table.  WAL then has the version
# before the record that is sealed under it, and a standby can read that.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use WalStop;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $node = TdeVault->create('main', streaming => 1, conf => "wal_keep_size = 256MB\n");
my $stop = WalStop->new($node);
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION pg_walinspect;
CREATE TABLE t (id int, v text) USING tde_heap;
INSERT INTO t VALUES (0, 'before');
SQL
$node->backup('b');
my $standby = TdeVault->create_from_backup('standby', $node, 'b', has_streaming => 1);
$standby->start;

my $changer = $stop->session;
my $writer = $stop->session;
$writer->query_safe(q{INSERT INTO t VALUES (1, 'warm')});
my $from = $node->lsn('insert');
$stop->arm($changer, WalStop::KEYRING, WalStop::TABLE_KEY);
$stop->stop_in($changer, 'ALTER TABLE t ROTATE ENCRYPTION KEY');
pass('the keyring has a new version of a key, WAL has not');
$stop->begin($writer, q{INSERT INTO t VALUES (2, 'meanwhile')});
like($stop->wait_for($writer, qr/^idle|Lock/), qr/LWLock\|tde_vault/, 'who wants to use it waits');
$stop->release($changer);
$stop->end($_) foreach $changer, $writer;

my $to = $node->safe_psql('postgres', 'SELECT pg_current_wal_flush_lsn()');
$node->sql_is(<<"SQL", 'key row', 'the version comes first in WAL');
SELECT string_agg(what, ' ' ORDER BY start_lsn) FROM
	(SELECT start_lsn, CASE record_type WHEN 'TABLE_KEY' THEN 'key' ELSE 'row' END AS what FROM pg_get_wal_records_info('$from', '$to')
	WHERE record_type = 'TABLE_KEY' OR description LIKE 'Heap/INSERT:%') x
SQL

# One that meets the row first stops.
my $at = $node->lsn('insert');
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
my $replayed = 'f';
until ($replayed eq 't' || slurp_file($standby->logfile) =~ /FATAL/ || time > $deadline)
{
	$replayed = $node->safe_psql('postgres', "SELECT coalesce(bool_and(replay_lsn >= '$at'), false) FROM pg_stat_replication");
	Time::HiRes::usleep(50_000);
}
is($replayed, 't', 'a standby replays it') or BAIL_OUT(slurp_file($standby->logfile));
my $rows = 'SELECT id, v FROM t ORDER BY 1';
$standby->sql_is($rows, "0|before\n1|warm\n2|meanwhile", '... to the same rows');
$node->crash;
$node->sql_is($rows, "0|before\n1|warm\n2|meanwhile", 'a crash loses nothing');
$node->verify_ok('verify is clean');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->verify_ok('... also on the standby');
done_testing();
