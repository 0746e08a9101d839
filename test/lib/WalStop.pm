# WalStop.pm
#	  Sessions that stop when they have made a WAL record and have not inserted
#	  it (test/modules/walstop), for TAP tests.

package WalStop;

use strict;
use warnings;

use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes ();

# What to stop at: a resource manager, and xl_info.
use constant {
	KEYRING   => 216,
	SEALED    => 217,
	ANY       => -1,
	TABLE_KEY => 2 << 4,
	FPI       => 0xB0
};

# Build the module for a node that runs, and make its function in database
# postgres.
sub new
{
	my ($class, $node) = @_;
	my $library = $node->build_module('walstop');
	$node->safe_psql('postgres', "CREATE FUNCTION stop_before_record(text, int, int) RETURNS void LANGUAGE C STRICT AS '$library'");
	my $self = bless { node => $node, dir => $node->basedir }, $class;
	$self->{watcher} = $self->session;
	return $self;
}

# A session.  It, and the one that watches, have read all catalogs that they
# need: who is stopped may hold a lock that new sessions want.
sub session
{
	my ($self) = @_;
	my $session = $self->{node}->background_psql('postgres');
	$self->{pid}{$session} = $session->query_safe('SELECT pg_backend_pid()');
	$self->state($session) if $self->{watcher};
	return $session;
}

# Have the session stop before its next such record.
sub arm
{
	my ($self, $session, $rmid, $info) = @_;
	PostgreSQL::Test::Utils::append_to_file($self->_file($session), '');
	$session->query_safe(sprintf "SELECT stop_before_record('%s', %d, %d)", $self->_file($session), $rmid, $info);
	return;
}

sub _file
{
	my ($self, $session) = @_;
	return "$self->{dir}/stop.$self->{pid}{$session}";
}

# Start a statement, and return when the session has stopped in it.
sub stop_in
{
	my ($self, $session, $sql) = @_;
	$self->begin($session, $sql);
	$self->wait_for($session, qr/PgSleep/);
	return;
}

sub release
{
	my ($self, $session) = @_;
	my $file = $self->_file($session);
	unlink $file or die "could not remove $file: $!";
	return;
}

# A statement that is sent, and one that was.
sub begin
{
	my ($self, $session, $sql) = @_;
	$session->query_until(qr/begun/, "\\echo begun\n$sql;\n\\echo ended\n");
	return;
}

sub end
{
	my ($self, $session) = @_;
	$session->query_until(qr/ended/, '');
	return;
}

# "state|wait_event_type|wait_event" of the session
sub state
{
	my ($self, $session) = @_;
	return $self->{watcher}->query_safe("SELECT state, wait_event_type, wait_event FROM pg_stat_get_activity($self->{pid}{$session})");
}

# Its state, as soon as that is so.
sub wait_for
{
	my ($self, $session, $pattern) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $state;
	while (($state = $self->state($session)) !~ $pattern)
	{
		die "a session is in state \"$state\"" if time > $deadline;
		Time::HiRes::usleep(20_000);
	}
	return $state;
}

1;
