# Settings by which a superuser would run code, read files, or have checks left
# out: each that the server has, of those that not everybody may set for their
# own session, was judged.  A new minor release may bring more.
use strict;
use warnings;
use File::Copy qw(copy);
use FindBin;
use lib "$FindBin::Bin/../lib";
use PostgreSQL::Test::Utils;
use TdeVault;
use VaultAttack;
use Test::More;

# They open nothing: speed, sizes, times, what the log tells beside rows, what recovery does.
my %harmless = map { $_ => 1 } qw(
	allow_in_place_tablespaces archive_mode archive_timeout authentication_timeout backtrace_functions bonjour bonjour_name
	cluster_name commit_delay compute_query_id deadlock_timeout debug_discard_caches event_source full_page_writes hot_standby
	hot_standby_feedback huge_page_size huge_pages jit_debugging_support jit_profiling_support lc_messages listen_addresses
	lo_compat_privileges logging_collector max_connections max_files_per_process max_stack_depth min_dynamic_shared_memory
	old_snapshot_threshold port post_auth_delay pre_auth_delay primary_slot_name recovery_init_sync_method recovery_min_apply_delay
	recovery_prefetch remove_temp_files_after_crash restart_after_crash shared_buffers shared_memory_type ssl_dh_params_file
	ssl_ecdh_curve ssl_max_protocol_version ssl_prefer_server_ciphers superuser_reserved_connections synchronous_standby_names
	temp_file_limit trace_recovery_messages unix_socket_directories unix_socket_group unix_socket_permissions update_process_title
	vacuum_defer_cleanup_age);
my $harmless = qr/^(autovacuum|bgwriter_|checkpoint_|log_(?!directory|filename)|max_.*(_size|_delay|_workers|_senders|_slots|_transactions?|_relation|_page|_subscription|_processes)$|min_wal_size|recovery_target|syslog_|track_|wal_)/;

my $node = realm_server(streaming => 1, conf => "wal_level = logical\n");
my @settings = split /\n/, $node->safe_psql('postgres',
	q{SELECT name FROM pg_settings WHERE context NOT IN ('internal', 'user') AND name !~ '^tde_vault\.' ORDER BY name});
cmp_ok(scalar(@settings), '>', 150, 'there are settings');
my @judged = grep { !$harmless{$_} && $_ !~ $harmless } @settings;
my $said = run_as('mallory', join('', map { "\\echo $_\nALTER SYSTEM SET $_ = '0';\n" } @judged));
like($said, qr/^$_\nERROR:  TV036: setting "$_" cannot be changed while a vault is on/m, $_) foreach @judged;

# Those of one session, too.
my $dir = PostgreSQL::Test::Utils::tempdir;
chomp(my $libraries = `pg_config --pkglibdir`);
copy("$libraries/test_decoding.so", "$dir/evil.so") or die $!;
chmod 0755, $dir, "$dir/evil.so";
attack("31: $_->[0]", 'mallory', "SET $_->[0] = '$_->[1]'; $_->[2];", qr/setting "$_->[0]" cannot be changed while a vault is on.*$_->[3]/ms)
  foreach (
	[ 'output_plugin_libraries', "$dir/evil", "SELECT current_setting('output_plugin_libraries') NOT LIKE '%evil%'", '^t$' ],
	[ 'extension_destdir', $dir, 'CREATE EXTENSION evil', 'usr/share/postgresql|extension control file|not available' ],
	[ 'composite_type_mismatch', 'disabled', 'SHOW composite_type_mismatch', '^error$' ]);
done_testing();
