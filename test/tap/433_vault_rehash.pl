# A vault password that was stored with less memory is stored anew when a realm
# is unlocked with it; a wrong one changes nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use Test::More;

my $node = realm_server(conf => "tde_vault.password_memory = 19MB\n");
sub parameters { return join ' ', sort split /\n/, run_as('security', 'SELECT parameters FROM tde_vault.vault_passwords;') }
sub unlock { my ($password) = @_; return run_as('alice', "UNLOCK REALM pii PASSWORD '$password'; SELECT left(v, 5) FROM secret.small;") }

is(parameters(), 'argon2id m=19456,t=3,p=1', 'a password of then');
like(unlock('open sesame'), qr/^qmark$/m, 'is good');
is(parameters(), 'argon2id m=19456,t=3,p=1', 'and as it should be');
my $at = $node->safe_psql('postgres', 'SELECT setting FROM pg_settings WHERE name = $$tde_vault.password_memory$$');
is($at, 19456, 'with that setting');
foreach my $low ('8MB', '0')
{
	like(run_as('security', "ALTER SYSTEM SET tde_vault.password_memory = '$low';"), qr/outside the valid range/, "not with $low");
}
like(run_as('mallory', q{ALTER SYSTEM SET tde_vault.password_memory = '20MB';}), qr/cannot be changed while a vault is on|refused while a vault is on/, 'nor is it a superuser\'s');

$node->append_conf('postgresql.conf', "tde_vault.password_memory = 32MB\n");
$node->reload;
$node->poll_query_until('postgres', q{SELECT setting = '32768' FROM pg_settings WHERE name = 'tde_vault.password_memory'}) or die;
like(unlock('wrong'), qr/is not correct/, 'a wrong password');
is(parameters(), 'argon2id m=19456,t=3,p=1', 'changes nothing');
like(run_as('alice', q{BEGIN; UNLOCK REALM pii PASSWORD 'open sesame'; ROLLBACK;}), qr/ROLLBACK/, 'an unlock that is rolled back');
is(parameters(), 'argon2id m=19456,t=3,p=1', 'neither');
my $busy = $node->background_psql('postgres', extra_params => [ '-U', 'security' ]);
$busy->query_safe(q{BEGIN; ALTER REALM pii DESCRIPTION 'busy'});
like(unlock('open sesame'), qr/^qmark$/m, 'who unlocks does not wait for who changes the policy');
$busy->query_safe('ROLLBACK');
$busy->quit;
is(parameters(), 'argon2id m=19456,t=3,p=1', 'then it is left for later');
like(run_as('alice', q{BEGIN READ ONLY; UNLOCK REALM pii PASSWORD 'open sesame'; SELECT left(v, 5) FROM secret.small; COMMIT;}), qr/^qmark$/m, 'as in a transaction that only reads');
is(parameters(), 'argon2id m=19456,t=3,p=1', 'it is');
like(unlock('open sesame'), qr/^qmark$/m, 'the right password');
is(parameters(), 'argon2id m=32768,t=3,p=1', 'is stored anew');
like(unlock('open sesame'), qr/^qmark$/m, 'and good');
like(unlock('wrong'), qr/is not correct/, 'as another is not');
$node->restart;
like(unlock('open sesame'), qr/^qmark$/m, 'after a restart, too');

$node->append_conf('postgresql.conf', "tde_vault.password_memory = 19MB\n");
$node->reload;
$node->poll_query_until('postgres', q{SELECT setting = '19456' FROM pg_settings WHERE name = 'tde_vault.password_memory'}) or die;
like(unlock('open sesame'), qr/^qmark$/m, 'with less again');
is(parameters(), 'argon2id m=32768,t=3,p=1', 'it stays what it is');
$node->stop;
done_testing();
