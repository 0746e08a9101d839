# Files of the audit log that are cut, replaced, moved or removed while sessions
# that have them open go on reading a realm: their reads are the cheapest lines
# there are, not synced and, one soon after the other, not looked for by name
# each time.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use VaultAttack;
use File::Copy ();
use Test::More;

my $node = realm_server(sql => 'CREATE ROLE auditor LOGIN; CREATE ROLE helper; GRANT helper TO alice; GRANT SELECT ON secret.small TO helper;');
my $dir = $node->data_dir . '/tde_vault/audit';
my $refused = qr/ERROR: .*could not write audit event REALM_ACCESS/;
run_as('security', 'GRANT vault_auditor TO auditor;');

my $session;
sub session
{
	my $new = $node->background_psql('postgres', extra_params => [ '-U', 'alice' ], on_error_stop => 0);
	$new->query(UNLOCK);
	return $new;
}
# What a statement of an open session gives: output and messages.
sub said
{
	my ($sql, $by) = @_;
	$by //= $session;
	$by->{stderr} = '';
	my $out = $by->query($sql);
	return "$out\n$by->{stderr}";
}
sub reads
{
	my $out = said('SELECT id FROM secret.small;', @_);
	note($out) if $out !~ /^1$/m;
	return scalar($out =~ /^1$/m);
}
sub files { return sort glob("$dir/*.jsonl"); }
sub last_file { return (files())[-1]; }
sub lines { open my $fh, '<', $_[0] or die "$_[0]: $!"; my $n = () = <$fh>; return $n; }
sub auditor { return run_as('auditor', $_[0]); }
# Lines that are missing before the newest file, and how bad that is, as its first line says.
sub first_line
{
	open my $fh, '<', last_file() or die;
	my $line = <$fh>;
	return sprintf '%s|%s', $line =~ /"missing":(\d+)/, $line =~ /"severity":"(\w+)"/;
}

$session = session();
ok(reads(), 'a session reads');
my $before = lines(last_file());
ok(reads(), 'again') for 1 .. 20;
is(lines(last_file()), $before + 20, 'one line for each read');

# --- who it is is said right, however often it was said before -------------------------------------

said(q{SET application_name = 'another "name"';});
reads();
like(auditor(q{SELECT application_name, "user", "current_user" FROM tde_vault.audit_log WHERE event_type = 'REALM_ACCESS' ORDER BY file DESC, "position" DESC LIMIT 1;}),
	qr/^another "name"\|alice\|alice$/m, 'a new name of the application is in the next line');
said('SET ROLE helper;');
reads();
like(auditor(q{SELECT "user", "current_user" FROM tde_vault.audit_log WHERE event_type = 'REALM_ACCESS' ORDER BY file DESC, "position" DESC LIMIT 1;}),
	qr/^alice\|helper$/m, 'and who it acts as');
said('RESET ROLE;' . UNLOCK);
reads();
like(auditor(q{SELECT "user", "current_user" FROM tde_vault.audit_log WHERE event_type = 'REALM_ACCESS' ORDER BY file DESC, "position" DESC LIMIT 1;}),
	qr/^alice\|alice$/m, 'and no more');

# --- what the file itself shows: seen by the next line ------------------------------------------------

my %at_once = (
	'removed' => sub { unlink $_[0] or die; },
	'replaced by a copy' => sub { File::Copy::copy($_[0], "$dir/copy") or die; rename "$dir/copy", $_[0] or die; },
	'cut' => sub { truncate $_[0], (-s $_[0]) - 300 or die; },
	'emptied' => sub { truncate $_[0], 0 or die; },
	'longer by a line of somebody' => sub { open my $fh, '>>', $_[0] or die; print $fh "{\"forged\":1}\n"; close $fh; });
foreach my $what (sort keys %at_once)
{
	ok(reads(), "before it is $what");
	my $files = files();
	$at_once{$what}->(last_file());
	like(said('SELECT id FROM secret.small;'), $refused, "$what: the next read is refused");
	ok(reads(), "$what: the one after it is in a new file");
	like(first_line(), $what =~ /^(?:longer|replaced)/ ? qr/^0\|WARNING$|^0\|INFO$/ : qr/^[1-9]\d*\|CRITICAL$/, "$what: which says so");
}

# --- what only its name shows: seen when somebody looks --------------------------------------------------

ok(reads(), 'before it is moved');
my $file = last_file();
my $moved = $node->basedir . '/moved.jsonl';
my $sequence = sub { my ($n) = slurp($_[0]) =~ /"event_id":"[0-9a-f]{16}-(\d+)"[^\n]*\n\z/; return $n; };
sub slurp { local (@ARGV, $/) = @_; return scalar <>; }
my $last = $sequence->($file);
rename $file, $moved or die;
my $got = 0;
$got++ while (reads() && $got < 100000);
cmp_ok($got, '<', 100000, "reads are refused once it was moved away, after $got");
is($sequence->($moved), $last + $got, 'those before that are in the file that was moved');
ok(reads(), 'then the log goes on');
my ($missing) = first_line() =~ /^(\d+)\|CRITICAL$/;
cmp_ok($missing // 0, '>=', $got, 'and says how many lines are missing: no fewer than were read meanwhile');
like(auditor('SELECT ok FROM tde_vault.audit_verify();'), qr/^f$/m, 'verification tells, too');

# a line that must be durable looks each time
foreach my $time (1 .. 3)
{
	ok(reads(), 'reading, so that somebody has just looked');
	rename last_file(), "$moved.$time" or die;
	like(said(q{UPDATE secret.small SET v = v;}), $refused, 'a change is refused at once');
	ok(reads(), 'and the log goes on');
}
rename $dir, "$dir.away" or die;
$got = 0;
$got++ while (reads() && $got < 100000);
cmp_ok($got, '<', 100000, 'reads are refused once the directory was moved');
like(said('SELECT id FROM secret.small;'), $refused, 'and stay so');
rename "$dir.away", $dir or die;
ok(reads(), 'until it is back');

# --- a session that opens the file later ----------------------------------------------------------------

$file = last_file();
ok(reads(), 'somebody has just looked');
File::Copy::copy($file, "$dir/copy") or die;
rename "$dir/copy", $file or die;
my $other = session();
like($other->{stderr}, qr/could not write audit event UNLOCK/, 'a new session does not take a copy for the log');
ok(!reads($other), 'it is not unlocked');
$other->quit;

# --- many at once, while files are removed -----------------------------------------------------------------

my @sessions = map { session() } 1 .. 4;
$_->query(UNLOCK) foreach @sessions;
foreach my $round (1 .. 5)
{
	reads($_) foreach @sessions;
	unlink last_file() or die;
	my $refusals = grep { !reads($_) } @sessions;
	is($refusals, 1, "round $round: one of four sessions is refused, the others find the next file");
}
$_->quit foreach @sessions;
$session->quit;
$node->stop;
done_testing();
