# What a function leaves behind in an interpreter: those of PL/Perl, and of most
# languages, share one by the role that they run as.  A function of somebody else
# puts code of its own in the place of what functions of an authorized user call.
# More of row 28 of the list of threats.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(
	sql => <<'SQL');
CREATE EXTENSION plperl;
CREATE TABLE public.loot (v text);
CREATE TABLE public.inbox (id int);
GRANT ALL ON public.loot, public.inbox TO PUBLIC;
CREATE ROLE visitor LOGIN;
SET ROLE alice;
CREATE FUNCTION public.first_row() RETURNS text LANGUAGE plperl AS $$
	my $found = spi_exec_query('SELECT ssn FROM secret.patients ORDER BY id LIMIT 1');
	return $found->{rows}[0]{ssn};
$$;
RESET ROLE;
SET ROLE mallory;
CREATE FUNCTION public.trojan() RETURNS int LANGUAGE plperl AS $$
	no warnings;
	my $before = \&main::spi_exec_query;
	*main::spi_exec_query = sub { my $found = $before->(@_); $_SHARED{taken} = $found->{rows}[0]{ssn} if $found->{rows}; return $found; };
	return 1;
$$;
CREATE FUNCTION public.trojan_of_trigger() RETURNS trigger LANGUAGE plperl AS $$
	no warnings;
	my $before = \&main::spi_exec_query;
	*main::spi_exec_query = sub { my $found = $before->(@_); $_SHARED{taken} = $found->{rows}[0]{ssn} if $found->{rows}; return $found; };
	return;
$$;
CREATE TRIGGER t BEFORE INSERT ON public.inbox FOR EACH ROW EXECUTE FUNCTION public.trojan_of_trigger();
CREATE FUNCTION public.trojan_of_block() RETURNS int LANGUAGE plpgsql AS $f$BEGIN
	EXECUTE 'DO LANGUAGE plperl $$no warnings; my $before = \&main::spi_exec_query;
		*main::spi_exec_query = sub { my $found = $before->(@_); $_SHARED{taken} = $found->{rows}[0]{ssn} if $found->{rows}; return $found; };$$';
	RETURN 1;
END$f$;
CREATE FUNCTION public.fetch_it() RETURNS text LANGUAGE plperl AS $$
	spi_exec_query("INSERT INTO public.loot VALUES ('$_SHARED{taken}')") if defined $_SHARED{taken};
	return 'fetched';
$$;
CREATE FUNCTION public.apart() RETURNS text LANGUAGE plperl SECURITY DEFINER AS $$ return 'apart'; $$;
RESET ROLE;
SQL

foreach my $plant ('SELECT public.trojan()', 'INSERT INTO public.inbox VALUES (1)', 'SELECT public.trojan_of_block()')
{
	my $said = run_as('alice', "$plant; " . UNLOCK . 'SELECT public.first_row(); SELECT public.fetch_it();');

	like($said, qr/TV036: (?:a call|DO), in a language whose functions can leave code for each other, is refused within function "trojan/, "$plant: refused");
	like($said, qr/^qmarker/m, 'her own function goes on');
	is(run_as('mallory', 'SELECT count(*) FROM public.loot; TRUNCATE public.loot;'), "0\nTRUNCATE TABLE\n", 'nothing is taken');
}
like(run_as('alice', 'SELECT public.apart();'), qr/^apart$/m, 'control: one that runs as its owner has an interpreter of its own');
like(run_as('visitor', 'SELECT public.trojan(); SELECT public.fetch_it();'), qr/^1\nfetched$/m, 'control: who has no place is not concerned');
like(run_as('alice', q{DO LANGUAGE plperl $$elog(WARNING, 'of alice');$$;}), qr/of alice/, 'control: DO by alice');
control('of alice, by others of the realm', 'SELECT public.first_row();', qr/^qmarker/m);
$node->stop;
done_testing();
