# Policy changes while 50 sessions work.  Each statement sees the old policy or
# the new one, never a mixture; and one that begins after the change has returned
# sees no old one, whatever the session has open: transactions and their
# snapshots, cursors, prepared statements, functions, parallel workers.
#
# Each session notes when a statement began and ended, and what came of it; so
# does the one that changes the policy.  Afterwards every statement is compared
# with the policies that were in force, or may have been, while it ran.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use IPC::Run ();
use PostgreSQL::Test::Utils ();
use Test::More;

my $n_sessions = 50;
my $n_statements = 60;
my $node = TdeVault->create('main', conf => <<'CONF');
max_connections = 80
max_worker_processes = 24
max_parallel_workers = 16
CONF

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE admin LOGIN;
CREATE ROLE worker LOGIN;
CREATE ROLE team;
GRANT team TO admin WITH ADMIN OPTION;
GRANT ALL ON SCHEMA public TO worker;
SET ROLE worker;
CREATE TABLE a (id int PRIMARY KEY, v text) USING tde_heap WITH (parallel_workers = 2);
CREATE TABLE b (id int PRIMARY KEY, v text) USING tde_heap;
CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (50) USING tde_heap;
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (50) TO (1000) USING tde_heap;
CREATE TABLE outside (id int PRIMARY KEY, v text);
INSERT INTO a SELECT g, 'x' FROM generate_series(1, 100) g;
INSERT INTO b SELECT g, 'x' FROM generate_series(1, 100) g;
INSERT INTO parted SELECT g, 'x' FROM generate_series(0, 99) g;
INSERT INTO outside SELECT g, 'x' FROM generate_series(1, 100) g;
-- the rows of a realm, counted in a function with plans of its own
CREATE FUNCTION counted(OUT state text, OUT n int) LANGUAGE plpgsql AS $$
BEGIN
	SELECT count(*) INTO n FROM a JOIN b USING (id);
	state := '00000';
EXCEPTION WHEN OTHERS THEN
	state := SQLSTATE;
END $$;
RESET ROLE;
CALL tde_vault.enable_vault();
GRANT vault_admin TO admin;
SQL

# --- who changes the policy ---------------------------------------------------------------------

my $admin = $node->background_psql('postgres', extra_params => [ '-U', 'admin' ]);
my @versions = ({ allows => 0, began => 0 });    # in force from began (or later) to the end of the next change

sub change
{
	my ($allows, $sql, $by_rule) = @_;
	my $out = $admin->query("SELECT 'began', extract(epoch FROM clock_timestamp());\n$sql\nSELECT 'ended', extract(epoch FROM clock_timestamp());");
	my ($began) = $out =~ /^began\|([0-9.]+)$/m;
	my ($ended) = $out =~ /^ended\|([0-9.]+)$/m;
	die "no times in: $out" unless defined $began && defined $ended;
	$versions[-1]{ended} = $ended;
	push @versions, { allows => $allows, began => $began, by_rule => $by_rule, sql => $sql };
	return;
}

my $tables = q{ARRAY['public.a', 'public.b', 'public.parted']};
$admin->query("CALL tde_vault.create_realm('work'); CALL tde_vault.realm_add('work', $tables); CALL tde_vault.create_realm('closed'); CALL tde_vault.realm_authorize('closed', ARRAY['admin']);");
change(1, q{CALL tde_vault.realm_authorize('work', ARRAY['worker']);});

# Pairs: what takes access away, and what gives it back.
my @changes = (
	[ q{CALL tde_vault.realm_revoke('work', ARRAY['worker']);}, q{CALL tde_vault.realm_authorize('work', ARRAY['worker']);} ],
	[ q{CALL tde_vault.create_command_rule('stop', ARRAY['ALL'], 'realm', 'work');}, q{CALL tde_vault.drop_command_rule('stop');}, 1 ],
	[ "CALL tde_vault.realm_add('closed', $tables);", "CALL tde_vault.realm_remove('closed', $tables);" ],
	[ q{BEGIN; CALL tde_vault.realm_revoke('work', ARRAY['worker']); COMMIT;}, q{BEGIN; CALL tde_vault.realm_authorize('work', ARRAY['worker']); COMMIT;} ],
	[ q{CALL tde_vault.realm_authorize('work', ARRAY['team']); CALL tde_vault.realm_revoke('work', ARRAY['worker']);}, q{GRANT team TO worker;} ],
	[ q{REVOKE team FROM worker;}, q{CALL tde_vault.realm_authorize('work', ARRAY['worker']); CALL tde_vault.realm_revoke('work', ARRAY['team']);} ]);

