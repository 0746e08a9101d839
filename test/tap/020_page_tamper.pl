# Whoever can write the server's files cannot make it return a wrong row.
#
# Every attack is made while the server is stopped.  The attacker knows the
# formats: page checksums are put right after each change.  Afterwards every
# damaged block must give SQLSTATE XX001 with relation and block, and every
# other block of the relation its own rows.
#
# What is not claimed: putting back an older version of a page together with
# its older sidecar entry, in the same relation, or the pair of them as zeros
# (a page that was never written).  Both need a record of freshness that is
# kept elsewhere.

use strict;
use warnings;
use File::Basename;
use FindBin;
use lib "$FindBin::Bin/../lib";
use TdeVault;
use Test::More;

use constant BLOCKS => 10;
use constant ROWS   => 180;
use constant FEW    => 60;     # rows of 4 blocks, for what happens to sidecars as a whole

my $node;         # the server at hand
my $checksums;    # does it have data checksums?
my %good;         # table => { path, sidecar, filenode, digest of each block }

sub make_table
{
	my ($table, $cipher) = @_;
	my $rows = $table =~ /_sc_/ ? FEW : ROWS;
	$node->safe_psql('postgres', <<"SQL");
SET tde_vault.cipher = '$cipher';
CREATE TABLE $table (id int, v text) USING tde_heap;
INSERT INTO $table SELECT g, md5('$table' || g) || repeat(chr(65 + g % 26), 400) FROM generate_series(1, $rows) g;
VACUUM (FREEZE) $table;
SQL
	remember($table);
	return;
}

sub remember
{
	my ($table) = @_;
	my $path = $node->relation_path($table);
	my %digest = map { split /\|/ } split /\n/, $node->safe_psql('postgres', <<"SQL");
SELECT (ctid::text::point)[0]::int, md5(string_agg(id || v, ',' ORDER BY ctid)) FROM $table GROUP BY 1
SQL
	die "$table has too few blocks" if keys %digest < ($table =~ /_sc_/ ? 4 : BLOCKS);
	$good{$table} = {
		path     => $path,
		sidecar  => $node->sidecar_path($table),
		filenode => basename($path),
		digest   => \%digest,
	};
	return;
}

