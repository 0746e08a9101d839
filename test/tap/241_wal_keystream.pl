# No two ciphertexts in WAL share a keystream: not two images of one page of
# WAL, taken between two flushes; not two records that say the same; not what
# two servers write that were restored from one backup and do the same from
# there on.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

use constant SEGMENT => 16 * 1024 * 1024;

# Of a record about one block: record, block, length; tag or nonce, and so on.
use constant { HEADERS => 24 + 20 + 5, TRAILER => 17 };

my $node = TdeVault->create('main', streaming => 1, conf => "wal_keep_size = 512MB\ncheckpoint_timeout = 1h\n");
$node->safe_psql('postgres', 'CREATE EXTENSION pg_walinspect');
my @ciphers = TdeVault::ALL_CIPHERS;
my %table = map { (my $name = "t_$_") =~ s/\W/_/g; $_ => $name } @ciphers;
$node->safe_psql('postgres', "SET tde_vault.cipher = '$_'; CREATE TABLE $table{$_} (id int, v text) USING tde_heap; INSERT INTO $table{$_} VALUES (0, 'first')")
  foreach @ciphers;

sub position
{
	my ($lsn) = @_;
	return hex((split m{/}, $lsn)[1]);
}

sub wal_of
{
	my ($server, $lsn) = @_;
	return slurp_file($server->data_dir . '/pg_wal/' . $server->safe_psql('postgres', "SELECT pg_walfile_name('$lsn')"));
}

# --- images of a page while it fills --------------------------------------------

my ($compared, $changed, $last) = (0, 0, '');
my $last_page = -1;
foreach my $i (1 .. 120)
{
	my $cipher = $ciphers[ $i % @ciphers ];
	$node->safe_psql('postgres', "INSERT INTO $table{$cipher} VALUES (1, 'the same text every time')");
	my $lsn = $node->lsn('flush');
	my $page = int(position($lsn) % SEGMENT / 8192);
	my $image = substr(wal_of($node, $lsn), $page * 8192, 8192);
	if ($page == $last_page)
	{
		# the trailing zeros of the older one are what was not written yet
		(my $written = $last) =~ s/\0+\z//;
		$compared++ if $image ne $last;
		$changed++ if substr($image, 0, length $written) ne $written;
	}
	($last, $last_page) = ($image, $page);
}
cmp_ok($compared, '>', 60, 'images of pages that were written again are compared');
is($changed, 0, 'what stands in an image is never encrypted again');

# --- two servers from one backup --------------------------------------------------

$node->backup('one');
system_or_bail('cp', '-a', $node->backup_dir . '/one', $node->backup_dir . '/two');
my @twins = map { TdeVault->create_from_backup("twin_$_", $node, $_) } 'one', 'two';
my (@wal, @from, @records);
foreach my $twin (@twins)
{
	$twin->append_conf('postgresql.conf', 'archive_mode = off');
	$twin->start;
	push @from, $twin->lsn('insert');
}
is($from[1], $from[0], 'the twins stand at the same place');
foreach my $i (0, 1)
{
	my $twin = $twins[$i];
	foreach my $cipher (@ciphers)
	{
		$twin->safe_psql('postgres', "INSERT INTO $table{$cipher} SELECT g, 'the same text of both ' || g FROM generate_series(1, 40) g");
	}
	$wal[$i] = wal_of($twin, $from[0]);
	$records[$i] = $twin->safe_psql('postgres', "SELECT start_lsn, record_length, fpi_length, block_ref FROM pg_get_wal_records_info_till_end_of_wal('$from[0]') WHERE description LIKE 'Heap%'");
}
my %second = map { (split /\|/)[0] => $_ } split /\n/, $records[1];
my ($pairs, $alike) = (0, 0);
foreach my $row (split /\n/, $records[0])
{
	my ($lsn, $length) = split /\|/, $row;
	my $at = position($lsn) % SEGMENT;
	next if ($second{$lsn} // '') ne $row || $at % 8192 + $length > 8192 || $length < 100;
	my ($one, $two) = map { substr($_, $at, $length) } @wal;
	# without headers and trailer, of which parts are readable, and equal
	my $xor = substr($one ^ $two, HEADERS, $length - HEADERS - TRAILER);
	$pairs++;
	# equal plaintext under one keystream would be equal ciphertext
	$alike++ if $xor =~ /\0{4}/;
}
cmp_ok($pairs, '>', 100, 'records of the same place and the same content are compared');
is($alike, 0, 'and have nothing in common');

# Nor with what each of them wrote before, or the original writes now.
my %seen;
my $repeated = 0;
foreach my $i (0, 1)
{
	foreach my $row (split /\n/, $records[$i])
	{
		my ($lsn, $length, $fpi) = split /\|/, $row;
		my $at = position($lsn) % SEGMENT;
		next if $fpi > 0 || $at % 8192 + $length > 8192 || $length < 100;
		my $payload = substr($wal[$i], $at + HEADERS, $length - HEADERS - TRAILER);
		$repeated++ if grep { $seen{$_}++ } $payload =~ /(.{8})/gs;
	}
}
cmp_ok(scalar(keys %seen), '>', 1000, 'their ciphertext is compared');
is($repeated, 0, 'no eight bytes come twice');
$_->verify_ok('verify is clean on ' . $_->name, min => 4) foreach @twins;
done_testing();
