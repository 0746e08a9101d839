# Records as no server of ours writes them, but one may: of 33 blocks, of
# several forks, with an image of each, with as much data as a block can have,
# of many megabytes, of another extension's resource manager.  They are sealed,
# replayed after a crash and by a standby, and decoded, byte by byte.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use WalRecord;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = WalRecord->server(streaming => 1, conf => <<'CONF');
wal_level = logical
wal_consistency_checking = all
wal_keep_size = 1GB
max_wal_size = 2GB
CONF
my %am = (sealed => 'tde_heap', plain => 'heap');
my @tables;
foreach my $kind (sort keys %am)
{
	foreach my $cipher ($kind eq 'plain' ? ('none') : TdeVault::ALL_CIPHERS)
	{
		(my $name = "${kind}_$cipher") =~ s/\W/_/g;
		push @tables, $name;
		$node->safe_psql('postgres', ($kind eq 'plain' ? '' : "SET tde_vault.cipher = '$cipher';") . <<"SQL");
CREATE TABLE $name (id int, v text) USING $am{$kind};
INSERT INTO $name SELECT g, repeat(md5(g::text), 60) FROM generate_series(1, 200) g;
SQL
		$node->safe_psql('postgres', "VACUUM $name");
	}
}
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('slot', 'test_decoding')});
$node->backup('base');
my $standby = TdeVault->create_from_backup('standby', $node, 'base', has_streaming => 1);
$standby->start;

my @shapes = (
	[ 'one block, little data', '1, 1, false, 10, 10' ],
	[ 'no data of the block',   '1, 1, false, 0, 0' ],
	[ '33 blocks',              '1, 33, false, 100, 100' ],
	[ '33 blocks with images',  '1, 33, true, 0, 100' ],
	[ 'three forks',            '3, 1, true, 100, 1000' ],
	[ 'all the data that 33 blocks can have', '1, 33, true, 65535, 70000' ],
	[ 'main data of 255 bytes with its head', '1, 1, false, 1, 215' ],
	[ 'main data that the trailer makes long', '1, 1, false, 1, 200' ],
	[ 'main data of 1 MB',      '1, 1, false, 1, 1048576' ],
	[ 'main data of 40 MB',     '1, 2, true, 5, 41943040' ]);
my (%marker, $records);
foreach my $table (@tables)
{
	foreach my $shape (@shapes)
	{
		my ($name, $arguments) = @$shape;
		next if $name =~ /40 MB/ && $table !~ /gcm|plain/;
		my $compression = (qw(off pglz lz4 zstd))[ $records++ % 4 ];
		$marker{"$table, $name"} = TdeVault::marker("large $table $name");
		$node->safe_psql('postgres', "SET wal_compression = $compression; BEGIN; INSERT INTO $table VALUES (0, 'x'); SELECT walrecord('$table', $arguments, '$marker{\"$table, $name\"}'); COMMIT");
	}
}
my $digest = join ' UNION ALL ', map { "SELECT '$_', count(*), sum(hashtextextended(t::text, 0)) FROM $_ t" } @tables;
my $rows = $node->safe_psql('postgres', $digest);

# What is there of them, in WAL as it was written.
my $found = $node->find_markers(\%marker);
foreach my $name (sort keys %marker)
{
	next if $name =~ /no data of the block/;
	my $in_wal = grep { m{^pg_wal/} } @{ $found->{$name} };
	if ($name =~ /^plain/) { cmp_ok($in_wal, '>', 0, "$name: the control is found") }
	else                   { is("@{ $found->{$name} }", '', "$name: not found") }
}
my $offset = $node->log_size;
$node->sql_is(q{SELECT count(*) > 0 FROM pg_logical_slot_get_changes('slot', NULL, NULL)}, 't', 'they are decoded');
is(scalar(() = slurp_file($node->logfile, $offset) =~ /LOG:  walrecord: decoded/g), $records, 'all of them, byte by byte');

$offset = $node->log_size;
$node->crash;
my $log = slurp_file($node->logfile, $offset);
is(scalar(() = $log =~ /LOG:  walrecord: replayed/g), $records, 'recovery replays them, byte by byte');
unlike($log, qr/PANIC|inconsistent/, 'and the pages are what they were');
$node->sql_is($digest, $rows, 'the same rows');
$node->verify_ok('verify is clean', min => 4);

$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$log = slurp_file($standby->logfile);
is(scalar(() = $log =~ /LOG:  walrecord: replayed/g), $records, 'so does the standby');
unlike($log, qr/PANIC|inconsistent/, 'and its pages are the same');
$standby->sql_is($digest, $rows, 'the same rows there');
$standby->verify_ok('verify is clean there', min => 4);
done_testing();
