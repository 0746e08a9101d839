# Wrapped keys that nothing needs any more are gone from the keyring's bytes:
# those by a master key that was replaced, as soon as no base backup can need
# them; those of tables that were dropped, as soon as no log does.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeKeyring;
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

use constant DAY => 86400 * 1_000_000;    # microseconds

my $node = TdeVault->create('main', conf => "default_table_access_method = tde_heap\n");
$node->safe_psql('postgres', join '', map { "CREATE TABLE t$_ AS SELECT g, md5(g::text) AS m FROM generate_series(1, 50) g;\n" } 1 .. 6);

sub keyring { return slurp_file($node->keyring_path); }
sub generation { return unpack('Q<', substr(keyring(), 24, 8)); }

sub key_of
{
	my ($table) = @_;
	return $node->safe_psql('postgres', qq{SELECT k.id FROM tde_vault.table_keys() k WHERE k."table" = '$table'::regclass});
}

# The wrapped keys of an id, oldest first.
sub wraps_of
{
	my ($id) = @_;
	return map { $_->{wrapped} } grep { sprintf('%016x', $_->{id}) eq $id } table_keys_of(keyring());
}

sub holds { return index(keyring(), $_[0]) >= 0; }

sub all_readable
{
	my ($name, @tables) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->sql_is("SELECT count(DISTINCT m) FROM $_", '50', "$name: $_ can be read") foreach @tables;
	return;
}

# Master keys that are retired were so $days days before.
sub age_retirements
{
	my ($days) = @_;
	my $changed = 0;
	$node->stop;
	change_keyring($node, sub {
		return map {
			my $record = $_;
			if ($record->[0] == MASTER_KEY_RETIRED)
			{
				my ($id, $why, $when) = unpack 'Q<vq<', keyring_payload($record);
				$record = keyring_record(MASTER_KEY_RETIRED, pack('Q<vq<', $id, $why, $when - $days * DAY));
				$changed++;
			}
			$record;
		} @_;
	});
	ok($changed > 0, "master keys were retired $days days before");
	$node->start;
	return;
}

# Started, the launcher looks once; it has when the file is another one.
sub wait_for_rewrite
{
	my ($name, $before) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (generation() <= $before)
	{
		die "$name: the keyring was not written anew" if time > $deadline;
		Time::HiRes::usleep(50_000);
	}
	pass("$name: the keyring was written anew");
	return;
}

# --- tables that are dropped -------------------------------------------------

my $dropped = key_of('t6');
my ($of_dropped) = wraps_of($dropped);
is(length $of_dropped, 60, 'a key is in the file, wrapped');
$node->safe_psql('postgres', 'DROP TABLE t6');
ok(holds($of_dropped), 'dropped: it stays as long as log may need it');
my $before = generation();
$node->restart;
wait_for_rewrite('dropped', $before);
ok(!holds($of_dropped), '... and then no byte of it');
all_readable('dropped', 't1', 't5');

# --- master keys that are replaced ------------------------------------------------

my @ids = map { key_of("t$_") } 1 .. 5;
my %first = map { $_ => (wraps_of($_))[0] } @ids;
$node->safe_psql('postgres', "CALL tde_vault.rotate_master_key('second')");
my %second = map { $_ => (wraps_of($_))[1] } @ids;
$node->safe_psql('postgres', "CALL tde_vault.rotate_master_key('third')");
my %third = map { $_ => (wraps_of($_))[2] } @ids;
is(scalar(grep { holds($_) } values %first, values %second, values %third), 15, 'wrapped anew, twice');

$before = generation();
age_retirements(6);
wait_for_rewrite('six days later', $before);
is(scalar(grep { holds($_) } values %first), 5, '... with the first wraps, which backups may need');
is(scalar(grep { holds($_) } values %second), 0, '... without those between, which nobody needs');
is(scalar(grep { holds($_) } values %third), 5, '... with the newest');
all_readable('six days later', map { "t$_" } 1 .. 5);

$before = generation();
age_retirements(2);
wait_for_rewrite('eight days later', $before);
is(scalar(grep { holds($_) } values %first), 0, '... without the first wraps');
is(scalar(grep { holds($_) } values %third), 5, '... with the newest');
like(slurp_file($node->logfile), qr/the keyring was written anew without wrapped keys that nothing needs/, '... and the log says so');

# What was retired is in the HSM still; without it everything is there.
sub pkcs11_tool
{
	my (@args) = @_;
	my ($out, $err) = ('', '');
	local %ENV = $node->_get_env();
	IPC::Run::run([ 'pkcs11-tool', '--module', TdeVault::PKCS11_MODULE, '--token-label', 'tdevault', '--login', '--pin', TdeVault::PIN, @args ], '>', \$out, '2>', \$err)
	  or die "pkcs11-tool @args: $out$err";
	return $out;
}

sub keys_in_hsm { return join ' ', sort(pkcs11_tool('--list-objects', '--type', 'secrkey') =~ /^\s*label:\s+(\S+)/mg); }

is(keys_in_hsm(), 'second test_key third', 'retired master keys are not deleted in the HSM');
pkcs11_tool('--delete-object', '--type', 'secrkey', '--label', $_) foreach 'test_key', 'second';
is(keys_in_hsm(), 'third', 'somebody deletes them there');
$node->restart;
all_readable('eight days later', map { "t$_" } 1 .. 5);
$node->verify_ok('eight days later: verify is clean', min => 5);
$before = generation();
$node->restart;
$node->safe_psql('postgres', 'CREATE TABLE t7 AS SELECT g, md5(g::text) AS m FROM generate_series(1, 50) g');
is(generation(), $before, 'with nothing to leave out it is not written anew');
$node->stop('immediate');
$node->start;
all_readable('after a crash', 't1', 't5', 't7');
$node->stop;
done_testing();
