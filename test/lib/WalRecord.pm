# WalRecord.pm
#	  A server with test/modules/walrecord, which writes WAL records as no server
#	  does and checks them when they are replayed or decoded; and records that are
#	  changed in their file.  For TAP tests.

package WalRecord;

use strict;
use warnings;

use TdeVault;

# As TdeVault->create, with a function walrecord() in database postgres.
sub server
{
	my ($class, %opt) = @_;
	my $node = TdeVault->create('main', %opt, start => 0);
	my $library = $node->build_module('walrecord');

	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'tde_vault, $library'");
	$node->start;
	$node->safe_psql('postgres', <<"SQL");
CREATE EXTENSION tde_vault;
CREATE FUNCTION walrecord(regclass, forks int, blocks int, images bool, data_len int, main_len int, marker text)
	RETURNS pg_lsn LANGUAGE C STRICT AS '$library'
SQL
	$node->create_master_key('postgres', 'test_key');
	return $node;
}

# CRC-32C, as the server computes it (port/pg_crc32c_sb8.c).
my @crc_table = map { my $c = $_; $c = $c & 1 ? 0x82F63B78 ^ ($c >> 1) : $c >> 1 foreach 1 .. 8; $c } 0 .. 255;
sub crc32c
{
	my ($bytes) = @_;
	my $crc = 0xFFFFFFFF;
	$crc = $crc_table[ ($crc ^ $_) & 0xff ] ^ ($crc >> 8) foreach unpack 'C*', $bytes;
	return $crc ^ 0xFFFFFFFF;
}

# Change bits of byte $at of a record that lies in one WAL page, and its CRC so that
# only cryptography can tell.
sub change
{
	my ($node, $path, $offset, $length, $at, $bits) = @_;
	my $record = $node->read_bytes($path, $offset, $length);
	substr($record, $at, 1) = chr(ord(substr($record, $at, 1)) ^ $bits);
	substr($record, 20, 4) = pack 'V', crc32c(substr($record, 24) . substr($record, 0, 20));
	$node->write_bytes($path, $offset, $record);
	return;
}

1;
