# What becomes of an unlocked realm in pgBouncer, whose clients share server
# connections: nothing passes from one to another with the settings that README
# names, and it does without them, as README warns.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $node = realm_server(conf => "tde_vault.password_memory = 8MB\n");
my $dir = PostgreSQL::Test::Utils::tempdir();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $bouncer;

sub start_pgbouncer
{
	my (@settings) = @_;
	TdeVault::_write_file("$dir/users", qq{"alice" ""\n});
	TdeVault::_write_file("$dir/pgbouncer.ini", join "\n", '[databases]', 'postgres = host=' . $node->host . ' port=' . $node->port,
		'[pgbouncer]', 'listen_addr = 127.0.0.1', "listen_port = $port", 'unix_socket_dir =', 'auth_type = trust', "auth_file = $dir/users",
		# one server connection, which all clients share
		'default_pool_size = 1', "logfile = $dir/pgbouncer.log", @settings, '');
	$bouncer = IPC::Run::start([ 'pgbouncer', '-q', "$dir/pgbouncer.ini" ], '<', \undef);
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (system('pg_isready', '-q', '-h', '127.0.0.1', '-p', $port, '-U', 'alice', '-d', 'postgres') == 0)
	{
		die 'pgbouncer does not start: ' . slurp_file("$dir/pgbouncer.log") if time > $deadline;
		Time::HiRes::usleep(50_000);
	}
	return;
}

sub stop_pgbouncer
{
	$bouncer->signal('TERM');
	$bouncer->finish;
	undef $bouncer;
	return;
}
END { local $?; $bouncer->kill_kill(grace => 0) if $bouncer; }

# A client of the pool; a backslash-! in its script is another one meanwhile.
my @psql = ('psql', '-XAtq', '-d', "host=127.0.0.1 port=$port user=alice dbname=postgres");
sub client
{
	my ($sql) = @_;
	my $out = '';
	TdeVault::_write_file("$dir/script.sql", $sql);
	IPC::Run::run([ @psql, '-f', "$dir/script.sql" ], '>', \$out, '2>&1');
	return $out;
}
use constant COUNT => 'SELECT pg_backend_pid(), count(*) FROM secret.patients';
my $other = join ' ', '\\!', "$psql[0] $psql[1] $psql[2] '$psql[3]'", '-c', "'" . COUNT . "'", '2>&1';

# --- session pooling, as pgBouncer is by default ---

start_pgbouncer('pool_mode = session');
my ($pid) = client(UNLOCK . COUNT) =~ /^(\d+)\|60$/m;
ok($pid, 'session pooling: a client unlocks and reads');
is(client('SELECT pg_backend_pid()'), "$pid\n", 'the next has the same server connection');
like(client(COUNT), qr/vault password required/, 'in which the realm is locked');
stop_pgbouncer();

# --- transaction pooling with a reset after each transaction ---

start_pgbouncer('pool_mode = transaction', 'server_reset_query_always = 1');
my $out = client('BEGIN; ' . UNLOCK . COUNT . ";\nCOMMIT;\n\\echo other\n$other\n\\echo self\nSELECT pg_backend_pid();\n" . COUNT . ";\n");
($pid) = $out =~ /^(\d+)\|60$/m;
ok($pid, 'transaction pooling: a client unlocks and reads in one transaction');
like($out, qr/^other\n.*vault password required.*^self/ms, 'another client, meanwhile connected, finds it locked');
like($out, qr/^self\n$pid\n.*vault password required/ms, 'and so does the first in its next transaction, on the same server connection');
unlike($out, qr/other.*\|60/s, 'no rows are read after the first transaction');
stop_pgbouncer();

# --- transaction pooling without it: the trap ---

start_pgbouncer('pool_mode = transaction');
$out = client(UNLOCK . "\n$other\n");
like($out, qr/^\d+\|60$/m, 'without the reset, an unlocked realm is everybody\'s of the same user in the pool');
stop_pgbouncer();

# An unlock ticket cannot be given through pgBouncer, which refuses options.
start_pgbouncer('pool_mode = session');
{
	local $ENV{PGOPTIONS} = '-c tde_vault.unlock_ticket=' . 'ab' x 32;
	like(client('SELECT 1'), qr/unsupported startup parameter: options/, 'options, and with them tickets, are refused by the pooler');
}
stop_pgbouncer();
done_testing();
