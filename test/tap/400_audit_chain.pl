# The audit log: lines outlive ROLLBACK and kill -9, the chain names what was
# changed, and what cannot be audited is not done.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', master => 'cluster', initdb => [ '--encoding=UTF8', '--no-locale' ]);
my $dir = $node->data_dir . '/tde_vault/audit';

sub files { return sort glob("$dir/*.jsonl"); }
sub verify
{
	return $node->safe_psql('postgres',
		q{SELECT ok, records, first_bad, reason FROM tde_vault.audit_verify()});
}
sub remark { return $node->psql('postgres', "SELECT tde_vault.audit_note('$_[0]')"); }
sub slurp { return scalar slurp_file($_[0]); }

sub spew
{
	my ($path, $content) = @_;
	open my $fh, '>', $path or die "$path: $!";
	print $fh $content;
	close $fh or die;
	return;
}

# --- rows ----------------------------------------------------------------------------

is(remark('first'), 0, 'a note is written');
my $first = (files())[0];
like($first, qr{/00000001-[0-9a-f]{16}\.jsonl$}, 'into the first file');
is((stat $first)[2] & 0777, 0600, 'which only the server reads');
is((stat $dir)[2] & 0777, 0700, 'as its directory');
like(slurp($first), qr/^\{"event_id":"[0-9a-f]{16}-1","format":1,"file":1,.*"event_type":"AUDIT_START".*"timeline":1,/,
	'which begins with who wrote it');
is($node->safe_psql('postgres', <<'SQL'), 'NOTE|NOTICE|[local]|SUCCESS|first|postgres|postgres|t|t', 'and is seen as a row');
SET application_name = 'tester';
SELECT event_type, severity, ip_address, result, detail->>'note', "current_user", database,
	session_id ~ '^[0-9a-f]+\.[0-9a-f]+$', "timestamp" BETWEEN now() - interval '1 minute' AND now()
FROM tde_vault.audit_log WHERE detail->>'note' = 'first'
SQL
$node->safe_psql('postgres', q{BEGIN; SELECT tde_vault.audit_note('undone'); ROLLBACK});
is($node->safe_psql('postgres', q{SELECT count(*) FROM tde_vault.audit_log WHERE detail->>'note' = 'undone'}),
	1, 'ROLLBACK does not take it back');
$node->safe_psql('postgres', q{SET application_name = E'a"b\\\\c'; SET timezone = 'Asia/Tokyo'; SELECT tde_vault.audit_note(E'line\nbreak "quoted" \u00e4\U0001F512')});
is($node->safe_psql('postgres', q{SELECT detail->>'note' = E'line\nbreak "quoted" \u00e4\U0001F512', application_name,
	"timestamp" BETWEEN now() - interval '1 minute' AND now() FROM tde_vault.audit_log ORDER BY "position" DESC LIMIT 1}),
	't|a"b\c|t', 'whatever the text, and the time zone of the session');
my $lines = () = slurp($first) =~ /\n/g;
is(verify(), "t|$lines||", 'the chain is right');

# --- another encoding ------------------------------------------------------------------

$node->safe_psql('postgres', q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
	CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'});
foreach my $db (qw(latin ascii))
{
	$node->safe_psql($db, 'CREATE EXTENSION tde_vault');
	is($node->psql($db, q{SELECT tde_vault.audit_note('r' || chr(228) || 'm')}), 0, "a note from $db") if $db eq 'latin';
	is($node->psql($db, q{SELECT tde_vault.audit_note(E'r\xe4m')}), 0, 'bytes of no encoding') if $db eq 'ascii';
	is($node->safe_psql($db, q{SELECT count(*) > 4 FROM tde_vault.audit_log}), 't', "the log is readable in $db");
}
is($node->safe_psql('postgres', q{SELECT string_agg(detail->>'note', ',' ORDER BY "position") FROM tde_vault.audit_log WHERE detail->>'note' ~ '^r.+m$'}),
	"r\xc3\xa4m,r\\xe4m", 'and both notes are, in UTF-8');

# --- many at once -----------------------------------------------------------------------

my $script = $node->basedir . '/note.sql';
spew($script, "SELECT tde_vault.audit_note('many');\n");
$node->append_conf('postgresql.conf', "max_connections = 80\nfsync = on\n");
$node->restart;
$node->command_ok([ 'pgbench', '-n', '-c', 50, '-j', 2, '-t', 20, '-f', $script, 'postgres' ], '50 sessions write');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT event_id) FROM tde_vault.audit_log WHERE detail->>'note' = 'many'}),
	'1000|1000', 'no note is lost, no id given twice');
