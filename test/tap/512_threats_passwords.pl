# Theft of vault passwords: row 30 of the list of threats.  Whatever the server
# is told to write or show, a password that somebody typed is not in it.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;

my $secret = 'Lantern-Orbit-53x';
my $node = realm_server(
	conf => <<'CONF',
shared_preload_libraries = 'tde_vault, pg_stat_statements, auto_explain'
log_statement = all
log_min_duration_statement = 0
log_min_messages = debug1
log_min_error_statement = debug5
log_error_verbosity = verbose
debug_print_parse = on
debug_print_rewritten = on
debug_print_plan = on
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
track_activity_query_size = 4096
pg_stat_statements.track = all
pg_stat_statements.track_utility = on
logging_collector = off
CONF
	sql => 'CREATE EXTENSION pg_stat_statements;');
run_as('security', qq{GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD '$secret';});

my @unlocks = (
	"UNLOCK REALM pii PASSWORD '$secret'",
	"unlock realm pii password \$\$$secret\$\$",
	"UNLOCK REALM pii PASSWORD E'" . ($secret =~ s/x$/\\x78/r) . "'",
	"CALL tde_vault.unlock_realm('pii', '$secret')",
	"CALL tde_vault.unlock_realm(realm => 'pii', password => '$secret')",
	"SELECT 1; UNLOCK REALM pii PASSWORD '$secret'; SELECT 2",
	"BEGIN; UNLOCK REALM pii PASSWORD '$secret'; COMMIT",
	"DO \$do\$BEGIN UNLOCK REALM pii PASSWORD '$secret'; END\$do\$",
	"EXPLAIN UNLOCK REALM pii PASSWORD '$secret'",
	"UNLOCK REALM pii PASSWORD '$secret' nonsense",
	"UNLOCK REALM nothing PASSWORD '$secret'",
	"UNLOCK REALM pii PASSWORD '$secret-wrong'",
	"/* c */ UNLOCK /* c */ REALM pii PASSWORD -- c\n '$secret'");
my $shows = 'SELECT ssn FROM secret.patients LIMIT 1;';
foreach my $sql (@unlocks)
{
	my $output = run_as('alice', "$sql;");
	unlike(slurp_file($node->logfile), qr/Lantern-Orbit/, "30: not in the log: $sql");
}
unlike($node->safe_psql('postgres', 'SELECT string_agg(query, chr(10)) FROM pg_stat_statements'), qr/Lantern-Orbit/,
	'30: not in pg_stat_statements');

# While the session idles, its last statement is shown.
{
	my ($in, $out) = ('', '');
	my $session = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=alice' ], '<', \$in, '>', \$out, '2>&1');
	$in .= "UNLOCK REALM pii PASSWORD '$secret';\n\\echo done\n";
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($out =~ /done/ || time > $deadline) { $session->pump_nb; select(undef, undef, undef, 0.02) }
	my $shown = run_as('mallory', q{SELECT query FROM pg_stat_activity WHERE usename = 'alice';});
	like($shown, qr/UNLOCK REALM/i, '30: pg_stat_activity shows that alice unlocks');
	unlike($shown, qr/Lantern-Orbit/, '30: and not with what');
	$in .= "\\q\n";
	$session->finish;
}
like(run_as('alice', "UNLOCK REALM pii PASSWORD '$secret'; SELECT count(*) FROM secret.patients;"), qr/^60$/m, '30: the password is the right one');

# Nor in any file of the server: log, audit log, WAL, statistics.
$node->stop;
my $found = `grep -rlF 'Lantern-Orbit' '${\$node->data_dir}' '${\$node->logfile}' 2>/dev/null`;
is($found, '', '30: in no file of the server');

done_testing();
