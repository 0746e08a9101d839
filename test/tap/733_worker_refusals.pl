# On a standby, and in a transaction that is read only, nothing of encryption is
# changed; the error says what to do.  Promoted, the same statements work.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $primary = TdeVault->create('primary', streaming => 1, conf => "tde_vault.worker_cost_delay = 0\n");
my $dir = $primary->basedir . '/space';
mkdir $dir or die;
$primary->safe_psql('postgres', "CREATE TABLESPACE space LOCATION '$dir'");
$primary->safe_psql('postgres', q{CREATE TABLE plain AS SELECT g AS id FROM generate_series(1, 100) g; CREATE TABLE sealed USING tde_heap AS SELECT g AS id FROM generate_series(1, 100) g});
$primary->backup('b', backup_options => [ '-T', "$dir=" . $primary->basedir . '/space_of_standby' ]);
my $standby = TdeVault->create_from_backup('standby', $primary, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', "tde_vault.tablespace_root = '" . $standby->basedir . "/spaces'\n");
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

my @statements = (
	'ALTER TABLE plain ENABLE ENCRYPTION',
	q{ALTER TABLE plain ENABLE ENCRYPTION USING 'AES-256-XTS'},
	q{ALTER TABLE sealed ENABLE ENCRYPTION USING 'AES-256-XTS'},
	'ALTER TABLE sealed ROTATE ENCRYPTION KEY',
	q{CALL tde_vault.rotate_table_key('sealed')},
	'ALTER TABLE sealed DISABLE ENCRYPTION',
	q{CALL tde_vault.encrypt_table('plain')},
	q{CALL tde_vault.decrypt_table('sealed')},
	'ALTER TABLESPACE space ENABLE ENCRYPTION',
	'ALTER TABLESPACE space DISABLE ENCRYPTION',
	q{CREATE TABLESPACE made ENCRYPTION USING 'AES256'},
	'ALTER DATABASE ENABLE ENCRYPTION',
	'ALTER DATABASE DISABLE ENCRYPTION',
	'ALTER DATABASE ROTATE MASTER KEY',
	q{CALL tde_vault.create_master_key('another', for_cluster => true)},
	'CALL tde_vault.seal_catalogs()',
	'CALL tde_vault.unseal_catalogs()',
	'CALL tde_vault.seal_statistics()');
my $state = q{SELECT (SELECT string_agg(relname || a.amname, ',' ORDER BY relname) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE relname IN ('plain', 'sealed')),
	(SELECT count(*) FROM tde_vault.keys), (SELECT count(*) FROM tde_vault.tablespace_scopes()), (SELECT count(*) FROM tde_vault.encryption_progress)};
my $before = $standby->safe_psql('postgres', $state);
$standby->sql_fails($_, '25006', [ qr/ERROR: .*cannot execute .* during recovery/, qr/HINT: .*Give it on the primary; standbys follow/ ], "on a standby: $_")
  foreach @statements, 'CALL tde_vault.pause(1)', 'CALL tde_vault.resume(1)';
$standby->sql_fails(q{CREATE TABLE made (id int) ENCRYPTION USING 'AES256'}, '25006', qr/cannot execute CREATE TABLE/, 'on a standby: CREATE TABLE ... ENCRYPTION USING');
$standby->sql_is($state, $before, 'nothing was changed');
ok(!-e $standby->basedir . '/spaces', 'nor a directory made');
foreach (@statements)
{
	next if /ROTATE MASTER KEY|ALTER (TABLESPACE|DATABASE)|CREATE TABLESPACE|seal_catalogs/;    # not in a transaction block at all
	$primary->sql_fails("BEGIN READ ONLY; $_", '25006', qr/cannot execute .* in a read-only transaction/, "read only: $_");
}
$primary->sql_is($state, $before, 'nothing was changed');

$primary->stop;
$standby->promote;
foreach (@statements)
{
	my ($rc, $out, $err) = $standby->psql('postgres', $_);
	is($rc, 0, "promoted: $_") or diag($err);
	$standby->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM tde_vault.encryption_progress WHERE state <> 'done')}) or die;
}
$standby->sql_is('SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM sealed)', '100|100', 'every row is there');
$standby->stop;
done_testing();
