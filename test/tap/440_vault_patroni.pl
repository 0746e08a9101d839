# High availability by Patroni and etcd, as users run it: two nodes with
# encrypted tables and a realm; switchover, a node that is lost, and what
# becomes of it when it is back and has parted from the others.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdePatroni;
use Test::More;

# As README says: a node that has parted is made anew, not rewound.
my $ha = TdePatroni->new(postgresql => <<'YAML', parameters => <<'PARAMETERS');
      use_pg_rewind: false
      remove_data_directory_on_diverged_timelines: true
YAML
    tde_vault.password_memory: 8MB
PARAMETERS

sub quiet { my ($name, $sql, $what, %opt) = @_; unlike($ha->sql($name, $sql, %opt), qr/ERROR|FATAL/, $what); }
use constant ROWS => q{SELECT (SELECT count(*) || md5(string_agg(g::text, ',' ORDER BY id)) FROM gcm g), (SELECT count(*) || md5(string_agg(x::text, ',' ORDER BY id)) FROM xts x)};

$ha->add('n1');
$ha->until_logged('n1', qr/initialized a new cluster/);
quiet('n1', <<'SQL', 'the first node is set up');
CREATE EXTENSION tde_vault;
CALL tde_vault.create_master_key('ha_key', NULL, true);
CREATE ROLE alice LOGIN; CREATE ROLE security LOGIN;
CREATE TABLE gcm (id int PRIMARY KEY, v text) USING tde_heap;
SET tde_vault.cipher = 'aes-256-xts';
CREATE TABLE xts (id int PRIMARY KEY, v text) USING tde_heap;
RESET tde_vault.cipher;
CREATE TABLE patients (id int PRIMARY KEY, name text) USING tde_heap;
INSERT INTO gcm SELECT g, 'row ' || g FROM generate_series(1, 5000) g;
INSERT INTO xts SELECT g, 'row ' || g FROM generate_series(1, 5000) g;
INSERT INTO patients SELECT g, 'secret ' || g FROM generate_series(1, 100) g;
GRANT SELECT, INSERT ON patients TO alice;
CALL tde_vault.seal_catalogs();
ALTER DATABASE ENABLE DATABASE VAULT;
GRANT vault_admin TO security;
SQL
quiet('n1', <<'SQL', 'with a realm', user => 'security');
CREATE REALM pii REQUIRE VAULT PASSWORD;
ALTER REALM pii ADD TABLE patients;
ALTER REALM pii AUTHORIZE alice;
GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD 'open sesame';
SQL
$ha->add('n2');
$ha->until_is('n2', 'SELECT pg_is_in_recovery()', 't');
$ha->until_replicated('n1', 'n2');

# Both hold the same, sealed, and the realm binds on both.
my $patients = 100;
sub agree
{
	my ($primary, $standby, $when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$ha->until_replicated($primary, $standby);
	my $rows = $ha->sql($primary, ROWS);
	like($rows, qr/^\d+\w{32}\|\d+\w{32}$/, "$when: the primary has rows");
	is($ha->sql($standby, ROWS), $rows, "$when: the standby has the same");
	foreach my $node ($primary, $standby)
	{
		is($ha->sql($node, q{SELECT sum(bad) + sum(unsealed) FROM unnest('{gcm,xts}'::regclass[]) r, LATERAL tde_vault.verify(r)}), 0, "$when: the files of $node verify");
		like($ha->sql($node, 'SELECT count(*) FROM patients'), qr/TV031: .*not authorized/, "$when: the realm binds the superuser on $node");
		is($ha->sql($node, q{UNLOCK REALM pii PASSWORD 'open sesame'; SELECT count(*) FROM patients}, user => 'alice'), $patients, "$when: and lets alice in on $node");
	}
	return;
}
agree('n1', 'n2', 'made by Patroni');

# --- switchover ---

my ($ok, $said) = $ha->ctl('switchover', '--master', 'n1', '--candidate', 'n2', '--force', 'tde');
ok($ok, 'switchover') or diag($said);
$ha->until_is('n2', 'SELECT pg_is_in_recovery()', 'f');
quiet('n2', q{INSERT INTO gcm VALUES (10001, 'after switchover'); INSERT INTO xts SELECT * FROM gcm WHERE id > 10000}, 'the new primary is written');
quiet('n2', q{UNLOCK REALM pii PASSWORD 'open sesame'; INSERT INTO patients VALUES (101, 'new')}, 'the realm, too', user => 'alice');
$patients++;
agree('n2', 'n1', 'after switchover');

# --- the primary is lost, and goes on by itself for a while before it is back ---

$ha->lose('n2');
$ha->until_is('n1', 'SELECT pg_is_in_recovery()', 'f');
quiet('n1', q{INSERT INTO gcm SELECT 20000 + g, 'kept' FROM generate_series(1, 500) g; UPDATE xts SET v = 'kept' WHERE id % 3 = 0; CREATE TABLE kept USING tde_heap AS SELECT g FROM generate_series(1, 1000) g}, 'the other takes over');
{
	my $n2 = $ha->{nodes}{n2};
	my @pg_ctl = ('pg_ctl', '-w', '-D', $n2->{data}, '-l', "$ha->{dir}/n2.alone.log", '-o', "-p $n2->{port}");
	PostgreSQL::Test::Utils::system_or_bail(@pg_ctl, 'start');
	quiet('n2', q{INSERT INTO gcm SELECT 20000 + g, 'lost' FROM generate_series(1, 700) g; UPDATE xts SET v = 'lost' WHERE id % 5 = 0; CREATE TABLE lost USING tde_heap AS SELECT g FROM generate_series(1, 1000) g; CHECKPOINT}, 'and the lost one alone');
	$ha->kill_server('n2');
}
my $from = $ha->log_size('n2');
$ha->start('n2');
$ha->until_logged('n2', qr/reinitializing due to diverged timelines/, $from);
$ha->until_is('n2', 'SELECT pg_is_in_recovery()', 't');
agree('n1', 'n2', 'after failover');
is($ha->sql('n2', q{SELECT (SELECT count(*) FROM kept), to_regclass('lost'), (SELECT count(*) FROM gcm WHERE v = 'lost')}), '1000||0', 'the node that was lost holds what the new primary holds');

$ha->stop_all;
done_testing();
