# TdeWorker.pm
#	  Encryption in place, for TAP tests: fast, slow, waited for; and tables that
#	  it is tried on.

package TdeWorker;

use strict;
use warnings;

use Exporter ();
use File::Find ();
use PostgreSQL::Test::Utils ();
use Test::More;

our @ISA = ('Exporter');
our @EXPORT = qw(DONE SETTLED done_ok slow_workers files_with
  MARK marked_table marked_ok ALTERED_TABLE ALTERED_ROWS);

# There is work, and all of it is done; nothing is left to do.
use constant DONE => q{SELECT bool_and(state = 'done') FROM tde_vault.encryption_progress};
use constant SETTLED => q{SELECT coalesce(bool_and(state = 'done'), true) FROM tde_vault.encryption_progress};

# Each row of table p has MARK in it; its pages are of all kinds.
use constant MARK => 'tv_online_marker';
use constant MARKED_TABLE => <<"SQL";
CREATE TABLE p (id serial PRIMARY KEY, v text, b text);
INSERT INTO p (v, b) SELECT '${\MARK} ' || g, (SELECT string_agg(md5((g * i)::text), '') FROM generate_series(1, 100) i) FROM generate_series(1, 2000) g;
CREATE INDEX p_v ON p (v);
CREATE INDEX p_h ON p USING hash (v);
VACUUM p;
CHECKPOINT;
SQL
use constant MARKED_ROWS => q{SELECT count(*), md5(string_agg(p::text, ',' ORDER BY id)) FROM p};
my $marked;

# Make it.
sub marked_table
{
	my ($node) = @_;
	$node->safe_psql('postgres', MARKED_TABLE);
	$marked = $node->safe_psql('postgres', MARKED_ROWS);
	return;
}

# ok: it has the rows that it was made with.
sub marked_ok
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->sql_is(MARKED_ROWS, $marked, "$name: the same rows");
	return;
}

# Table t, made anew; small, so that it can be for each of many cases.
use constant ALTERED_TABLE => <<'SQL';
DROP TABLE IF EXISTS t CASCADE;
CREATE TABLE t (id int PRIMARY KEY, v text, b text);
ALTER TABLE t ALTER b SET STORAGE EXTERNAL;
INSERT INTO t SELECT g, md5(g::text), repeat(md5(g::text), CASE WHEN g % 50 = 0 THEN 100 ELSE 1 END) FROM generate_series(1, 3000) g;
CREATE INDEX t_v ON t (v);
SQL
use constant ALTERED_ROWS => q{SELECT count(*), sum(id::bigint), md5(string_agg(v || b, ',' ORDER BY id)) FROM t};

# ok: the work that there is comes to its end.
sub done_ok
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until('postgres', DONE), "$name: done")
	  or diag($node->safe_psql('postgres', 'SELECT * FROM tde_vault.encryption_progress'));
	return;
}

# Workers rest for delay ms after cost limit; without these they never do.
sub slow_workers
{
	my ($node, $limit, $delay) = @_;
	$node->safe_psql('postgres', 'ALTER SYSTEM SET tde_vault.worker_cost_limit = ' . ($limit // 1000000));
	$node->safe_psql('postgres', 'ALTER SYSTEM SET tde_vault.worker_cost_delay = ' . ($delay // 0));
	$node->reload;
	return;
}

# How many files below a directory hold these bytes as they are?
sub files_with
{
	my ($bytes, $dir) = @_;
	my $found = 0;
	File::Find::find(sub { $found++ if -f && index(PostgreSQL::Test::Utils::slurp_file($_), $bytes) >= 0 }, $dir);
	return $found;
}

1;