# --- who works --------------------------------------------------------------------------------------

# A statement with its times.  psql sets n only if there is a result.
sub step
{
	my ($kind, $statement, $before, $after) = @_;
	return <<"SQL";
\\set n none
@{[ $before // '' ]}
SELECT extract(epoch FROM clock_timestamp()) AS began \\gset
$statement \\gset
\\set state :SQLSTATE
@{[ $after // '' ]}
SELECT extract(epoch FROM clock_timestamp()) AS ended \\gset
\\echo step $kind :began :ended :state :n
SQL
}

my $join = 'SELECT count(*) AS n FROM a JOIN b USING (id)';
my $union = 'SELECT (SELECT count(*) FROM parted) - (SELECT count(*) FROM a) + (SELECT count(*) FROM b) AS n';
my @undo = ('SAVEPOINT s;', 'ROLLBACK TO s;');
my %scripts = (
	plain => sub { join '', map { step('plain', $_ % 2 ? $join : $union) } 1 .. $n_statements },
	prepared => sub {
		"PREPARE p AS $join;\nPREPARE q(int) AS SELECT 99 + count(*) AS n FROM a WHERE id = \$1;\n" .
		  join '', map { step('prepared', $_ % 2 ? 'EXECUTE p' : 'EXECUTE q(7)') } 1 .. $n_statements
	},
	transaction => sub {
		"BEGIN ISOLATION LEVEL REPEATABLE READ;\n" .
		  join('', map { step('transaction', $_ % 2 ? $join : $union, @undo) } 1 .. $n_statements) . "COMMIT;\n"
	},
	committed => sub {
		"PREPARE p AS $join;\nBEGIN;\n" . join('', map { step('committed', $_ % 2 ? 'EXECUTE p' : $union, @undo) } 1 .. $n_statements) . "COMMIT;\n"
	},
	cursor => sub {
		# rows one by one; the cursor is opened anew when it cannot be
		join '', map {
			"BEGIN;\nSAVEPOINT d;\nDECLARE c CURSOR FOR SELECT 100 AS n FROM a ORDER BY id;\n\\if :ERROR\nROLLBACK TO d;\n\\endif\n" .
			  join('', map { step('cursor', 'FETCH NEXT FROM c', @undo) } 1 .. 6) . "COMMIT;\n"
		} 1 .. $n_statements / 6
	},
	function => sub { join '', map { step('function', 'SELECT state AS inner_state, n FROM counted()', '\set inner_state none', '\set state :inner_state') } 1 .. $n_statements },
	parallel => sub {
		"SET force_parallel_mode = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;\n" .
		  join '', map { step('parallel', 'SELECT count(*) AS n FROM a WHERE v = $$x$$') } 1 .. $n_statements
	},
	write => sub {
		my ($id) = @_;
		join '', map { step('write', "UPDATE b SET v = 'x' WHERE id = $id RETURNING 100 AS n") } 1 .. $n_statements
	},
	outside => sub { join '', map { step('outside', 'SELECT count(*) AS n FROM outside') } 1 .. $n_statements });
my @kinds = sort keys %scripts;

my (@sessions, @outputs);
my $gate = $node->background_psql('postgres');
$gate->query('SELECT pg_advisory_lock(543)');
foreach my $i (1 .. $n_sessions)
{
	my $kind = $kinds[ $i % @kinds ];
	my $path = $node->basedir . "/session_$i.sql";
	PostgreSQL::Test::Utils::append_to_file($path, "SELECT pg_advisory_lock_shared(543) \\gset\n" . $scripts{$kind}->($i));
	$outputs[$i] = '';
	push @sessions, IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=worker', '-f', $path ],
		'<', \undef, '>', \$outputs[$i], '2>', '/dev/null');
}

# --- at the same time ------------------------------------------------------------------------------------

$node->poll_query_until('postgres', "SELECT count(*) = $n_sessions FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
  or die 'sessions do not come';
$gate->quit;
my $cycles = 0;
my $working = sub {
	$_->pump_nb foreach grep { $_->pumpable } @sessions;
	return scalar grep { $_->pumpable } @sessions;
};
while ($working->())
{
	foreach my $pair (@changes)
	{
		change(0, $pair->[0], $pair->[2]);
		$working->();
		change(1, $pair->[1]);
		$working->();
	}
	$cycles++;
}
$_->finish foreach @sessions;
$versions[-1]{ended} = 9e99;

# --- was it so? ------------------------------------------------------------------------------------------------

# What was in force then, for messages.
sub policy_at
{
	my ($began) = @_;
	my ($version) = grep { $_->{began} <= $began && $_->{ended} >= $began } @versions;
	return $version->{sql} // 'nothing';
}

# May a statement that ran then have been allowed (or denied)?
sub possible
{
	my ($allowed, $kind, $began, $ended) = @_;
	foreach my $version (@versions)
	{
		next if $version->{began} > $ended || $version->{ended} < $began;
		# rules are for statements, not for the next row of a cursor
		return 1 if $version->{allows} == $allowed || ($kind eq 'cursor' && $allowed && $version->{by_rule});
	}
	return 0;
}

my (%seen, %wrong, %partial, %odd);
foreach my $output (@outputs[ 1 .. $n_sessions ])
{
	while ($output =~ /^step (\w+) ([0-9.]+) ([0-9.]+) (\w+) (\S+)$/mg)
	{
		my ($kind, $began, $ended, $state, $n) = ($1, $2, $3, $4, $5);
		# the cursor could not be opened, or has failed before
		next if $kind eq 'cursor' && $state =~ /^(?:34000|55000)$/;
		my $allowed = $state eq '00000' ? 1 : 0;
		if (!$allowed && $state !~ /^TV03[12]$/)
		{
			$odd{"$kind $state"}++;
			next;
		}
		$seen{$kind}{$allowed}++;
		$partial{$kind}++ if $allowed && $n ne '100';
		$wrong{"$kind was " . ($allowed ? 'allowed' : 'denied') . ' after ' . policy_at($began)}++
		  if $kind eq 'outside' ? !$allowed : !possible($allowed, $kind, $began, $ended);
	}
}
note(sprintf '%d changes of the policy; %s', scalar @versions,
	join ', ', map { my $k = $_; sprintf '%s: %d allowed, %d denied', $k, map { $seen{$k}{$_} // 0 } 1, 0 } @kinds);
cmp_ok($cycles, '>=', 2, "the policy changed " . (@versions - 1) . ' times');
is_deeply(\%wrong, {}, 'no statement saw a policy that was not in force while it ran');
is_deeply(\%partial, {}, 'a statement that was allowed saw everything');
is_deeply(\%odd, {}, 'and nothing failed otherwise');
foreach my $kind (@kinds)
{
	my $total = ($seen{$kind}{0} // 0) + ($seen{$kind}{1} // 0);
	ok(($seen{$kind}{1} // 0) > 0, "$kind: some were allowed");
	# of a cursor mostly the opening is, which is not counted; a FETCH is further down
	ok(($seen{$kind}{0} // 0) > 0, "$kind: some were denied") if $kind !~ /^(?:outside|cursor)$/;
	my $of_kind = grep { $kinds[ $_ % @kinds ] eq $kind } 1 .. $n_sessions;
	is($total, $n_statements * $of_kind, "$kind: all of them ran") if $kind ne 'cursor';
}

# this way of looking finds what is wrong
ok(possible(1, 'plain', ($versions[1]{began}) x 2), 'allowed while it was');
ok(!possible(0, 'plain', $versions[-1]{began} + 1000, $versions[-1]{began} + 1001), 'denied long after it was allowed again would be seen');

# --- one by one: what the crowd has shown once ---------------------------------------------------------------------

my $session = $node->background_psql('postgres', extra_params => [ '-U', 'worker' ], on_error_stop => 0);
like($session->query('SET force_parallel_mode = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) AS n FROM a WHERE v = $$x$$;'),
	qr/Workers Launched: [1-9]/, 'there were parallel workers');

# a member of an authorized role is none any more: a FETCH takes no lock by which the session would hear of it
$admin->query(q{CALL tde_vault.realm_authorize('work', ARRAY['team']); GRANT team TO worker; CALL tde_vault.realm_revoke('work', ARRAY['worker']);});
is($session->query('BEGIN; DECLARE c CURSOR FOR SELECT id FROM a ORDER BY id; FETCH 1 FROM c;'), '1', 'a cursor of a member of an authorized role');
$admin->query('REVOKE team FROM worker;');
is($session->query('FETCH 1 FROM c;'), '', 'gives no row when the membership has ended');
like($session->{stderr}, qr/not authorized for realm/, 'and says so');
$session->query('ROLLBACK;');
$session->quit;
$admin->quit;
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = \'worker\''), 'nobody hangs');
$node->stop;
done_testing();
