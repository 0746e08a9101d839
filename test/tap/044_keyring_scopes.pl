# Somebody with the disk changes what the keyring says of encrypted tablespaces
# and databases, with all checks computed anew, so that new tables would be
# written in plain: that is noticed before anything is.  And keyrings from
# before those records were authenticated.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeKeyring;
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main');
my $marker = TdeVault::marker('scopes');
$node->safe_psql('postgres', "CREATE TABLESPACE enc ENCRYPTION USING 'AES256'");
$node->safe_psql('postgres', "CREATE TABLESPACE other ENCRYPTION USING 'AES256'");
$node->safe_psql('postgres', 'ALTER TABLESPACE other DISABLE ENCRYPTION');
$node->create_database('d');
$node->safe_psql('d', 'ALTER DATABASE ENABLE ENCRYPTION');
$node->safe_psql('postgres', <<"SQL");
CREATE TABLE there (id int, v text) USING heap TABLESPACE enc;
INSERT INTO there SELECT g, '$marker' FROM generate_series(1, 300) g;
CREATE TABLE plain (id int) USING heap;
INSERT INTO plain VALUES (1);
SQL
my $oid = $node->safe_psql('postgres', "SELECT oid FROM pg_tablespace WHERE spcname = 'enc'");
my $there = $node->safe_psql('postgres', q{SELECT 'there'::regclass::oid});
my $database = $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = 'd'");
$node->stop_clean;
my $good = slurp_file($node->keyring_path);
my @records = keyring_records($good);
my @scopes = grep { $records[$_][0] == SCOPE } 0 .. $#records;
is(join(' ', map { my ($t, $d, $c, undef, undef, $n) = unpack 'VVCQ<q<Q<', keyring_payload($records[$_]); ($t ? 'tablespace' : 'database') . ":$c:$n" } @scopes),
	'tablespace:1:1 tablespace:1:2 tablespace:0:3 database:1:4', 'each change has a number');
$node->keep_data;

# Record number n of those about scopes, its payload changed.
sub changed
{
	my ($n, $change) = @_;
	my @new = @records;
	my $payload = keyring_payload($new[ $scopes[$n] ]);
	$change->($payload);
	$new[ $scopes[$n] ] = keyring_record(SCOPE, $payload, 2);
	return @new;
}

sub without
{
	my (@n) = @_;
	my %gone = map { $scopes[$_] => 1 } @n;
	return @records[ grep { !$gone{$_} } 0 .. $#records ];
}

# What takes the scope of tablespace enc away, as version 1 wrote it.
my $end_v1 = keyring_record(SCOPE, pack('VVCQ<q<', $oid, 0, 0, 0, 1));
my %forge = (
	'all of them taken out' => sub { return without(0 .. 3) },
	'one taken out' => sub { return without(0) },
	'the newest taken out' => sub { return without(3) },
	'the end of another taken out' => sub { return without(2) },
	'an end added, without a MAC' => sub { return (@records, $end_v1) },
	'an end added, with a MAC of another record' => sub { return (@records, keyring_record(SCOPE, pack('VVCQ<q<', $oid, 0, 0, 0, 1) . substr(keyring_payload($records[ $scopes[3] ]), 25), 2)) },
	'an old one added again' => sub { return (@records, $records[ $scopes[2] ]) },
	'another tablespace' => sub { return changed(0, sub { substr($_[0], 0, 4) = pack 'V', $oid + 1 }) },
	'another master key' => sub { return changed(0, sub { substr($_[0], 9, 8) = 'x' x 8 }) },
	'all as version 1' => sub {
		return map { $_->[0] == SCOPE ? keyring_record(SCOPE, substr(keyring_payload($_), 0, 25)) : $_ } @records;
	},
	'all taken out, and their key' => sub {
		my ($key) = map { $_->{id} } grep { $_->{database} == 0 && $_->{table} == 2 } table_keys_of($good);
		return grep { !(($_->[0] == TABLE_KEY && unpack('Q<', keyring_payload($_)) == $key) ||
			($_->[0] == FILE && unpack('x12Q<', keyring_payload($_)) == $key)) } without(0 .. 3);
	});

foreach my $how (sort keys %forge)
{
	$node->write_file($node->keyring_path, keyring_bytes($good, $forge{$how}->()));
	$node->start;
	$node->sql_fails("CREATE TABLE leak (v text) USING heap TABLESPACE enc; INSERT INTO leak VALUES ('$marker')", 'TV00.', qr/keyring records of what is encrypted as a whole were forged or removed/, "$how: nothing new in the tablespace");
	$node->sql_fails("CREATE TABLE leak (v text) USING heap; INSERT INTO leak VALUES ('$marker')", 'TV00.', qr/were forged or removed/, '... nor in the database', db => 'd');
	$node->sql_fails('ALTER TABLESPACE enc DISABLE ENCRYPTION', 'TV00.', qr/were forged or removed/, '... nor is it vouched for') if $how !~ /all|one|end|another tablespace|old/;
	$node->sql_fails('ALTER TABLESPACE enc ENABLE ENCRYPTION', 'TV00.', qr/were forged or removed/, '... nor is it vouched for');
	$node->sql_is("SELECT count(*) FROM there WHERE v = '$marker'", '300', '... what is there can be read');
	$node->stop('immediate');
	$node->restore_data;
}

# Somebody has a worker look at a table that only its place keeps sealed: it is
# not taken for one to be decrypted.
my ($of_there) = map { $_->{id} } grep { $_->{table} == $there } table_keys_of($good);
$node->write_file($node->keyring_path, keyring_bytes($good, without(0 .. 3), keyring_record(TABLE_KEY_WORK, pack 'Q<vQ<', $of_there, 5, 0)));
$node->start;
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM tde_vault.encryption_progress WHERE detail ~ 'were forged or removed'}) or die 'the worker did not notice';
$node->safe_psql('postgres', 'CHECKPOINT');
$node->sealed_on_disk_ok($node->relation_path('there'), 'forged, and with work to do: a table stays sealed');
$node->stop;
$node->restore_data;

