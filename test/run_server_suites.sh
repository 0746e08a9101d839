#!/bin/bash
# PostgreSQL's own regression and isolation suites on encrypted tables.
#
#	test/run_server_suites.sh SOURCE [regress] [isolation]
#
# SOURCE is a PostgreSQL 15 source tree (apt-get source postgresql-15).  Each
# suite runs twice on a throw-away server: without the module, and with it and
# default_table_access_method = tde_heap.  The two must give the same results;
# the expected files of SOURCE, which may be of another minor release, do not
# matter.  Takes some minutes, so it is not part of "make test".  Needs what
# "make test" installed.
#
#	KEEP=1	keep the temporary directory

set -u -o pipefail
source=${1:?usage: test/run_server_suites.sh SOURCE [regress] [isolation]}
shift
suites=${*:-regress isolation}
[ -f "$source/src/test/regress/parallel_schedule" ] || { echo "$source is no PostgreSQL source tree" >&2; exit 1; }
bindir=$(${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config} --bindir) || exit 1
libdir=$("$bindir/pg_config" --pkglibdir)
pgtest=$(dirname "$(dirname "$("$bindir/pg_config" --pgxs)")")/test
tmp=$(mktemp -d /tmp/tde_vault_suites.XXXXXX)
running=
failed=0
compared=0

as_server()
{
	if [ "$(id -u)" = 0 ]
	then runuser -u postgres -- env -i HOME="$tmp" LANG=C PATH="$bindir:/usr/bin:/bin" SOFTHSM2_CONF="$tmp/softhsm2.conf" "$@"
	else env PATH="$bindir:$PATH" SOFTHSM2_CONF="$tmp/softhsm2.conf" "$@"
	fi
}

stop_server()
{
	[ -n "$running" ] && as_server "$bindir/pg_ctl" -D "$tmp/$running/data" -m fast stop >/dev/null 2>&1
	running=
}

