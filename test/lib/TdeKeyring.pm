# TdeKeyring.pm
#	  The bytes of a keyring, as contrib/doc/formats.md has them: for tests that
#	  look into it, or change it as somebody could who has the disk.

package TdeKeyring;

use strict;
use warnings;

use Digest::SHA ();
use Exporter ();
use PostgreSQL::Test::Utils ();

our @ISA = ('Exporter');
our @EXPORT = qw(MASTER_KEY TABLE_KEY FILE FILE_DROPPED FILE_FORGOTTEN MASTER_KEY_RETIRED TABLE_KEY_WORK SCOPE
  keyring_records keyring_bytes keyring_record keyring_payload change_keyring table_keys_of age_table_keys);

use constant {
	HEADER             => 512,
	FRAME              => 16,
	CHECK_LEN              => 16,
	MASTER_KEY         => 1,
	TABLE_KEY          => 2,
	FILE               => 3,
	FILE_DROPPED       => 4,
	FILE_FORGOTTEN     => 5,
	MASTER_KEY_RETIRED => 7,
	TABLE_KEY_WORK     => 10,
	SCOPE              => 12
};

# ([ type, bytes without check ], ...)
sub keyring_records
{
	my ($bytes) = @_;
	my ($pos, @records) = (HEADER);
	while ($pos < length $bytes)
	{
		my ($length, $type) = unpack 'Vv', substr($bytes, $pos, 6);
		push @records, [ $type, substr($bytes, $pos, $length - CHECK_LEN) ];
		$pos += $length;
	}
	return @records;
}

# The same header, other records, and every check as it must be.
sub keyring_bytes
{
	my ($bytes, @records) = @_;
	my $header = substr($bytes, 0, HEADER);
	my $check = substr($header, 40, CHECK_LEN);
	my $body = '';
	foreach my $record (@records)
	{
		$check = substr(Digest::SHA::sha256($check . $record->[1]), 0, CHECK_LEN);
		$body .= $record->[1] . $check;
	}
	substr($header, 32, 8) = pack 'Q<', HEADER + length $body;
	substr($header, 56, 16) = substr(Digest::SHA::sha256("\0" x 16 . substr($header, 0, 56)), 0, 16);
	return $header . $body;
}

# A record of that type (and version) and payload.
sub keyring_record
{
	my ($type, $payload, $version) = @_;
	return [ $type, pack('VvvQ<', FRAME + length($payload) + CHECK_LEN, $type, $version // 1, 0) . $payload ];
}

sub keyring_payload { return substr($_[0][1], FRAME); }

# Write the keyring of a node that is stopped with other records: $change gets
# those that are there and returns those that are to be.  Returns the old bytes.
sub change_keyring
{
	my ($node, $change) = @_;
	my $bytes = PostgreSQL::Test::Utils::slurp_file($node->keyring_path);
	$node->write_file($node->keyring_path, keyring_bytes($bytes, $change->(keyring_records($bytes))));
	chmod 0600, $node->keyring_path;
	return $bytes;
}

# Make the table keys of a node that is stopped older, by days: the time when a
# key was made is nobody's secret.
sub age_table_keys
{
	my ($node, $days) = @_;
	change_keyring($node, sub {
		my @records = @_;
		foreach my $record (grep { $_->[0] == TABLE_KEY } @records)
		{
			my $created = unpack 'q<', substr($record->[1], FRAME + 27, 8);
			substr($record->[1], FRAME + 27, 8) = pack 'q<', $created - $days * 86400 * 1000000;
		}
		return @records;
	});
	return;
}

# { id, epoch, database, table, master, wrapped } of each TABLE_KEY record
sub table_keys_of
{
	my ($bytes) = @_;
	my @keys;
	foreach my $record (grep { $_->[0] == TABLE_KEY } keyring_records($bytes))
	{
		my %key;
		(@key{qw(id epoch database table)}, undef, $key{master}, undef, $key{wrapped}) =
		  unpack 'Q<vVVCQ<q<v/a', keyring_payload($record);
		push @keys, \%key;
	}
	return @keys;
}

1;