# The right one, and without the provider.
$node->start;
$node->safe_psql('postgres', "CREATE TABLE more (v text) USING heap TABLESPACE enc; INSERT INTO more VALUES ('$marker'); CHECKPOINT");
$node->sealed_on_disk_ok($node->relation_path('more'), 'the right keyring: what is new is sealed');
$node->hide_token;
$node->restart;
$node->sql_fails('CREATE TABLE unsure (v int) USING heap; INSERT INTO unsure VALUES (1)', 'TV001', qr/token/, 'provider away after a restart: it cannot be told whether a table is to be plain');
$node->sql_is('INSERT INTO plain VALUES (1); SELECT count(*) FROM plain', '2', '... one that is can be used');
$node->safe_psql('postgres', 'REINDEX TABLE pg_class');
$node->sql_fails('ALTER TABLESPACE enc DISABLE ENCRYPTION', 'TV001', qr/token/, '... and nothing is ended');
$node->restore_token;
$node->safe_psql('postgres', 'ALTER TABLESPACE enc DISABLE ENCRYPTION; DROP TABLE there, more');
$node->safe_psql('postgres', 'CREATE TABLE unsure (v int) USING heap; INSERT INTO unsure VALUES (1)');
$node->stop('immediate');
$node->start;
$node->sql_is(q{SELECT count(*) FROM tde_vault.tablespace_scopes()}, '0', 'ended, also after a crash');
$node->safe_psql('postgres', 'DROP DATABASE d');
$node->safe_psql('postgres', 'CREATE TABLE last (v int) USING heap; INSERT INTO last VALUES (1)');
$node->stop;

# --- as the first version wrote them -----------------------------------------------

my $old = TdeVault->create('old');
$old->safe_psql('postgres', "CREATE TABLESPACE enc ENCRYPTION USING 'AES256'");
$old->stop_clean;
change_keyring($old, sub {
	my ($key) = map { $_->{id} } grep { $_->{database} == 0 && $_->{table} == 2 } table_keys_of(slurp_file($old->keyring_path));
	return map { $_->[0] == SCOPE ? keyring_record(SCOPE, substr(keyring_payload($_), 0, 25)) : $_ }
	  grep { !(($_->[0] == TABLE_KEY && unpack('Q<', keyring_payload($_)) == $key) ||
		($_->[0] == FILE && unpack('x12Q<', keyring_payload($_)) == $key)) } @_;
});
$old->start;
$old->sql_is(q{SELECT tablespace, cipher FROM tde_vault.encrypted_tablespaces}, 'enc|aes-256-gcm', 'an old keyring is read');
$old->safe_psql('postgres', "CREATE TABLE there (v text) USING heap TABLESPACE enc; INSERT INTO there SELECT '$marker' FROM generate_series(1, 300); CHECKPOINT");
$old->sealed_on_disk_ok($old->relation_path('there'), '... and holds');
$old->stop_clean;
my ($scope) = map { keyring_payload($_) } grep { $_->[0] == SCOPE } reverse keyring_records(slurp_file($old->keyring_path));
is(length $scope, 25 + 8 + 32, '... and is vouched for from then on');
change_keyring($old, sub { return grep { $_->[0] != SCOPE } @_ });
$old->start;
$old->sql_fails("CREATE TABLE leak (v text) USING heap TABLESPACE enc; INSERT INTO leak VALUES ('$marker')", 'TV00.', qr/were forged or removed/, '... so that who takes it out is noticed');
$old->stop;
done_testing();
