# Every SQL block of README, in its order, as the person that it is for.  A
# block that is not listed here fails the test, as does one that is gone.  And
# the reference: settings with their defaults, functions and views, names.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $readme = slurp_file("$FindBin::Bin/../../README.md");
my $node = TdeVault->create('main', master => '', conf => <<'CONF');
max_worker_processes = 16
max_wal_senders = 0
tde_vault.worker_cost_delay = 0
CONF

my @shares;

# The chapter a block is in, who types it, what its output must match (undef:
# nothing in particular) and, in the end, the error that it is about.
my @blocks = (
	[ 'tde_vault', 'postgres' ],
	[ '5. First use', 'postgres', qr/^t$.*^patients\|main\|1\|1\|0\|0$/ms ],
	[ 'Encrypt an existing database', 'postgres', qr/^visits\|encrypt\|/m ],
	[ 'Encrypt an existing database', 'postgres', qr/^\d+\|\d+$/m ],
	[ 'Encrypt an existing database', 'postgres', qr/^\d+\|rotate key\|\w+$/m ],
	[ 'Encrypt all new tables of a database', 'postgres' ],
	[ 'Rotate keys of tables', 'postgres', qr/\|active$/m ],
	[ 'Encrypt a whole database', 'postgres' ],
	[ 'Encrypt the system catalogs of a database', 'postgres', qr/^pg_authid\|global\/\d+\|system catalog, shared by all databases$/m ],
	[ 'Encrypt a tablespace', 'postgres', qr/^vault_space\|/m ],
	[ 'Choose a cipher', 'postgres' ],
	[ 'Check coverage', 'postgres', qr/^patients\|main\|aes-256-gcm\|t\|\d+$/m ],
	[ 'Verify what is on the disk', 'postgres', qr/^patients\|\d+\|\d+\|0\|0$/m ],
	[ 'Rotate the master key', 'postgres', qr/^master\|active\|\d+\|master_key_2027\|/m ],
	[ 'Rotate the master key', 'postgres' ],
	[ 'Keep administrators out of rows: the vault', 'postgres' ],
	[ 'Keep administrators out of rows: the vault', 'security_officer', qr/patients/ ],
	[ 'Keep administrators out of rows: the vault', 'nurse', qr/^1$/m, qr/ERROR:  vault password required/ ],
	[ 'Let somebody in for two hours', 'medical_director', qr/^\S{8,}$/m ],
	[ 'Emergencies', 'nurse' ],
	[ 'Emergencies', 'security_officer', qr/^1\|waits for approval\|nurse\|unconscious patient/m ],
	[ 'Emergencies', 'alice' ],
	[ 'Forbid statements: command rules', 'security_officer', qr/^no_delete\|/m ],
	[ 'Never lose the last vault administrator', 'security_officer', qr/^1\|/m ],
	[ 'Never lose the last vault administrator', 'postgres' ],
	[ 'Read and check the audit log', 'alice', qr/^t\|\d+\|\|/m ],
	[ 'Remove it', 'security_officer' ],
	[ 'Remove it', 'postgres' ],
	[ 'Remove it', 'postgres' ],
);