like(verify(), qr/^t\|\d+\|\|$/, 'the chain is right');
is(scalar(() = files()), 2, 'a restart begins a file');

# --- kill -9 in the middle ----------------------------------------------------------------

foreach my $round (1 .. 3)
{
	my ($out, $err) = ('', '');
	my $bench = IPC::Run::start([ 'pgbench', '-n', '-c', 20, '-j', 1, '-T', 60, '-f', $script,
			'-h', $node->host, '-p', $node->port, 'postgres' ], '>', \$out, '2>', \$err);
	my $before = -s((files())[-1]);
	my $deadline = time + 60;
	select(undef, undef, undef, 0.02) until -s((files())[-1]) > $before + 20000 || time > $deadline;
	$node->kill_postmaster;
	$bench->finish;
	$node->start;
	is(remark("after crash $round"), 0, 'it goes on after a crash');
	like(verify(), qr/^t\|/, "the chain is right after crash $round");
}

# --- a torn line --------------------------------------------------------------------------

$node->kill_postmaster;
my $last = (files())[-1];
spew($last, slurp($last) . '{"event_id":"half');
$node->start;
remark('after torn');
like(verify(), qr/^t\|\d+\|\|a crash left 1 half-written lines, as the next file records/, 'a torn line is recorded');
like(slurp((files())[-1]), qr/^[^\n]*"torn":17,[^\n]*"severity":"WARNING"/, 'in the first line of the next file');

# --- tampering ------------------------------------------------------------------------------

$node->stop;
my %good = map { $_ => slurp($_) } files();
my $head = slurp("$dir/pgsql_tmp.head");
my ($one, $two) = files();

sub attack
{
	my ($what, $pattern, $change) = @_;
	my $names = join ' ', keys %good;

	$change->();
	$node->start;
	like(verify(), $pattern, $what);
	$node->stop;
	unlink $_ foreach files();
	spew($_, $good{$_}) foreach keys %good;
	spew("$dir/pgsql_tmp.head", $head);
	return;
}

sub id_of { return $_[0] =~ /"event_id":"([^"]+)"/ ? $1 : die; }
sub change_line
{
	my ($file, $change) = @_;
	my @lines = split /^/, $good{$file};
	$change->(\@lines);
	spew($file, join('', @lines));
	return;
}
my @lines = split /^/, $good{$two};
my ($id5, $id6) = map { id_of($lines[$_]) } 5, 6;
$id5 = quotemeta $id5; $id6 = quotemeta $id6;

attack('nothing changed', qr/^t\|/, sub { });
attack('a changed byte', qr/^f\|\d+\|$id5\|record was changed/,
	sub { change_line($two, sub { $_[0][5] =~ s/NOTICE/NOTICF/ }) });
