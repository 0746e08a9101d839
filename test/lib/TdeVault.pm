# TdeVault.pm
#	  A server with tde_vault and a SoftHSM token, for TAP tests.
#
# A TdeVault node is a PostgreSQL::Test::Cluster node with three additions:
# it has a token of its own (the postmaster gets SOFTHSM2_CONF), it knows the
# on-disk layout well enough to read and damage pages and sidecar entries, and
# it can search every file of the server for bytes that should not be there.

package TdeVault;

use strict;
use warnings;

use Compress::Zlib ();
use Cwd ();
use Digest::MD5 ();
use Encode ();
use Fcntl ();
use File::Copy ();
use File::Find ();
use File::Path ();
use FindBin;
use PostgreSQL::Test::Cluster ();
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes ();

our @ISA = ('PostgreSQL::Test::Cluster');

use constant BLCKSZ             => 8192;
use constant SEGMENT_BLOCKS     => 131072;
use constant SIDECAR_HEADER     => 4096;
use constant SIDECAR_ENTRY      => 32;
use constant PKCS11_MODULE      => '/usr/lib/softhsm/libsofthsm2.so';
use constant PIN                => '271828';
use constant SO_PIN             => '31415926';
use constant AUTHENTICATED      => ('aes-256-gcm', 'chacha20-poly1305');
use constant ALL_CIPHERS =>
  ('aes-256-gcm', 'chacha20-poly1305', 'aes-256-ctr', 'aes-256-xts');

# ---------------------------------------------------------------------------
# Servers
# ---------------------------------------------------------------------------

