# WalRecord.pm
#	  A server with test/modules/walrecord, which writes WAL records as no server
#	  does and checks them when they are replayed or decoded, for TAP tests.

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

1;
