# VaultAttack.pm
#	  A server with a realm, people around it, and attacks on it.
#
# The realm "pii" has table secret.patients (with an index, a TOAST table, a
# sequence and statistics), secret.log (partitioned) and secret.small, all owned
# by role "owner".  People, none of whom may see a row as they are:
#
#	mallory		a superuser
#	owner		the tables' owner
#	alice		authorized for the realm; the vault password is "open sesame"
#	security	vault administrator
#
# owner and alice have every privilege short of being a superuser: on all there
# is, in the predefined roles, on settings and on functions of the server; alice
# is a member of owner.  So what stops them is the vault.
#
# An attack is a list of statements that somebody runs.  It has failed if no
# output, and no line of the server's log, has a marker in it, what was said is
# what was expected, and the server itself refused nothing for want of a
# privilege, which would prove nothing of the vault.

package VaultAttack;

use strict;
use warnings;

use Exporter ();
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use TdeVault;
use Test::More;

our @ISA = ('Exporter');
our @EXPORT = qw(realm_server on_server give_everything run_as attack attack_each control REFUSED NO_RIGHT UNLOCK);

# Every row of the realm holds one of these.
use constant MARKER => 'qmarker7kx2vw9';
use constant PASSWORD => 'open sesame';
use constant UNLOCK => q{CALL tde_vault.unlock_realm('pii', 'open sesame');};

# What somebody without authorization, or without the password, is told.
use constant REFUSED => qr/not authorized for realm "pii"|vault password required|refused while a vault is on|is frozen|cannot be changed while a vault is on|may not carry rows|may not use realm|only a vault administrator|holds values of protected tables/;

# What PostgreSQL itself tells somebody who lacks a privilege (SQLSTATE, text).
use constant NO_RIGHT => qr/ERROR:\s+42501:|permission denied|must be (?:a )?superuser|must be owner|only superusers/i;

# Functions of the server that it gives to superusers alone.
use constant SUPERUSERS_FUNCTIONS => qw(pg_read_file pg_read_binary_file lo_import lo_export);

my $node;

