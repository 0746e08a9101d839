# Reading and writing a realm by the protocol, by replication and by
# transactions: the fast path for function calls, SQL over a replication
# connection, a decoder and a subscription from before the vault was on,
# prepared transactions, exported snapshots, parameters in the log.  Rows 4, 15,
# 16, 18, 20, 31 and 39 of the list of threats, and more.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use IO::Socket::UNIX;
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = realm_server(
	master => 'cluster',
	conf => "wal_level = logical\nmax_wal_senders = 8\nmax_replication_slots = 8\nmax_prepared_transactions = 5\nwal_retrieve_retry_interval = 200\n",
	sql => <<'SQL');
CREATE EXTENSION pageinspect;
CREATE EXTENSION adminpack;
CREATE DATABASE publisher;
CREATE ROLE subscriber SUPERUSER LOGIN;
SELECT lo_from_bytea(4711, 'x');
SQL

# --- the fast path: message 'F' of the protocol ---
package FastPath
{
	sub connect
	{
		my ($class, $node, $user) = @_;
		my $self = bless { socket => IO::Socket::UNIX->new($node->host . '/.s.PGSQL.' . $node->port) }, $class;
		my $startup = pack('N', 196608) . "user\0$user\0database\0postgres\0\0";

		$self->{socket}->syswrite(pack('N', length($startup) + 4) . $startup);
		$self->answer;
		return $self;
	}

	sub bytes
	{
		my ($self, $n) = @_;
		my $bytes = '';
		while (length $bytes < $n)
		{
			sysread($self->{socket}, $bytes, $n - length $bytes, length $bytes) or die 'the server closed the connection';
		}
		return $bytes;
	}

	# Everything up to ReadyForQuery: errors and results.
	sub answer
	{
		my ($self) = @_;
		my $said = '';
		while (1)
		{
			my $type = $self->bytes(1);
			my $body = $self->bytes(unpack('N', $self->bytes(4)) - 4);
			return $said if $type eq 'Z';
			$said .= "$type: " . $body =~ s/\0/ /gr . "\n" if $type =~ /[EDV]/;
		}
	}

	sub send
	{
		my ($self, $type, $body) = @_;
		$self->{socket}->syswrite($type . pack('N', length($body) + 4) . $body);
		return $self->answer;
	}

	sub query { my ($self, $sql) = @_; return $self->send('Q', "$sql\0"); }

	sub call
	{
		my ($self, $oid, @arguments) = @_;
		return $self->send('F', pack('Nnn', $oid, 0, scalar @arguments) .
			join('', map { pack('N', length) . $_ } @arguments) . pack('n', 0));
	}
}
package main;

my $fast = FastPath->connect($node, 'mallory');
foreach my $call (
	[ q{pg_read_binary_file(text)}, 'postgresql.conf' ], [ q{pg_read_file(text)}, 'postgresql.conf' ],
	[ q{lo_import(text)}, 'postgresql.conf' ], [ q{lo_export(oid, text)}, 4711, '/tmp/x' ],
	[ q{table_to_xml(regclass, boolean, boolean, text)}, 'secret.patients', 't', 'f', '' ],
	[ q{query_to_xml(text, boolean, boolean, text)}, 'SELECT ssn FROM secret.patients', 't', 'f', '' ],
	[ q{get_raw_page(text, bigint)}, 'secret.patients', 0 ], [ q{pg_file_unlink(text)}, 'postgresql.conf' ],
	[ q{nextval(regclass)}, 'secret.patients_id_seq' ], [ q{setval(regclass, bigint)}, 'secret.patients_id_seq', 7 ],
	[ q{set_config(text, text, boolean)}, 'session_replication_role', 'replica', 'f' ],
	[ q{set_config(text, text, boolean)}, 'allow_system_table_mods', 'on', 'f' ])
{
	my ($name, @arguments) = @$call;
	my $oid = $node->safe_psql('postgres', "SELECT '$name'::regprocedure::oid");
	$arguments[0] = $node->safe_psql('postgres', "SELECT '$arguments[0]'::regclass::oid") if $name =~ /regclass/;
	my $said = $fast->call($oid, @arguments);
	like($said, qr/^E: .*(?:${\REFUSED})/, "fast path: $name");
	unlike($said, qr/qmarker/, 'nothing is told');
}
like($fast->call($node->safe_psql('postgres', q{SELECT 'md5(text)'::regprocedure::oid}), 'works'), qr/^V: .*[0-9a-f]{32}/, 'control: the fast path');
$fast = FastPath->connect($node, 'alice');
like($fast->call($node->safe_psql('postgres', q{SELECT 'table_to_xml(regclass, boolean, boolean, text)'::regprocedure::oid}), $node->safe_psql('postgres', q{SELECT 'secret.small'::regclass::oid}), 't', 'f', ''), qr/vault password required/, 'fast path: alice, locked');
$fast->query("CALL tde_vault.unlock_realm('pii', 'open sesame')");
like($fast->call($node->safe_psql('postgres', q{SELECT 'table_to_xml(regclass, boolean, boolean, text)'::regprocedure::oid}),
	$node->safe_psql('postgres', q{SELECT 'secret.small'::regclass::oid}), 't', 'f', ''), qr/^V: .*qmarker/s, 'control: alice, unlocked');

