# Encryption in place of unlogged tables; what is rolled back or crashes with
# its transaction; decryption in place.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('online', conf => <<'CONF');
tde_vault.worker_cost_delay = 0
CONF
my $rows = q{SELECT count(*), md5(string_agg(p::text, ',' ORDER BY id)) FROM p};

sub done
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', q{SELECT bool_and(state = 'done') FROM tde_vault.encryption_progress}), "$name: done")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
	return;
}
my $sum;
sub check_rows { my ($name) = @_; local $Test::Builder::Level = $Test::Builder::Level + 1; $node->sql_is($rows, $sum, "$name: the same rows"); return; }
sub crash { $node->kill_postmaster; $node->start; return; }

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE p (id serial PRIMARY KEY, v text, b text);
INSERT INTO p (v, b) SELECT 'tv_online_marker ' || g, (SELECT string_agg(md5((g * i)::text), '') FROM generate_series(1, 100) i) FROM generate_series(1, 2000) g;
CREATE INDEX p_v ON p (v);
CREATE INDEX p_h ON p USING hash (v);
VACUUM p;
CHECKPOINT;
SQL
$sum = $node->safe_psql('postgres', $rows);

my $marker = 'tv_online_marker';
sub count_marker
{
	my ($dir) = @_;
	my $found = 0;
	File::Find::find(sub { return unless -f; my $bytes = slurp_file($_); $found++ if index($bytes, $marker) >= 0; }, $dir);
	return $found;
}

$node->safe_psql('postgres', q{CALL tde_vault.encrypt_table('p')});
done('encryption');

# --- unlogged -------------------------------------------------------------------

$node->safe_psql('postgres', q{CREATE UNLOGGED TABLE u AS SELECT g, md5(g::text) AS m FROM generate_series(1, 1000) g});
$node->safe_psql('postgres', q{CALL tde_vault.encrypt_table('u')});
done('unlogged');
$node->safe_psql('postgres', q{CALL tde_vault.rotate_table_key('u')});
done('unlogged, rotated');
$node->restart;
$node->sql_is('SELECT count(*), sum(g) FROM u', '1000|500500', 'rows of an unlogged table after a clean restart');
crash();
$node->sql_is('SELECT count(*) FROM u', '0', 'emptied by a crash, as it must be');
$node->safe_psql('postgres', 'INSERT INTO u SELECT g FROM generate_series(1, 10) g');
$node->verify_ok('verify is clean with it', min => 3);

# --- what is rolled back ----------------------------------------------------------

$node->safe_psql('postgres', 'CREATE TABLE r AS SELECT g, md5(g::text) AS m FROM generate_series(1, 3000) g');
$node->safe_psql('postgres', q{BEGIN; CALL tde_vault.encrypt_table('r'); UPDATE r SET m = 'x' WHERE g < 100; ROLLBACK});
done('rolled back encryption');
$node->sql_is(q{SELECT count(*), count(*) FILTER (WHERE m = 'x'), tde_vault.is_encrypted('r') FROM r}, '3000|0|f', 'it is plain, with its rows');
crash();
$node->sql_is('SELECT count(*) FROM r', '3000', 'also after a crash');
$node->safe_psql('postgres', q{BEGIN; CALL tde_vault.decrypt_table('p'); ROLLBACK});
done('rolled back decryption');
check_rows('after it');
$node->verify_ok('verify is clean, all stayed sealed', min => 3);

# A crash in the middle of the statement's transaction.
my $session = $node->background_psql('postgres');
$session->query_safe(q{SET client_min_messages = warning; BEGIN});
$session->query_safe(q{CALL tde_vault.encrypt_table('r')});
$node->kill_postmaster;
eval { $session->quit };
$node->start;
done('encryption of a transaction that crashed');
$node->sql_is(q{SELECT count(*), tde_vault.is_encrypted('r') FROM r}, '3000|f', 'it is plain, with its rows');

# --- decryption, and again --------------------------------------------------------

$node->safe_psql('postgres', q{CALL tde_vault.decrypt_table('p')});
check_rows('while it is decrypted');
done('decryption');
check_rows('decrypted');
crash();
check_rows('decrypted, after a crash');
$node->sql_is(q{SELECT string_agg(relation::text || ' ' || fork, ', ') FROM tde_vault.encryption_status WHERE relation::text ~ '^p($|_)'}, '', 'no file of it is encrypted');
isnt(count_marker($node->data_dir . '/base'), 0, 'the files hold the marker again');
$node->safe_psql('postgres', q{CALL tde_vault.encrypt_table('p')});
done('encrypted again');
crash();
check_rows('encrypted again');
$node->verify_ok('encrypted again: verify is clean', min => 2);
$node->safe_psql('postgres', 'DROP TABLE p, u, r');
$node->restart;
unlike(slurp_file($node->logfile), qr/PANIC|authentication tag/, 'nothing amiss in the log');
done_testing();