# Options are those of TdeVault->create; sql: run by postgres before the vault is on.
sub realm_server
{
	my (%opt) = @_;
	my $sql = delete $opt{sql} // '';
	my $marker = MARKER;

	$opt{conf} = "log_min_messages = notice\n" . ($opt{conf} // '');
	$node = TdeVault->create('realm', %opt);
	$node->safe_psql('postgres', <<"SQL");
CREATE ROLE mallory SUPERUSER LOGIN;
CREATE ROLE owner LOGIN CREATEROLE;
CREATE ROLE alice LOGIN;
CREATE ROLE security LOGIN;
GRANT ALL ON SCHEMA public TO PUBLIC;
CREATE SCHEMA secret AUTHORIZATION owner;
GRANT USAGE ON SCHEMA secret TO PUBLIC;
SET ROLE owner;
CREATE TABLE secret.patients (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, ssn text, note text) USING tde_heap;
INSERT INTO secret.patients (name, ssn, note)
	SELECT '$marker' || (g % 3), '$marker' || g, repeat('$marker ', 700) FROM generate_series(1, 40) g;
ALTER TABLE secret.patients ALTER note SET STORAGE EXTERNAL;
INSERT INTO secret.patients (name, ssn, note)
	SELECT '$marker' || (g % 3), '$marker' || g, repeat('$marker ', 700) FROM generate_series(41, 60) g;
CREATE INDEX patients_ssn ON secret.patients (ssn);
CREATE STATISTICS secret.patients_stat (mcv) ON name, ssn FROM secret.patients;
CREATE TABLE secret.log (day date, line text) PARTITION BY RANGE (day);
CREATE TABLE secret.log_1 PARTITION OF secret.log FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') USING tde_heap;
INSERT INTO secret.log VALUES ('2024-05-05', '$marker');
CREATE TABLE secret.small (id int PRIMARY KEY, v text) USING tde_heap;
INSERT INTO secret.small VALUES (1, '$marker');
CREATE TABLE public.plain (id int PRIMARY KEY, v text);
INSERT INTO public.plain VALUES (1, 'nothing');
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA secret TO alice;
GRANT ALL ON public.plain TO alice, mallory;
$sql
ANALYZE;
SQL
	give_everything('postgres');
	$node->safe_psql('postgres', <<"SQL");
CALL tde_vault.enable_vault();
GRANT vault_admin TO security;
SQL
	run_as('security', <<"SQL");
CALL tde_vault.create_realm('pii', require_password => true);
CALL tde_vault.realm_add('pii', ARRAY['secret.patients', 'secret.log', 'secret.small']);
CALL tde_vault.realm_authorize('pii', ARRAY['alice']);
CALL tde_vault.grant_vault_password('pii', 'alice', 'open sesame');
SQL
	return $node;
}

# What follows is done on that server: a standby, say.
sub on_server { ($node) = @_; return; }

# Whatever privileges there are, to owner and alice, in a database.
sub give_everything
{
	my ($database) = @_;
	my $to = 'TO owner, alice';
	my $schemas = $node->safe_psql($database, q{SELECT string_agg(quote_ident(nspname), ', ') FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema|tde_vault)'});
	my $functions = join ', ', map { "'$_'" } SUPERUSERS_FUNCTIONS;

	$node->safe_psql($database, <<"SQL");
ALTER ROLE owner CREATEROLE CREATEDB REPLICATION;
ALTER ROLE alice CREATEROLE CREATEDB REPLICATION;
GRANT owner TO alice;
GRANT pg_read_all_data, pg_write_all_data, pg_monitor, pg_signal_backend, pg_checkpoint,
	pg_read_server_files, pg_write_server_files, pg_execute_server_program $to;
ALTER DATABASE "$database" OWNER TO owner;
GRANT ALL ON SCHEMA $schemas $to;
GRANT ALL ON ALL TABLES IN SCHEMA $schemas $to;
GRANT ALL ON ALL SEQUENCES IN SCHEMA $schemas $to;
GRANT ALL ON ALL ROUTINES IN SCHEMA $schemas $to;
GRANT ALL ON ALL TABLES IN SCHEMA pg_catalog, pg_toast $to;
SELECT format('GRANT EXECUTE ON FUNCTION %s $to', oid::regprocedure) FROM pg_proc
	WHERE pronamespace = 'pg_catalog'::regnamespace AND (proname IN ($functions) OR prolang = (SELECT oid FROM pg_language WHERE lanname = 'c')) \\gexec
SELECT format('GRANT SET, ALTER SYSTEM ON PARAMETER %I $to', name) FROM pg_settings WHERE context <> 'internal' \\gexec
SQL
	return;
}

# Run SQL as somebody, all of it whatever fails; returns all that was printed.
sub run_as
{
	my ($who, $sql, %opt) = @_;
	my $output = '';
	my $database = $opt{database} // 'postgres';
	my @command = ('psql', '-X', '-A', '-t', '-v', 'VERBOSITY=verbose', '-d',
		$node->connstr($database) . " user=$who");

	IPC::Run::run(\@command, '<', \$sql, '>', \$output, '2>&1');
	return $output;
}

# An attack by one: expected is in the output, a marker nowhere.
#
#	name, who, sql, expected (regular expression)
#	after		what postgres runs to clean up
#	postgres	expected is PostgreSQL's own refusal (true: any, by its SQLSTATE)
sub attack
{
	my ($name, $who, $sql, $expected, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $log_from = -s $node->logfile;
	my $output = run_as($who, $sql, %opt);
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_from);
	my $leaks = 0;

	# what the attacker typed, or the server quotes of it, is no leak
	foreach my $line (split /\n/, "$output\n$log")
	{
		$leaks++ if $line =~ /${\MARKER}/i && index(lc $sql, MARKER) < 0;
	}
	my $refused_by_server = $output =~ NO_RIGHT;
	$expected = NO_RIGHT if $opt{postgres};
	my $ok = !$leaks && $output =~ $expected && ($opt{postgres} || !$refused_by_server);
	note($output =~ /(ERROR|FATAL):\s+(.*)/ ? "$2" : substr($output, 0, 200));
	ok($ok, "$name: $who") or diag("expected $expected, $leaks leaks, got:\n" . substr($output, 0, 3000));
	run_as('postgres', $opt{after}) if defined $opt{after};
	return $output;
}

# The same by each of those who should not be able to.  superuser: what only
# superusers may do, so that PostgreSQL itself stops the others.
sub attack_each
{
	my ($name, $sql, $expected, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	foreach my $who (@{ $opt{who} // [qw(mallory owner alice)] })
	{
		attack($name, $who, $sql, $expected // REFUSED, %opt, postgres => $opt{postgres} || ($opt{superuser} && $who ne 'mallory'));
	}
	return;
}

# The same statements by alice, unlocked, do what they should.
sub control
{
	my ($name, $sql, $expected, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $output = run_as('alice', UNLOCK . "\n$sql", %opt);

	like($output, $expected, "control: $name");
	run_as('postgres', $opt{after}) if defined $opt{after};
	return $output;
}

1;
