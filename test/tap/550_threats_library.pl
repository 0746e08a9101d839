# Threat 40: servers that lack the module, or its key provider.  What is
# encrypted is sealed there, not open; nothing is lost; and everything is back
# with module and provider.  (070 has the statements on tables of tde_heap, 530
# those on realms, 240 the recovery of a crash.)

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $marker = TdeVault::marker('without the library');
my $node = TdeVault->create('main', streaming => 1, conf => <<'CONF');
wal_keep_size = 512MB
allow_in_place_tablespaces = on
tde_vault.worker_cost_delay = 0
log_autovacuum_min_duration = 0
autovacuum_naptime = 1s
CONF
sub without_module { my ($n) = @_; $n->append_conf('postgresql.conf', "shared_preload_libraries = ''"); }
sub with_module { my ($n) = @_; $n->append_conf('postgresql.conf', "shared_preload_libraries = 'tde_vault'"); }

# Encrypted in every way that there is; some of it is plain heap to a server
# that knows nothing of the place where it is.
$node->safe_psql('postgres', q{CREATE TABLESPACE enc LOCATION '' ENCRYPTION USING 'AES256'});
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE sealed (id serial PRIMARY KEY, v text) USING tde_heap;
INSERT INTO sealed (v) SELECT '$marker' || g FROM generate_series(1, 1000) g;
CREATE TABLE xts (id int PRIMARY KEY, v text) ENCRYPTION USING 'AES-256-XTS';
INSERT INTO xts SELECT g, '$marker' || g FROM generate_series(1, 1000) g;
CREATE UNLOGGED TABLE unlogged (id int, v text) USING tde_heap;
INSERT INTO unlogged SELECT g, '$marker' || g FROM generate_series(1, 1000) g;
CREATE MATERIALIZED VIEW view USING tde_heap AS SELECT * FROM xts;
CREATE TABLE converted (id int PRIMARY KEY, v text) USING heap;
INSERT INTO converted SELECT g, '$marker' || g FROM generate_series(1, 1000) g;
CREATE TABLE placed (id int PRIMARY KEY, v text) USING heap TABLESPACE enc;
INSERT INTO placed SELECT g, '$marker' || g FROM generate_series(1, 1000) g;
CREATE TABLE emptied (id int, v text) USING heap TABLESPACE enc;
INSERT INTO emptied SELECT g, '$marker' || g FROM generate_series(1, 100) g;
DELETE FROM emptied;
CREATE TABLE plain (id int PRIMARY KEY, v text) USING heap;
INSERT INTO plain SELECT g, 'plain' || g FROM generate_series(1, 1000) g;
SQL
$node->safe_psql('postgres', $_) foreach 'VACUUM emptied', 'ALTER TABLE converted ENABLE ENCRYPTION';
$node->poll_query_until('postgres', q{SELECT bool_and(state = 'done') FROM tde_vault.encryption_progress}) or die 'not encrypted';
$node->safe_psql('postgres', 'VACUUM ANALYZE');
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE template0');
$node->safe_psql('other', q{CREATE TABLE plain AS SELECT g AS id FROM generate_series(1, 100) g});
$node->backup($_) foreach 'lost', 'unreached';

# More to vacuum, for a worker of autovacuum that cannot.
$node->safe_psql('postgres', "UPDATE $_ SET v = v") foreach qw(sealed xts converted placed plain);
my @tables = qw(sealed xts view converted placed plain);
my $rows = 'SELECT ' . join ', ', map { "(SELECT count(*) || md5(string_agg(v, ',' ORDER BY id)) FROM $_)" } @tables;
my $expected = $node->safe_psql('postgres', $rows);

# --- a server that has lost the module -----------------------------------------

$node->stop_clean;
without_module($node);
$node->append_conf('postgresql.conf', 'autovacuum = on');
my $offset = $node->log_size;
$node->start;
my $sealed = qr/shared_preload_libraries|invalid page/;
my @statements = ((map { ("TABLE $_", "COPY $_ TO STDOUT", "SELECT v FROM $_ WHERE id = 5", "VACUUM FULL $_", "DROP TABLE $_ CASCADE; ROLLBACK") } qw(sealed xts unlogged converted)),
	'TABLE view', 'REFRESH MATERIALIZED VIEW view', q{SELECT nextval('sealed_id_seq')},
	'TABLE placed', 'COPY placed TO STDOUT', 'SELECT v FROM placed WHERE id = 5', q{INSERT INTO placed VALUES (-1, 'x')}, 'UPDATE placed SET v = 1', 'DELETE FROM placed',
	'VACUUM placed', 'VACUUM FULL placed', 'ALTER TABLE placed SET TABLESPACE pg_default', 'CREATE INDEX ON placed (v)', 'DROP TABLE placed',
	'DROP EXTENSION tde_vault CASCADE', 'DROP SCHEMA public CASCADE', 'VACUUM', 'ANALYZE');
