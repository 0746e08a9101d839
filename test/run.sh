#!/bin/bash
# Runs the tests.  Started by "make test".
#
#	test/run.sh [suite ...]		of: layers unit asan valgrind fuzz regress pgtap isolation tap
#
# As root: installs what is needed (make test-deps), builds, installs, and runs the
# servers as user postgres.  As another user: build and install first.
#
#	JOBS=2				TAP tests at a time
#	FUZZ_SECONDS=5		for each fuzz target
#	TAP_TESTS="001 02*"	only these TAP tests
#	KEEP=1				keep the temporary directory
#
# TAP tests by number: 0 pages, keyring, seams; 1 catalogs, tablespaces and
# databases; 2 write-ahead log, temporary files; 3 statements; 4 audit, vault;
# 5 attacks on the vault; 6 the README; 7 background workers.
#
# Prints a line a suite and, last, "N passed, N failed".  The exit code is not
# zero when a test failed or a suite had none.

set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1
top=$PWD
jobs=${JOBS:-2}
all_suites="layers unit asan valgrind fuzz regress pgtap isolation tap"
suites=${*:-$all_suites}
bindir=$(${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config} --bindir 2>/dev/null)
pgtest=

total_passed=0
total_failed=0
server_running=
mounted=
began=$SECONDS

die() { echo "test/run.sh: $*" >&2; exit 1; }

# --- cleaning up -------------------------------------------------------------

cleanup()
{
	[ -n "$server_running" ] && as_server "$bindir/pg_ctl" -D "$tmp/server/data" -m immediate stop >/dev/null 2>&1
	[ -n "$mounted" ] && umount "$tmp/small"
	if [ "$total_failed" -gt 0 ] || [ -n "${KEEP:-}" ]
	then echo "logs and data are in $tmp"
	else rm -rf "$tmp"
	fi
}

# --- running -----------------------------------------------------------------

# Run a command as the user that servers run as, who may not be allowed into the
# directory that this was started in: programs would complain.
as_server()
(
	cd "$tmp" || exit
	if [ "$(id -u)" = 0 ]
	then runuser -u postgres -- env -i HOME="$tmp" LANG=C PATH="$bindir:/usr/bin:/bin:/usr/sbin:/sbin" SOFTHSM2_CONF="$tmp/server/softhsm2.conf" "$@"
	else env -u PGHOST -u PGPORT -u PGDATABASE -u PGUSER PATH="$bindir:$PATH" SOFTHSM2_CONF="$tmp/server/softhsm2.conf" "$@"
	fi
)

# report SUITE PASSED FAILED SKIPPED SECONDS LOG
report()
{
	local failed=$3
	if [ $(($2 + $3)) = 0 ]
	then
		failed=1
		echo "# $1 ran no test" >>"$6"
	fi
	printf '%-10s %5d passed, %d failed%s, %d s\n' "$1" "$2" "$failed" "$([ "$4" -gt 0 ] && echo ", $4 skipped")" "$5"
	total_passed=$((total_passed + $2))
	total_failed=$((total_failed + failed))
	if [ "$failed" -gt 0 ]
	then
		echo "--- end of $6"
		grep -aE '^ *not ok|FAILED|[Ee]rror' "$6" | head -n 40
		tail -n 60 "$6"
		echo "---"
	fi
}

count() { grep -acE "$1" "$2" || true; }

# Suites whose programs print TAP: count lines, and a failure without one.
tap_suite()
{
	local suite=$1 log=$tmp/log/$1.log begun=$SECONDS rc=0 failed skipped
	shift
	"$@" >"$log" 2>&1 || rc=$?
	failed=$(count '^not ok ' "$log")
	skipped=$(count '^ok .*# SKIP' "$log")
	[ "$rc" != 0 ] && [ "$failed" = 0 ] && failed=1
	report "$suite" $(($(count '^ok ' "$log") - skipped)) "$failed" "$skipped" $((SECONDS - begun)) "$log"
}

suite_layers() { tap_suite layers contrib/check-layers; }
suite_unit() { tap_suite unit make --no-print-directory -j"$jobs" -C test/unit check; }
suite_asan() { tap_suite asan make --no-print-directory -j"$jobs" -C test/unit check-asan; }
suite_valgrind() { tap_suite valgrind make --no-print-directory -j"$jobs" -C test/unit check-valgrind; }

# A fuzz target that ran its time without a finding is a test that passed.
suite_fuzz()
{
	local log=$tmp/log/fuzz.log begun=$SECONDS rc=0 started
	cp -r test/fuzz/corpus "$tmp/corpus" 2>/dev/null || mkdir "$tmp/corpus"
	make --no-print-directory -j"$jobs" -C test/fuzz run "SECONDS=${FUZZ_SECONDS:-5}" "CORPUS=$tmp/corpus" >"$log" 2>&1 || rc=$?
	started=$(count '^# fuzz_[a-z0-9_]* for ' "$log")
	if [ "$rc" = 0 ]
	then report fuzz "$started" 0 0 $((SECONDS - begun)) "$log"
	else report fuzz $((started > 0 ? started - 1 : 0)) 1 0 $((SECONDS - begun)) "$log"
	fi
}

