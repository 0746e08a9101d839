# Dropped files do not use up tde_vault.max_relation_files, neither while the
# server runs nor when it starts.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', conf => "tde_vault.max_relation_files = 1000\nfsync = off\n");
my $sql = join('', map { "CREATE TABLE t$_ (a int) USING tde_heap; DROP TABLE t$_;\n" } 1 .. 990);
$node->safe_psql('postgres', $sql);
$node->safe_psql('postgres', 'CHECKPOINT');
my ($rc, $out, $err) = $node->psql('postgres', $sql);
is($err, '', 'dropped files make room once a checkpoint has passed');
$node->stop;

$node = TdeVault->create('second', conf => "tde_vault.max_relation_files = 1300\nfsync = off\n");
$sql = join('', map { "CREATE TABLE t$_ (a int) USING tde_heap; DROP TABLE t$_;\n" } 1 .. 1100);
$node->safe_psql('postgres', $sql);
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', $sql);
$node->stop;
ok($node->start(fail_ok => 1), 'the server starts, whatever the keyring file holds of the dropped');
done_testing();
