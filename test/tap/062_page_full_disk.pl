# A disk that is full when the first page of a table, and its sidecar with it,
# is made: the statement fails, and the same session goes on when there is room.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $small = TdeVault::small_file_system();
my $node = TdeVault->create('full', data_dir => "$small/pgdata",
	initdb => [ '--wal-segsize=1', '-X', PostgreSQL::Test::Utils::tempdir() . '/wal' ]);
$node->safe_psql('postgres', q{CREATE TABLE before USING tde_heap AS SELECT 1; CREATE TABLE t (v text) USING tde_heap});
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query(q{INSERT INTO before VALUES (2)});

TdeVault::leave_free($small, 0);
$session->query(q{INSERT INTO t VALUES ('lost')});
like($session->{stderr}, qr/No space left on device/, 'the disk is full');
TdeVault::make_room($small);
$session->{stderr} = '';
$session->query_safe(q{INSERT INTO t SELECT g FROM generate_series(1, 1000) g});
$session->quit;

$node->safe_psql('postgres', 'CHECKPOINT');
$node->restart;
$node->sql_is('SELECT count(*) FROM t', '1000', 'what the same session wrote afterwards is there');
$node->verify_ok('verify is clean', min => 2);
done_testing();
