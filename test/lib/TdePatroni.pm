# TdePatroni.pm
#	  A cluster of Patroni nodes with tde_vault, and the etcd that it needs.
#
# The nodes reach one SoftHSM token.  Patroni makes the first node by initdb,
# the others by pg_basebackup; everything runs as it would as a service, but for
# short times.

package TdePatroni;

use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster ();
use PostgreSQL::Test::Utils ();
use Time::HiRes ();

my @clusters;

use constant PIN => '271828';

# TdePatroni->new(postgresql => "lines", parameters => "lines")
#
#	postgresql	YAML of bootstrap.dcs.postgresql, as "  use_pg_rewind: false"
#	parameters	YAML of more server settings, as "    tde_vault.cipher: aes-256-xts"
sub new
{
	my ($class, %opt) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $short = PostgreSQL::Test::Utils::tempdir_short();
	my $self = bless {
		dir => $dir, socket => $short, parameters => '', nodes => {}, daemons => {},
		etcd => PostgreSQL::Test::Cluster::get_free_port(), %opt }, $class;
	push @clusters, $self;
	mkdir "$dir/tokens", 0700 or die "could not create $dir/tokens: $!";
	_write("$dir/softhsm2.conf", "directories.tokendir = $dir/tokens\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n");
	_write("$dir/pin", PIN);
	chmod 0600, "$dir/pin";
	$ENV{SOFTHSM2_CONF} = "$dir/softhsm2.conf";
	PostgreSQL::Test::Utils::system_or_bail('softhsm2-util', '--init-token', '--free', '--label', 'tdevault', '--so-pin', '31415926', '--pin', PIN);
	$self->{peer} = PostgreSQL::Test::Cluster::get_free_port();
	$self->_daemon('etcd', 'etcd', '--data-dir', "$dir/etcd",
		'--listen-client-urls', "http://127.0.0.1:$self->{etcd}", '--advertise-client-urls', "http://127.0.0.1:$self->{etcd}",
		'--listen-peer-urls', "http://127.0.0.1:$self->{peer}", '--initial-advertise-peer-urls', "http://127.0.0.1:$self->{peer}",
		'--initial-cluster', "default=http://127.0.0.1:$self->{peer}", '--unsafe-no-fsync');
	return $self;
}

sub _write
{
	my ($path, $text) = @_;
	open my $fh, '>', $path or die "could not write $path: $!";
	print $fh $text;
	close $fh or die "could not write $path: $!";
	return;
}

sub _daemon
{
	my ($self, $name, @command) = @_;
	$self->{daemons}{$name} = IPC::Run::start(\@command, '<', \undef, '>>', "$self->{dir}/$name.log", '2>&1');
	return;
}

# Make a node known, and start its Patroni.
sub add
{
	my ($self, $name) = @_;
	my $node = $self->{nodes}{$name} = {
		port => PostgreSQL::Test::Cluster::get_free_port(), api => PostgreSQL::Test::Cluster::get_free_port(),
		data => "$self->{dir}/$name" };
	my $bin = `pg_config --bindir`;
	chomp $bin;
	_write("$self->{dir}/$name.yml", <<"YAML");
scope: tde
name: $name
etcd3:
  host: 127.0.0.1:$self->{etcd}
restapi:
  listen: 127.0.0.1:$node->{api}
  connect_address: 127.0.0.1:$node->{api}
bootstrap:
  dcs:
    ttl: 6
    loop_wait: 1
    retry_timeout: 2
    postgresql:
$self->{postgresql}
      parameters:
        shared_preload_libraries: tde_vault
        tde_vault.key_provider: pkcs11:token=tdevault?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:$self->{dir}/pin
  initdb:
  - encoding: UTF8
  - no-sync
postgresql:
  listen: 127.0.0.1:$node->{port}
  connect_address: 127.0.0.1:$node->{port}
  data_dir: $node->{data}
  bin_dir: $bin
  pgpass: $self->{dir}/$name.pgpass
  use_unix_socket: true
  parameters:
    unix_socket_directories: $self->{socket}
    shared_buffers: 16MB
    fsync: off
$self->{parameters}
  basebackup:
  - checkpoint: fast
  - no-sync
  pg_hba:
  - local all all trust
  - host all all 127.0.0.1/32 trust
  - host replication all 127.0.0.1/32 trust
  authentication:
    superuser:
      username: postgres
    replication:
      username: postgres
    rewind:
      username: postgres
YAML
	$self->start($name);
	return;
}

