# Disks that fail under the vault's policy and under the audit log: what cannot
# be stored is refused, what was in force stays in force, and it goes on when the
# disk does.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use FailingDisk;
use TdeVault;
use VaultAttack;
use Test::More;

my $disk = FailingDisk->new;
$ENV{LD_PRELOAD} = $disk->library;
my $node = realm_server(conf => "fsync = on\n");
delete $ENV{LD_PRELOAD};
my $oid = $node->safe_psql('postgres', 'SELECT oid FROM pg_database WHERE datname = current_database()');

sub mend
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($disk->mend, "$name: it failed");
	return;
}
sub description { return run_as('security', q{SELECT description FROM tde_vault.realms WHERE realm = 'pii';}) =~ s/\n//r }

# --- the policy ----------------------------------------------------------------------------

my %text = (5 => 'Input/output error', 28 => 'No space left on device');
run_as('security', q{ALTER REALM pii DESCRIPTION 'before';});
foreach my $case ([ 'write', 5 ], [ 'write', 28 ], [ 'fsync', 5 ], [ 'fsync', 28 ])
{
	my ($call, $errno) = @$case;
	$disk->fail($call, '.new', errno => $errno);
	my $out = run_as('security', q{ALTER REALM pii DESCRIPTION 'after';});
	like($out, qr/ERROR: .*could not $call file "tde_vault\/vault\/$oid\.new": $text{$errno}.*HINT/s, "$call: $text{$errno}: a change of the policy is refused");
	attack("$call: $text{$errno}: the realm stays closed", 'mallory', 'SELECT * FROM secret.small;', qr/not authorized for realm/);
	mend("$call: $text{$errno}");
	is(description(), 'before', 'what was in force is');
	like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, 'for who may, too');
	like(run_as('security', q{ALTER REALM pii DESCRIPTION 'after'; ALTER REALM pii DESCRIPTION 'before';}), qr/^ALTER REALM\nALTER REALM$/m, 'and it goes on');
}
ok(!-e $node->data_dir . "/tde_vault/vault/$oid.new", 'nothing is left behind');

# One of the two files cannot be read; then neither.
$disk->fail('read', "/vault/$oid");
like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, 'a policy that cannot be read: its copy is');
attack('and binds', 'mallory', 'SELECT * FROM secret.small;', qr/not authorized for realm/);
mend('the policy');
my $copy = $node->data_dir . "/tde_vault/vault/$oid.copy";
rename $copy, "$copy.away" or die;
$disk->fail('read', "/vault/$oid");
attack('without it the vault is closed', $_, 'SELECT * FROM secret.small;', qr/the vault of this database is closed/) foreach qw(mallory alice);
like(run_as('security', q{ALTER REALM pii DISABLE;}), qr/policy cannot be read/, 'also to its administrator');
mend('the policy alone');
rename "$copy.away", $copy or die;
like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, 'and open when the disk is back');

# Failed attempts that cannot be counted.
$disk->fail('pwrite', '/failures');
my $guess = run_as('alice', q{UNLOCK REALM pii PASSWORD 'guess';});
my $right = run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;');
mend('the counts');
like($guess . $right, qr/ERROR: .*(could not (count|write)|failures).*/s, 'an attempt that cannot be counted is none');
unlike($right, qr/^qmark/m, 'with the right password neither');

# --- the audit log ----------------------------------------------------------------------------

foreach my $case ([ 'pwrite', 5 ], [ 'pwrite', 28 ], [ 'fdatasync', 5 ], [ 'fdatasync', 28 ])
{
	my ($call, $errno) = @$case;
	$disk->fail($call, '.jsonl', errno => $errno);
	attack("$call: $text{$errno}: nobody unlocks", 'alice', UNLOCK, qr/ERROR:  TV020: could not write audit event/);
	attack("$call: $text{$errno}: a refusal stays one", 'mallory', 'SELECT * FROM secret.small;', qr/ERROR:  TV020: could not write audit event|not authorized for realm/);
	like(run_as('security', q{ALTER REALM pii DESCRIPTION 'unseen';}), qr/ERROR:  TV020/, "$call: $text{$errno}: no policy is changed");
	is($node->safe_psql('postgres', 'SELECT 1'), 1, 'what is not audited goes on');
	mend("$call: $text{$errno}");
	is(description(), 'before', 'nothing was done');
	like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, 'it goes on when the disk does');
}
run_as('security', 'GRANT vault_auditor TO owner;');
like(run_as('owner', 'SELECT ok, reason FROM tde_vault.audit_verify();'), qr/^t\|/m, 'the chain is whole');
$node->restart;
like(run_as('owner', 'SELECT ok, reason FROM tde_vault.audit_verify();'), qr/^t\|/m, 'after a restart, too');

$node->stop;
done_testing();
