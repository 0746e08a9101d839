# Unlocks, passwords and emergencies end by themselves, and the audit log says so.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

my $node = TdeVault->create('main', master => 'cluster', conf => "tde_vault.unlock_timeout = 1s\n");

sub as_user
{
	my ($user, $sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $user ]);
}

# In one session: open something, wait until the vault says otherwise, and read.
sub open_and_wait
{
	my ($user, $open) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $open . q{;
		SELECT 'before ' || verdict FROM tde_vault.vault_access('patients');
		SELECT 'read ' || name FROM patients;
		DO $$ BEGIN
			WHILE (SELECT verdict = 'allowed' FROM tde_vault.vault_access('patients')) LOOP
				PERFORM pg_sleep(0.02);
			END LOOP; END $$;
		SELECT 'after ' || verdict FROM tde_vault.vault_access('patients');
		SELECT 'read again ' || name FROM patients;},
		extra_params => [ '-U', $user ], on_error_stop => 0);
	return "$out\n$err";
}

sub audited
{
	my ($type, $severity) = @_;
	return as_user('auditor', "SELECT count(*) FROM tde_vault.audit_log
		WHERE event_type = '$type' AND severity = '$severity' AND action = 'EXPIRE'");
}

$node->safe_psql('postgres', q{
	CREATE ROLE officer LOGIN; CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE carol LOGIN;
	CREATE ROLE auditor LOGIN IN ROLE vault_auditor;
	CREATE TABLE patients (id int, name text) USING tde_heap;
	INSERT INTO patients VALUES (1, 'marker_row');
	GRANT SELECT ON patients TO alice, bob, carol;
	ALTER DATABASE ENABLE DATABASE VAULT;
	GRANT vault_admin TO officer});
as_user('officer', q{
	CREATE REALM pii REQUIRE VAULT PASSWORD;
	ALTER REALM pii ADD TABLE patients;
	ALTER REALM pii AUTHORIZE alice;
	GRANT VAULT PASSWORD ON REALM pii TO alice PASSWORD 'alice knows'});

my $answer = open_and_wait('alice', q{UNLOCK REALM pii PASSWORD 'alice knows'});
like($answer, qr/before allowed\nread marker_row\nafter locked/, 'an unlock ends by itself');
like($answer, qr/vault password required/, '... and the realm asks for the password again');
unlike($answer, qr/read again/, '... instead of showing rows');
is(audited('LOCK', 'NOTICE'), '1', '... which is in the audit log, once');

# the password itself, before the unlock would end
$node->append_conf('postgresql.conf', 'tde_vault.unlock_timeout = 1h');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('tde_vault.unlock_timeout') = '1h'});
my $seen;
foreach my $seconds (2, 10, 50)
{
	# a machine with much to do takes longer to unlock than the password holds
	as_user('officer', "GRANT VAULT PASSWORD ON REALM pii TO carol PASSWORD 'for now' VALID FOR INTERVAL '$seconds seconds'");
	$seen = audited('LOCK', 'NOTICE');
	$answer = open_and_wait('carol', q{UNLOCK REALM pii PASSWORD 'for now'});
	last if $answer =~ /before allowed\nread/;
}
like($answer, qr/before allowed\nread marker_row\nafter/, 'a temporary password opens');
unlike($answer, qr/read again/, '... until it ends');
is(audited('LOCK', 'NOTICE'), $seen + 1, '... which is in the audit log');

# an emergency, to the end of its time
my $id = as_user('bob', q{EMERGENCY UNLOCK REALM pii AUTHORIZED BY officer REASON 'test' VALID FOR INTERVAL '2 seconds'});
as_user('officer', "APPROVE EMERGENCY UNLOCK $id");
$answer = open_and_wait('bob', 'SELECT 1');
like($answer, qr/before allowed\nread marker_row\nafter/, 'an approved emergency opens');
unlike($answer, qr/read again/, '... and ends by itself');
is(audited('EMERGENCY', 'CRITICAL'), '1', '... which is in the audit log, critical');
is(as_user('officer', "SELECT reviewed IS NULL FROM tde_vault.emergency_unlocks WHERE id = $id"), 't',
	'... and it waits for its review');
as_user('auditor', "REVIEW EMERGENCY UNLOCK $id NOTE 'seen'");
is(as_user('auditor', 'SELECT ok FROM tde_vault.audit_verify()'), 't', 'the chain verifies');
done_testing();