attack('a changed byte of a chain value', qr/^f\|\d+\|$id5\|record was changed/,
	sub { change_line($two, sub { $_[0][5] =~ s/"chain":"(.)/'"chain":"' . ($1 eq '0' ? '1' : '0')/e }) });
attack('a removed line', qr/^f\|\d+\|$id5\|records are missing/,
	sub { change_line($two, sub { splice @{$_[0]}, 5, 1 }) });
attack('a line written twice', qr/^f\|\d+\|$id5\|record was changed or moved/,
	sub { change_line($two, sub { splice @{$_[0]}, 6, 0, $_[0][5] }) });
attack('two lines exchanged', qr/^f\|\d+\|$id5\|/,
	sub { change_line($two, sub { @{$_[0]}[5, 6] = @{$_[0]}[6, 5] }) });
attack('the end of a file cut off', qr/^f\|\d+\|[0-9a-f]+-\d+\|records are missing at the end of a file/,
	sub { change_line($two, sub { pop @{$_[0]} }) });
attack('the end of the log cut off', qr/^f\|\d+\|[0-9a-f]+-\d+\|records are missing at the end of the log/,
	sub { my $f = (sort keys %good)[-1]; change_line($f, sub { pop @{$_[0]} }) });
attack('half of the last line cut off', qr/^f\|\d+\|[0-9a-f]+-\d+\|records are missing at the end of the log/,
	sub { my $f = (sort keys %good)[-1]; spew($f, substr($good{$f}, 0, -40)) });
attack('a file removed', qr/^f\|\d+\|[0-9a-f]+-\d+\|a file is missing/, sub { unlink $two });
attack('the first file removed', qr/^f\|0\|[0-9a-f]+-1\|a file is missing/, sub { unlink $one });
attack('the last file removed', qr/^f\|\d+\|[0-9a-f]+-\d+\|records are missing at the end of the log/,
	sub { unlink((sort keys %good)[-1]) });
attack('two files exchanged', qr/^f\|0\|/, sub { spew($one, $good{$two}); spew($two, $good{$one}) });
attack('a file under another name', qr/^f\|\d+\|.*\|file was given another name/,
	sub { (my $new = $two) =~ s/-.{4}/-0000/; rename $two, $new or die });
attack('the head removed', qr/^f\|\d+\|\|the head file is missing/, sub { unlink "$dir/pgsql_tmp.head" });
attack('a forged head', qr/^f\|\d+\|\|the head file is damaged or forged/,
	sub { my $h = $head; substr($h, 40, 1) = chr(ord(substr $h, 40, 1) ^ 1); spew("$dir/pgsql_tmp.head", $h) });

# A cut is recorded by the next start, so that it cannot be papered over.
my $final = (sort keys %good)[-1];
change_line($final, sub { pop @{$_[0]} });
$node->start;
remark('after the cut');
like(verify(), qr/^f\|\d+\|[0-9a-f]+-\d+\|1 records are missing before/, 'a cut stays known after the log went on');
is($node->safe_psql('postgres', q{SELECT severity, reason FROM tde_vault.audit_log WHERE event_type = 'AUDIT_START' ORDER BY file DESC LIMIT 1}),
	'CRITICAL|records are missing before this one', 'and is an event');
is($node->safe_psql('postgres', q{SELECT count(*) FROM tde_vault.audit_log WHERE event_type = 'DAMAGED_RECORD'}), 0, 'no record is shown as damaged');
$node->stop;
change_line($two, sub { $_[0][5] =~ s/"NOTICE"/"INFO"/ });
$node->start;
is($node->safe_psql('postgres', q{SELECT count(*) FROM tde_vault.audit_log WHERE event_type = 'DAMAGED_RECORD'}), 1, 'a forged record is shown as such');

# --- what cannot be written --------------------------------------------------------------------

my ($rc, $out, $err) = $node->psql('postgres', q{SELECT tde_vault.audit_note('here')});
is($rc, 0, 'it goes on');
rename $dir, "$dir.away" or die;
($rc, $out, $err) = $node->psql('postgres', q{\set VERBOSITY verbose
SELECT tde_vault.audit_note('nowhere')});
like($err, qr/ERROR:  TV020: could not write audit event NOTE\n.*DETAIL:  could not open audit file .*\.jsonl": No such file/s, 'directory gone: an error');
($rc, $out, $err) = $node->psql('postgres', q{SELECT tde_vault.audit_note('nowhere')});
like($err, qr/HINT:  Bring it back with its files/, 'again, with what helps');
rename "$dir.away", $dir or die;
is(remark('back'), 0, 'it goes on when the directory is back');
unlink((files())[-1]) or die;
is(remark('x'), 3, 'file gone: an error');
is(remark('y'), 0, 'then the log goes on');
is($node->safe_psql('postgres', q{SELECT severity FROM tde_vault.audit_log WHERE event_type = 'AUDIT_START' ORDER BY file DESC LIMIT 1}),
	'CRITICAL', 'and says what is missing');

# --- no key ----------------------------------------------------------------------------------

$node->stop;
$node->hide_token;
$node->start;
($rc, $out, $err) = $node->psql('postgres', q{SELECT tde_vault.audit_note('keyless')});
like($err, qr/could not write audit event NOTE/, 'without its key nothing is written');
$node->restore_token;
is(remark('keyed'), 0, 'with it, again');

# --- who may --------------------------------------------------------------------------------

$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN; CREATE ROLE auditor LOGIN IN ROLE vault_auditor');
($rc, $out, $err) = $node->psql('postgres', 'SELECT count(*) FROM tde_vault.audit_log', extra_params => [ '-U', 'nobody' ]);
like($err, qr/permission denied/, 'nobody reads the log');
($rc, $out, $err) = $node->psql('postgres', 'SELECT count(*) > 0 FROM tde_vault.audit_log', extra_params => [ '-U', 'auditor' ]);
is($out, 't', 'an auditor does');
($rc, $out, $err) = $node->psql('postgres', q{SELECT tde_vault.audit_note('x')}, extra_params => [ '-U', 'auditor' ]);
like($err, qr/permission denied/, 'and does not write it');

done_testing();
