# The longest record that the server can read is just below 1 GB; it writes longer
# ones, and then cannot recover.  The longest is sealed, trailer and all, and read
# again.  What is longer is refused while nothing of it is in WAL.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use WalRecord;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
	LONGEST => 0x3fffe000 - 1,
	HEADERS => 24 + 20 + 5,       # of a record about one block
	TRAILER => 18,                # one more than of the server's own records
	HEAD    => 40,                # of walrecord's main data
	DATA    => 1                  # of the block
};

my $node = WalRecord->server(streaming => 1, conf => <<'CONF');
restart_after_crash = on
max_wal_size = 20GB
checkpoint_timeout = 1h
wal_init_zero = off
wal_buffers = 32MB
CONF
$node->safe_psql('postgres', q{CREATE TABLE t (id int, v text) USING tde_heap; INSERT INTO t VALUES (1, 'before'); CHECKPOINT; INSERT INTO t VALUES (2, 'image')});

# Of no table, plain: what pg_logical_emit_message is given.
my $from = $node->lsn('insert');
my $message = LONGEST - 24 - 5 - 24 - length("p\0");
$node->sql_fails("SELECT pg_logical_emit_message(false, 'p', repeat('x', $message + 1))", '54000', qr/WAL record of @{[ LONGEST + 1 ]} bytes is too long/, 'a message that is too long is refused');
$node->sql_is("SELECT pg_current_wal_insert_lsn() - '$from' < 1000000", 't', '... and nothing of it is in WAL');

# About a block of an encrypted table.  In a critical section, as all records
# about pages: what cannot be written there ends all sessions.
my $main = LONGEST - HEADERS - TRAILER - HEAD - DATA;
my $rows = "2|before|image";
my $offset = $node->log_size;
$node->sql_fails("SELECT walrecord('t', 1, 1, false, @{[ DATA ]}, $main + 1, 'too long')", '.*', qr/too long|server closed|connection/, 'a record about a page that is too long is refused');
ok($node->wait_until_ready, 'the server comes back');
like(slurp_file($node->logfile, $offset), qr/PANIC:  WAL record of @{[ LONGEST + 1 ]} bytes is too long/, '... with the reason');
$node->sql_is('SELECT count(*), min(v), max(v) FROM t', $rows, 'nothing is lost');

$node->safe_psql('postgres', "SELECT walrecord('t', 1, 1, false, @{[ DATA ]}, $main, 'longest')");
$node->safe_psql('postgres', q{INSERT INTO t VALUES (3, 'later')});
$offset = $node->log_size;
$node->crash;
like(slurp_file($node->logfile, $offset), qr/LOG:  walrecord: replayed @{[ LONGEST ]} bytes/, 'the longest one is read again, byte by byte');
$node->sql_is('SELECT count(*), min(v), max(v) FROM t', '3|before|later', 'nothing is lost');
$node->verify_ok('verify is clean');

# A row that is deleted or updated is logged whole, with REPLICA IDENTITY FULL:
# such a one is refused before heap's critical section.  One that is a little
# shorter is not.
$node->append_conf('postgresql.conf', "wal_level = logical");
$node->restart;
my $column = int(LONGEST / 4);
$node->safe_psql('postgres', 'CREATE TABLE wide (id int PRIMARY KEY, a text, b text, c text, d text) USING tde_heap');
$node->safe_psql('postgres', "ALTER TABLE wide ALTER $_ SET STORAGE EXTERNAL") foreach qw(a b c d);
$node->safe_psql('postgres', 'INSERT INTO wide VALUES (1)');
$node->safe_psql('postgres', "UPDATE wide SET $_ = repeat('$_', $column)") foreach qw(a b c d);
$node->safe_psql('postgres', 'ALTER TABLE wide REPLICA IDENTITY FULL');
$offset = $node->log_size;
$node->sql_fails($_, '54000', qr/row of \d+ bytes of table "wide" is too long to be logged/, "$_: refused") foreach 'DELETE FROM wide', 'UPDATE wide SET id = 2';
unlike(slurp_file($node->logfile, $offset), qr/PANIC/, 'and no session is ended');
$node->sql_is('SELECT id, length(a), length(d) FROM wide', "1|$column|$column", 'the row is as it was');
$node->safe_psql('postgres', q{ALTER TABLE wide REPLICA IDENTITY DEFAULT; UPDATE wide SET d = left(d, -50000)});
$node->safe_psql('postgres', q{ALTER TABLE wide REPLICA IDENTITY FULL; UPDATE wide SET id = 2});
$node->sql_is('SELECT id, length(a), length(d) FROM wide', "2|$column|" . ($column - 50000), 'a shorter one is updated');
$node->safe_psql('postgres', 'ALTER TABLE wide REPLICA IDENTITY DEFAULT; DELETE FROM wide');
$node->sql_is('SELECT count(*) FROM wide', '0', 'and with another replica identity any is deleted');
done_testing();