sub start
{
	my ($self, $name) = @_;
	$self->_daemon($name, 'patroni', "$self->{dir}/$name.yml");
	return;
}

# The machine of a node is lost: Patroni and every process of its server.
sub lose
{
	my ($self, $name) = @_;
	my $daemon = delete $self->{daemons}{$name};
	$daemon->kill_kill(grace => 0);
	$self->kill_server($name);
	return;
}

sub kill_server
{
	my ($self, $name) = @_;
	my $data = $self->{nodes}{$name}{data};
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	while (my @left = grep { (readlink("/proc/$_/cwd") // '') =~ /^\Q$data\E(?: \(deleted\))?$/ } map { m{(\d+)$} } glob('/proc/[0-9]*'))
	{
		die "processes of $name do not end: @left" if time > $deadline;
		kill 'KILL', @left;
		Time::HiRes::usleep(20_000);
	}
	return;
}

sub stop_all
{
	my ($self) = @_;
	foreach my $name (keys %{ $self->{nodes} })
	{
		$self->{daemons}{$name}->signal('TERM') if $self->{daemons}{$name};
	}
	foreach my $name (keys %{ $self->{nodes} }, 'etcd')
	{
		my $daemon = delete $self->{daemons}{$name} or next;
		$daemon->signal('TERM') if $name eq 'etcd';
		$daemon->finish;
	}
	return;
}

# Nothing is left running, however the test ends.
END
{
	local $?;
	foreach my $self (@clusters)
	{
		foreach my $name (keys %{ $self->{daemons} })
		{
			$self->{daemons}{$name}->kill_kill(grace => 0);
		}
		$self->kill_server($_) foreach keys %{ $self->{nodes} };
	}
}

sub ctl
{
	my ($self, @command) = @_;
	my ($out, $any) = ('', (sort keys %{ $self->{nodes} })[0]);
	my $ok = IPC::Run::run([ 'patronictl', '-c', "$self->{dir}/$any.yml", @command ], '<', \undef, '>', \$out, '2>&1');
	return wantarray ? ($ok, $out) : $out;
}

# SQL on one node, by one user; all that was said.
sub sql
{
	my ($self, $name, $sql, %opt) = @_;
	my ($out, $file) = ('', "$self->{dir}/statements.sql");
	my $to = "host=$self->{socket} port=$self->{nodes}{$name}{port} dbname=postgres user=" . ($opt{user} // 'postgres');
	_write($file, $sql);
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $to, '-f', $file ], '>', \$out, '2>&1');
	chomp $out;
	return $out;
}

# Wait until a query gives this.
sub until_is
{
	my ($self, $name, $sql, $want) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $got = '';
	while (($got = $self->sql($name, $sql)) ne $want)
	{
		die "$name: $sql\ngave $got\n" . $self->log($name) if time > $deadline;
		Time::HiRes::usleep(100_000);
	}
	return;
}

# Wait until the log of a node's Patroni says this.
sub until_logged
{
	my ($self, $name, $pattern, $from) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (PostgreSQL::Test::Utils::slurp_file("$self->{dir}/$name.log", $from // 0) =~ $pattern)
	{
		die "the log of $name does not say $pattern:\n" . $self->log($name) if time > $deadline;
		Time::HiRes::usleep(100_000);
	}
	return;
}

sub log
{
	my ($self, $name) = @_;
	my $log = PostgreSQL::Test::Utils::slurp_file("$self->{dir}/$name.log");
	return length($log) > 6000 ? substr($log, -6000) : $log;
}

sub log_size { my ($self, $name) = @_; return -s "$self->{dir}/$name.log" // 0; }

# Wait until this node is primary and the other streams from it.
sub until_replicated
{
	my ($self, $primary, $standby) = @_;
	$self->until_is($primary, 'SELECT pg_is_in_recovery()', 'f');
	$self->until_is($primary, q{SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'}, '1');
	my $lsn = $self->sql($primary, 'SELECT pg_current_wal_insert_lsn()');
	$self->until_is($standby, "SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= '$lsn'", 't');
	return;
}

1;