cleanup()
{
	stop_server
	if [ "$failed" != 0 ] || [ -n "${KEEP:-}" ]
	then echo "results are in $tmp"
	else rm -rf "$tmp"
	fi
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# start_server plain|vault
start_server()
{
	local dir=$tmp/$1
	as_server mkdir -p "$dir"
	as_server "$bindir/initdb" -D "$dir/data" -A trust -N --no-locale -E UTF8 >"$tmp/$1.log" 2>&1 || return 1
	as_server tee -a "$dir/data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$tmp'
		fsync = off
		max_prepared_transactions = 10
		wal_log_hints = on
	CONF
	if [ "$1" = vault ]
	then
		as_server tee -a "$dir/data/postgresql.conf" >/dev/null <<-CONF
			shared_preload_libraries = 'tde_vault'
			tde_vault.key_provider = 'pkcs11:token=tdevault?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:$tmp/pin'
		CONF
	fi
	as_server "$bindir/pg_ctl" -w -D "$dir/data" -l "$dir/log" start >>"$tmp/$1.log" 2>&1 || return 1
	running=$1
	if [ "$1" = vault ]
	then
		as_server "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h "$tmp" -d postgres -c 'CREATE EXTENSION tde_vault' \
			-c "CALL tde_vault.create_master_key('cluster_key', NULL, true)" || return 1
		as_server "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h "$tmp" -d postgres \
			-c 'ALTER SYSTEM SET default_table_access_method = tde_heap' -c 'SELECT pg_reload_conf()' >/dev/null
	fi
}

# run_suite SUITE plain|vault
run_suite()
{
	local out=$tmp/$1.$2 program=$pgtest/regress/pg_regress schedule=parallel_schedule
	local load=
	[ "$2" = vault ] && load=--load-extension=tde_vault
	[ "$1" = isolation ] && program=$pgtest/isolation/pg_isolation_regress && schedule=isolation_schedule
	as_server mkdir -p "$out"
	as_server sh -c "cd '$out' && cp -r '$tmp/src/$1'/. . && '$program' --bindir='$bindir' --dlpath='$tmp/lib' \
		--inputdir='$out' --outputdir='$out' --host='$tmp' --schedule='$out/$schedule' --max-concurrent-tests=20 $load" >"$out.log" 2>&1
	grep -aE '^ *(All |[0-9]+ of )' "$out.log"
}

# result SUITE KIND TEST: its output, without what names this directory
result()
{
	sed "s,$tmp/$1.$2,DIR,g; s,/$2/,/,g" "$(find "$tmp/$1.$2" -type d -name results | head -n 1)/$3.out" 2>/dev/null
}

# Catalogs list the access method and the extension's functions, too.
without_us()
{
	grep -vE 'tde_heap|tde_vault|is_encrypted|encryption_status_rows' | sed -E 's/ +/ /g; s/-+/-/g; s/^ *[A-Z][a-z]+ of [a-z ]+$//; s/\([0-9]+ rows?\)/(rows)/; s/ $//'
}

compare()
{
	local test total=0 lists=0 differ=0
	for test in $(cd "$(find "$tmp/$1.plain" -type d -name results | head -n 1)" && ls -- *.out | sed 's/\.out$//')
	do
		total=$((total + 1))
		diff -u <(result "$1" plain "$test") <(result "$1" vault "$test") >"$tmp/one.diff" && continue
		if diff -q <(result "$1" plain "$test" | without_us) <(result "$1" vault "$test" | without_us) >/dev/null
		then
			lists=$((lists + 1))
			echo "lists the access method: $test"
		else
			differ=$((differ + 1))
			echo "differs: $test"
			{ echo "=== $1 $test"; cat "$tmp/one.diff"; } >>"$tmp/differences"
		fi
	done
	echo "$1: $total tests compared, $((total - lists - differ)) the same, $lists list the access method, $differ differ"
	compared=$((compared + total))
	[ "$differ" = 0 ] && [ "$total" -gt 0 ] || failed=1
}

mkdir "$tmp/src" "$tmp/lib" "$tmp/tokens"
cp -r "$source/src/test/regress" "$source/src/test/isolation" "$tmp/src/"
gcc -O1 -fPIC -shared -w -I"$("$bindir/pg_config" --includedir-server)" -o "$tmp/lib/regress.so" "$source/src/test/regress/regress.c" || exit 1
cp "$libdir/refint.so" "$libdir/autoinc.so" "$tmp/lib/"
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$tmp/tokens" >"$tmp/softhsm2.conf"
printf 1234 >"$tmp/pin"
chmod 600 "$tmp/pin"
[ "$(id -u)" = 0 ] && chown -R postgres: "$tmp"
as_server softhsm2-util --init-token --free --label tdevault --so-pin 12345678 --pin 1234 >/dev/null || exit 1

for kind in plain vault
do
	start_server $kind || { cat "$tmp/$kind.log" "$tmp/$kind/log"; failed=1; exit 1; }
	for suite in $suites
	do
		begun=$SECONDS
		echo "$suite, $kind: $(run_suite "$suite" $kind) ($((SECONDS - begun)) s)"
	done
	if [ $kind = vault ]
	then
		for db in regression isolation_regression
		do
			as_server "$bindir/psql" -X -At -h "$tmp" -d $db -c "SELECT '$db: ' || count(DISTINCT s.relation) || ' encrypted relations, ' || coalesce(sum(v.bad), 0) || ' bad pages' \
				FROM (SELECT DISTINCT relation FROM tde_vault.encryption_status WHERE relkind IN ('r', 'm', 'S')) s, LATERAL tde_vault.verify(s.relation) v" 2>/dev/null
		done
		grep -aE 'PANIC|server process .* was terminated' "$tmp/vault/log" && failed=1
	fi
	stop_server
done
for suite in $suites
do
	compare "$suite"
done
[ "$failed" = 0 ] && [ "$compared" -gt 0 ]
