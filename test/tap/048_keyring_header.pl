# How far the keyring was committed stands in its header, and recovery takes the
# file up to there.  A write of it that fails must not count: else a checkpoint
# passes the records that only WAL before it has.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use FailingDisk;
use TdeVault;
use Test::More;

my $disk = FailingDisk->new;
$ENV{LD_PRELOAD} = $disk->library;
my $node = TdeVault->create('main', conf => <<'CONF');
default_table_access_method = tde_heap
checkpoint_timeout = 1h
bgwriter_lru_maxpages = 0
CONF
# the first table of all has the keyring written for more than itself
$node->safe_psql('postgres', 'CREATE TABLE first (id int); INSERT INTO first VALUES (1)');
my $tables = 0;

# The write after so many others fails, once, while a table gets its key; returns
# whether there was one.
sub fill_table
{
	my ($skip) = @_;
	my $table = 't' . ++$tables;
	my $fill = "INSERT INTO $table SELECT g, -g FROM generate_series(1, 100) g";

	$node->safe_psql('postgres', "CHECKPOINT; CREATE TABLE $table (id int, n int)");
	$disk->fail('pwrite', '/tde_vault/keyring', skip => $skip, times => 1);
	my ($state, $error) = $node->sql_error($fill);
	my $failed = $disk->mend;
	if ($state ne '')
	{
		like($error, qr/could not write file "tde_vault\/keyring": Input\/output error/, "write $skip: an error that says so");
		$node->safe_psql('postgres', $fill);
	}
	$node->safe_psql('postgres', 'CHECKPOINT');
	# all at once: who sees the postmaster die may write the keyring
	$node->kill_server;
	$node->start;
	$node->sql_is("SELECT count(*), sum(n) FROM $table", '100|-5050', "write $skip: after a checkpoint and a crash the rows are there");
	return $failed;
}

my $skip = 0;
$skip++ while fill_table($skip) && $skip < 10;
cmp_ok($skip, '>', 0, "$skip writes failed");
$node->verify_ok('verify is clean', min => $tables);
$node->stop;
done_testing();
