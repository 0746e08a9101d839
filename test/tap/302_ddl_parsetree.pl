# No ordinary statement parses differently: a large body of SQL, cut in many
# ways, through our parser and through the server's grammar; trees, locations
# and errors must be the same.
#
# The body is the SQL of this repository and test/modules/parsetree/corpus.sql.
# PARSETREE_SQL="DIR ..." adds all *.sql files below these directories, such as
# src/test/regress/sql of the server's source.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use File::Find ();
use TdeVault;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = TdeVault->create('main', master => '');

my $library = $node->build_module('parsetree');

$node->safe_psql('postgres', <<"SQL");
CREATE FUNCTION parsetree_differs(text, int) RETURNS text
LANGUAGE c STRICT AS '$library';
CREATE TABLE body (kind text, source text, sql text, mode int DEFAULT 0);
SQL

# --- the body -------------------------------------------------------------------------

my $top = "$FindBin::Bin/../..";
my @files = ("$top/test/modules/parsetree/corpus.sql");
File::Find::find(
	{
		no_chdir => 1,
		wanted   => sub { push @files, $_ if /\.sql$/ && -f }
	},
	"$top/sql", "$top/test/pgtap",
	grep { -d } split ' ', $ENV{PARSETREE_SQL} // '');

# What psql would not send: its commands, and data of COPY.
sub without_psql
{
	my ($text) = @_;
	$text =~ s/^COPY[^\n]*FROM stdin[^\n]*;\n.*?^\\\.\n//gims;
	$text =~ s/^\s*\\.*$//gm;
	return $text;
}

my $input = $node->basedir . '/body';
my %count;

sub add
{
	my ($fh, $kind, $file, $sql, $mode) = @_;
	return if $sql !~ /\S/ || $sql =~ /\0/;
	$count{$kind}++;
	s/\\/\\\\/g, s/\t/\\t/g, s/\n/\\n/g, s/\r/\\r/g foreach (my $field = $sql);
	$file =~ s{^\Q$top\E/(?:sql|test/pgtap)/}{ours:} or $file =~ s{.*/}{};
	print $fh "$kind\t$file\t$field\t$mode\n";
	return;
}

# Our words, put where they are names, text or nonsense.  None of these makes a
# statement of ours out of an ordinary one.
my @spice = (
	sub { "/* encryption */ $_[0]" },
	sub { "$_[0] -- ENCRYPTED BY rotate" },
	sub { "SELECT 'CREATE MASTER KEY ENCRYPTION BY HSM'; $_[0]" },
	sub { "SELECT encryption, encrypted FROM rotate; $_[0]" },
	sub { my $s = $_[0]; $s =~ s/\bint\b/encryption/ig; "$s /* crypt */" },
	sub { my $s = $_[0]; $s =~ s/\btext\b/encrypted/ig; "$s /* crypt */" },
	sub { my $s = $_[0]; $s =~ s/\(/( encrypted,/; $s },
	sub { "/* realm */ LOCK realm; $_[0] /* UNLOCK REALM r */" },
	sub { "SELECT vault, realm AS command FROM unlock; $_[0]; LOCK TABLE realm" },
	sub { my $s = $_[0]; $s =~ s/\bFROM\s+\w+/FROM realm/ig; "$s -- vault" },
	sub { my $s = $_[0]; $s =~ s/\bTABLE\s+\w+/TABLE realm/ig; "$s -- command" },
	sub { my $s = $_[0]; $s =~ s/\bONLY\s+\w+|\bROLE\s+\w+/ROLE vault/ig; "GRANT vault TO x; $s -- password" },
	sub { my $s = $_[0]; $s =~ s/;/ ;; -- encryption\n ;/; $s });

open my $fh, '>', $input or die;
foreach my $file (sort @files)
{
	my $text = slurp_file($file);
	utf8::decode(my $check = $text) or next;
	$text = without_psql($text);
	add($fh, 'file', $file, $text, 0);
	add($fh, 'file', $file, "$text\n-- encryption", 0);

	# Cut at line ends with a semicolon; a cut in a wrong place is as good.
	my @statements = split /(?<=;)[ \t]*\n/, $text;
	my $n = 0;
	foreach my $sql (@statements)
	{
		my $spice = $spice[ $n++ % @spice ];
		add($fh, 'statement', $file, $sql, 0);
		add($fh, 'spiced', $file, $spice->($sql), 0);
		add($fh, 'cut', $file, substr($sql, 0, length($sql) * 2 / 3) . ' /* encryption */', 0);
		add($fh, 'mode', $file, $sql, 1 + $n % 5);
	}
}
close $fh;
note join ', ', map { "$count{$_} $_" } sort keys %count;

$node->safe_psql('postgres', "COPY body FROM '$input'");
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM body'), '>', 1500, 'there is a body of SQL');

# Statements of ours in the repository's own tests do differ, of course.
my $ours = q{sql ~* $re$(create\s.*\mmaster\M|\mencryption\s+using\M|\mencrypted\s*[,);]|} .
  q{\m(enable|disable|rotate)\s+(master|encryption|database)\M|\mrealm\M|\mvault\M|\mcommand\M|\memergency\M|\m(backup|restore)\s+database\M|} .
  q{\)\s+encryption|\mcreate tablespace.*encryption|create\s+/\*.*master)$re$};

# A text that the server refuses at the word ENCRYPTED we refuse with our own
# words.  Where a password stands, our tree has a reference and an error has stars
# (310_ddl_secrets.pl has more about that).
my $differs = q{d IS NOT NULL AND d <> 'errors: column encryption is not supported yet / syntax error at or near "encrypted"'} .
  q{ AND NOT (sql ~* $re$password\s*['$eu%\\/-]|unlock_realm|grant_vault_password|set_vault_password|pin-value$re$} .
  q{ AND (d IN ('trees', 'locations') OR d ~ '[*]{3}'))};
foreach my $kind (sort keys %count)
{
	$node->sql_is(<<"SQL", '', "the same: $kind");
SELECT source, d, left(sql, 300) FROM body, parsetree_differs(sql, mode) d
WHERE kind = '$kind' AND $differs AND NOT (source ~ '^ours:' AND $ours) LIMIT 5
SQL
}
$node->sql_is(<<'SQL', 't', 'our own statements are told apart, so the comparison works');
SELECT count(*) > 20 FROM body, parsetree_differs(sql, mode) d
WHERE kind = 'statement' AND source ~ '^ours:ddl_' AND d IS NOT NULL
SQL

# With the old string syntax, and in another encoding.
$node->sql_is(<<"SQL", '0', 'the same without standard_conforming_strings');
SET standard_conforming_strings = off;
SELECT count(*) FROM body, parsetree_differs(sql, mode) d
WHERE kind IN ('statement', 'spiced') AND $differs AND NOT (source ~ '^ours:' AND $ours)
SQL

# The one text that is both: see src/ddl/README.md.
$node->sql_is("SELECT parsetree_differs('ALTER DATABASE ROTATE MASTER KEY', 0) IS NOT NULL",
	't', 'ALTER DATABASE ROTATE MASTER KEY is ours');
$node->sql_is("SELECT parsetree_differs('ALTER DATABASE \"rotate\" MASTER KEY', 0) IS NULL",
	't', 'with a quoted name it is not');
$node->stop;
done_testing();
