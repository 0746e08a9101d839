# The audit log when disks are full or fail, on copies of a cluster, and what
# it says of keys.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use FailingDisk;
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $disk = FailingDisk->new;
my $small = TdeVault::small_file_system();

$ENV{LD_PRELOAD} = $disk->library;
my $node = TdeVault->create('main', master => 'cluster', streaming => 1,
	initdb => [ '--encoding=UTF8', '--no-locale' ],
	conf   => "fsync = on\ntde_vault.audit_directory = '$small/audit'\ntde_vault.audit_file_size = 1MB\n");
delete $ENV{LD_PRELOAD};

sub verify
{
	my ($server) = @_;
	return ($server // $node)->safe_psql('postgres',
		q{SELECT ok, first_bad IS NULL, reason FROM tde_vault.audit_verify()});
}

sub remark
{
	my ($text, $server) = @_;
	my ($rc, $out, $err) = ($server // $node)->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT tde_vault.audit_note('$text')");
	return $err;
}

sub last_lines
{
	my ($column, $n, $server) = @_;
	return ($server // $node)->safe_psql('postgres',
		"SELECT string_agg(x, ',' ORDER BY n) FROM (SELECT row_number() OVER () AS n, $column AS x FROM tde_vault.audit_log ORDER BY n DESC LIMIT $n) l");
}

# --- keys ------------------------------------------------------------------------------

is($node->safe_psql('postgres', q{SELECT event_type, severity, result, detail->>'key_id' FROM tde_vault.audit_log WHERE event_type LIKE 'MASTER%'}),
	'MASTER_KEY_CREATED|NOTICE|SUCCESS|test_key', 'making the master key is an event');
my $table = $node->safe_psql('postgres', q{CREATE TABLE t (id int) USING tde_heap; INSERT INTO t VALUES (1); SELECT 't'::regclass::oid});
is($node->safe_psql('postgres', "SELECT count(*) FROM tde_vault.audit_log WHERE event_type = 'TABLE_KEY_CREATED' AND (detail->>'table_oid')::oid = $table"),
	1, 'so is a key for a table');
$node->safe_psql('postgres', 'DROP TABLE t');
$node->safe_psql('postgres', 'CHECKPOINT');
is($node->safe_psql('postgres', "SELECT count(*) FROM tde_vault.audit_log WHERE event_type = 'TABLE_KEY_DROPPED' AND (detail->>'table_oid')::oid = $table"),
	1, 'and its end');
is($node->safe_psql('postgres', q{SELECT count(*) FROM tde_vault.keys WHERE kind = 'table' AND database IS NULL}), 1,
	'the log has a key of its own');

# --- files ------------------------------------------------------------------------------

my $before = () = glob("$small/audit/*.jsonl");
$node->safe_psql('postgres', q{SELECT tde_vault.audit_note(repeat('x', 100000)) FROM generate_series(1, 25)});
my $after = () = glob("$small/audit/*.jsonl");
is($after - $before, 2, 'a file that is full is followed by the next');
like($node->safe_psql('postgres', q{SELECT string_agg(event_type, ',' ORDER BY file) FROM tde_vault.audit_log WHERE "position" = 0}),
	qr/^AUDIT_START,AUDIT_FILE,AUDIT_FILE$/, 'each begins with who wrote it');
is(verify(), 't|t|', 'the chain goes through files');
like(remark('x' x 300000), qr/ERROR:  TV020: .*longer than/s, 'an event that is too long is an error');

# --- a full disk ---------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE TABLE done (id int)');
TdeVault::leave_free($small, 16384);
my $err = '';
for (my $i = 0; $i < 300 && $err eq ''; $i++) { $err = remark('y' x 1000) }
like($err, qr/ERROR:  TV020: could not write audit event NOTE\n.*DETAIL:.*No space left on device.*HINT:  Free space/s,
	'a full disk is an error with a hint');
isnt($node->psql('postgres', q{BEGIN; INSERT INTO done SELECT 1; SELECT tde_vault.audit_note(repeat('z', 5000)); COMMIT}), 0,
	'what cannot be audited');
is($node->safe_psql('postgres', 'SELECT count(*) FROM done'), 0, 'is not done');
TdeVault::make_room($small);
is(remark('room again'), '', 'it goes on when there is room');
is(verify(), 't|t|', 'and no half line is left');

# --- a failed sync ----------------------------------------------------------------------------

# and what was written last is gone
$disk->fail('fdatasync', '.jsonl', times => 1, cut => 100);
like(remark('lost'), qr/ERROR:  TV020: .*could not fsync/s, 'a failed sync is an error');
ok($disk->mend, 'which the disk reported');
is(remark('found'), '', 'the log goes on');
is($node->safe_psql('postgres', q{SELECT severity || ' ' || reason FROM tde_vault.audit_log WHERE event_type = 'AUDIT_FILE' ORDER BY file DESC LIMIT 1}),
	'WARNING the file before could not be synced', 'in a new file that says why');
like(verify(), qr/^f\|f\|records are missing at the end of a file/, 'what the disk lost is named');

# --- copies of the cluster ---------------------------------------------------------------------

$node->stop;
$node = TdeVault->create('primary', master => 'cluster', streaming => 1, initdb => [ '--encoding=UTF8', '--no-locale' ]);
remark('on the primary');
$node->backup('copy');
my $standby = TdeVault->create_from_backup('standby', $node, 'copy', has_streaming => 1);
ok(!-e $standby->data_dir . '/tde_vault/audit/pgsql_tmp.head', 'a base backup leaves out the head');
$standby->start;
is(remark('on the standby', $standby), '', 'a standby audits');
is(remark('on the primary again'), '', 'as the primary goes on doing');
is($standby->safe_psql('postgres', q{SELECT string_agg(detail->>'note', ',' ORDER BY file, "position") FROM tde_vault.audit_log WHERE detail ? 'note'}),
	'on the primary,on the standby', 'in a series of its own');
my $both = q{SELECT event_id FROM tde_vault.audit_log WHERE detail->>'note' LIKE 'on the %' ORDER BY file DESC, "position" DESC LIMIT 1};
isnt($standby->safe_psql('postgres', $both), $node->safe_psql('postgres', $both), 'with ids of its own');
like(verify($standby), qr/^t\|t\|[0-9a-f]+-\d+ was written when there was no head file, as in a restored backup/,
	'whose chain continues the copied one');
is(verify(), 't|t|', 'the chain of the primary is right');
$standby->promote;
is(remark('promoted', $standby), '', 'and after promotion it goes on');
like(verify($standby), qr/^t\|t\|/, 'its chain is right');
$standby->stop;

# --- a provider that fails ------------------------------------------------------------------------

remark('the key of the log is open');
$node->hide_token;
isnt($node->psql('postgres', 'CREATE TABLE u (id int) USING tde_heap; INSERT INTO u VALUES (1)'), 0, 'no provider, no table key');
$node->restore_token;
is($node->safe_psql('postgres', q{SELECT count(*) > 0, min(severity), min(result) FROM tde_vault.audit_log WHERE event_type = 'KEY_PROVIDER_FAILED'}),
	't|WARNING|FAILED', 'and the log says so');

# --- a key that the log shares with nobody ------------------------------------------------------------

# An attacker with the files, but without the key: his line is not taken.
my ($newest) = reverse sort glob($node->data_dir . '/tde_vault/audit/*.jsonl');
$node->stop;
my $text = slurp_file($newest);
my ($line) = $text =~ /([^\n]+)\n\z/;
$line =~ s/-(\d+)"/'-' . ($1 + 1) . '"'/e;
append_to_file($newest, "$line\n");
$node->start;
remark('after the forgery');
like(verify(), qr/^f\|f\|record was changed or moved/, 'a line added by somebody without the key is named');

done_testing();
