# An index that lies in an encrypted tablespace, of a table that does not, has a
# key when its table has none.  It keeps that when it is decrypted and encrypted
# again, and its table gets it, too: WAL names keys by files.  If the table has
# another one, what is done to the table is done to both.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use TdeWorker;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.worker_cost_delay = 0\ncheckpoint_timeout = 1h\n");
my $dir = $node->basedir . '/space';
mkdir $dir or die;
$node->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$dir'");
$node->safe_psql('postgres', 'ALTER TABLESPACE space ENABLE ENCRYPTION');

sub make
{
	my ($table) = @_;
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE $table AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 3000) g;
CREATE INDEX ${table}_v ON $table (v) TABLESPACE space;
SQL
	return;
}

sub sealed_becomes
{
	my ($which, $is) = @_;
	$node->poll_query_until('postgres', "SELECT tde_vault.is_encrypted('$which')", $is) or die "$which does not become so";
	$node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM tde_vault.encryption_progress WHERE state <> 'done')}) or die 'work does not end';
	return;
}

# By the index, and by the table, after a crash that no checkpoint came before.
sub survives
{
	my ($table, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->kill_postmaster;
	$node->start;
	$node->sql_is("SET enable_seqscan = off; SELECT count(*) FROM $table WHERE v >= ''", '3000', "$what: after a crash the index is read");
	$node->sql_is("SELECT count(*) FROM (SELECT v FROM $table EXCEPT SELECT md5(g::text) FROM generate_series(1, 3000) g) x", '0', "$what: and the table");
	$node->sql_is("CHECKPOINT; SELECT sum(pages) > 0, sum(bad) FROM (SELECT * FROM tde_vault.verify('$table') UNION ALL SELECT * FROM tde_vault.verify('${table}_v')) v", 't|0', "$what: verify is clean");
	return;
}

# --- its tablespace is not encrypted any more, and is again ------------------------

make('twice');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', 'UPDATE twice SET v = v');
$node->safe_psql('postgres', 'ALTER TABLESPACE space DISABLE ENCRYPTION');
sealed_becomes('twice_v', 'f');
$node->safe_psql('postgres', 'ALTER TABLESPACE space ENABLE ENCRYPTION');
sealed_becomes('twice_v', 't');
survives('twice', 'twice');
$node->sql_is(q{SELECT count(DISTINCT id) FROM tde_vault.table_keys() WHERE "table" = 'twice'::regclass}, '1', 'twice: it has one key');

# --- it is not, and then the table is -----------------------------------------------

make('later');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', 'UPDATE later SET v = v');
$node->safe_psql('postgres', 'ALTER TABLESPACE space DISABLE ENCRYPTION');
sealed_becomes('later_v', 'f');
$node->safe_psql('postgres', 'ALTER TABLE later ENABLE ENCRYPTION');
sealed_becomes($_, 't') foreach 'later', 'later_v';
survives('later', 'later');
$node->sql_is(q{SELECT count(DISTINCT id) FROM tde_vault.table_keys() WHERE "table" = 'later'::regclass}, '1', 'later: both have one key');
$node->safe_psql('postgres', 'UPDATE later SET v = v; ALTER TABLE later ROTATE ENCRYPTION KEY');
sealed_becomes('later_v', 't');
survives('later', 'later, rotated');
$node->safe_psql('postgres', 'ALTER TABLE later DISABLE ENCRYPTION');
sealed_becomes($_, 'f') foreach 'later', 'later_v';
survives('later', 'later, decrypted');

# --- it is made while its table's encryption waits for a lock -----------------------------

# large, so that there is a key before there is a lock
$node->safe_psql('postgres', q{ALTER TABLESPACE space ENABLE ENCRYPTION; CREATE TABLE large AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 3000) g; CHECKPOINT});
my $path = $node->relation_path('large');
$node->stop('fast');
truncate $path, 40000 * TdeVault::BLCKSZ or die;
$node->start;
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT 1 FROM large LIMIT 1');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/begun/, "\\echo begun\nALTER TABLE large ENABLE ENCRYPTION;\n");
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'large'::regclass AND NOT granted})
  or die 'the statement does not want its lock';
$node->safe_psql('postgres', 'CREATE INDEX large_v ON large (v) TABLESPACE space');
$reader->query_safe('COMMIT');
$reader->quit;
sealed_becomes('large', 't');
$session->quit;
$node->restart;
$node->sql_is(q{SET enable_seqscan = off; SELECT count(*) FROM large WHERE v >= ''}, '3000', 'large: the index is read');
survives('large', 'large');

# --- indexes that have different keys ----------------------------------------------------

# one has had its key, the other one has one
mkdir "${dir}_2" or die;
$node->safe_psql('postgres', "CREATE TABLESPACE space_2 LOCATION '${dir}_2'");
$node->safe_psql('postgres', 'ALTER TABLESPACE space_2 ENABLE ENCRYPTION; CREATE TABLE two AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 3000) g; CREATE INDEX two_id ON two (id); CREATE INDEX two_v ON two (v) TABLESPACE space; UPDATE two SET v = v; ALTER TABLESPACE space DISABLE ENCRYPTION');
sealed_becomes('two_v', 'f');
$node->safe_psql('postgres', 'ALTER INDEX two_id SET TABLESPACE space_2; ALTER TABLE two ENABLE ENCRYPTION');
sealed_becomes($_, 't') foreach 'two', 'two_v', 'two_id';
$node->sql_is(q{SELECT count(DISTINCT id) FROM tde_vault.table_keys() WHERE "table" = 'two'::regclass}, '2', 'two: there are two keys');
survives('two', 'two');
$node->sql_is('SET enable_seqscan = off; SELECT count(*) FROM two WHERE id > 0', '3000', 'two: the other index is read, too');