# --- a throw-away server for regress, pgtap and isolation ----------------------

start_server()
{
	[ -n "$server_running" ] && return
	local dir=$tmp/server uri
	as_server mkdir -p "$dir/tokens" "$dir/socket"
	printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$dir/tokens" >"$dir/softhsm2.conf"
	as_server sh -c "umask 077; printf 1234 >'$dir/pin'"
	as_server softhsm2-util --init-token --free --label tdevault --so-pin 12345678 --pin 1234 || return 1
	as_server "$bindir/initdb" -D "$dir/data" -A trust -N --no-locale -E UTF8 || return 1
	uri="pkcs11:token=tdevault?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:$dir/pin"
	as_server tee -a "$dir/data/postgresql.conf" <<-CONF
		shared_preload_libraries = 'tde_vault'
		tde_vault.key_provider = '$uri'
		listen_addresses = ''
		unix_socket_directories = '$dir/socket'
		fsync = off
		max_prepared_transactions = 5
		log_line_prefix = '%m [%p] %q%a '
	CONF
	as_server "$bindir/pg_ctl" -w -D "$dir/data" -l "$dir/log" start || { tail -n 20 "$dir/log"; return 1; }
	server_running=1
	psql_server postgres -c 'CREATE EXTENSION tde_vault' -c "CALL tde_vault.create_master_key('cluster_key', NULL, true)"
}

psql_server()
{
	local db=$1
	shift
	as_server "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h "$tmp/server/socket" -d "$db" "$@"
}

# server_suite SUITE LOG: the server is up, or the suite has failed.
server_suite()
{
	start_server >"$2" 2>&1 && return
	echo "# the server did not start" >>"$2"
	report "$1" 0 1 0 0 "$2"
	return 1
}

# pg_regress_suite SUITE DIR PROGRAM OPTION ... -- TEST ...
pg_regress_suite()
{
	local suite=$1 dir=$2 log=$tmp/log/$1.log begun=$SECONDS rc=0 failed
	shift 2
	server_suite "$suite" "$log" || return
	as_server mkdir -p "$tmp/$suite"
	as_server "$@" --bindir="$bindir" --host="$tmp/server/socket" --inputdir="$dir" --outputdir="$tmp/$suite" \
		--load-extension=tde_vault >>"$log" 2>&1 || rc=$?
	failed=$(count '\.\.\. FAILED' "$log")
	[ "$rc" != 0 ] && [ "$failed" = 0 ] && failed=1
	[ -s "$tmp/$suite/regression.diffs" ] && cat "$tmp/$suite/regression.diffs" >>"$log"
	[ -s "$tmp/$suite/output_iso/regression.diffs" ] && cat "$tmp/$suite/output_iso/regression.diffs" >>"$log"
	report "$suite" "$(count '\.\.\. ok ' "$log")" "$failed" 0 $((SECONDS - begun)) "$log"
}

names() { (cd "$1" && ls $2 2>/dev/null | grep -v -e '--' | sed 's/\.[a-z]*$//'); }

suite_regress()
{
	pg_regress_suite regress "$tmp/src" "$pgtest/regress/pg_regress" --dbname=contrib_regression $(names "$tmp/src/sql" '*.sql')
}

suite_isolation()
{
	pg_regress_suite isolation "$tmp/src/test/isolation" "$pgtest/isolation/pg_isolation_regress" \
		$(names "$tmp/src/test/isolation/specs" '*.spec')
}

pgtap_run()
{
	psql_server postgres -c 'CREATE DATABASE pgtap' &&
		psql_server pgtap -c 'CREATE EXTENSION pgtap' -c 'CREATE EXTENSION tde_vault' \
			-c "CALL tde_vault.create_master_key('pgtap_key')" || return 1
	as_server prove --timer --verbose --ext .sql \
		--exec "$bindir/psql -XAtq -v ON_ERROR_STOP=1 -h $tmp/server/socket -d pgtap -f" "$tmp/src/test/pgtap"
}

suite_pgtap()
{
	server_suite pgtap "$tmp/log/pgtap.log" || return
	tap_suite pgtap pgtap_run
}

# --- TAP tests: a server or more each ------------------------------------------

# One file, its own prove: a file that bails out does not end the others.
one_tap()
{
	local name
	name=$(basename "$1" .pl)
	as_server env TESTDIR="$tmp/tap" PG_REGRESS="$pgtest/regress/pg_regress" TDE_VAULT_SMALL_FS="$tmp/small" \
		${TDE_VAULT_TEST_SEED:+TDE_VAULT_TEST_SEED="$TDE_VAULT_TEST_SEED"} \
		${TDE_VAULT_CRASH_ROUNDS:+TDE_VAULT_CRASH_ROUNDS="$TDE_VAULT_CRASH_ROUNDS"} \
		${TDE_VAULT_KILLS:+TDE_VAULT_KILLS="$TDE_VAULT_KILLS"} \
		${PARSETREE_SQL:+PARSETREE_SQL="$PARSETREE_SQL"} \
		TDE_VAULT_TEMPLATE="$tmp/template" \
		PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-180}" \
		prove --timer -I "$pgtest/perl" "$1" >"$tmp/log/tap/$name.log" 2>&1
}