foreach my $sql (@statements)
{
	my ($rc, $out, $err) = $node->psql('postgres', "BEGIN; $sql" =~ s/^BEGIN; (?=VACUUM)//r, on_error_stop => 1);
	ok($rc != 0 && $err =~ $sealed && "$out$err" !~ /$marker/, "without the module: refused: $sql") or diag("$rc $out $err");
}
my ($rc, $out, $err) = $node->psql('postgres', "SET zero_damaged_pages = on; SET ignore_checksum_failure = on; COPY placed TO STDOUT");
unlike("$out$err", qr/$marker/, 'with damage ignored, nothing is read, either');
$node->sql_is('SELECT count(*) FROM plain; CREATE TABLE more AS SELECT g FROM generate_series(1, 10) g; SELECT count(*) FROM more', "100\n10", 'other databases work', db => 'other');
$node->sql_is('CHECKPOINT; SELECT 1', '1', 'checkpoints do');
$node->sql_fails('CREATE DATABASE copy TEMPLATE postgres', 'XX001', qr/invalid page/, 'the database cannot be a template', db => 'other');
$node->safe_psql('other', 'CREATE DATABASE raw TEMPLATE postgres STRATEGY file_copy');
($rc, $out, $err) = $node->psql('raw', 'COPY placed TO STDOUT');
ok($rc != 0 && $err =~ $sealed && $out eq '', 'a raw copy of it is sealed, too');

# Autovacuum goes on to the tables that it can vacuum.
my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
until (slurp_file($node->logfile, $offset) =~ /automatic vacuum of table "postgres\.public\.plain"/)
{
	last if time > $deadline;
	Time::HiRes::usleep(100_000);
}
my $log = slurp_file($node->logfile, $offset);
ok($log =~ /automatic vacuum of table "postgres\.public\.plain"/, 'autovacuum gets to plain tables');
ok($log =~ /ERROR:  tde_vault must be loaded by shared_preload_libraries\n(?:.*\n){1,4}.*automatic (?:vacuum|analyze) of table/, 'and says what it cannot do');

# What it can: fill a table that is empty, in plaintext.
$node->safe_psql('postgres', q{INSERT INTO emptied VALUES (7, 'written without the module')});
$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->crash;
$node->stop;

# single-user mode
foreach my $sql ('COPY sealed TO STDOUT', 'DROP TABLE sealed CASCADE', 'COPY placed TO STDOUT', q{INSERT INTO sealed VALUES (-1, 'x')})
{
	my ($said, $in) = ('', "$sql\n");
	local %ENV = $node->_get_env();
	IPC::Run::run([ 'postgres', '--single', '-D', $node->data_dir, 'postgres' ], '<', \$in, '>', \$said, '2>&1');
	ok($said =~ $sealed && $said !~ /$marker/, "single-user mode without the module: refused: $sql") or diag($said);
}

# --- the module is back --------------------------------------------------------

with_module($node);
$node->start;
$node->sql_is($rows, $expected, 'the module is back: every row is there');
$node->sql_is(q{SELECT count(*) FROM unlogged; INSERT INTO unlogged VALUES (1, 'x'); SELECT count(*) FROM unlogged}, "0\n1", 'the crash has emptied the unlogged table, which works');
$node->sql_fails('TABLE emptied', 'XX001', qr/page of an encrypted relation is not encrypted/, 'what was written meanwhile is not taken for what is encrypted');
$node->sql_fails('TABLE placed', 'TV...|XX001', qr/ERROR/, 'a raw copy stays unreadable', db => 'raw');
$node->safe_psql('postgres', 'DROP DATABASE raw');
$node->safe_psql('postgres', 'TRUNCATE emptied');
$node->safe_psql('postgres', "INSERT INTO emptied VALUES (1, 'x'); UPDATE sealed SET v = v || '!'");
$node->safe_psql('postgres', q{VACUUM; SELECT nextval('sealed_id_seq')});
$node->verify_ok('verify is clean', min => 5);
$expected = $node->safe_psql('postgres', $rows);

# --- a standby that has lost the module -----------------------------------------

# It may have answered before it came to the first record.
sub stops_at_sealed
{
	my ($standby, $from) = @_;
	$standby->start(fail_ok => 1) unless defined $standby->{_pid};
	$standby->wait_for_log(qr/FATAL:  resource manager with ID 21[678] not registered/, $from);
	$standby->wait_for_processes_gone;
	$standby->{_pid} = undef;
	return;
}

my $lost = TdeVault->create_from_backup('lost', $node, 'lost', has_streaming => 1);
without_module($lost);
stops_at_sealed($lost, 0);
pass('a standby without the module does not replay');
with_module($lost);
$lost->start;
$node->wait_for_catchup($lost, 'replay', $node->lsn('insert'));
$lost->sql_is($rows, $node->safe_psql('postgres', $rows), 'with it, it has every row');
$lost->verify_ok('verify is clean on it', min => 5);

# Lost later, when it has all that there is: it answers, and what is encrypted is sealed.
$node->safe_psql('postgres', 'CHECKPOINT');
$node->wait_for_catchup($lost, 'replay', $node->lsn('insert'));
$lost->stop_clean;
$node->stop('fast');
without_module($lost);
$lost->start;
$lost->sql_fails('TABLE sealed', '55000', $sealed, 'lost later: sealed');
($rc, $out, $err) = $lost->psql('postgres', 'COPY placed TO STDOUT');
ok($rc != 0 && $err =~ $sealed && $out eq '', 'lost later: what is heap to it, too');
$offset = $lost->log_size;
$node->start;
$node->safe_psql('postgres', 'UPDATE sealed SET v = v || id WHERE id % 2 = 0');
stops_at_sealed($lost, $offset);
with_module($lost);
$lost->start;
$node->wait_for_catchup($lost, 'replay', $node->lsn('insert'));
$lost->sql_is($rows, $node->safe_psql('postgres', $rows), 'and when it is back, the standby follows');

# --- a standby that does not reach the provider -----------------------------------

# It is not consistent yet, so pg_ctl would wait for what does not come.
sub start_unwaited
{
	my ($standby) = @_;
	local $ENV{PGCTLTIMEOUT} = 1;
	$standby->start(fail_ok => 1);
	$standby->_update_pid(-1);
	return;
}

my $unreached = TdeVault->create_from_backup('unreached', $node, 'unreached', has_streaming => 1);
$unreached->append_conf('postgresql.conf', 'hot_standby = on');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->hide_token;
$offset = $unreached->log_size;
start_unwaited($unreached);
$unreached->wait_for_log(qr/WARNING: .*(?:token|provider)(?:.*\n){1,4}.*Replay goes on by itself/, $offset);
($rc, $out, $err) = $unreached->psql('postgres', 'TABLE sealed');
ok($rc != 0 && "$out$err" !~ /$marker/, 'a standby without its provider: sealed');
unlike(slurp_file($unreached->logfile, $offset), qr/PANIC|FATAL:  (?!the database system)/, 'it waits');
$unreached->stop('fast');
ok(!-e $unreached->data_dir . '/postmaster.pid', 'and can be stopped while it waits');
start_unwaited($unreached);
$node->restore_token;
$node->wait_for_catchup($unreached, 'replay', $node->lsn('insert'));
$unreached->sql_is($rows, $node->safe_psql('postgres', $rows), 'the provider is back: it follows by itself');
$unreached->verify_ok('verify is clean there', min => 5);
$unreached->stop;

# --- removing it for good ------------------------------------------------------------

# Files that a crash left of a table that never was are nobody's: the extension can go.
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; CREATE TABLE never (id int PRIMARY KEY) USING tde_heap; INSERT INTO never SELECT generate_series(1, 100)');
$node->sql_fails('DROP EXTENSION tde_vault', '2BP01', qr/holds encrypted files/, 'the extension stays while there are encrypted tables');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->crash;
$node->safe_psql('postgres', 'DROP TABLE sealed, xts, unlogged, converted, placed, emptied CASCADE');
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; CREATE TABLE others (id int PRIMARY KEY) USING tde_heap; INSERT INTO others SELECT generate_series(1, 100)');
$node->sql_fails('DROP EXTENSION tde_vault', '2BP01', qr/holds encrypted files/, 'also while another session makes one');
$session->query_safe('ROLLBACK');
$session->quit;
$node->safe_psql('postgres', 'DROP EXTENSION tde_vault');
$node->sql_is(q{SELECT count(*) FROM pg_extension WHERE extname = 'tde_vault'}, '0', 'and goes when there are none');
done_testing();
