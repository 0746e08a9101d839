# fsync = off: nothing is synced, at checkpoints, either.  That leaves a cluster
# to power cuts, but what a server had written when it was killed is there, and
# the keyring knows it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', streaming => 1, conf => "fsync = off\ndefault_table_access_method = tde_heap\n");
$node->safe_psql('postgres', 'CREATE TABLE filled AS SELECT g FROM generate_series(1, 100) g; CREATE TABLE emptied (id int)');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->backup('b');
my $standby = TdeVault->create_from_backup('standby', $node, 'b', has_streaming => 1);
$standby->start;

# Files without a page: nothing but their records would have the keyring written.
# Each, and the master key's, is passed by a checkpoint, so WAL does not bring it back.
$node->safe_psql('postgres', $_) foreach 'TRUNCATE emptied', 'CREATE TABLE made (id int)', 'ALTER TABLE filled ADD CONSTRAINT c CHECK (g > 0)', 'CHECKPOINT', 'TRUNCATE emptied', 'CHECKPOINT';
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
$standby->safe_psql('postgres', 'CHECKPOINT');
foreach my $server ($node, $standby)
{
	$server->crash;
	$server->sql_is(q{SELECT bool_and(tde_vault.is_encrypted(r)) FROM unnest('{filled,emptied,made}'::regclass[]) r}, 't', $server->name . ': a checkpoint, a crash, and the keyring knows every file');
}
$standby->promote;
foreach my $server ($node, $standby)
{
	$server->sql_is("INSERT INTO $_ VALUES (1); SELECT count(*) FROM $_", '1', $server->name . ": $_ is written") foreach qw(emptied made);
	$server->verify_ok($server->name . ': verify is clean', min => 3);
}
done_testing();
