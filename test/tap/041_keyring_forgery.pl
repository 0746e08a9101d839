# A thief with the disk takes records out of the keyring, or adds ones that
# say a file is gone, with all checks computed anew, and puts plain pages of
# his own in the place of sealed ones.  No such page is ever read as a row.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeKeyring;
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main');
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE victim (id int PRIMARY KEY, v text) USING tde_heap;
ALTER TABLE victim ALTER v SET STORAGE EXTERNAL;
INSERT INTO victim VALUES (1, repeat('long', 5000)), (2, 'short');
CREATE TABLE forged (id int PRIMARY KEY, v text) USING heap;
ALTER TABLE forged ALTER v SET STORAGE EXTERNAL;
INSERT INTO forged VALUES (1, repeat('liar', 5000)), (2, 'forged');
CREATE TABLE other (id int) USING tde_heap;
INSERT INTO other VALUES (1);
VACUUM FREEZE victim;
VACUUM FREEZE forged;
SQL

sub is_about
{
	my ($record, $filenode) = @_;
	return $record->[0] == FILE && unpack('V', substr($record->[1], 24, 4)) == $filenode;
}

# --- what is attacked ----------------------------------------------------------

my %sql = (
	table => 'SELECT v FROM victim WHERE id = 2',
	'TOAST table' => 'SELECT v FROM victim WHERE id = 1',
	index => 'SET enable_seqscan = off; SELECT v FROM victim WHERE id = 2',
	'index of the TOAST table' => 'SELECT v FROM victim WHERE id = 1');
my %name = (
	table => '%s',
	'TOAST table' => "(SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = '%s')",
	index => '%s_pkey',
	'index of the TOAST table' => "(SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = (SELECT reltoastrelid FROM pg_class WHERE relname = '%s'))");
my (%filenode, %path, %plain_path);
foreach my $part (sort keys %name)
{
	my ($victim, $forged) = map {
		my $name = sprintf $name{$part}, $_;
		$name =~ /^\(/ ? $name : "'$name'"
	} 'victim', 'forged';
	$filenode{$part} = $node->safe_psql('postgres', "SELECT pg_relation_filenode($victim)");
	$path{$part} = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath($victim)");
	$plain_path{$part} = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath($forged)");
}
$node->stop_clean;
my $good = slurp_file($node->keyring_path);
my @records = keyring_records($good);
is(keyring_bytes($good, @records), $good, 'the test can make a keyring');
my $database = (unpack 'V*', substr((grep { is_about($_, $filenode{table}) } @records)[0][1], 16, 12))[1];
my $tablespace = 1663;
$node->keep_data;

sub removal
{
	my ($type, $filenode) = @_;
	return keyring_record($type, pack('VVVQ<', $tablespace, $database, $filenode, 1));
}

my %forge = (
	'record taken out' => sub { my ($n) = @_; return grep { !is_about($_, $n) } @records },
	'record of its removal added' => sub { return (@records, removal(FILE_DROPPED, $_[0])) },
	'record that forgets it added' => sub { return (@records, removal(FILE_FORGOTTEN, $_[0])) });

foreach my $how (sort keys %forge)
{
	foreach my $part (sort keys %name)
	{
		foreach my $pages ('sealed', 'plain')
		{
			my $name = "$part, $how, $pages pages";
			my $forged = keyring_bytes($good, $forge{$how}->($filenode{$part}));
			isnt($forged, $good, "$name: the keyring is another");
			$node->write_file($node->keyring_path, $forged);
			# a thief's page: the same relation, made without encryption
			$node->write_file($path{$part}, slurp_file($plain_path{$part})) if $pages eq 'plain';
			$node->start;
			$node->sql_fails($sql{$part}, 'TV...|XX001', qr/keyring does not know|encrypted/,
				"$name: no row, but an error");
			$node->sql_fails("INSERT INTO victim VALUES (3, repeat('more', 5000))", 'TV...|XX001',
				qr/keyring does not know|encrypted/, "$name: nothing is written there")
			  unless $part eq 'table' && $pages eq 'plain';
			$node->sql_is('SELECT id FROM other', '1', "$name: other tables work");
			$node->stop('immediate');
			$node->restore_data;
		}
	}
}

# Nothing was lost that the right keyring could not open.
$node->start;
$node->sql_is('SELECT id, length(v) FROM victim', "1|20000\n2|5", 'with its keyring every row is there');
$node->verify_ok('verify is clean', min => 2);
$node->stop;
done_testing();
