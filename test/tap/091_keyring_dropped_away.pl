# DROP DATABASE while the HSM is away, after a restart: it needs no key.  The
# audit events of the keys that go with it cannot be written, which the server's
# log says of each.  That the provider was away is not remembered once it is
# back.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

use constant TABLES => 8;

my $node = TdeVault->create('main', conf => "default_table_access_method = tde_heap\n");
$node->safe_psql('postgres', 'CREATE TABLE stays AS SELECT 1 AS i');
$node->create_database('goes');
$node->safe_psql('goes', join '', map { "CREATE TABLE t$_ (i int PRIMARY KEY);" } 1 .. TABLES);
my $files = q{SELECT count(*) FROM tde_vault.table_keys() k WHERE k.database NOT IN (SELECT oid FROM pg_database) AND k.files > 0};
$node->restart;
rename $node->{tv_module}, "$node->{tv_module}.away" or die;

# one session: the same process asks for the key, again and again
my $logged = $node->log_size;
my ($rc, $out, $err) = $node->psql('postgres', <<"SQL");
DROP DATABASE goes;
\\! mv '$node->{tv_module}.away' '$node->{tv_module}'
SELECT i FROM stays;
SQL
is($rc, 0, 'a database is dropped while the HSM is away') or diag($err);
is($out, '1', '... and a table can be read in the moment when it is back, by the same session');
my @events = slurp_file($node->logfile, $logged) =~ /LOG:  could not write audit event TABLE_KEY_DROPPED/g;
cmp_ok(scalar(@events), '>=', TABLES, '... and the log says which audit events could not be written');
unlike(slurp_file($node->logfile, $logged), qr/WARNING|PANIC/, '... and nothing else went wrong');
$node->sql_is($files, '0', 'no file of it is left in the keyring');
$node->safe_psql('postgres', 'CHECKPOINT');
$node->stop('immediate');
$node->start;
$node->sql_is($files, '0', '... also after a crash');
$node->sql_is('SELECT i FROM stays', '1', '... and the others are there');
done_testing();
