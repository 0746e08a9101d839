# DROP DATABASE IF EXISTS that waits for a rename must not touch the database
# that had the name before.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main');
$node->create_database('x');

$node->safe_psql('x', 'CREATE TABLE t USING tde_heap AS SELECT g FROM generate_series(1, 100) g');
$node->safe_psql('x', 'VACUUM FREEZE t; CHECKPOINT');
$node->safe_psql('postgres', 'CREATE ROLE joe LOGIN');

my $s = $node->background_psql('postgres');
$s->query_safe('BEGIN; ALTER DATABASE x RENAME TO y');
my $d = $node->background_psql('postgres');
$d->query_until(qr/go/, "\\echo go\nSET ROLE joe;\nDROP DATABASE IF EXISTS x;\n");
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE NOT granted});
$s->query_safe('COMMIT');
$s->quit;
$d->quit;
$node->restart;
is($node->safe_psql('y', 'SELECT count(*) FROM t'), '100', 'the renamed database is untouched');
done_testing();
