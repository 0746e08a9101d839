# Base backups while the keyring grows, is rewritten and has its keys wrapped
# anew.  Tools copy a file only as far as it reached when they listed it
# (pgBackRest), or fill it up with zeros when it has become shorter
# (pg_basebackup): what is restored has every key all the same.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = TdeVault->create('primary', streaming => 1, conf => <<'CONF');
default_table_access_method = tde_heap
wal_keep_size = 2GB
shared_buffers = 32MB
CONF
my $made = 0;
my $copies = 0;

sub make_tables
{
	my ($n) = @_;
	$primary->safe_psql('postgres', join('', map { "CREATE TABLE t$_ AS SELECT g, md5(g::text) AS m FROM generate_series(1, 50) g;\n" } $made + 1 .. $made + $n));
	$made += $n;
	return;
}

# Records that soon say nothing any more.
sub churn
{
	my ($n) = @_;
	$primary->safe_psql('postgres', "DO \$\$ BEGIN FOR i IN 1 .. $n LOOP TRUNCATE churn; COMMIT; END LOOP; END \$\$");
	return;
}

sub keyring_size { return -s $primary->keyring_path; }
sub generation { return unpack('Q<', substr(slurp_file($primary->keyring_path), 24, 8)); }

# Rewrite the keyring: what was dropped counts no more after a checkpoint.
sub compact
{
	my ($name) = @_;
	my $before = generation();
	foreach (1 .. 20)
	{
		$primary->safe_psql('postgres', 'CHECKPOINT');
		churn(400);
		last if generation() > $before;
	}
	cmp_ok(generation(), '>', $before, "$name: the keyring was rewritten");
	return;
}

sub restored_ok
{
	my ($node, $name, $tables) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $sum = join(' + ', map { "(SELECT count(DISTINCT m) FROM t$_)" } 1 .. $tables);
	$node->sql_is("SELECT $sum", 50 * $tables, "$name: every table can be read");
	$node->verify_ok("$name: verify is clean", min => $tables);
	$node->sql_is('CREATE TABLE fresh AS SELECT 1 AS x; SELECT tde_vault.is_encrypted(\'fresh\')', 't', "$name: new tables can be made");
	$node->restart;
	$node->sql_is("SELECT $sum", 50 * $tables, "$name: also after a restart");
	return;
}

# What a tool does between the start and the stop of a backup: it looks at the
# sizes of files, and copies them later.  $meddle gets the path of the copied
# keyring and the size that was listed.
sub listed_backup
{
	my ($name, $during, $meddle) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $session = $primary->background_psql('postgres');
	$session->query_safe(q{SELECT pg_backup_start('listed', true)});
	my $listed = keyring_size();
	$during->();
	my $backup = 'listed' . ++$copies;
	my $target = $primary->backup_dir . "/$backup";
	mkdir $primary->backup_dir;
	PostgreSQL::Test::RecursiveCopy::copypath($primary->data_dir, $target,
		filterfn => sub { return $_[0] !~ m{^(pg_wal/.+|postmaster\.(pid|opts)|log/.+|pg_replslot/.+)$}; });
	chmod 0700, $target;
	my $label = $session->query_safe(q{SELECT labelfile FROM pg_backup_stop(false)});
	$session->quit;
	$primary->write_file("$target/backup_label", "$label\n");
	system('cp', '-r', $primary->data_dir . '/pg_wal', $target) == 0 or die;
	my $keyring = "$target/tde_vault/keyring";
	$meddle->($keyring, $listed);
	my $node = TdeVault->create_from_backup($backup, $primary, $backup);
	my $tables = $made;
	ok($node->start(fail_ok => 1), "$name: the restored server starts");
	like(slurp_file($node->logfile), qr/keyring of the base backup ends at byte/, '... and says that the keyring ended early');
	restored_ok($node, $name, $tables);
	$node->stop;
	return;
}

my $cut = sub {
	my ($keyring, $listed) = @_;
	cmp_ok(-s $keyring, '>', $listed, 'the keyring is longer than it was listed');
	truncate($keyring, $listed) or die;
};
my $fill = sub {
	my ($keyring, $listed) = @_;
	cmp_ok(-s $keyring, '<', $listed, 'the keyring is shorter than it was listed');
	truncate($keyring, $listed) or die;
};

make_tables(12);
$primary->safe_psql('postgres', 'CREATE TABLE churn (id int PRIMARY KEY, v text)');
churn(2000);
make_tables(12);

listed_backup('grown', sub { make_tables(6); $primary->safe_psql('postgres', 'CALL tde_vault.rotate_master_key()'); }, $cut);
listed_backup('rewritten, now shorter', sub {
	$primary->safe_psql('postgres', 'CALL tde_vault.rotate_master_key()');
	make_tables(6);
	compact('now shorter');
}, $fill);
churn(2000);
make_tables(6);
listed_backup('rewritten, and longer again', sub {
	$primary->safe_psql('postgres', 'CALL tde_vault.rotate_master_key()');
	compact('longer again');
	make_tables(6);
	$primary->safe_psql('postgres', 'CALL tde_vault.rotate_master_key()');
	churn(2600);
}, $cut);

# After a rotation and a compaction, files still come after their keys.
compact('with keys wrapped anew');
$primary->stop('immediate');
$primary->start;
restored_ok($primary, 'compacted with keys wrapped anew', $made);
$primary->safe_psql('postgres', 'DROP TABLE fresh');

# A cut keyring without a backup label is a damaged one.
$primary->stop;
my $good = slurp_file($primary->keyring_path);
truncate($primary->keyring_path, length($good) - 100) or die;
like($primary->start_expecting_failure // 'it started', qr/keyring is truncated/, 'without a backup label a cut keyring is refused');
$primary->write_file($primary->keyring_path, $good);
chmod 0600, $primary->keyring_path;
$primary->start;

# pg_basebackup while keys are wrapped anew, made and dropped.
my $said = '';
my $rotations = <<'SQL';
DO $$ BEGIN FOR i IN 1 .. 8 LOOP
	CALL tde_vault.rotate_master_key();
	EXECUTE format('CREATE TABLE made_%s AS SELECT 1 AS x', i);
	TRUNCATE churn;
	COMMIT;
END LOOP; END $$
SQL
my $load = IPC::Run::start([ 'psql', '-X', '-q', '-d', $primary->connstr('postgres'), '-c', $rotations ], '<', \undef, '>', \$said, '2>&1');
$primary->backup('live');
ok($load->finish, 'rotations went on during pg_basebackup') or diag($said);
like($said, qr/wrapped anew/, '... and wrapped keys anew');
my $node = TdeVault->create_from_backup('live', $primary, 'live');
$node->start;
restored_ok($node, 'pg_basebackup during rotations', $made);
$node->stop;
$primary->stop;
done_testing();
