# Disks that fail under the vault's policy and under the audit log: what cannot
# be stored is refused, what was in force stays in force, and it goes on when the
# disk does.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use PostgreSQL::Test::Utils;
use Test::More;

# While the file "fail" is there, calls that it names fail for files whose name
# ends as it says: "CALL ERRNO SUFFIX".
my $dir = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$dir/shim.c", <<'C');
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int
fails(const char *call, int fd)
{
	char		name[16];
	char		suffix[64];
	char		link[64];
	char		path[4096];
	int			code;
	ssize_t		len;
	FILE	   *file = fopen(FAIL, "r");
	int			n;

	if (file == NULL)
		return 0;
	n = fscanf(file, "%15s %d %63s", name, &code, suffix);
	fclose(file);
	if (n != 3 || strcmp(name, call) != 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < (ssize_t) strlen(suffix) || memcmp(path + len - strlen(suffix), suffix, strlen(suffix)) != 0)
		return 0;
	errno = code;
	return 1;
}

#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t len) { return fails("write", fd) ? -1 : REAL(write)(fd, data, len); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t at) { return fails("pwrite", fd) ? -1 : REAL(pwrite)(fd, data, len, at); }
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at) { return fails("pwrite", fd) ? -1 : REAL(pwrite64)(fd, data, len, at); }
ssize_t read(int fd, void *data, size_t len) { return fails("read", fd) ? -1 : REAL(read)(fd, data, len); }
int fsync(int fd) { return fails("fsync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails("fdatasync", fd) ? -1 : REAL(fdatasync)(fd); }
C
command_ok([ 'cc', '-shared', '-fPIC', '-o', "$dir/shim.so", "-DFAIL=\"$dir/fail\"", "$dir/shim.c", '-ldl' ], 'a disk that fails');
$ENV{LD_PRELOAD} = "$dir/shim.so";
my $node = realm_server(conf => "fsync = on\n");
delete $ENV{LD_PRELOAD};
my $oid = $node->safe_psql('postgres', 'SELECT oid FROM pg_database WHERE datname = current_database()');

sub fail
{
	my ($what) = @_;
	unlink "$dir/fail.new";
	append_to_file("$dir/fail.new", "$what\n");
	rename "$dir/fail.new", "$dir/fail" or die;
	return;
}
sub mend { unlink "$dir/fail" or die; return }
sub description { return run_as('security', q{SELECT description FROM tde_vault.realms WHERE realm = 'pii';}) =~ s/\n//r }

# --- the policy ----------------------------------------------------------------------------

my %text = (5 => 'Input/output error', 28 => 'No space left on device');
run_as('security', q{ALTER REALM pii DESCRIPTION 'before';});
foreach my $case ([ 'write', 5 ], [ 'write', 28 ], [ 'fsync', 5 ], [ 'fsync', 28 ])
{
	my ($call, $errno) = @$case;
	fail("$call $errno .new");
	my $out = run_as('security', q{ALTER REALM pii DESCRIPTION 'after';});
	like($out, qr/ERROR: .*could not $call file "tde_vault\/vault\/$oid\.new": $text{$errno}.*HINT/s, "$call: $text{$errno}: a change of the policy is refused");
	attack("$call: $text{$errno}: the realm stays closed", 'mallory', 'SELECT * FROM secret.small;', qr/not authorized for realm/);
	mend();
	is(description(), 'before', 'what was in force is');
	like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, 'for who may, too');
	like(run_as('security', q{ALTER REALM pii DESCRIPTION 'after'; ALTER REALM pii DESCRIPTION 'before';}), qr/^ALTER REALM\nALTER REALM$/m, 'and it goes on');
}
ok(!-e $node->data_dir . "/tde_vault/vault/$oid.new", 'nothing is left behind');

# One of the two files cannot be read; then neither.
fail("read 5 /vault/$oid");
like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, 'a policy that cannot be read: its copy is');
attack('and binds', 'mallory', 'SELECT * FROM secret.small;', qr/not authorized for realm/);
mend();
my $copy = $node->data_dir . "/tde_vault/vault/$oid.copy";
rename $copy, "$copy.away" or die;
fail("read 5 /vault/$oid");
attack('without it the vault is closed', $_, 'SELECT * FROM secret.small;', qr/the vault of this database is closed/) foreach qw(mallory alice);
like(run_as('security', q{ALTER REALM pii DISABLE;}), qr/policy cannot be read/, 'also to its administrator');
mend();
rename "$copy.away", $copy or die;
like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, 'and open when the disk is back');

# Failed attempts that cannot be counted.
fail('pwrite 5 /failures');
my $guess = run_as('alice', q{UNLOCK REALM pii PASSWORD 'guess';});
my $right = run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;');
mend();
like($guess . $right, qr/ERROR: .*(could not (count|write)|failures).*/s, 'an attempt that cannot be counted is none');
unlike($right, qr/^qmark/m, 'with the right password neither');

# --- the audit log ----------------------------------------------------------------------------

foreach my $case ([ 'pwrite', 5 ], [ 'pwrite', 28 ], [ 'fdatasync', 5 ], [ 'fdatasync', 28 ])
{
	my ($call, $errno) = @$case;
	fail("$call $errno .jsonl");
	attack("$call: $text{$errno}: nobody unlocks", 'alice', UNLOCK, qr/ERROR:  TV020: could not write audit event/);
	attack("$call: $text{$errno}: a refusal stays one", 'mallory', 'SELECT * FROM secret.small;', qr/ERROR:  TV020: could not write audit event|not authorized for realm/);
	like(run_as('security', q{ALTER REALM pii DESCRIPTION 'unseen';}), qr/ERROR:  TV020/, "$call: $text{$errno}: no policy is changed");
	is($node->safe_psql('postgres', 'SELECT 1'), 1, 'what is not audited goes on');
	mend();
	is(description(), 'before', 'nothing was done');
	like(run_as('alice', UNLOCK . 'SELECT left(v, 5) FROM secret.small;'), qr/^qmark$/m, 'it goes on when the disk does');
}
run_as('security', 'GRANT vault_auditor TO owner;');
like(run_as('owner', 'SELECT ok, reason FROM tde_vault.audit_verify();'), qr/^t\|/m, 'the chain is whole');
$node->restart;
like(run_as('owner', 'SELECT ok, reason FROM tde_vault.audit_verify();'), qr/^t\|/m, 'after a restart, too');

$node->stop;
done_testing();
