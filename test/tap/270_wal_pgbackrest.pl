# pgBackRest: full and differential backups with its checksum page test, WAL
# archiving, restore.  Sealed pages pass the test, and the restored cluster
# has every row.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $conf = "$dir/pgbackrest.conf";
my $command = "pgbackrest --config=$conf --stanza=main";

my $node = TdeVault->create('main', streaming => 1, initdb => ['-k'], conf => <<"CONF");
default_table_access_method = tde_heap
archive_mode = on
archive_command = '$command archive-push %p'
CONF
TdeVault::_write_file($conf, <<"CONF");
[global]
repo1-path=$dir/repo
log-path=$dir
lock-path=$dir
spool-path=$dir
log-level-console=info
log-level-file=off
checksum-page=y
repo1-retention-full=2
start-fast=y
process-max=1
[main]
pg1-path=@{[ $node->data_dir ]}
pg1-port=@{[ $node->port ]}
pg1-socket-path=@{[ $node->host ]}
CONF

sub pgbackrest
{
	my ($name, @args) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err);
	my $ok = IPC::Run::run([ split(' ', $command), @args ], '>', \$out, '2>', \$err);
	ok($ok, $name) or diag("$out\n$err");
	unlike("$out$err", qr/WARN|invalid page|ERROR/, "$name: nothing to warn of");
	return;
}

pgbackrest('stanza-create', 'stanza-create');
my @ciphers = TdeVault::ALL_CIPHERS;
foreach my $i (0 .. $#ciphers)
{
	$node->safe_psql('postgres', <<"SQL");
SET tde_vault.cipher = '$ciphers[$i]';
CREATE TABLE t$i (id int PRIMARY KEY, v text);
INSERT INTO t$i SELECT g, md5(g::text) FROM generate_series(1, 20000) g;
CREATE INDEX ON t$i USING hash (v);
VACUUM t$i;
SQL
}
pgbackrest('full backup', '--type=full', 'backup');
$node->safe_psql('postgres', 'UPDATE t0 SET v = v || id WHERE id % 7 = 0');
$node->safe_psql('postgres', 'DROP TABLE t3');
$node->safe_psql('postgres', 'CREATE TABLE later AS SELECT g FROM generate_series(1, 5000) g');
pgbackrest('differential backup', '--type=diff', 'backup');

# after the backup: this comes back from the archive
$node->safe_psql('postgres', 'DELETE FROM t1 WHERE id % 2 = 0');
$node->safe_psql('postgres', 'CREATE TABLE last AS SELECT g FROM generate_series(1, 300) g');
my $rows = q{SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t0 t),
	(SELECT count(*) FROM t1), (SELECT count(*) FROM t2), (SELECT count(*) FROM later),
	(SELECT count(*) FROM last)};
my $expected = $node->safe_psql('postgres', $rows);
$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->stop;

PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $node->data_dir);
pgbackrest('restore', 'restore');
$node->start;
$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()')
  or die 'recovery did not end';
$node->sql_is($rows, $expected, 'every row is there');
$node->verify_ok('every page verifies');
$node->stop;
$node->command_ok([ 'pg_checksums', '--check', '-D', $node->data_dir ], 'pg_checksums finds no fault');
done_testing();
