# pg_dump of a realm: by an authorized user with an unlock ticket; by anybody
# else it fails and says what to do.  And what a ticket is worth to a thief.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(sql => 'GRANT SELECT ON ALL SEQUENCES IN SCHEMA secret TO alice; GRANT pg_read_all_data TO alice; CREATE ROLE bob LOGIN; GRANT pg_read_all_data TO bob;');

sub ticket
{
	my ($args, $who) = @_;
	my $out = run_as($who // 'alice', UNLOCK . "SELECT tde_vault.create_unlock_ticket($args);");
	return $out =~ /^([0-9a-f]{64})$/m ? $1 : "none: $out";
}

sub dump_as
{
	my ($who, $ticket, @args) = @_;
	my ($out, $err) = ('', '');
	local $ENV{PGOPTIONS} = defined $ticket ? "-c tde_vault.unlock_ticket=$ticket" : '';
	my $ok = IPC::Run::run([ 'pg_dump', '-d', $node->connstr('postgres') . " user=$who", '--exclude-schema=tde_vault', @args ], '>', \$out, '2>', \$err);
	return ($ok, $out, $err);
}

my ($ok, $out, $err);
foreach my $who (qw(mallory owner alice bob))
{
	($ok, $out, $err) = dump_as($who, undef);
	ok(!$ok && $out !~ /qmarker/, "$who gets no dump");
	like($err, $who eq 'alice' ? qr/vault password required/ : qr/not authorized for realm/, "$who is told why");
}
($ok, $out, $err) = dump_as('alice', undef);
like($err, qr/create_unlock_ticket/, 'and what to do');

($ok, $out, $err) = dump_as('alice', ticket(''));
ok($ok, 'alice dumps with a ticket') or diag($err);
is(scalar(() = $out =~ /^\d+\tqmarker7kx2vw9/mg), 61, 'all rows are in the dump');

my $directory = $node->basedir . '/dump';
($ok, $out, $err) = dump_as('alice', ticket('4'), '-Fd', '-j', '3', '-f', $directory);
ok($ok, 'and with several jobs') or diag($err);
($ok, $out, $err) = dump_as('alice', ticket('1'), '-Fd', '-j', '3', '-f', "${directory}2");
ok(!$ok, 'not with more sessions than the ticket is for');

# --- thieves ---
my $one = ticket('');
($ok, $out, $err) = dump_as('bob', $one);
ok(!$ok && $out !~ /qmarker/, 'the ticket of another user') or diag($out);
($ok, $out, $err) = dump_as('mallory', $one);
ok(!$ok && $out !~ /qmarker/, 'to a superuser') or diag($out);
($ok) = dump_as('alice', $one);
ok($ok, 'they have not used it up');
($ok, $out, $err) = dump_as('alice', $one);
ok(!$ok, 'used twice');
like($err, qr/unlock ticket is not valid/, 'used twice: told');
my $query = sub {
	my ($value, $sql, $who) = @_;
	local $ENV{PGOPTIONS} = "-c tde_vault.unlock_ticket=$value";
	return run_as($who // 'alice', $sql);
};
my $short = ticket(q{1, '1 second'});
my $made = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
$node->poll_query_until('postgres', "SELECT clock_timestamp() > '$made'::timestamptz + interval '1 second'");
like($query->($short, 'SELECT ssn FROM secret.patients;'), qr/unlock ticket is not valid/, 'too late');
like($query->('f' x 64, 'SELECT ssn FROM secret.patients;'), qr/unlock ticket is not valid/, 'guessed');
like($query->("x'--", 'SELECT ssn FROM secret.patients;'), qr/unlock ticket is not valid|invalid/, 'nonsense');
my $kept = ticket('3');
like($query->($kept, "SELECT current_setting('tde_vault.unlock_ticket') || '<', count(*) FROM secret.small;"), qr/^<\|1$/m, 'its value is not shown');
unlike($query->($kept, 'SHOW ALL; SELECT * FROM pg_settings; SELECT * FROM pg_stat_activity;'), qr/$kept/, 'nowhere');
like(run_as('alice', "SET tde_vault.unlock_ticket = '$kept';"), qr/cannot be set after connection start/, 'not within a session');
like($query->($kept, "SELECT count(*) FROM secret.small; DISCARD ALL; SELECT count(*) FROM secret.small;"), qr/1\nDISCARD ALL\n.*vault password required/s, 'DISCARD ALL locks');
like(run_as('alice', 'SELECT tde_vault.create_unlock_ticket();'), qr/no realm is unlocked/, 'nothing comes of nothing');
like(run_as('mallory', 'SELECT tde_vault.create_unlock_ticket();'), qr/no realm is unlocked/, 'for a superuser, too');
like(run_as('alice', UNLOCK . "SELECT tde_vault.create_unlock_ticket($_);"), qr/must be/, "refused: $_") foreach ('0', '65', q{1, '2 hours'}, q{1, '1 month'}, q{1, '-1 s'});
$kept = ticket('9');
run_as('security', q{CALL tde_vault.revoke_vault_password('pii', 'alice');});
like($query->($kept, 'SELECT ssn FROM secret.patients;'), qr/vault password required/, 'after the password was revoked');
run_as('security', q{CALL tde_vault.grant_vault_password('pii', 'alice', 'open sesame');});
$kept = ticket('9');
$node->restart;
like($query->($kept, 'SELECT ssn FROM secret.patients;'), qr/unlock ticket is not valid|closed/, 'after a restart');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/$kept|$one/, 'no ticket is in the log');

$node->stop;
done_testing();
