# Foreign tables in the session of an authorized user: what their rows are compared
# with is sent to their server, and a superuser can put one in the place of a table
# that the user knows, or lead its server elsewhere.  More of rows 24, 27 and 28 of
# the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	conf => "log_min_duration_statement = 0\nlog_line_prefix = '%u: '\n",
	sql => <<'SQL');
CREATE EXTENSION postgres_fdw;
CREATE TABLE public.real_codes AS SELECT 'plain' || g AS v, g AS id FROM generate_series(1, 1000) g;
GRANT ALL ON public.real_codes TO PUBLIC;
CREATE ROLE partner LOGIN SUPERUSER;
CREATE ROLE visitor LOGIN;
GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO owner;
SQL
my ($host, $port) = ($node->host, $node->port);
my $options = "OPTIONS (host '$host', port '$port', dbname 'postgres')";
run_as('security', q{CALL tde_vault.realm_owner('pii', 'owner');});
unlike(run_as('mallory', <<"SQL"), qr/ERROR/, 'a foreign table of mallory');
CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw $options;
CREATE USER MAPPING FOR PUBLIC SERVER back OPTIONS (user 'partner', password_required 'false');
CREATE FOREIGN TABLE public.codes (v text, id int) SERVER back OPTIONS (schema_name 'public', table_name 'real_codes');
CREATE FOREIGN TABLE public.asked (v text, id int) SERVER back OPTIONS (schema_name 'public', table_name 'real_codes', use_remote_estimate 'true');
CREATE TABLE public.parts (v text, id int) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE public.part PARTITION OF public.parts FOR VALUES FROM (0) TO (9999) SERVER back OPTIONS (schema_name 'public', table_name 'real_codes');
GRANT ALL ON public.codes, public.asked, public.parts, public.part TO PUBLIC;
SQL
run_as('alice', q{CREATE FUNCTION public.of_alice(int) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT ssn FROM secret.patients WHERE id = $1); END';});
unlike(run_as('owner', <<"SQL"), qr/ERROR/, 'a foreign table of the owner');
CREATE SERVER trusted FOREIGN DATA WRAPPER postgres_fdw $options;
CREATE FOREIGN TABLE public.trusted_codes (v text, id int) SERVER trusted OPTIONS (schema_name 'public', table_name 'real_codes');
GRANT ALL ON public.trusted_codes TO PUBLIC;
SQL
run_as('mallory', q{CREATE USER MAPPING FOR PUBLIC SERVER trusted OPTIONS (user 'partner', password_required 'false');});

# What alice, unlocked, does; and what comes to the other server, which is this one, too.
sub asks
{
	my ($sql) = @_;
	my $from = -s $node->logfile;
	my $said = run_as('alice', UNLOCK . "$sql;");

	return ($said, join("\n", grep { /^partner:/ } split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile, $from)));
}

my $not = qr/foreign table public\.\w+ may not be read in a transaction that uses a realm/;
foreach my $table (qw(codes asked parts))
{
	foreach my $query ("SELECT count(*) FROM public.$table c WHERE v = (SELECT ssn FROM secret.patients WHERE id = 3)",
		"SELECT count(*) FROM secret.patients p, LATERAL (SELECT 1 FROM public.$table c WHERE c.v = p.ssn LIMIT 1) x",
		"SELECT count(*) FROM secret.patients p JOIN public.$table c ON c.v = p.ssn WHERE p.id = 4",
		"SELECT count(*) FROM public.$table WHERE v = public.of_alice(5)",
		"DO \$\$DECLARE s text; BEGIN SELECT ssn INTO s FROM secret.patients WHERE id = 6; PERFORM count(*) FROM public.$table WHERE v = s; END\$\$",
		"DO \$\$DECLARE s text; BEGIN SELECT ssn INTO s FROM secret.patients WHERE id = 6; EXECUTE format('SELECT count(*) FROM public.$table WHERE v = %L', s); END\$\$",
		"BEGIN; SELECT ssn FROM secret.patients WHERE id = 7 \\gset\nEXPLAIN SELECT count(*) FROM public.$table WHERE v = :'ssn'; COMMIT")
	{
		my ($said, $there) = asks($query);

		like($said, $not, "$query: refused");
		unlike($there, qr/qmarker/, 'nothing is sent');
	}
}
foreach my $change ("ALTER SERVER trusted OPTIONS (SET host 'elsewhere')", 'ALTER SERVER trusted OWNER TO mallory', q{ALTER FOREIGN TABLE public.trusted_codes OPTIONS (SET table_name 'x')},
	'CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw; ALTER SERVER s OWNER TO owner')
{
	like(run_as('mallory', "$change;"), $change =~ /OWNER TO mallory/ ? qr/ALTER SERVER/ : qr/of role "owner" is refused/, $change);
	run_as('mallory', 'ALTER SERVER trusted OWNER TO owner;') if $change =~ /OWNER TO mallory/;
}

# --- what goes on ----------------------------------------------------------------------------

like((asks("SELECT count(*) FROM public.codes WHERE v = 'plain3'"))[0], qr/^1$/m, 'control: in a transaction of its own');
like((asks('INSERT INTO public.codes SELECT v, 1 FROM secret.small'))[0], qr/^INSERT 0 1$/m, 'control: what she writes there');
like((asks('UPDATE public.codes SET id = 2 WHERE v IN (SELECT v FROM secret.small)'))[0], qr/^UPDATE \d+$/m, 'control: and changes');
like(run_as('visitor', "SELECT count(*) FROM public.codes WHERE v = 'plain3';"), qr/^1$/m, 'control: who has no place is not concerned');
$node->stop;
done_testing();
