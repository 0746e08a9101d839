# Encryption in place of unlogged tables; what is rolled back or crashes with
# its transaction; decryption in place.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use TdeWorker;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('online', conf => <<'CONF');
tde_vault.worker_cost_delay = 0
CONF
marked_table($node);

$node->safe_psql('postgres', q{CALL tde_vault.encrypt_table('p')});
done_ok($node, 'encryption');

# --- unlogged -------------------------------------------------------------------

$node->safe_psql('postgres', q{CREATE UNLOGGED TABLE u AS SELECT g, md5(g::text) AS m FROM generate_series(1, 1000) g});
$node->safe_psql('postgres', q{CALL tde_vault.encrypt_table('u')});
done_ok($node, 'unlogged');
$node->safe_psql('postgres', q{CALL tde_vault.rotate_table_key('u')});
done_ok($node, 'unlogged, rotated');
$node->restart;
$node->sql_is('SELECT count(*), sum(g) FROM u', '1000|500500', 'rows of an unlogged table after a clean restart');
$node->crash;
$node->sql_is('SELECT count(*) FROM u', '0', 'emptied by a crash, as it must be');
$node->safe_psql('postgres', 'INSERT INTO u SELECT g FROM generate_series(1, 10) g');
$node->verify_ok('verify is clean with it', min => 3);

# --- what is rolled back ----------------------------------------------------------

$node->safe_psql('postgres', 'CREATE TABLE r AS SELECT g, md5(g::text) AS m FROM generate_series(1, 3000) g');
$node->safe_psql('postgres', q{BEGIN; CALL tde_vault.encrypt_table('r'); UPDATE r SET m = 'x' WHERE g < 100; ROLLBACK});
done_ok($node, 'rolled back encryption');
$node->sql_is(q{SELECT count(*), count(*) FILTER (WHERE m = 'x'), tde_vault.is_encrypted('r') FROM r}, '3000|0|f', 'it is plain, with its rows');
$node->crash;
$node->sql_is('SELECT count(*) FROM r', '3000', 'also after a crash');
$node->safe_psql('postgres', q{BEGIN; CALL tde_vault.decrypt_table('p'); ROLLBACK});
done_ok($node, 'rolled back decryption');
marked_ok($node, 'after it');
$node->verify_ok('verify is clean, all stayed sealed', min => 3);

# A crash in the middle of the statement's transaction.
my $session = $node->background_psql('postgres');
$session->query_safe(q{SET client_min_messages = warning; BEGIN});
$session->query_safe(q{CALL tde_vault.encrypt_table('r')});
$node->kill_postmaster;
eval { $session->quit };
$node->start;
done_ok($node, 'encryption of a transaction that crashed');
$node->sql_is(q{SELECT count(*), tde_vault.is_encrypted('r') FROM r}, '3000|f', 'it is plain, with its rows');

# --- decryption, and again --------------------------------------------------------

$node->safe_psql('postgres', q{CALL tde_vault.decrypt_table('p')});
marked_ok($node, 'while it is decrypted');
done_ok($node, 'decryption');
marked_ok($node, 'decrypted');
$node->crash;
marked_ok($node, 'decrypted, after a crash');
$node->sql_is(q{SELECT string_agg(relation::text || ' ' || fork, ', ') FROM tde_vault.encryption_status WHERE relation::text ~ '^p($|_)'}, '', 'no file of it is encrypted');
isnt(files_with(MARK, $node->data_dir . '/base'), 0, 'the files hold the marker again');
$node->safe_psql('postgres', q{CALL tde_vault.encrypt_table('p')});
done_ok($node, 'encrypted again');
$node->crash;
marked_ok($node, 'encrypted again');
$node->verify_ok('encrypted again: verify is clean', min => 2);
$node->safe_psql('postgres', 'DROP TABLE p, u, r');
$node->restart;
unlike(slurp_file($node->logfile), qr/PANIC|authentication tag/, 'nothing amiss in the log');
done_testing();