# TdeVault->create(name, option => value, ...): a running server with the
# extension and a master key in database postgres.
#
#	initdb		  extra initdb options (array reference)
#	conf		  lines for postgresql.conf
#	streaming	  wal_level replica, so that base backups work
#	provider	  URI of the provider; default: a SoftHSM token made here
#	master		  'database' (default), 'cluster', or '' for no key
#	start		  0: stop after writing the configuration
#	data_dir	  where the data directory goes (default: as the base class)
sub create
{
	my ($class, $name, %opt) = @_;
	my $self = $class->new($name);

	$self->{tv_data_dir} = $opt{data_dir} if defined $opt{data_dir};
	$self->{tv_softhsm_conf} = $self->basedir . '/softhsm2.conf';
	$self->{tv_token_dir}    = $self->basedir . '/tokens';
	$self->{tv_module}       = $self->basedir . '/pkcs11.so';
	$self->{tv_pin_file}     = $self->basedir . '/pin';
	$self->init_token unless defined $opt{provider};

	$self->init(
		extra            => $opt{initdb} // [],
		allows_streaming => $opt{streaming} // 0);
	my $provider = $opt{provider} // $self->provider_uri;
	$self->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'tde_vault'
tde_vault.key_provider = '$provider'
autovacuum = off
max_connections = 40
shared_buffers = 16MB
max_wal_size = 1GB
log_min_messages = warning
CONF
	$self->append_conf('postgresql.conf', $opt{conf}) if defined $opt{conf};
	return $self if defined $opt{start} && !$opt{start};

	$self->start;
	my $master = $opt{master} // 'database';
	$self->safe_psql('postgres', 'CREATE EXTENSION tde_vault');
	$self->create_master_key('postgres', 'test_key',
		cluster => $master eq 'cluster') if $master ne '';
	return $self;
}

# As the base class does it.  But the first cluster of a test is a copy of the
# one in TDE_VAULT_TEMPLATE, if there is one: initdb takes ten times as long.
# Further ones are made, so that no two of a test have the same identity.
my $initialized = 0;

sub init
{
	my ($self, %params) = @_;
	my $run      = \&PostgreSQL::Test::Utils::system_or_bail;
	my $template = $ENV{TDE_VAULT_TEMPLATE};
	my $is_copy  = !$initialized++ && defined $template && !@{ $params{extra} // [] } && !-e $self->data_dir;

	no warnings 'redefine';
	local *PostgreSQL::Test::Utils::system_or_bail = sub {
		return $run->(@_) if $_[0] ne 'initdb' || !$is_copy;
		return $run->('cp', '-a', $template, $self->data_dir);
	};
	return $self->SUPER::init(%params);
}

# Everything the server is started with, also by pg_ctl and single-user mode.
sub _get_env
{
	my ($self, %mods) = @_;
	return $self->SUPER::_get_env(
		SOFTHSM2_CONF => $self->{tv_softhsm_conf}, %mods);
}

sub data_dir
{
	my ($self) = @_;
	return $self->{tv_data_dir} // $self->SUPER::data_dir;
}

sub create_master_key
{
	my ($self, $db, $key_id, %opt) = @_;
	my $provider = defined $opt{provider} ? "'$opt{provider}'" : 'NULL';
	my $args     = "'$key_id'";
	$args .= ", $provider" if defined $opt{provider} || $opt{cluster};
	$args .= ', true'      if $opt{cluster};
	$self->safe_psql($db, "CALL tde_vault.create_master_key($args)");
	return;
}

# Another database with the extension and a master key of its own.
sub create_database
{
	my ($self, $db, %opt) = @_;
	$self->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0");
	$self->safe_psql($db, 'CREATE EXTENSION tde_vault');
	$self->create_master_key($db, $opt{key_id} // "key_$db", %opt)
	  unless defined $opt{key_id} && $opt{key_id} eq '';
	return;
}

# A server made from a base backup, with the same token.  The backup is moved,
# not copied: the base class cannot copy one that has tablespaces.
sub create_from_backup
{
	my ($class, $name, $root, $backup, %opt) = @_;
	my $self = $class->new($name);
	$self->{$_} = $root->{$_} foreach grep { /^tv_/ && $_ ne 'tv_data_dir' } keys %$root;
	rename($root->backup_dir . "/$backup", $self->data_dir)
	  or die "could not move backup $backup: $!";
	$self->append_conf('postgresql.conf',
		'port = ' . $self->port . "\nunix_socket_directories = '" . $self->host . "'\n");
	$self->enable_streaming($root) if $opt{has_streaming};
	return $self;
}

# Build test/modules/NAME where the test may write; the path of its library.
sub build_module
{
	my ($self, $name) = @_;
	my $source = "$FindBin::Bin/../modules/$name";
	my $build = $self->basedir . "/$name";
	my $pg_config = $ENV{PG_CONFIG} // '/usr/lib/postgresql/15/bin/pg_config';
	mkdir $build or die "could not make $build: $!";
	File::Copy::copy("$source/$_", "$build/$_") or die "could not copy $_: $!" foreach 'Makefile', "$name.c";
	PostgreSQL::Test::Utils::system_or_bail('make', '-s', '-C', $build, "PG_CONFIG=$pg_config");
	return "$build/$name";
}

# ---------------------------------------------------------------------------
# A disk that gets full
# ---------------------------------------------------------------------------

# A small file system, which is made by whoever runs the tests (mounting needs
# root): its path.  It is emptied, and this test's until it ends.
my $small_lock;

sub small_file_system
{
	my $small = $ENV{TDE_VAULT_SMALL_FS};
	die "TDE_VAULT_SMALL_FS must name an empty file system of about 100 MB that user "
	  . (getpwuid($>))[0] . " can write; test/run.sh mounts a tmpfs for it\n"
	  unless defined $small && -d $small && -w $small && (stat $small)[0] != (stat "$small/..")[0];
	open $small_lock, '<', $small or die "could not open $small: $!";
	flock $small_lock, Fcntl::LOCK_EX or die "could not lock $small: $!";
	File::Path::remove_tree($small, { keep_root => 1 });
	return $small;
}

# Fill a file system but for so many bytes; make room again.
sub leave_free
{
	my ($dir, $bytes) = @_;
	for (1 .. 100)
	{
		make_room($dir);
		my ($free) = (split /\n/, `df -B1 --output=avail '$dir'`)[1];
		# a server that runs there may have taken some since
		return if PostgreSQL::Test::Utils::system_log('fallocate', '-l', $free - $bytes, "$dir/ballast") == 0;
	}
	die "could not fill $dir";
}

sub make_room { my ($dir) = @_; unlink "$dir/ballast"; return; }

# ---------------------------------------------------------------------------
# The token
# ---------------------------------------------------------------------------

sub init_token
{
	my ($self) = @_;

	mkdir $self->{tv_token_dir}, 0700 or die "could not create token directory: $!";
	_write_file($self->{tv_softhsm_conf}, <<"CONF");
directories.tokendir = $self->{tv_token_dir}
objectstore.backend = file
log.level = ERROR
slots.removable = false
CONF
	# The module is reached through a link, so that a test can take it away.
	symlink(PKCS11_MODULE, $self->{tv_module}) or die "could not link module: $!";
	$self->write_pin(PIN);
	$self->softhsm('--init-token', '--free', '--label', 'tdevault');
	$self->_mend_token;
	return;
}

# SoftHSM 2.6 empties its file token.object and writes it again at each login
# (ObjectFile::store); SIGKILL in between loses the token.  That is not what
# these tests are about: remember the file, and put it back if it is empty.
my %token_objects;

sub _mend_token
{
	my ($self) = @_;
	foreach my $path (glob("$self->{tv_token_dir}/*/token.object"))
	{
		if (-s $path)
		{
			$token_objects{$path} //= PostgreSQL::Test::Utils::slurp_file($path);
		}
		elsif (defined $token_objects{$path})
		{
			_write_file($path, $token_objects{$path});
		}
	}
	return;
}

sub write_pin
{
	my ($self, $pin) = @_;
	_write_file($self->{tv_pin_file}, $pin);
	chmod 0600, $self->{tv_pin_file};
	return;
}

sub softhsm
{
	my ($self, @args) = @_;
	local %ENV = $self->_get_env();
	PostgreSQL::Test::Utils::system_or_bail('softhsm2-util', @args,
		'--so-pin', SO_PIN, '--pin', PIN);
	return;
}

sub provider_uri
{
	my ($self) = @_;
	return 'pkcs11:token=tdevault?module-path=' . $self->{tv_module}
	  . '&pin-source=file:' . $self->{tv_pin_file};
}

# Take the token (its directory) away, and bring it back.
sub hide_token
{
	my ($self) = @_;
	my $dir = $self->{tv_token_dir};
	rename($dir, "$dir.hidden") or die "could not move token: $!";
	mkdir $dir, 0700 or die "could not create empty token directory: $!";
	return;
}

sub restore_token
{
	my ($self) = @_;
	my $dir = $self->{tv_token_dir};
	File::Path::remove_tree($dir);
	rename("$dir.hidden", $dir) or die "could not restore token: $!";
	return;
}

# Take the PKCS#11 module away, and bring it back.
sub hide_module
{
	my ($self) = @_;
	unlink($self->{tv_module}) or die "could not remove module link: $!";
	return;
}

sub restore_module
{
	my ($self) = @_;
	symlink(PKCS11_MODULE, $self->{tv_module}) or die "could not link module: $!";
	return;
}

# ---------------------------------------------------------------------------
# Stopping, crashing, starting
# ---------------------------------------------------------------------------

# Stop with everything on disk.
sub stop_clean
{
	my ($self) = @_;
	$self->safe_psql('postgres', 'CHECKPOINT');
	$self->stop('fast');
	return;
}

# Keep the data directory of a server that is stopped; put it back as it was then.
sub keep_data
{
	my ($self) = @_;
	PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $self->data_dir, $self->basedir . '/image');
	return;
}

sub restore_data
{
	my ($self) = @_;
	PostgreSQL::Test::Utils::system_or_bail('rm', '-rf', $self->data_dir);
	PostgreSQL::Test::Utils::system_or_bail('cp', '-a', $self->basedir . '/image', $self->data_dir);
	return;
}

# SIGKILL the postmaster and wait until no process of that server is left.
sub kill_postmaster
{
	my ($self) = @_;
	my $pid = $self->{_pid};
	$self->kill9;
	$self->wait_for_processes_gone;

	# A new postmaster asks with kill(pid, 0) whether the old one lives, and a
	# process that nobody has waited for yet still counts.
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (kill(0, $pid))
	{
		die "postmaster $pid was not reaped" if time > $deadline;
		Time::HiRes::usleep(10_000);
	}
	$self->_mend_token;
	return;
}

# SIGKILL every process of the server, in the middle of whatever it does; a
# backend at work does not notice that the postmaster is gone.
sub kill_server
{
	my ($self) = @_;
	my $data = Cwd::realpath($self->data_dir);
	kill 'KILL', map { m{(\d+)$} } grep { (readlink("$_/cwd") // '') eq $data } glob('/proc/[0-9]*');
	$self->kill_postmaster;
	return;
}

# SIGKILL, and recovery.
sub crash
{
	my ($self) = @_;
	$self->kill_postmaster;
	$self->start;
	return;
}

# A server process's working directory is its data directory.
sub wait_for_processes_gone
{
	my ($self) = @_;
	my $data = Cwd::realpath($self->data_dir);
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (1)
	{
		my @left = grep { (readlink("$_/cwd") // '') eq $data } glob('/proc/[0-9]*');
		return unless @left;
		die "server processes did not go away: @left" if time > $deadline;
		Time::HiRes::usleep(50_000);
	}
}

# Wait until the server takes connections again.  (Not by psql: writing to one
# that has already given up is a broken pipe.)
sub wait_until_ready
{
	my ($self) = @_;
	local %ENV = $self->_get_env();
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (system('pg_isready', '-q', '-d', 'postgres') == 0)
	{
		return 0 if time > $deadline;
		Time::HiRes::usleep(50_000);
	}
	return 1;
}

# Start a server that is expected to refuse.  Returns what it logged.
sub start_expecting_failure
{
	my ($self) = @_;
	my $offset = $self->log_size;
	my $started = $self->start(fail_ok => 1);
	my $log = PostgreSQL::Test::Utils::slurp_file($self->logfile, $offset);
	return $started ? undef : $log;
}

sub log_size
{
	my ($self) = @_;
	return -s $self->logfile // 0;
}

# ---------------------------------------------------------------------------
# SQL
# ---------------------------------------------------------------------------

# Run SQL that should fail; returns (SQLSTATE, all of stderr).  ('', '') when
# it did not fail.
sub sql_error
{
	my ($self, $sql, %opt) = @_;
	my ($rc, $out, $err) = $self->psql(
		$opt{db} // 'postgres', $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose', @{ $opt{extra} // [] } ]);
	return ('', '') if $rc == 0;
	my ($state) = $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5}):/;
	return ($state // '?????', $err);
}

# ok: SQL fails with this SQLSTATE and matches this pattern (or all of them).
sub sql_fails
{
	my ($self, $sql, $state, $pattern, $name, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($got, $err) = $self->sql_error($sql, %opt);
	my @patterns = ref $pattern eq 'ARRAY' ? @$pattern : ($pattern);
	my $ok = $got =~ /^(?:$state)$/;
	$ok &&= $err =~ $_ foreach @patterns;
	ok($ok, $name)
	  or diag("wanted SQLSTATE $state and @patterns\ngot SQLSTATE '$got': $err");
	return;
}

sub sql_is
{
	my ($self, $sql, $want, $name, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($rc, $out, $err) = $self->psql($opt{db} // 'postgres', $sql,
		extra_params => $opt{extra} // []);
	is($rc == 0 ? $out : "ERROR: $err", $want, $name);
	return;
}

# ok: all encrypted relations of the database pass verify(), and there are
# at least $min of them.
sub verify_ok
{
	my ($self, $name, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $min = $opt{min} // 1;
	my ($rc, $out, $err) = $self->psql($opt{db} // 'postgres', <<'SQL');
CHECKPOINT;
WITH known AS (SELECT DISTINCT relation, relkind FROM tde_vault.encryption_status),
	 checked AS (SELECT v.* FROM known k, LATERAL tde_vault.verify(k.relation) v
		WHERE k.relkind IN ('r', 'm', 'S'))
SELECT (SELECT count(*) FROM known WHERE relation IN (SELECT relation FROM checked)),
	   coalesce(sum(pages), 0), coalesce(sum(bad), 0), coalesce(sum(unsealed), 0),
	   (SELECT count(*) FROM known WHERE relation NOT IN (SELECT relation FROM checked)),
	   coalesce(string_agg(c::text, ' ') FILTER (WHERE bad > 0 OR unsealed > 0), '-')
FROM checked c
SQL
	my ($relations, $pages, $bad, $unsealed, $missed) = split /\|/, $out;
	ok( $rc == 0 && $relations >= $min && $pages > 0 && $bad == 0 && $unsealed == 0 && $missed == 0,
		$name)
	  or diag("relations|pages|bad|unsealed|not checked|which: $out $err");
	return;
}

# ---------------------------------------------------------------------------
# Files, pages, sidecar entries
# ---------------------------------------------------------------------------

# Absolute path of a relation's main file (segment 0), while running.
sub relation_path
{
	my ($self, $rel, %opt) = @_;
	my $path = $self->safe_psql($opt{db} // 'postgres',
		"SELECT pg_relation_filepath('$rel')");
	die "no file for relation $rel" if $path eq '';
	return $self->data_dir . '/' . $path;
}

# Absolute path of its sidecar, while running.
sub sidecar_path
{
	my ($self, $rel, %opt) = @_;
	my $ids = $self->safe_psql($opt{db} // 'postgres', <<"SQL");
SELECT format('%s/%s/%s', coalesce(nullif(c.reltablespace, 0), d.dattablespace),
	   d.oid, pg_relation_filenode(c.oid))
FROM pg_class c, pg_database d
WHERE c.oid = '$rel'::regclass AND d.datname = current_database()
SQL
	return $self->data_dir . '/tde_vault/sidecar/' . $ids;
}

sub keyring_path
{
	my ($self) = @_;
	return $self->data_dir . '/tde_vault/keyring';
}

sub _write_file
{
	my ($path, $bytes) = @_;
	open my $fh, '>:raw', $path or die "could not write $path: $!";
	print $fh $bytes;
	close $fh or die "could not write $path: $!";
	return;
}

sub write_file { my ($self, @args) = @_; return _write_file(@args); }

sub read_bytes
{
	my ($self, $path, $offset, $len) = @_;
	open my $fh, '<:raw', $path or die "could not open $path: $!";
	seek $fh, $offset, 0;
	my $got = read($fh, my $buf, $len);
	die "short read of $path at $offset" unless defined $got && $got == $len;
	return $buf;
}

sub write_bytes
{
	my ($self, $path, $offset, $bytes) = @_;
	open my $fh, '+<:raw', $path or die "could not open $path: $!";
	seek $fh, $offset, 0;
	print $fh $bytes;
	close $fh or die "could not write $path: $!";
	return;
}

sub read_page
{
	my ($self, $path, $block) = @_;
	return $self->read_bytes($path, $block * BLCKSZ, BLCKSZ);
}

# Write a page.  The standard checksum of the new contents is put in unless
# keep_checksum is given: whoever can write files can also compute that.
sub write_page
{
	my ($self, $path, $block, $page, %opt) = @_;
	$page = with_checksum($page, $block) unless $opt{keep_checksum};
	$self->write_bytes($path, $block * BLCKSZ, $page);
	return;
}

sub read_entry
{
	my ($self, $path, $block) = @_;
	return $self->read_bytes($path, SIDECAR_HEADER + $block * SIDECAR_ENTRY,
		SIDECAR_ENTRY);
}

sub write_entry
{
	my ($self, $path, $block, $entry) = @_;
	$self->write_bytes($path, SIDECAR_HEADER + $block * SIDECAR_ENTRY, $entry);
	return;
}

sub flip_bit
{
	my ($bytes, $offset, $bit) = @_;
	substr($bytes, $offset, 1) =
	  chr(ord(substr($bytes, $offset, 1)) ^ (1 << ($bit // 0)));
	return $bytes;
}

sub flip_file_bit
{
	my ($self, $path, $offset, $bit) = @_;
	$self->write_bytes($path, $offset,
		flip_bit($self->read_bytes($path, $offset, 1), 0, $bit));
	return;
}

sub page_flags { return unpack('v', substr($_[0], 10, 2)); }
sub page_epoch { return (page_flags($_[0]) >> 3) & 0xfff; }

sub with_epoch
{
	my ($page, $epoch) = @_;
	substr($page, 10, 2) =
	  pack('v', (page_flags($page) & 0x8007) | ($epoch << 3));
	return $page;
}

# The server's page checksum: pg_checksum_page in storage/checksum_impl.h.
my @checksum_base = (
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A,
	0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA,
	0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE,
	0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E,
	0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756);

sub page_checksum
{
	my ($page, $block) = @_;
	substr($page, 8, 2) = "\0\0";
	my @words = (unpack('V*', $page), (0) x 64);
	my @sums = @checksum_base;
	my $i = 0;
	foreach my $word (@words)
	{
		my $tmp = $sums[$i] ^ $word;
		$sums[$i] = (($tmp * 16777619) & 0xffffffff) ^ ($tmp >> 17);
		$i = ($i + 1) & 31;
	}
	my $result = 0;
	$result ^= $_ foreach @sums;
	$result ^= $block;
	return ($result % 65535) + 1;
}

sub with_checksum
{
	my ($page, $block) = @_;
	return $page if $page !~ /[^\0]/;    # a new page has none
	substr($page, 8, 2) = pack('v', page_checksum($page, $block));
	return $page;
}

# ok: every page of the file is sealed (or new), and looks like ciphertext.
sub sealed_on_disk_ok
{
	my ($self, $path, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $file = PostgreSQL::Test::Utils::slurp_file($path);
	my $blocks = length($file) / BLCKSZ;
	my $sealed = 0;
	my @wrong;
	foreach my $block (0 .. $blocks - 1)
	{
		my $page = substr($file, $block * BLCKSZ, BLCKSZ);
		next if $page !~ /[^\0]/;
		my $body = substr($page, 12);
		if (page_epoch($page) == 0)
		{
			push @wrong, "block $block has epoch 0";
		}
		elsif (length(Compress::Zlib::compress($body)) < length($body))
		{
			push @wrong, "block $block can be compressed";
		}
		else
		{
			$sealed++;
		}
	}
	ok($sealed > 0 && !@wrong, $name)
	  or diag("$path: $sealed sealed of $blocks; @wrong[0 .. ($#wrong > 4 ? 4 : $#wrong)]");
	return;
}

# ---------------------------------------------------------------------------
# Searching for plaintext
# ---------------------------------------------------------------------------

# A marker: 24 letters and digits that do not occur by chance, cannot be
# compressed, and keep their bytes through lower(), to_tsvector() and quoting.
sub marker
{
	my ($label) = @_;
	my @bytes = map { ord } split //, Digest::MD5::md5("tde_vault $label") . Digest::MD5::md5($label);
	return 'q' . join('', map { substr('0123456789abcdefghijklmnopqrstuvwxyz', $_ % 36, 1) } @bytes[ 0 .. 22 ]);
}

# Files under the data directory (and tablespaces linked into it) that hold
# the marker: as it is, as UTF-16, as hexadecimal digits, or cut up by the
# server's compression, which breaks literal bytes into runs of eight (so two
# pieces of eight that do not overlap count as found).
#
#	marker					what to look for
#	also					other directories to search (array reference)
sub find_marker
{
	my ($self, %opt) = @_;
	my $found = $self->find_markers({ it => $opt{marker} }, %opt);
	return @{ $found->{it} };
}

# The same for many at once: { label => marker } in, { label => [files] } out.
sub find_markers
{
	my ($self, $markers, %opt) = @_;
	my $data = Cwd::realpath($self->data_dir);
	my %found = map { $_ => [] } keys %$markers;
	my %form_of;    # bytes => [ label, offset in the marker or -1 for whole ]

	foreach my $label (keys %$markers)
	{
		my $marker = $markers->{$label};
		$form_of{ substr($marker, $_, 8) } = [ $label, $_ ] foreach 0 .. length($marker) - 8;
		$form_of{$_} = [ $label, -1 ]
		  foreach (Encode::encode('UTF-16LE', $marker),
			Encode::encode('UTF-16BE', $marker), unpack('H*', $marker));
	}
	my $any_form = join '|', map { quotemeta } keys %form_of;
	my $form_re = qr/($any_form)/;

	my @files;
	File::Find::find(
		{
			follow_fast => 1,
			follow_skip => 2,
			no_chdir    => 1,
			wanted      => sub {
				my $path = $File::Find::name;
				push @files, $path if -f $path;
			}
		},
		$data, @{ $opt{also} // [] });
	die "no files in $data" unless @files;

	foreach my $path (@files)
	{
		open my $fh, '<:raw', $path or next;    # dropped meanwhile
		my $bytes = do { local $/; <$fh> } // '';
		close $fh;
		my (%hit, %first);
		while ($bytes =~ /$form_re/g)
		{
			my ($label, $at) = @{ $form_of{$1} };
			$first{$label} //= $at;
			$hit{$label} = 1 if $at < 0 || abs($first{$label} - $at) >= 8;
		}
		(my $name = $path) =~ s{^\Q$data\E/}{};
		push @{ $found{$_} }, $name foreach keys %hit;
	}
	return \%found;
}

1;