# --- SQL over a replication connection ---
sub replication
{
	my ($who, @commands) = @_;
	my $output = '';
	IPC::Run::run([ 'psql', '-XAt', '-d', $node->connstr('postgres') . " user=$who replication=database", map { ('-c', $_) } @commands ], '>', \$output, '2>&1');
	return $output;
}
foreach my $statement ('SELECT ssn FROM secret.patients', 'COPY secret.patients TO STDOUT', q{SELECT pg_read_file('PG_VERSION')}, q{SET session_replication_role = replica},
	'DELETE FROM pg_auth_members', q{COPY (SELECT 1) TO PROGRAM 'id'}, 'DROP EXTENSION tde_vault')
{
	my $said = replication('mallory', $statement);
	like($said, qr/${\REFUSED}/, "replication connection: $statement");
	unlike($said, qr/qmarker/, 'nothing is told');
}
my $said = replication('mallory', q{CREATE_REPLICATION_SLOT exported TEMPORARY LOGICAL test_decoding (SNAPSHOT 'use')});
unlike($said, qr/qmarker/, 'a slot that uses its snapshot');

# --- exported snapshots ---
my $exporter = $node->background_psql('postgres', extra_params => [ '-U', 'alice' ]);
$exporter->query_safe(q{CALL tde_vault.unlock_realm('pii', 'open sesame')});
$exporter->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $snapshot = $exporter->query_safe('SELECT pg_export_snapshot()');
like($exporter->query_safe('SELECT ssn FROM secret.patients LIMIT 1'), qr/qmarker/, 'control: alice exports a snapshot');
attack('an exported snapshot', 'mallory', "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; SELECT ssn FROM secret.patients;", REFUSED);
$exporter->quit;

# --- prepared transactions ---
like(run_as('alice', UNLOCK . q{BEGIN; INSERT INTO secret.small VALUES (70, 'qmarker7kx2vw9 prepared'); PREPARE TRANSACTION 'by_alice'; SELECT count(*) FROM secret.small;}),
	qr/PREPARE TRANSACTION\n1\n/, 'alice prepares a transaction');
attack('a transaction that another prepared', 'mallory', q{SELECT gid FROM pg_prepared_xacts; COMMIT PREPARED 'by_alice'; SELECT * FROM secret.small;}, REFUSED);
like(run_as('alice', 'SELECT count(*) FROM secret.small;'), qr/vault password required/, 'which unlocks nothing');
like(run_as('security', q{BEGIN; CALL tde_vault.realm_authorize('pii', ARRAY['mallory']); PREPARE TRANSACTION 'policy';}),
	qr/cannot PREPARE|ERROR/, 'a change of policy cannot be prepared');
attack('nor finished by another', 'mallory', q{COMMIT PREPARED 'policy'; SELECT * FROM secret.small;}, REFUSED);
attack('prepared by the locked', 'alice', q{BEGIN; INSERT INTO secret.small VALUES (71, 'x'); PREPARE TRANSACTION 'locked'; COMMIT PREPARED 'locked';}, REFUSED);
run_as('alice', UNLOCK . 'DELETE FROM secret.small WHERE id > 1;');

# --- parameters in the log ---
$node->safe_psql('postgres', "ALTER SYSTEM SET $_") foreach (q{log_statement = 'all'}, 'log_min_duration_statement = 0', 'log_parameter_max_length_on_error = -1', 'log_min_error_statement = debug5');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('log_statement') = 'all'});
sub with_parameter
{
	my ($who, $value, $sql, @options) = @_;
	my $from = -s $node->logfile;
	my $script = $node->basedir . '/parameters.sql';
	my $output = '';
	PostgreSQL::Test::Utils::append_to_file($script, '');
	open my $file, '>', $script or die;
	print $file "$sql;\n";
	close $file;
	IPC::Run::run([ 'pgbench', '-n', '-M', $_, '-t', '1', '-D', "v=$value", '-f', $script, '-d', $node->connstr('postgres') . " user=$who @options" ], '>', \$output, '2>&1')
	  foreach qw(extended prepared);
	return ($output, slurp_file($node->logfile, $from));
}
run_as('security', q{CALL tde_vault.create_realm('open');});
$node->safe_psql('postgres', 'CREATE TABLE secret.notes (id int, v text) USING tde_heap; GRANT ALL ON secret.notes TO alice');
like(run_as('security', q{CALL tde_vault.realm_add('open', ARRAY['secret.notes']); CALL tde_vault.realm_authorize('open', ARRAY['alice']);}), qr/^CALL\nCALL$/m, 'a realm without a password');
foreach my $sql (q{INSERT INTO secret.notes VALUES (1, :v)}, q{INSERT INTO secret.notes VALUES (:v, 'x')}, q{SELECT :v::int}, q{SELECT * FROM secret.notes WHERE v = :v},
	q{INSERT INTO public.plain VALUES (1, :v)})
{
	my ($output, $log) = with_parameter('alice', 'qmarker7kx2vw9', $sql);
	unlike($log, qr/qmarker7kx2vw9/, "parameters are not in the log: $sql");
	like($log, qr/Parameters are left out|Details are left out/, 'which says so');
}
my ($output, $log) = with_parameter('mallory', 'harmless', 'SELECT v FROM public.plain WHERE v = :v');
like($log, qr/parameters: \$1 = 'harmless'/, 'those of others are');
($output, $log) = with_parameter('mallory', 'harmless', 'SELECT 1 / 0 FROM public.plain WHERE v <> :v');
like($log, qr/ERROR:  division by zero/, 'and their errors');
$node->safe_psql('postgres', "ALTER SYSTEM RESET $_") foreach qw(log_statement log_min_duration_statement log_parameter_max_length_on_error log_min_error_statement);
$node->reload;

