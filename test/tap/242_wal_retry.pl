# A record that the server assembles again is sealed again, under another nonce.
#
# XLogInsertRecord refuses a record if a checkpoint began since it was assembled
# and a page in it now needs an image (xlog.c).  A session that has not written
# since is certain to meet that: it still has the old redo pointer, so it
# assembles its next record about a page of before without an image.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

use constant { PAGE => 8192, SEGMENT => 16 * 1024 * 1024, UNIT => 64, STEP => 512 * 1024 };

my $node = TdeVault->create('main', conf => <<'CONF');
default_table_access_method = tde_heap
checkpoint_timeout = 1h
wal_keep_size = 1GB
CONF
$node->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect');

sub position
{
	my ($lsn) = @_;
	my ($high, $low) = map { hex } split m{/}, $lsn;
	return ($high << 32) + $low;
}

# The bytes of a record, without the headers of the WAL pages that it lies on.
my %segments;
sub record_bytes
{
	my ($lsn, $length) = @_;
	my $at = position($lsn);
	my $bytes = '';
	while (length $bytes < $length)
	{
		my $number = int($at / SEGMENT);
		$at += $at % SEGMENT == 0 ? 40 : 24 if $at % PAGE == 0;
		my $take = PAGE - $at % PAGE;
		$take = $length - length $bytes if $take > $length - length $bytes;
		$segments{$number} //= slurp_file(sprintf '%s/pg_wal/%08X%08X%08X', $node->data_dir, 1, $number / 256, $number % 256);
		$bytes .= substr $segments{$number}, $at % SEGMENT, $take;
		$at += $take;
	}
	return $bytes;
}

# The sealed records since a position, each with the counter of its nonce: as far
# as it is written, and what it is by the record's place.
sub sealed_since
{
	my ($from) = @_;
	my @records;
	%segments = ();
	foreach my $row (split /\n/, $node->safe_psql('postgres',
		"SELECT start_lsn, record_length, fpi_length FROM pg_get_wal_records_info_till_end_of_wal('$from') WHERE resource_manager = 'tde_vault_sealed' ORDER BY 1"))
	{
		my ($lsn, $length, $image) = split /\|/, $row;
		my $bytes = record_bytes($lsn, $length);
		my $spare = unpack 'v', substr($bytes, 18, 2);
		my %record = (lsn => position($lsn), image => $image, sealed => substr($bytes, 24));
		if ($spare == 0)
		{
			# a full trailer: the nonce is there
			die "record at $lsn is not of the full form" if ord(substr $bytes, -1) >> 4 != 1;
			$record{nonce} = substr $bytes, -24, 12;
			$record{low} = unpack 'v', substr $record{nonce}, 7, 2;
		}
		else
		{
			$record{low} = ($spare & 0xff) | ord(substr $bytes, -1) << 8;
			my $top = int($record{lsn} / UNIT) + 16384;
			$record{nonce} = $top - ($top - $record{low}) % 65536;
		}
		push @records, \%record;
	}
	return @records;
}

# --- one session, one checkpoint ------------------------------------------------

foreach my $cipher (TdeVault::ALL_CIPHERS)
{
	(my $table = "t_$cipher") =~ s/\W/_/g;
	$node->safe_psql('postgres', "SET tde_vault.cipher = '$cipher'; CREATE TABLE $table (id int, v text); INSERT INTO $table VALUES (0, 'first')");
	my $session = $node->background_psql('postgres');
	my $id = 0;
	my ($rounds, @records);
	my $insert = sub { $session->query_safe("INSERT INTO $table VALUES (" . ++$id . ", 'the same text every time')"); };

	# again if there was something else, or the counter followed WAL just then
	foreach (1 .. 10)
	{
		$insert->();
		my $from = $node->lsn('insert');
		$insert->();
		$insert->();
		$node->safe_psql('postgres', 'CHECKPOINT');
		$insert->();
		$insert->();
		@records = sealed_since($from);
		$rounds++;
		last if @records == 4 && int($records[0]{lsn} / STEP) == int($records[3]{lsn} / STEP);
	}
	is(scalar @records, 4, "$cipher: four records ($rounds rounds)");
	is(join(' ', map { $_->{image} > 0 ? 'image' : 'none' } @records), 'none none image none', "$cipher: the one after the checkpoint has an image");
	is(join(' ', map { ($records[$_]{low} - $records[ $_ - 1 ]{low}) % 65536 } 1 .. 3), '1 2 1',
		"$cipher: its first attempt took a nonce that no record has");
	$session->quit;
	$node->crash;
	$node->sql_is("SELECT count(*), sum(id) FROM $table", ($id + 1) . '|' . $id * ($id + 1) / 2, "$cipher: recovery replays them");
}

# --- many sessions, many checkpoints ---------------------------------------------

append_to_file($node->basedir . '/write.sql', <<'SQL');
\set k random(1, 40)
UPDATE busy SET n = n + 1 WHERE k = :k;
INSERT INTO busy_log VALUES (:k, 'the same text every time');
SQL
append_to_file($node->basedir . '/checkpoint.sql', "CHECKPOINT;\n");
$node->safe_psql('postgres', 'CREATE TABLE busy (k int PRIMARY KEY, n int); CREATE TABLE busy_log (k int, v text); INSERT INTO busy SELECT g, 0 FROM generate_series(1, 40) g');
my $from = $node->lsn('insert');
$node->command_ok(
	[ 'pgbench', '-n', '-c', '6', '-j', '2', '-t', '250', '-h', $node->host, '-p', $node->port,
		'-f', $node->basedir . '/write.sql@40', '-f', $node->basedir . '/checkpoint.sql@1', 'postgres' ],
	'six sessions write while checkpoints begin');
my @records = sealed_since($from);
cmp_ok(scalar @records, '>', 2000, 'their records are looked at');
my %nonces;
my @twice = grep { $nonces{ $_->{nonce} }++ } @records;
is(scalar @twice, 0, 'no nonce comes twice');

# Numbers between two records that no record has are attempts that came to nothing.
my @sorted = sort { $a->{nonce} <=> $b->{nonce} } @records;
my $attempts = grep {
	my ($one, $two) = @sorted[ $_ - 1, $_ ];
	$two->{nonce} - $one->{nonce} == 2
} 1 .. $#sorted;
cmp_ok($attempts, '>', 0, 'and some were drawn by attempts that came to nothing');

my $want = $node->safe_psql('postgres', 'SELECT sum(n), (SELECT count(*) FROM busy_log) FROM busy');
$node->crash;
$node->sql_is('SELECT sum(n), (SELECT count(*) FROM busy_log) FROM busy', $want, 'recovery replays them');
$node->verify_ok('verify is clean', min => 6);
done_testing();