# --- what is done to the table is done to what has another key -----------------------------

my $two = q{relation::text IN ('two', 'two_id', 'two_v', 'two_s') AND fork = 'main'};
my $two_sealed = "SELECT count(DISTINCT relation) FROM tde_vault.encryption_status WHERE $two";
my $two_keys = q{FROM tde_vault.table_keys() WHERE "table" = 'two'::regclass AND files > 0};

sub settles
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', SETTLED), "$what: the work ends")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
	return;
}

sub rotates
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS before; CREATE TABLE before AS SELECT relation::oid AS oid, key_version AS version FROM tde_vault.encryption_status WHERE $two; ALTER TABLE two ROTATE ENCRYPTION KEY");
	settles($what);
	$node->sql_is("SELECT count(*) FROM tde_vault.encryption_status s JOIN before b ON b.oid = s.relation WHERE $two AND key_version > version", '4', "$what: all files have a new version");
	survives('two', $what);
	$node->safe_psql('postgres', 'CHECKPOINT');
	ok($node->poll_query_until('postgres', "SELECT count(*) = count(DISTINCT id) $two_keys"), "$what: the old versions are destroyed");
	return;
}

$node->safe_psql('postgres', 'CREATE SEQUENCE two_s OWNED BY two.id');
$node->sql_is($two_sealed, '4', 'two: all of it is sealed');
rotates('two, rotated');
$node->sql_is("SELECT count(DISTINCT id) $two_keys", '2', 'two, rotated: there still are two keys');

# --- another cipher, and back ---
foreach my $cipher ('AES-256-XTS', 'AES-256-GCM')
{
	$node->safe_psql('postgres', "UPDATE two SET v = v; ALTER TABLE two ENABLE ENCRYPTION USING '$cipher'");
	settles("two, $cipher");
	$node->sql_is("SELECT bool_and(upper(cipher) = '$cipher') FROM tde_vault.encryption_status WHERE $two", 't', "two, $cipher: all files have it");
	survives('two', "two, $cipher");
}
my $err;
$node->psql('postgres', q{ALTER TABLE two ENABLE ENCRYPTION USING 'AES-256-GCM'}, stderr => \$err);
like($err, qr/NOTICE:  table "two" is encrypted already, skipping/, 'two: it is not done twice');

# --- not encrypted any more: a roll back, an index that its tablespace seals, and all of it ---
$node->safe_psql('postgres', 'BEGIN; ALTER TABLE two DISABLE ENCRYPTION; ROLLBACK');
settles('two, rolled back');
$node->sql_is($two_sealed, '4', 'two, rolled back: all of it is sealed');
$node->psql('postgres', 'BEGIN; ALTER TABLE two DISABLE ENCRYPTION; ROLLBACK', stderr => \$err);
like($err, qr/NOTICE:  index "two_id" stays encrypted, as its tablespace is/, 'two: which index stays encrypted is said');
unlike($err, qr/index "two_v"/, 'two: and of no other one');
settles('two, rolled back again');
$node->safe_psql('postgres', 'UPDATE two SET v = v; ALTER TABLESPACE space_2 DISABLE ENCRYPTION');
settles('two, alone');
$node->sql_is($two_sealed, '4', 'two, alone: all of it is sealed');
$node->safe_psql('postgres', 'ALTER TABLE two DISABLE ENCRYPTION');
settles('two, decrypted');
$node->sql_is($two_sealed, '0', 'two, decrypted: nothing of it is sealed');
survives('two', 'two, decrypted');

# --- encrypted again, then it and its indexes are written anew, and its sequence is not ---
$node->safe_psql('postgres', 'ALTER TABLE two ENABLE ENCRYPTION');
settles('two, again');
rotates('two, again');
$node->safe_psql('postgres', 'VACUUM FULL two');
$node->sql_is("SELECT count(DISTINCT key_id) FROM tde_vault.encryption_status WHERE $two", '2', 'two, written anew: there are two keys');
rotates('two, written anew');

# --- an index that stayed encrypted when its tablespace was not any more -----------------------

$node->safe_psql('postgres', 'ALTER TABLESPACE space ENABLE ENCRYPTION');
make('rest');
$node->safe_psql('postgres', 'SET tde_vault.enforce_encryption = on; ALTER TABLESPACE space DISABLE ENCRYPTION');
$node->sql_is(q{SELECT tde_vault.is_encrypted('rest_v'), tde_vault.is_encrypted('rest')}, 't|f', 'rest: its index is sealed, it is not');
$node->safe_psql('postgres', 'ALTER TABLE rest ROTATE ENCRYPTION KEY');
settles('rest, rotated');
$node->sql_is(q{SELECT max(key_version) FROM tde_vault.encryption_status WHERE relation = 'rest_v'::regclass}, '2', 'rest: the key of its index is rotated');
survives('rest', 'rest, rotated');
$node->safe_psql('postgres', 'ALTER TABLE rest DISABLE ENCRYPTION');
sealed_becomes('rest_v', 'f');
survives('rest', 'rest, decrypted');
done_testing();
