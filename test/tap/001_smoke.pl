# The basics: an encrypted table works, its files hold ciphertext, and the
# functions that say so tell the truth.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main');
my $secret = TdeVault::marker('smoke secret');
my $control = TdeVault::marker('smoke control');

$node->safe_psql('postgres', <<"SQL");
CREATE TABLE vault_t (id int PRIMARY KEY, note text) USING tde_heap;
CREATE INDEX vault_t_note ON vault_t (note);
CREATE TABLE plain_t (id int PRIMARY KEY, note text) USING heap;
INSERT INTO vault_t SELECT g, '$secret' || g FROM generate_series(1, 2000) g;
INSERT INTO plain_t SELECT g, '$control' || g FROM generate_series(1, 10) g;
SQL

foreach my $rel (qw(vault_t vault_t_pkey vault_t_note))
{
	$node->sql_is("SELECT tde_vault.is_encrypted('$rel')", 't', "$rel is encrypted");
}
foreach my $rel (qw(plain_t plain_t_pkey pg_catalog.pg_class))
{
	$node->sql_is("SELECT tde_vault.is_encrypted('$rel')", 'f', "$rel is not encrypted");
}

$node->sql_is(<<'SQL', '3|t|aes-256-gcm', 'encryption_status has table and indexes');
SELECT count(*), bool_and(authenticated), string_agg(DISTINCT cipher, ',')
FROM tde_vault.encryption_status
WHERE relation::text IN ('vault_t', 'vault_t_pkey', 'vault_t_note') AND fork = 'main'
SQL
$node->sql_is(<<'SQL', 'plain_t', 'plaintext_files has the plain table and not the other');
SELECT string_agg(DISTINCT relation::text, ',') FROM tde_vault.plaintext_files
WHERE relation::text IN ('plain_t', 'vault_t', 'vault_t_pkey')
SQL
$node->sql_is(<<'SQL', 't', 'keys lists a master key and a table key');
SELECT count(*) FILTER (WHERE kind ILIKE '%master%') = 1
	   AND count(*) FILTER (WHERE kind ILIKE '%table%') >= 1 FROM tde_vault.keys
SQL
$node->sql_is('SELECT count(*) > 3 FROM tde_vault.system_info()', 't',
	'system_info reports');
$node->sql_is("SELECT count(*) FROM tde_vault.keys k WHERE k::text LIKE '%test_key%' AND (kind = 'master' OR \"table\" = 'vault_t'::regclass)",
	'2', 'the master key has its name, and the table key names it');

$node->verify_ok('verify is clean', min => 3);

my @paths = map { $node->relation_path($_) } qw(vault_t vault_t_pkey vault_t_note);
my $sidecar = $node->sidecar_path('vault_t');
ok(-s $sidecar, 'the table has a sidecar');
is((stat $sidecar)[2] & 07777, 0600, 'the sidecar is for the server user only');
is((stat $node->keyring_path)[2] & 07777, 0600, 'so is the keyring');

$node->stop_clean;
$node->sealed_on_disk_ok($_, 'pages are ciphertext: ' . (split m{/}, $_)[-1]) foreach @paths;
my $found = $node->find_markers({ secret => $secret, control => $control });
is("@{ $found->{secret} }", '', 'no file holds the value');
isnt("@{ $found->{control} }", '', 'the same search finds the value of a plain table');

$node->start;
$node->sql_is("SELECT count(*), min(note), max(id) FROM vault_t WHERE note LIKE '$secret%'",
	"2000|${secret}1|2000", 'rows are back after a restart');
$node->sql_is(
	"SET enable_seqscan = off; SELECT id FROM vault_t WHERE note = '${secret}1234'",
	'1234', 'through an index too');
$node->safe_psql('postgres',
	'UPDATE vault_t SET note = note || \'x\' WHERE id % 2 = 0; DELETE FROM vault_t WHERE id % 5 = 0; VACUUM vault_t');
$node->sql_is("SELECT count(*), count(*) FILTER (WHERE note LIKE '%x') FROM vault_t",
	'1600|800', 'update, delete, vacuum');
$node->verify_ok('verify is clean after them', min => 3);

# A role of its own: only what PUBLIC may.
$node->safe_psql('postgres', 'CREATE ROLE nobody_special LOGIN');
$node->sql_fails("CALL tde_vault.create_master_key('other')", '42501',
	qr/permission denied/, 'create_master_key is not for everybody',
	extra => [ '-U', 'nobody_special' ]);

$node->stop;
done_testing();
