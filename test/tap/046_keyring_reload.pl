# fsync is switched off, and on again, while the server runs: each process learns
# of it at its own time.  A checkpoint passes what the keyring has got before it,
# whatever who made the change and the checkpointer think of fsync; then WAL does
# not bring it back, so a server that is killed must find it in the file.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', streaming => 1, conf => "fsync = on\nwal_keep_size = 256MB\ndefault_table_access_method = tde_heap\n");
$node->safe_psql('postgres', 'CREATE TABLE emptied (id int); INSERT INTO emptied VALUES (0); CHECKPOINT');
$node->backup('b');
my $standby = TdeVault->create_from_backup('standby', $node, 'b', has_streaming => 1);
$standby->start;

# Tell the checkpointer, and nobody else.  It looks at that before it begins a
# checkpoint that is asked for later.
sub tell_checkpointer
{
	my ($server, $fsync) = @_;
	$server->append_conf('postgresql.conf', "fsync = $fsync");
	my $pid = $server->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});
	kill 'HUP', $pid or die "could not signal $pid: $!";
	return;
}

# Files without a page, which nothing but their records in the keyring tell of.
my $made = 0;
my @servers = ($node, $standby);
sub checkpoint_passes
{
	my ($who) = @_;
	$made++;
	$node->safe_psql('postgres', $_) foreach 'TRUNCATE emptied', "CREATE TABLE made_$made (id int)", 'CHECKPOINT';
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	$standby->safe_psql('postgres', 'CHECKPOINT');
	foreach my $server (@servers)
	{
		$server->crash;
		$server->sql_is("SELECT tde_vault.is_encrypted('$_')", 't', $server->name . ": $who: the keyring knows \"$_\" after a crash") foreach 'emptied', "made_$made";
	}
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	return;
}
tell_checkpointer($_, 'off') foreach @servers;
checkpoint_passes('off for the checkpointer alone');
tell_checkpointer($_, 'on') foreach @servers;
checkpoint_passes('off for all but the checkpointer');

# All of them, as it is meant to be used: some work before that, and some after.
tell_checkpointer($_, 'on') foreach @servers;
$_->reload foreach @servers;
$node->safe_psql('postgres', 'CREATE TABLE before (id int)');
$_->append_conf('postgresql.conf', 'fsync = off') foreach @servers;
$_->reload foreach @servers;
$node->safe_psql('postgres', 'CREATE TABLE after (id int)');
checkpoint_passes('switched off');
$_->sql_is(q{SELECT bool_and(tde_vault.is_encrypted(r)) FROM unnest('{before,after}'::regclass[]) r}, 't', $_->name . ': so with tables from before and after') foreach @servers;
$standby->promote;
foreach my $server (@servers)
{
	$server->sql_is("INSERT INTO $_ VALUES (1); SELECT count(*) FROM $_", '1', $server->name . ": $_ is written") foreach qw(emptied made_1 made_2 made_3 before after);
	$server->verify_ok($server->name . ': verify is clean', min => 6);
}
done_testing();