# Runs a query; "rows" and its result, or SQLSTATE and what the error says.
my $try_function = <<'SQL';
CREATE FUNCTION try(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; state text; message text; detail text;
BEGIN
	EXECUTE query INTO answer;
	RETURN 'rows ' || answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN state || ' ' || message || ' ' || detail;
END$$;
SQL

# Damaged blocks fail; all others give their rows; a whole scan and verify()
# find the damage.  A block is read alone by a scan by TID.
sub check_table
{
	my ($table, $name, %bad) = @_;
	my $t = $good{$table};
	my @blocks = sort { $a <=> $b } keys %{ $t->{digest} };
	my $relation = qr/\b$table\b|\b$t->{filenode}\b/;
	my ($rc, $out, $err) = $node->psql('postgres', <<"SQL");
SET enable_seqscan = off;
SELECT b || '|' || try(format('SELECT md5(string_agg(id || v, \$\$,\$\$ ORDER BY ctid)) FROM $table WHERE ctid = ANY '
	'(ARRAY(SELECT format(\$\$(%s,%%s)\$\$, i)::tid FROM generate_series(1, 50) i))', b))
FROM unnest('{@{[ join ',', @blocks ]}}'::int[]) b;
SELECT 'scan|' || try('SELECT count(*) FROM $table');
SET ignore_checksum_failure = on;
SELECT 'ignore|' || try('SELECT count(*) FROM $table');
SELECT 'verify|' || (sum(bad) + sum(unsealed) > 0) FROM tde_vault.verify('$table');
SQL
	my %got = map { split /\|/, $_, 2 } split /\n/, $out;
	subtest $name => sub {
		is($rc, 0, 'the checks ran') or diag($err);
		foreach my $block (@blocks)
		{
			my $what = $bad{$block} // $bad{all};
			if (defined $what)
			{
				ok($got{$block} =~ /^XX001 / && $got{$block} =~ $relation && $got{$block} =~ /\bblock $block\b/i,
					"block $block: $what")
				  or diag($got{$block});
			}
			else
			{
				is($got{$block}, "rows $t->{digest}{$block}", "block $block: untouched");
			}
		}
		ok($got{scan} =~ /^XX001 / && $got{scan} =~ $relation && $got{scan} =~ /\bblock \d+\b/i, 'a whole scan fails')
		  or diag($got{scan});
		like($got{ignore}, qr/^XX001 /, 'ignore_checksum_failure does not help') unless $bad{checksum_only};
		is($got{verify}, 'true', 'verify finds it');
	};
	return;
}

sub path { return $good{ $_[0] }{path}; }
sub sidecar { return $good{ $_[0] }{sidecar}; }

sub change_page
{
	my ($table, $block, $change, %opt) = @_;
	$node->write_page(path($table), $block, $change->($node->read_page(path($table), $block)), %opt);
	return;
}

sub change_entry
{
	my ($table, $block, $change) = @_;
	$node->write_entry(sidecar($table), $block, $change->($node->read_entry(sidecar($table), $block)));
	return;
}

sub flip_page { my ($table, $block, $at, $bit, %opt) = @_; return change_page($table, $block, sub { TdeVault::flip_bit($_[0], $at, $bit) }, %opt); }
sub flip_entry { my ($table, $block, $at, $bit) = @_; return change_entry($table, $block, sub { TdeVault::flip_bit($_[0], $at, $bit) }); }

# Copy a block, its entry, or both.
sub put
{
	my ($what, $from, $fblock, $to, $tblock) = @_;
	$node->write_page(path($to), $tblock, $node->read_page(path($from), $fblock)) if $what =~ /page/;
	$node->write_entry(sidecar($to), $tblock, $node->read_entry(sidecar($from), $fblock)) if $what =~ /entry/;
	return;
}

sub swap
{
	my ($what, $table, $x, $y) = @_;
	my @page  = map { $node->read_page(path($table), $_) } $x, $y;
	my @entry = map { $node->read_entry(sidecar($table), $_) } $x, $y if $what =~ /entry/;
	if ($what =~ /page/)
	{
		$node->write_page(path($table), $x, $page[1]);
		$node->write_page(path($table), $y, $page[0]);
	}
	if ($what =~ /entry/)
	{
		$node->write_entry(sidecar($table), $x, $entry[1]);
		$node->write_entry(sidecar($table), $y, $entry[0]);
	}
	return;
}

my $zero_page = "\0" x TdeVault::BLCKSZ;
my @header_flips = ([ 0, 0 ], [ 7, 7 ], [ 10, 2 ], [ 11, 7 ]);    # LSN, flags, internal bit
my @body_flips = ([ 12, 0 ], [ 23, 3 ], [ 24, 1 ], [ 4096, 5 ], [ 8191, 7 ]);

# --- ciphers with a tag ----------------------------------------------------

sub attack_authenticated
{
	my ($cipher) = @_;
	my $p = substr($cipher, 0, 3) . '_';
	my @tables = map { $p . $_ } qw(flips entries swaps foreign zero epoch donor recreated truncated
	  sc_deleted sc_empty sc_header_only sc_cut sc_swapped sc_swapped2 sc_magic sc_version sc_header);
	make_table($_, $cipher) foreach @tables;
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE ${p}plain (id int, v text) USING heap;
INSERT INTO ${p}plain SELECT g, repeat('forged', 60) FROM generate_series(1, 100) g;
VACUUM (FREEZE) ${p}plain;
SET tde_vault.cipher = '$cipher';
CREATE TABLE ${p}indexed (id serial, v text) USING tde_heap;
INSERT INTO ${p}indexed SELECT g, md5(g::text) FROM generate_series(1, 3000) g;
CREATE INDEX ${p}indexed_v ON ${p}indexed (v);
CREATE TABLE ${p}toasted (id int, v text) USING tde_heap;
ALTER TABLE ${p}toasted ALTER v SET STORAGE EXTERNAL;
INSERT INTO ${p}toasted VALUES (1, repeat('x', 20000)), (2, 'short');

SELECT nextval('${p}indexed_id_seq');
VACUUM (FREEZE) ${p}toasted, ${p}indexed;
SQL
	my $toast = $node->safe_psql('postgres', "SELECT reltoastrelid::regclass FROM pg_class WHERE relname = '${p}toasted'");
	my %file = map { $_ => $node->relation_path($_) } "${p}indexed_v", $toast, "${p}plain", "${p}indexed_id_seq";

	my %names = (
		index => join('|', "${p}indexed_v", basename($file{"${p}indexed_v"})),
		toast => join('|', $toast,          basename($file{$toast})));

	# Old pages kept beside a relation that is made anew.
	$node->safe_psql('postgres', 'CHECKPOINT');
	my %old = map { my $t = $p . $_; $_ => [ $node->read_page(path($t), 1), $node->read_entry(sidecar($t), 1) ] } qw(recreated truncated);
	$node->safe_psql('postgres', "DROP TABLE ${p}recreated; TRUNCATE ${p}truncated;"
		. "SET tde_vault.cipher = '$cipher'; CREATE TABLE ${p}recreated (id int, v text) USING tde_heap;"
		. join('', map { "INSERT INTO $p$_ SELECT g, repeat('new', 150) FROM generate_series(1, @{[ROWS]}) g; VACUUM (FREEZE) $p$_;" } sort keys %old));
	remember($p . $_) foreach sort keys %old;

	$node->stop_clean;

	my $block = 0;
	my %flipped;
	foreach (@header_flips, @body_flips)
	{
		flip_page("${p}flips", $block, @$_);
		$flipped{ $block++ } = "bit $_->[1] of byte $_->[0] flipped";
	}
	# The checksum field is judged only by servers that use checksums.
	if ($checksums)
	{
		flip_page("${p}flips", $block, 8, 0, keep_checksum => 1);
		$flipped{ $block++ } = 'checksum changed';
	}

	my %entry;
	$block = 0;
	foreach my $at (0, 11, 12, 27, $checksums ? (28, 29) : (), 30, 31)
	{
		flip_entry("${p}entries", $block, $at, $at % 8);
		$entry{ $block++ } = "byte $at of the sidecar entry changed";
	}
	change_entry("${p}entries", $block, sub { "\0" x TdeVault::SIDECAR_ENTRY });
	$entry{$block} = 'entry zeroed';

	swap('page',       "${p}swaps", 0, 1);
	swap('page entry', "${p}swaps", 2, 3);
	swap('entry',      "${p}swaps", 4, 5);
	put('page',       "${p}swaps", 7, "${p}swaps", 6);
	put('page entry', "${p}swaps", 7, "${p}swaps", 8);

	put('page',       "${p}donor", 0, "${p}foreign", 0);
	put('page entry', "${p}donor", 1, "${p}foreign", 1);
	put('entry',      "${p}donor", 2, "${p}foreign", 2);

	$node->write_page(path("${p}zero"), $_, $zero_page) foreach (0, 4, BLOCKS - 2);

	my $forged = $node->read_page($file{"${p}plain"}, 0);
	change_page("${p}epoch", 0, sub { TdeVault::with_epoch($_[0], TdeVault::page_epoch($_[0]) + 1) });
	change_page("${p}epoch", 1, sub { TdeVault::with_epoch($_[0], 4095) });
	change_page("${p}epoch", 2, sub { TdeVault::with_epoch($_[0], 0) });
	$node->write_page(path("${p}epoch"), 3, $forged);
	$node->write_page(path("${p}epoch"), 4, $forged);
	change_entry("${p}epoch", 4, sub { "\0" x TdeVault::SIDECAR_ENTRY });
	change_page("${p}epoch", 5, sub { TdeVault::with_epoch($forged, TdeVault::page_epoch($_[0])) });

	foreach (sort keys %old)
	{
		$node->write_page(path($p . $_), 1, $old{$_}[0]);
		$node->write_entry(sidecar($p . $_), 1, $old{$_}[1]);
	}

	unlink(sidecar("${p}sc_deleted")) or die;
	truncate(sidecar("${p}sc_empty"),       0)                        or die;
	truncate(sidecar("${p}sc_header_only"), TdeVault::SIDECAR_HEADER) or die;
	# The cut is inside the entry of block 2.
	truncate(sidecar("${p}sc_cut"), TdeVault::SIDECAR_HEADER + 2 * TdeVault::SIDECAR_ENTRY + 7) or die;
	my ($sc1, $sc2) = (sidecar("${p}sc_swapped"), sidecar("${p}sc_swapped2"));
	rename($sc1, "$sc1.tmp") && rename($sc2, $sc1) && rename("$sc1.tmp", $sc2) or die;
	$node->flip_file_bit(sidecar("${p}sc_magic"),   0);
	$node->flip_file_bit(sidecar("${p}sc_version"), 8);
	$node->flip_file_bit(sidecar("${p}sc_header"),  24);

	$node->write_page($_, 1, TdeVault::flip_bit($node->read_page($_, 1), 5000)) foreach @file{ "${p}indexed_v", $toast };
	$node->write_page($file{"${p}indexed_id_seq"}, 0, TdeVault::flip_bit($node->read_page($file{"${p}indexed_id_seq"}, 0), 8180));

	$node->start;
	my $on = $checksums ? 'with' : 'without';
	my $say = "$cipher, $on checksums:";
	check_table("${p}flips",   "$say bits flipped",           %flipped);
	check_table("${p}entries", "$say sidecar entries changed", %entry);
	check_table("${p}swaps", "$say blocks moved",
		(map { $_ => 'pages swapped' } 0, 1),
		(map { $_ => 'pages and entries swapped' } 2, 3),
		(map { $_ => 'entries swapped' } 4, 5),
		6 => 'copy of another page', 8 => 'copy of another page and its entry');
	check_table("${p}foreign", "$say blocks of another table",
		0 => 'page', 1 => 'page and entry', 2 => 'entry');
	check_table("${p}zero", "$say blocks zeroed", map { $_ => 'zeroed' } 0, 4, BLOCKS - 2);
	check_table("${p}epoch", "$say key epoch changed",
		0 => 'next epoch', 1 => 'last epoch', 2 => 'marked unsealed',
		3 => 'forged plain page', 4 => 'forged plain page without entry', 5 => 'forged page marked sealed');
	check_table("$p$_", "$say old block and entry beside a relation $_", 1 => 'old block') foreach sort keys %old;
	check_table("${p}sc_deleted",     "$say sidecar deleted",                 all => 'no sidecar');
	check_table("${p}sc_empty",       "$say sidecar empty",                   all => 'empty sidecar');
	check_table("${p}sc_header_only", "$say sidecar without entries",         all => 'no entry');
	check_table("${p}sc_cut",         "$say sidecar cut",                     map { $_ => 'cut off' } 2 .. BLOCKS);
	check_table("${p}$_",             "$say sidecar swapped with another's ($_)", all => 'swapped') foreach qw(sc_swapped sc_swapped2);
	check_table("${p}sc_magic",       "$say sidecar's magic changed",         all => 'magic');
	check_table("${p}sc_version",     "$say sidecar's version changed",       all => 'version');
	check_table("${p}sc_header",      "$say sidecar's header changed",        all => 'header');

	# Writing must not paper over the damage either.
	$node->sql_fails("INSERT INTO ${p}sc_deleted SELECT g, repeat('y', 500) FROM generate_series(1, 100) g",
		'XX001', qr/./, "$say no write to a relation that lost its sidecar");
	$node->sql_fails("UPDATE ${p}flips SET id = -id", 'XX001', qr/block \d+/i, "$say no update of a damaged block");
	$node->sql_fails("VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) ${p}flips", 'XX001', qr/block \d+/i, "$say no vacuum of a damaged block");

	$node->sql_fails("SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM (SELECT v FROM ${p}indexed ORDER BY v) x",
		'XX001', [ $names{index}, qr/block 1\b/i ], "$say a damaged index page");
	$node->sql_is("SELECT count(*) FROM ${p}indexed", '3000', "$say its table is well");
	$node->sql_fails("SELECT md5(v) FROM ${p}toasted WHERE id = 1", 'XX001',
		[ $names{toast}, qr/block 1\b/i ], "$say a damaged TOAST page");
	$node->sql_is("SELECT v FROM ${p}toasted WHERE id = 2", 'short', "$say its table is well");
	$node->sql_fails("SELECT nextval('${p}indexed_id_seq')", 'XX001', qr/block 0\b/i, "$say a damaged sequence");

	# zero_damaged_pages is how a superuser asks for what can be saved: damaged
	# pages count as empty, and each is warned about.
	my ($rc, $saved, $warnings) = $node->psql('postgres', "SET zero_damaged_pages = on; SELECT count(*), count(*) FILTER (WHERE v LIKE md5('${p}flips' || id) || '%') FROM ${p}flips");
	is($rc == 0 && $saved =~ /^(\d+)\|\1$/ && $1 < ROWS ? 'fewer rows, all right' : "$rc $saved", 'fewer rows, all right', "$say zero_damaged_pages saves what is well");
	is(scalar(() = $warnings =~ /WARNING/g), scalar(keys %flipped), "$say and warns of each damaged page");
	return;
}

# --- ciphers without a tag -------------------------------------------------

# aes-256-ctr has a sidecar: a page that has lost its nonce is noise, and the
# logical checksum in the entry (on servers with checksums) sees what the
# page's own checksum, which an attacker can compute, does not.
sub attack_ctr
{
	my $cipher = 'aes-256-ctr';
	my @tables = map { "ctr_$_" } qw(flips entries swaps foreign donor zero epoch sc_deleted sc_cut);
	make_table($_, $cipher) foreach @tables;
	$node->stop_clean;

	my $block = 0;
	my %flipped;
	foreach (@body_flips)
	{
		flip_page('ctr_flips', $block, @$_);
		$flipped{ $block++ } = "bit $_->[1] of byte $_->[0] flipped";
	}
	flip_page('ctr_flips', $block, 6000, 1, keep_checksum => 1);
	$flipped{$block} = 'bit flipped, old checksum';
	flip_entry('ctr_entries', 0, 0);
	flip_entry('ctr_entries', 1, 11);
	change_entry('ctr_entries', 2, sub { "\0" x TdeVault::SIDECAR_ENTRY });
	swap('page', 'ctr_swaps', 0, 1);
	put('page',       'ctr_donor', 0, 'ctr_foreign', 0);
	put('page entry', 'ctr_donor', 1, 'ctr_foreign', 1);
	$node->write_page(path('ctr_zero'), 3, $zero_page);
	change_page('ctr_epoch', 0, sub { TdeVault::with_epoch($_[0], TdeVault::page_epoch($_[0]) + 1) });
	change_page('ctr_epoch', 1, sub { TdeVault::with_epoch($_[0], 0) });
	unlink(sidecar('ctr_sc_deleted')) or die;
	truncate(sidecar('ctr_sc_cut'), TdeVault::SIDECAR_HEADER + 2 * TdeVault::SIDECAR_ENTRY) or die;
	$node->start;

	my $say = "$cipher, with checksums:";
	check_table('ctr_flips',   "$say bits flipped", %flipped, checksum_only => 1);
	check_table('ctr_entries', "$say sidecar entries changed", 0 => 'nonce', 1 => 'nonce', 2 => 'zeroed', checksum_only => 1);
	check_table('ctr_swaps',   "$say pages swapped",           0 => 'page', 1 => 'page', checksum_only => 1);
	check_table('ctr_foreign', "$say blocks of another table", 0 => 'page', 1 => 'page and entry', checksum_only => 1);
	check_table('ctr_zero',    "$say block zeroed",            3 => 'zeroed');
	check_table('ctr_epoch',   "$say key epoch changed",       0 => 'next epoch', 1 => 'marked unsealed');
	check_table('ctr_sc_deleted', "$say sidecar deleted", all => 'no sidecar');
	check_table('ctr_sc_cut',     "$say sidecar cut", map { $_ => 'cut off' } 2 .. BLOCKS);
	return;
}

# aes-256-xts has no sidecar.  What moves a page, or changes its header,
# makes noise of it, and the page's checksum finds accidents.  Not found: a
# change inside the page by somebody who also computes the checksum, and a
# page replaced by zeros (a new page).
sub attack_xts
{
	my $cipher = 'aes-256-xts';
	my @tables = map { "xts_$_" } qw(flips swaps foreign donor epoch);
	make_table($_, $cipher) foreach @tables;
	ok(!-e sidecar('xts_flips'), "$cipher: no sidecar");
	$node->stop_clean;

	my $block = 0;
	my %flipped;
	foreach (@header_flips, @body_flips)
	{
		flip_page('xts_flips', $block, @$_, keep_checksum => 1);
		$flipped{ $block++ } = "bit $_->[1] of byte $_->[0] flipped, old checksum";
	}
	swap('page', 'xts_swaps', 0, 1);
	put('page', 'xts_swaps', 4, 'xts_swaps', 3);
	put('page', 'xts_donor', 0, 'xts_foreign', 0);
	change_page('xts_epoch', 0, sub { TdeVault::with_epoch($_[0], TdeVault::page_epoch($_[0]) + 1) });
	change_page('xts_epoch', 1, sub { TdeVault::with_epoch($_[0], 0) });
	$node->start;

	my $say = "$cipher, with checksums:";
	check_table('xts_flips',   "$say bits flipped",            %flipped, checksum_only => 1);
	check_table('xts_swaps',   "$say blocks moved",            (map { $_ => 'pages swapped' } 0, 1), 3 => 'copy', checksum_only => 1);
	check_table('xts_foreign', "$say block of another table",  0 => 'page', checksum_only => 1);
	check_table('xts_epoch',   "$say key epoch changed",       0 => 'next epoch', 1 => 'marked unsealed');
	return;
}

# --- all of it -------------------------------------------------------------

foreach my $with (1, 0)
{
	$checksums = $with;
	%good = ();
	$node = TdeVault->create($with ? 'checksums' : 'no_checksums', initdb => $with ? ['-k'] : []);
	$node->sql_is('SHOW data_checksums', $with ? 'on' : 'off', 'the server is as wanted');

	$node->safe_psql('postgres', $try_function);

	# Our own arithmetic is the server's: else the attacks would prove nothing.
	if ($with)
	{
		my $path = $node->relation_path('pg_proc');
		$node->safe_psql('postgres', 'CHECKPOINT');
		my $page = $node->read_page($path, 3);
		is(TdeVault::page_checksum($page, 3), unpack('v', substr($page, 8, 2)), 'checksums are computed as the server does');
	}
	attack_authenticated($_) foreach $with ? TdeVault::AUTHENTICATED : 'aes-256-gcm';
	if ($with)
	{
		attack_ctr();
		attack_xts();
	}
	$node->stop;
}

done_testing();
