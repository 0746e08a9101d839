# Rows in the server's log, through what is no error: notices of functions, plans
# with the values that they were made for, and the statements that a function puts
# together.  More of row 39 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	conf => <<'CONF',
shared_preload_libraries = 'tde_vault, auto_explain'
log_min_messages = debug1
auto_explain.log_min_duration = 0
auto_explain.log_nested_statements = on
auto_explain.log_analyze = on
auto_explain.log_verbose = on
log_temp_files = 0
CONF
	sql => <<'SQL');
CREATE TABLE public.many (id int, v text);
INSERT INTO public.many SELECT g, 'plain' || g FROM generate_series(1, 20000) g;
GRANT ALL ON public.many TO PUBLIC;
CREATE ROLE visitor LOGIN;
SQL

# What the server's log got of what somebody does.
sub logged
{
	my ($who, $sql) = @_;
	my $from = -s $node->logfile;
	my $said = run_as($who, $sql);

	unlike($said, qr/ERROR/, 'it works') or diag($said);
	return PostgreSQL::Test::Utils::slurp_file($node->logfile, $from);
}

my $variable = 'DECLARE v text; BEGIN SELECT ssn INTO v FROM secret.patients LIMIT 1;';
my %ways = (
	(map { ("RAISE $_" => "$variable RAISE $_ 'it is %', v; END") } qw(DEBUG LOG INFO NOTICE)),
	'a plan' => "$variable PERFORM count(*) FROM public.many WHERE many.v = v AND id > 3; END" =~ s/\bv\b/x/gr =~ s/many\.x/many.v/r,
	'a statement that is put together' => "$variable EXECUTE format('SET LOCAL work_mem = 64; SELECT count(*) FROM (SELECT * FROM public.many ORDER BY v || %L) x', v); END",
	'a plan of such a statement' => "$variable EXECUTE format('SELECT count(*) FROM public.many WHERE v = %L', v); END");
foreach my $way (sort keys %ways)
{
	my $log = logged('alice', UNLOCK . "DO \$\$$ways{$way}\$\$;");

	unlike($log, qr/qmarker/, "$way: no row in the log") or diag($log);
	unlike(logged('alice', UNLOCK . "BEGIN; SELECT count(*) FROM secret.patients; ROLLBACK; DO \$\$$ways{$way}\$\$;"), qr/qmarker/, "$way, in another transaction");
}
like(logged('visitor', q{DO $$BEGIN RAISE LOG 'said %', 'aloud'; PERFORM count(*) FROM public.many WHERE v = 'x'; END$$;}), qr/said aloud.*Filter: \(many\.v = 'x'/s, 'control: of somebody without a place');
like(logged('alice', UNLOCK . q{DO $$BEGIN RAISE LOG 'said %', 'aloud'; END$$;}), qr/LOG: message left out/, 'it says that there was something');
like(logged('alice', 'SET work_mem = 64; SELECT count(*) FROM (SELECT * FROM public.many ORDER BY v) x;'), qr/temporary file: path/, 'control: what the server says of its work');
$node->stop;
done_testing();