# [ chapter, text ] of each SQL block.
sub blocks_of
{
	my ($text) = @_;
	my ($chapter, $block, @found);

	foreach my $line (split /\n/, $text)
	{
		if ($line eq '```sql') { $block = ''; }
		elsif ($line =~ /^```/ && defined $block)
		{
			push @found, [ $chapter, $block ];
			undef $block;
		}
		elsif (defined $block) { $block .= "$line\n"; }
		elsif ($line =~ /^#+ (.*)/) { $chapter = $1; }
	}
	return @found;
}

# What a reader puts in: the provider of this server, the shares that were given out.
sub filled_in
{
	my ($sql) = @_;
	my $uri = 'file:' . $node->basedir . '/key';

	$sql =~ s/pkcs11:token=tde[^']*/$uri/;
	$sql =~ s/'share', 'share', 'share'/join(', ', map { "'$_'" } @shares)/e;
	return $sql;
}

# Every command of it, as psql does when somebody types them.
sub type_in
{
	my ($user, $db, $sql) = @_;
	my ($ret, $out, $err) = $node->psql($db, filled_in($sql), on_error_stop => 0, extra_params => [ '-U', $user ]);

	$node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM tde_vault.encryption_progress WHERE state NOT IN ('done', 'paused', 'cancelled'))})
		or die 'work in the background does not end' if $user eq 'postgres' && $sql !~ /DROP EXTENSION/;
	return ($out, $err);
}

$node->write_file($node->basedir . '/key', '5a' x 32);
chmod(0600, $node->basedir . '/key') or die $!;
$node->safe_psql('postgres', 'CREATE DATABASE clinic');
$node->safe_psql('postgres', 'CREATE DATABASE intro');
$node->safe_psql('intro', q{CREATE EXTENSION tde_vault; CALL tde_vault.create_master_key('intro')});
$node->safe_psql('postgres', 'CREATE ROLE alice LOGIN; CREATE ROLE new_officer LOGIN');

my @found = blocks_of($readme);
is(join("\n", map { $_->[0] } @found), join("\n", map { $_->[0] } @blocks), 'each SQL block of README is tried here');

foreach my $i (0 .. $#found)
{
	my ($chapter, $sql) = @{ $found[$i] };
	my (undef, $user, $expected, $error) = @{ $blocks[$i] };
	$node->safe_psql('clinic', 'GRANT vault_auditor TO alice', extra_params => [ '-U', 'security_officer' ])
		if $chapter =~ /Emergencies|audit log/;
	my ($out, $err) = type_in($user, $i == 0 ? 'intro' : 'clinic', $sql);
	my $name = "block $i, $chapter";

	if (defined $error)
	{
		like($err, $error, "$name: is refused what README says");
		$err =~ s/^.*?$error.*\n//;
	}
	unlike($err, qr/ERROR|FATAL|WARNING/, "$name: nothing else fails");
	like($out, $expected, "$name: shows what README says") if defined $expected;
	@shares = ($out =~ /^\d+\|(\S+)$/mg)[0 .. 2] if $sql =~ /create_recovery_shares/;
}

# What the module says of a setting, as README writes it: "10 s", "off".
sub default_of
{
	my ($value, $unit) = @_;
	my @steps = $unit =~ /^m?s$/ ? ([ ms => 1 ], [ s => 1000 ], [ min => 60 ], [ h => 60 ]) : ([ kB => 1 ], [ MB => 1024 ]);

	return $value if $unit eq '';
	shift @steps while $steps[0][0] ne $unit;
	for (my $i = 1; $i < @steps && $value % $steps[$i][1] == 0; $i++)
	{
		$value /= $steps[$i][1];
		$unit = $steps[$i][0];
	}
	return "$value $unit";
}

# name => default of each row of the chapter "Settings"
sub settings_of
{
	my ($text) = @_;
	my ($chapter) = $text =~ /^### Settings\n(.*?)^##/ms;
	my %found;

	foreach my $row ($chapter =~ /^\| (`tde_vault\..*)$/mg)
	{
		my ($names, $defaults) = split / *\| */, $row;
		my @defaults = split /, /, $defaults =~ tr/`//dr;
		$found{$_} = shift(@defaults) // '' foreach $names =~ /`tde_vault\.(\w+)`/g;
	}
	return \%found;
}

# "name|boot_val|unit"; one that pg_settings does not show
my @settings = ('unlock_ticket||', split /\n/, $node->safe_psql('postgres', <<'SQL'));
SELECT substr(name, 11), boot_val, unit FROM pg_settings WHERE name LIKE 'tde\_vault.%'
SQL
is_deeply(settings_of($readme), { map { my ($name, @value) = split /\|/, $_, -1; ($name => default_of(@value)) } @settings },
	'README has every setting, and its default');

# Functions that only views and other functions of the extension call.
my %internal = map { $_ => 1 } qw(audit_lines code_trust encryption_progress_rows encryption_status_rows
  extended_statistics_visible master_keys may_inspect plaintext_reason relation_files require_relation statistics_visible
  table_keys tablespace_scopes tde_heap_handler unfinished_rotations vault_authorizations vault_emergencies vault_objects
  vault_password_rows vault_realms vault_rules vault_unlocks work);
my %known = map { $_ => 1 } split /\n/, $node->safe_psql('intro', <<'SQL');
SELECT proname FROM pg_proc WHERE pronamespace = 'tde_vault'::regnamespace
UNION SELECT relname FROM pg_class WHERE relnamespace = 'tde_vault'::regnamespace AND relkind IN ('r', 'v')
SQL
my ($reference) = $readme =~ /^## Reference\n(.*?)^## /ms;
is_deeply([ sort grep { !$internal{$_} && $reference !~ /\b\Q$_\E\b/ } keys %known ], ['vault_script'],
	'the reference has every function and view, but for the table that pg_dump carries a policy in');
$known{$_} = 1 foreach map { (split /\|/)[0] } @settings;
is_deeply([ sort grep { !$known{$_} && !/^(?:conf|so)$/ } $readme =~ /\btde_vault\.([a-z_]+)\b/g ], [],
	'README names nothing that does not exist');

is($node->safe_psql('clinic', 'SELECT name FROM patients'), 'Ottilie Ravenscroft', 'a row that was there from the first is there to the last');
$node->safe_psql('postgres', 'DROP DATABASE intro; DROP TABLESPACE vault_space');
$node->stop;
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->start;
is($node->safe_psql('clinic', 'SELECT (SELECT count(*) FROM visits), (SELECT name FROM patients)'), '100000|Ottilie Ravenscroft',
	'and without the module');
done_testing();