small_file_system()
{
	as_server mkdir -p "$tmp/small"
	[ "$(id -u)" = 0 ] || return
	mount -t tmpfs -o "size=112m,mode=0700,uid=$(id -u postgres),gid=$(id -g postgres)" tmpfs "$tmp/small" && mounted=1
}

suite_tap()
{
	local log=$tmp/log/tap.log begun=$SECONDS passed=0 failed=0 name tests bad pattern files=()
	as_server mkdir -p "$tmp/tap"
	mkdir -p "$tmp/log/tap"
	small_file_system
	as_server "$bindir/initdb" -D "$tmp/template" -A trust -N >"$tmp/log/template.log" 2>&1 ||
		{ report tap 0 1 0 0 "$tmp/log/template.log"; return; }
	for pattern in ${TAP_TESTS:-'*'}
	do
		files+=("$tmp"/src/test/tap/$pattern*.pl)
	done
	export -f one_tap as_server
	export tmp bindir pgtest
	printf '%s\n' "${files[@]}" | xargs -P "$jobs" -I{} bash -c 'one_tap "$1" || true' _ {}
	for file in "${files[@]}"
	do
		name=$(basename "$file" .pl)
		tests=$(sed -nE 's/^Files=[0-9]+, Tests=([0-9]+), .*/\1/p' "$tmp/log/tap/$name.log")
		bad=$(sed -nE 's/.*\(Wstat: .* Tests: [0-9]+ Failed: ([0-9]+)\)$/\1/p' "$tmp/log/tap/$name.log")
		# Died, or had no plan: a failure of its own.
		[ "${bad:-0}" = 0 ] && ! grep -qx 'Result: PASS' "$tmp/log/tap/$name.log" && bad=1 && tests=$((${tests:-0} + 1))
		printf '  %-28s %4d passed, %d failed, %s s\n' "$name" $((tests - ${bad:-0})) "${bad:-0}" \
			"$(sed -nE 's/^Files=.*, *([0-9]+) wallclock.*/\1/p' "$tmp/log/tap/$name.log")" | tee -a "$log"
		passed=$((passed + tests - ${bad:-0}))
		failed=$((failed + ${bad:-0}))
		if [ "${bad:-0}" != 0 ]
		then
			head -n 60 "$tmp/log/tap/$name.log"
			for more in "$tmp/tap/tmp_check/log/regress_log_$name" "$tmp/tap/tmp_check/log/$name"_*.log
			do
				[ -e "$more" ] && echo "--- end of $more" && tail -n 15 "$more"
			done
			echo "---"
		fi
	done
	report tap "$passed" "$failed" 0 $((SECONDS - begun)) "$log"
}

# --- all of it -----------------------------------------------------------------

for suite in $suites
do
	declare -F "suite_$suite" >/dev/null || die "unknown suite \"$suite\"; there are: $all_suites"
done
if [ "$(id -u)" = 0 ]
then
	make --no-print-directory test-deps >/tmp/tde_vault_deps.$$ 2>&1 || { cat /tmp/tde_vault_deps.$$; die "make test-deps failed"; }
	rm -f /tmp/tde_vault_deps.$$
	bindir=$(${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config} --bindir) || die "no pg_config"
	make --no-print-directory -j"$jobs" && make --no-print-directory install || die "the build failed"
fi
[ -n "$bindir" ] || die "PostgreSQL 15 is not installed; run as root, or make test-deps"
pgtest=$(dirname "$(dirname "$("$bindir/pg_config" --pgxs)")")/test

tmp=$(mktemp -d /tmp/tde_vault_test.XXXXXX)
trap cleanup EXIT
trap 'exit 1' INT TERM
mkdir -p "$tmp/log" "$tmp/src/contrib"
cp -r sql expected test README.md "$tmp/src/"
cp -r contrib/examples "$tmp/src/contrib/"
if [ "$(id -u)" = 0 ]
then
	chmod 755 "$tmp"
	chown -R postgres: "$tmp/src"
	install -d -o postgres -g postgres "$tmp/server" "$tmp/template" "$tmp/tap" "$tmp/small" "$tmp/regress" "$tmp/isolation"
else
	mkdir "$tmp/server" "$tmp/tap" "$tmp/small"
fi

for suite in $suites
do
	"suite_$suite"
done
echo "time: $((SECONDS - began)) s"
echo "$total_passed passed, $total_failed failed"
[ "$total_failed" = 0 ] && [ "$total_passed" -gt 0 ]