# --- a decoder and a subscription from before the vault was on ---
run_as('security', 'CALL tde_vault.disable_vault();');
$node->safe_psql('publisher', q{CREATE SCHEMA secret; CREATE TABLE secret.small (id int PRIMARY KEY, v text); CREATE PUBLICATION p FOR ALL TABLES; SELECT pg_create_logical_replication_slot('sub', 'pgoutput')});
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('running', 'test_decoding')});
$node->safe_psql('postgres', q{CREATE SUBSCRIPTION sub CONNECTION '} . ($node->connstr('publisher') =~ s{'}{''}gr) . q{' PUBLICATION p WITH (create_slot = false, slot_name = 'sub', copy_data = false)}, extra_params => [ '-U', 'subscriber' ]);
my $stream = '';
my $decoder = IPC::Run::start([ 'pg_recvlogical', '-d', $node->connstr('postgres') . ' user=mallory', '--slot', 'running', '--start', '--no-loop', '-f', '-', '-F', '0', '-s', '1' ], '>', \$stream, '2>', \my $errors, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
$node->safe_psql('postgres', q{INSERT INTO public.plain VALUES (200, 'seen before')});
$decoder->pump until $stream =~ /seen before/;
$node->safe_psql('publisher', q{INSERT INTO secret.small VALUES (300, 'applied before')});
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM secret.small WHERE id = 300}) or die 'the subscription does not work';
run_as('security', 'CALL tde_vault.enable_vault();');
run_as('alice', UNLOCK . q{INSERT INTO secret.small VALUES (201, 'qmarker7kx2vw9 streamed'); UPDATE secret.small SET v = 'qmarker7kx2vw9 again'; DELETE FROM secret.small WHERE id = 201;});
run_as('alice', UNLOCK . q{BEGIN; INSERT INTO secret.small SELECT g, 'qmarker7kx2vw9' FROM generate_series(1000, 3000) g; DELETE FROM secret.small WHERE id >= 1000; COMMIT;});
$node->safe_psql('postgres', q{INSERT INTO public.plain VALUES (202, 'seen after')});
$decoder->pump until $stream =~ /seen after/;
unlike($stream, qr/qmarker/, 'a decoder that ran before the vault was on tells nothing');
$decoder->kill_kill;

my $from = -s $node->logfile;
$node->safe_psql('publisher', q{INSERT INTO secret.small VALUES (301, 'planted'); DELETE FROM secret.small WHERE id = 300; TRUNCATE secret.small});
$node->wait_for_log(qr/not authorized for realm "pii"/, $from);
my $rows = UNLOCK . 'SELECT count(*), count(*) FILTER (WHERE id IN (300, 301)) FROM secret.small;';
like(run_as('alice', $rows), qr/^2\|1$/m, 'a subscription from before writes nothing into the realm');
attack_each("subscription: $_", "$_;") foreach ('ALTER SUBSCRIPTION sub REFRESH PUBLICATION', q{ALTER SUBSCRIPTION sub CONNECTION 'dbname=x'});
attack_each('subscription: OWNER', 'ALTER SUBSCRIPTION sub OWNER TO mallory;', REFUSED, superuser => 1);
# its owner may be authorized, which opens nothing to it without the password
run_as('security', q{CALL tde_vault.realm_authorize('pii', ARRAY['subscriber']);});
ok($node->poll_query_until('postgres', q{SELECT pg_stat_clear_snapshot() IS NOT NULL AND (SELECT confirmed_flush_lsn >= '} . $node->safe_psql('publisher', 'SELECT pg_current_wal_lsn()') . q{'::pg_lsn FROM pg_replication_slots WHERE slot_name = 'sub')}), 'the subscription goes on when its owner is authorized');
like(run_as('alice', $rows), qr/^0\|0$/m, 'the publisher\'s TRUNCATE came');
attack('the authorized owner of a subscription', 'subscriber', 'SELECT * FROM secret.small;', qr/vault password required/);

like(run_as('alice', UNLOCK . 'SELECT count(*), min(ssn) FROM secret.patients;'), qr/60\|qmarker/, 'nothing is gone');
$node->stop;
done_testing();
