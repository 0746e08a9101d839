# A table that is in use is encrypted, and given new keys and other ciphers, in
# place; no row is lost, and nothing of the old way is left.

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

# --- encryption ---------------------------------------------------------------

my ($rc, $out, $err) = $node->psql('postgres', q{CALL tde_vault.encrypt_table('p')});
like($err, qr/NOTICE:  WAL before .* may hold rows of table "p" that are not encrypted/, 'old WAL is named');
marked_ok($node, 'while it is encrypted');
done_ok($node, 'encryption');
marked_ok($node, 'encrypted');
$node->verify_ok('encrypted: verify is clean', min => 2);
$node->sql_is(q{SELECT tde_vault.is_encrypted('p'), amname, (SELECT amname FROM pg_am WHERE oid = t.relam) FROM pg_class c JOIN pg_am a ON a.oid = c.relam JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = 'p'::regclass},
	't|tde_heap|tde_heap', 'table and TOAST table have the access method');
$node->sql_is(q{SELECT count(*) FROM tde_vault.plaintext_files WHERE relation::text ~ '^p($|_)'}, '0', 'no file of it is plain, the sequence included');
$node->sql_is(q{SELECT operation, percent, detail ~ 'WAL' FROM tde_vault.encryption_progress}, 'encrypt|100|t', 'progress says so');
$node->crash;
marked_ok($node, 'after a crash');
$node->safe_psql('postgres', 'CHECKPOINT');
is(files_with(MARK, $node->data_dir . '/base'), 0, 'no relation file holds the marker');

# --- rotation -----------------------------------------------------------------

my $old_page = $node->read_page($node->relation_path('p'), 3);
my $old_entry = $node->read_entry($node->sidecar_path('p'), 3);
is(TdeVault::page_epoch($old_page), 1, 'pages are of version 1');
$node->safe_psql('postgres', q{CALL tde_vault.rotate_table_key('p')});
marked_ok($node, 'while it is rotated');
done_ok($node, 'rotation');
marked_ok($node, 'rotated');
$node->verify_ok('rotated: verify is clean', min => 2);
is(TdeVault::page_epoch($node->read_page($node->relation_path('p'), $_)), 2, "block $_ is of version 2") foreach (0, 3);

# A page of the old version that is put back, its entry too, is refused, now
# and when its key is destroyed.
my $path = $node->relation_path('p');
my $side = $node->sidecar_path('p');
my $keep_page = $node->read_page($path, 3);
my $keep_entry = $node->read_entry($side, 3);
sub put_back
{
	my ($page, $entry) = @_;
	$node->stop('fast');
	$node->write_page($path, 3, $page, keep_checksum => 1);
	$node->write_entry($side, 3, $entry);
	$node->start;
	return;
}
put_back($old_page, $old_entry);
$node->sql_fails('SET enable_indexscan = off; SELECT count(b) FROM p', 'XX001', qr/key version that was replaced|key version that does not exist/, 'an old page that is put back is refused');
put_back($keep_page, $keep_entry);
marked_ok($node, 'with the right page');
$node->safe_psql('postgres', 'CHECKPOINT') foreach (1, 2);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 AND min(version) = 2 FROM tde_vault.table_keys() WHERE "table" = 'p'::regclass}), 'the old version is destroyed');
$node->crash;
marked_ok($node, 'after that and a crash');
put_back($old_page, $old_entry);
$node->sql_fails('SET enable_indexscan = off; SELECT count(b) FROM p', 'XX001', qr/key version that was replaced/, 'an old page is refused still');
put_back($keep_page, $keep_entry);

# --- other ciphers, with and without sidecar ------------------------------------

foreach my $cipher ('aes-256-xts', 'chacha20-poly1305', 'aes-256-ctr', 'aes-256-gcm')
{
	$node->safe_psql('postgres', "CALL tde_vault.encrypt_table('p', '$cipher')");
	marked_ok($node, "while it becomes $cipher");
	done_ok($node, $cipher);
	$node->crash;
	marked_ok($node, $cipher);
	$node->verify_ok("$cipher: verify is clean", min => 2);
	$node->sql_is(q{SELECT DISTINCT cipher FROM tde_vault.encryption_status WHERE relation::text IN ('p', 'p_v', 'p_pkey') AND fork = 'main'}, $cipher, "its files are $cipher");
}
($rc, $out, $err) = $node->psql('postgres', q{CALL tde_vault.encrypt_table('p', 'aes-256-gcm')});
like($err, qr/NOTICE:  table "p" is encrypted already/, 'the same cipher again is a notice');

$node->safe_psql('postgres', 'DROP TABLE p');
$node->restart;
unlike(slurp_file($node->logfile), qr/PANIC|authentication tag/, 'nothing amiss in the log');
done_testing();
