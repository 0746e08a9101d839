# EncryptAll.pm
#
# Loaded by "perl -MEncryptAll", it makes every server that the server's own TAP
# tests set up one in which all tables are encrypted:  right after initdb the
# extension is made in the template database and in postgres, with a master key
# for the cluster, and tde_heap becomes the default access method.
#
#	TDE_VAULT_CIPHER	cipher of the tables; default: the module's
#	TDE_VAULT_KEY_FILE	the file with the master key
#	TDE_VAULT_CATALOGS	encrypt the system catalogs, too
#
package EncryptAll;

use strict;
use warnings;
use PostgreSQL::Test::Cluster;

my $init = \&PostgreSQL::Test::Cluster::init;

sub encrypted_init
{
	my ($self, %params) = @_;
	my @extra = @{ $params{extra} // [] };
	# the superuser that initdb makes, if the test names one
	my ($user) = grep { $extra[ $_ - 1 ] eq '-U' } 1 .. $#extra;
	my %as = defined $user ? (extra_params => [ '-U', $extra[$user] ]) : ();

	$init->($self, %params);
	$self->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'tde_vault'
tde_vault.key_provider = 'file:$ENV{TDE_VAULT_KEY_FILE}'
CONF
	$self->append_conf('postgresql.conf', "tde_vault.cipher = '$ENV{TDE_VAULT_CIPHER}'") if $ENV{TDE_VAULT_CIPHER};
	$self->start;
	$self->safe_psql($_, 'CREATE EXTENSION tde_vault', %as) foreach 'template1', 'postgres';
	$self->safe_psql('postgres', q{CALL tde_vault.create_master_key('cluster_key', NULL, true)}, %as);
	if ($ENV{TDE_VAULT_CATALOGS})
	{
		$self->safe_psql($_, 'CALL tde_vault.seal_catalogs()', %as) foreach 'template1', 'postgres';
	}
	$self->stop;
	$self->append_conf('postgresql.conf', 'default_table_access_method = tde_heap');
	return;
}

{
	no warnings 'redefine';
	*PostgreSQL::Test::Cluster::init = \&encrypted_init;
}

1;
