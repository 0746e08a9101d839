# The sidecar of a large table is made before the table is locked: what a
# switch writes under its lock does not grow with the table.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Time::HiRes ();
use Test::More;

use constant { SEGMENTS => 5, LAST => 60000 };

# no worker: nobody but the statement writes
my $node = TdeVault->create('main', conf => <<'CONF');
tde_vault.max_workers = 0
autovacuum = off
CONF
$node->safe_psql('postgres', q{CREATE TABLE large (id int, v text); INSERT INTO large SELECT g, md5(g::text) FROM generate_series(1, 1000) g; CHECKPOINT});
my $rows = 'SELECT count(*), sum(id) FROM large WHERE ctid < $$(200,0)$$';
my $sum = $node->safe_psql('postgres', $rows);
my $path = $node->relation_path('large');
my $sidecar = $node->sidecar_path('large');

# New pages, as a crash leaves them, on no block of the disk.
$node->stop('fast');
foreach my $segment (0 .. SEGMENTS - 1)
{
	my $name = $path . ($segment ? ".$segment" : '');
	open my $fh, '>>', $name or die "could not open $name: $!";
	truncate $fh, ($segment < SEGMENTS - 1 ? TdeVault::SEGMENT_BLOCKS : LAST) * TdeVault::BLCKSZ or die "could not make $name longer: $!";
	close $fh;
}
$node->start;
my $blocks = (SEGMENTS - 1) * TdeVault::SEGMENT_BLOCKS + LAST;
$node->sql_is(q{SELECT pg_relation_size('large') / 8192}, $blocks, 'a large table');

# Somebody has the table: what wants to lock it waits.
sub reader_of
{
	my ($table) = @_;
	my $reader = $node->background_psql('postgres');
	$reader->query_safe("BEGIN; SELECT 1 FROM $table LIMIT 1");
	return $reader;
}

# Let go.
sub let_go { my ($reader) = @_; $reader->query_safe('COMMIT'); $reader->quit; return; }

# A table of one row, and LAST new pages; its sidecar.
sub small_table
{
	my ($table) = @_;
	$node->safe_psql('postgres', "CREATE TABLE $table (id int); INSERT INTO $table VALUES (1); CHECKPOINT");
	my ($file, $made) = ($node->relation_path($table), $node->sidecar_path($table));
	$node->stop('fast');
	truncate $file, LAST * TdeVault::BLCKSZ or die;
	$node->start;
	return $made;
}

# Segment => size and times of each file of the sidecar.
sub files
{
	my %files;
	foreach my $segment (0 .. SEGMENTS - 1)
	{
		my @stat = Time::HiRes::stat($sidecar . ($segment ? ".$segment" : ''));
		$files{$segment} = @stat ? "$stat[7] $stat[9] $stat[10]" : 'missing';
	}
	return \%files;
}
sub size { my ($of) = @_; my $sum = 0; $sum += /^(\d+)/ ? $1 : 0 foreach values %$of; return $sum; }

# Somebody has the table, so the statement does not get its lock; others pass.
my $reader = reader_of('large');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/begun/, "\\echo begun\nALTER TABLE large ENABLE ENCRYPTION;\n");
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE relation = 'large'::regclass AND NOT granted})
  or die 'the statement does not want its lock';
my $before = files();
$node->sql_is(q{SET statement_timeout = '20s'; SELECT count(*) > 0 FROM large WHERE ctid < '(2,0)'}, 't', 'readers pass meanwhile');
cmp_ok(size($before), '>', TdeVault::SIDECAR_ENTRY * ($blocks - 32768), 'the sidecar is there before the lock');
is(join(' ', grep { $before->{$_} eq 'missing' } sort keys %$before), '', 'every file of it');
$node->sql_is(q{SELECT tde_vault.is_encrypted('large')}, 'f', 'before the table is switched');
$reader->query_safe('COMMIT');
$node->poll_query_until('postgres', q{SELECT amname = 'tde_heap' FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE relname = 'large'})
  or die 'the table was not switched';
my $after = files();
is(join(' ', grep { $before->{$_} ne $after->{$_} } sort keys %$after), SEGMENTS - 1, 'under the lock only the last file was written');
cmp_ok(size($after) - size($before), '<=', TdeVault::SIDECAR_ENTRY * 32768 + 4096, 'and only the rest of it');
cmp_ok(size($after), '>=', TdeVault::SIDECAR_ENTRY * $blocks, 'there is room for all');
$session->quit;
$reader->quit;
$node->sql_is($rows, $sum, 'the same rows');

# A statement that fails leaves a sidecar that is of no use; it goes with the table.
$node->stop('fast');
$node->start;
$node->sql_is($rows, $sum, 'the same rows after a restart');
$node->safe_psql('postgres', 'DROP TABLE large; CHECKPOINT');
is(join(' ', map { -e $sidecar . ($_ ? ".$_" : '') ? $_ : () } 0 .. SEGMENTS - 1), '', 'dropped, nothing is left of it');
$sidecar = small_table('large');
$reader = reader_of('large');
$node->sql_fails(q{SET lock_timeout = '50ms'; ALTER TABLE large ENABLE ENCRYPTION}, '55P03', qr/lock timeout/, 'a statement that does not get its lock');
ok(-e $sidecar, 'its sidecar was made');
$node->sql_is('SELECT count(*) FROM tde_vault.encryption_status WHERE relation = $$large$$::regclass', '0', 'the table is plain');
let_go($reader);
$node->safe_psql('postgres', 'ALTER TABLE large ENABLE ENCRYPTION');
$node->sql_is('SELECT count(*) FROM large WHERE ctid < $$(2,0)$$', '1', 'the next one works');
$node->safe_psql('postgres', 'INSERT INTO large VALUES (2); CHECKPOINT');
$node->restart;
$node->sql_is('SELECT count(*) FROM large WHERE ctid = $$(0,1)$$ OR id = 2', '2', 'and what is written then is read');
$sidecar = small_table('plain');
$reader = reader_of('plain');
$node->sql_fails(q{SET lock_timeout = '50ms'; ALTER TABLE plain ENABLE ENCRYPTION}, '55P03', qr/lock timeout/, 'another one');
ok(-e $sidecar, 'its sidecar was made');
let_go($reader);
$node->safe_psql('postgres', 'DROP TABLE plain; CHECKPOINT');
ok(!-e $sidecar, 'and goes with the table');
$node->stop('immediate');
done_testing();
