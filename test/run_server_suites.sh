#!/bin/bash
# PostgreSQL's own test suites on encrypted tables.
#
#	test/run_server_suites.sh SOURCE [regress] [isolation] [recovery] [subscription]
#		[pg_rewind] [pg_basebackup] [pg_verifybackup] [pg_checksums] [pg_amcheck] [pg_dump]
#
# SOURCE is a PostgreSQL 15 source tree (apt-get source postgresql-15).  Each
# suite runs twice on a throw-away server: without the module, and with it and
# default_table_access_method = tde_heap.  The two must give the same results;
# the expected files of SOURCE, which may be of another minor release, do not
# matter.  Takes some minutes, so it is not part of "make test".  Needs what
# "make test" installed.
#
# Without suites: regress and isolation.  The others are TAP tests, each with
# servers of its own, on all of which every table is encrypted
# (test/lib/EncryptAll.pm); what passes without the module must pass with it.
# TESTS="001 02*" picks some of them.  pg_rewind is for aes-256-xts tables.
#
#	KEEP=1		keep the temporary directory
#	SPILL=1		next to no memory for sorts, hashes and temporary tables, so
#				that as much as possible goes through sealed temporary files
#	CATALOGS=1	the system catalogs of the databases are encrypted, too; also of
#				those of TAP tests
#	STANDBY=1	the encrypted server has a streaming standby, and
#				wal_consistency_checking = all compares every page that WAL
#				changes there; at the end the standby's pages are verified, and
#				its contents compared with the primary's

set -u -o pipefail
source=${1:?usage: test/run_server_suites.sh SOURCE [regress] [isolation]}
shift
suites=${*:-regress isolation}
bin_suites="pg_rewind pg_basebackup pg_verifybackup pg_checksums pg_amcheck pg_dump"
[ -f "$source/src/test/regress/parallel_schedule" ] || { echo "$source is no PostgreSQL source tree" >&2; exit 1; }
bindir=$(${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config} --bindir) || exit 1
libdir=$("$bindir/pg_config" --pkglibdir)
pgtest=$(dirname "$(dirname "$("$bindir/pg_config" --pgxs)")")/test
tmp=$(mktemp -d /tmp/tde_vault_suites.XXXXXX)
running=
standby=
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
	[ -n "$standby" ] && as_server "$bindir/pg_ctl" -D "$tmp/standby/data" -m fast stop >/dev/null 2>&1
	standby=
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
		$([ -n "${SPILL:-}" ] && printf '%s\n' 'work_mem = 64kB' 'hash_mem_multiplier = 1' 'maintenance_work_mem = 1MB' 'temp_buffers = 800kB' 'logical_decoding_work_mem = 64kB')
		max_prepared_transactions = 10
		wal_log_hints = on
	CONF
	if [ "$1" = vault ]
	then
		as_server tee -a "$dir/data/postgresql.conf" >/dev/null <<-CONF
			shared_preload_libraries = 'tde_vault'
			tde_vault.key_provider = 'pkcs11:token=tdevault?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:$tmp/pin'
		CONF
		[ -n "${STANDBY:-}" ] && as_server tee -a "$dir/data/postgresql.conf" >/dev/null <<-CONF
			wal_consistency_checking = all
			wal_keep_size = 20GB
			max_standby_streaming_delay = -1
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
		[ -z "${CATALOGS:-}" ] && return
		# pg_regress makes its databases from template0
		for sql in 'ALTER DATABASE template0 ALLOW_CONNECTIONS true' 'CREATE EXTENSION tde_vault' 'CALL tde_vault.seal_catalogs()' \
			'ALTER DATABASE template0 ALLOW_CONNECTIONS false'
		do
			as_server "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h "$tmp" \
				-d "$(case $sql in ALTER*) echo postgres ;; *) echo template0 ;; esac)" -c "$sql" || return 1
		done
	fi
}

standby_sql() { as_server "$bindir/psql" -X -At -h "$tmp" -p 5433 "$@"; }

# dump DATABASE OPTION ...: without the random words around the script, and
# without what a sequence will give next, which WAL has in advance
dump()
{
	local db=$1
	shift
	as_server "$bindir/pg_dump" -h "$tmp" --no-unlogged-table-data "$@" "$db" 2>>"$tmp/dump.log" | grep -avE '^\\(un)?restrict |^SELECT pg_catalog.setval'
}

start_standby()
{
	as_server mkdir -p "$tmp/standby"
	as_server "$bindir/pg_basebackup" -h "$tmp" -D "$tmp/standby/data" -R -X stream -c fast &&
		as_server sh -c "echo port = 5433 >>'$tmp/standby/data/postgresql.conf'" &&
		as_server "$bindir/pg_ctl" -w -D "$tmp/standby/data" -l "$tmp/standby/log" start >/dev/null || return 1
	standby=1
}

# The standby has replayed all: its pages verify, and it holds the same.
check_standby()
{
	local lsn db at=
	lsn=$(as_server "$bindir/psql" -X -At -h "$tmp" -d postgres -c 'SELECT pg_current_wal_flush_lsn()')
	for _ in $(seq 600)
	do
		at=$(standby_sql -d postgres -c "SELECT pg_last_wal_replay_lsn() >= '$lsn'" 2>/dev/null)
		[ "$at" = t ] && break
		sleep 1
	done
	if [ "$at" != t ] || grep -aE 'PANIC|FATAL:  (inconsistent|encrypted|WAL)' "$tmp/standby/log"
	then
		echo "standby: did not replay to $lsn"
		tail -n 5 "$tmp/standby/log"
		failed=1
		return
	fi
	for db in $(standby_sql -d postgres -c "SELECT datname FROM pg_database WHERE datname LIKE '%regression'")
	do
		standby_sql -d "$db" -c "SELECT 'standby, $db: ' || count(DISTINCT s.relation) || ' encrypted relations, ' || coalesce(sum(v.bad), 0) || ' bad pages' \
			FROM (SELECT DISTINCT relation FROM tde_vault.encryption_status WHERE relkind IN ('r', 'm', 'S')) s, LATERAL tde_vault.verify(s.relation) v"
		dump "$db" -p 5433 >"$tmp/standby.dump"
		dump "$db" >"$tmp/primary.dump"
		if [ -s "$tmp/standby.dump" ] && cmp "$tmp/primary.dump" "$tmp/standby.dump"
		then echo "standby, $db: a dump is the same, $(wc -l <"$tmp/standby.dump") lines"
		else failed=1
		fi
	done
	echo "standby: $("$bindir/pg_waldump" --stats=rmgr -p "$tmp/vault/data/pg_wal" -s "$walstart" 2>/dev/null | awk '/custom217/ { print $2 " sealed records replayed" }')"
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

# run_tap SUITE plain|vault: a server suite made of TAP tests
run_tap()
{
	local dir=$tmp/src/$1 out=$tmp/$1.$2 perl="perl -I $pgtest/perl -I $tmp/src/$1/t" cipher= file name pattern
	[ "$2" = vault ] && perl="$perl -I $tmp/lib -MEncryptAll"
	[ "$1" = pg_rewind ] && cipher=aes-256-xts
	as_server mkdir -p "$out" "$tmp/build/tmp_check"
	for pattern in ${TESTS:-'*'}
	do
		for file in "$dir"/t/$pattern*.pl
		do
			name=$(basename "$file" .pl)
			as_server mkdir -p "$out/$name/tmp_check"
			as_server env TESTDIR="$out/$name" TESTDATADIR="$out/$name" TESTLOGDIR="$out/$name/log" top_builddir="$tmp/build" \
				PG_REGRESS="$pgtest/regress/pg_regress" REGRESS_SHLIB="$tmp/lib/regress.so" \
				TDE_VAULT_KEY_FILE="$tmp/key" TDE_VAULT_CIPHER="$cipher" TDE_VAULT_CATALOGS="${CATALOGS:-}" \
				TAR=tar GZIP_PROGRAM=gzip LZ4=lz4 ZSTD=zstd \
				sh -c "cd '$dir' && prove --exec '$perl' '$file'" >"$out/$name.out" 2>&1
			grep -qaE '^Result: (PASS|NOTESTS)' "$out/$name.out" && as_server rm -rf "${out:?}/$name"
		done
	done
	echo "$(grep -laE '^Result: PASS' "$out"/*.out | wc -l) of $(ls "$out"/*.out | wc -l) tests passed"
}

# TAP tests that must differ, and why
is_known()
{
	case $1/$2 in
		recovery/027_stream_regress)
			echo "its database is made from template0, without the extension; STANDBY=1 regress is that test" ;;
		recovery/032_relfilenode_reuse)
			echo "moves a database with encrypted tables to another tablespace, which is refused" ;;
		recovery/039_end_of_wal)
			echo "wants no log of hint bits (wal_log_hints is forced on) where it writes broken records" ;;
		pg_amcheck/002_nonesuch)
			echo "leaves out every schema that a new database has: the extension has one more" ;;
		pg_amcheck/003_check|pg_amcheck/004_verify_heapam)
			echo "damages pages of tables and has pg_amcheck find it, which checks heap tables and no other access method" ;;
		pg_amcheck/005_opclass_damage)
			echo "pg_amcheck finds indexes of other than heap tables only with a pattern: 050_page_tools has the same damage found" ;;
		pg_dump/004_pg_dump_parallel)
			echo "restores into a copy of template1, where the extension is, so that the schema of it is there already; 134_page_dump is that test" ;;
		subscription/004_sync)
			echo "counts the tables of a publication FOR ALL TABLES: the extension has one" ;;
		*)
			return 1 ;;
	esac
}

compare_tap()
{
	local file name total=0 differ=0
	for file in "$tmp/$1.plain"/*.out
	do
		name=$(basename "$file")
		total=$((total + 1))
		grep -qaE '^Result: (PASS|NOTESTS)' "$file" || { echo "fails without the module, too: $1 $name"; continue; }
		grep -qa '^Result: NOTESTS' "$file" && continue
		grep -qa '^Result: PASS' "$tmp/$1.vault/$name" && continue
		is_known "$1" "${name%.out}" >"$tmp/why" && echo "differs, as it must: $1 ${name%.out} $(cat "$tmp/why")" && continue
		differ=$((differ + 1))
		echo "differs: $1 $name"
	done
	echo "$1: $total tests compared, $differ differ"
	compared=$((compared + total))
	[ "$differ" = 0 ] && [ "$total" -gt 0 ] || failed=1
}

# result SUITE KIND TEST: its output, without what names this directory
result()
{
	sed "s,$tmp/$1.$2,DIR,g; s,/$2/,/,g" "$(find "$tmp/$1.$2" -type d -name results | head -n 1)/$3.out" 2>/dev/null
}

# Catalogs list the access method and the extension's functions, too.
without_us()
{
	grep -vE 'tde_heap|tde_vault|is_encrypted|encryption_status_rows|encryption_progress_rows|plaintext_reason|day_of_week| hour$' | sed -E 's/ +/ /g; s/-+/-/g; s/^ *[A-Z][a-z]+ of [a-z ]+$//; s/\([0-9]+ rows?\)/(rows)/; s/ $//'
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
cp -r "$source"/src/test/{regress,isolation,recovery,subscription} "$tmp/src/"
for suite in $bin_suites
do
	cp -r "$source/src/bin/$suite" "$tmp/src/"
done
cp "$(dirname "$0")/lib/EncryptAll.pm" "$tmp/lib/"
openssl rand -hex 32 >"$tmp/key"
gcc -O1 -fPIC -shared -w -I"$("$bindir/pg_config" --includedir-server)" -o "$tmp/lib/regress.so" "$source/src/test/regress/regress.c" || exit 1
cp "$libdir/refint.so" "$libdir/autoinc.so" "$tmp/lib/"
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$tmp/tokens" >"$tmp/softhsm2.conf"
printf 1234 >"$tmp/pin"
chmod 600 "$tmp/pin" "$tmp/key"
[ "$(id -u)" = 0 ] && chown -R postgres: "$tmp"
as_server softhsm2-util --init-token --free --label tdevault --so-pin 12345678 --pin 1234 >/dev/null || exit 1

tap_suites=
server_suites=
for suite in $suites
do
	case $suite in
		regress|isolation) server_suites+=" $suite" ;;
		recovery|subscription) tap_suites+=" $suite" ;;
		pg_rewind|pg_basebackup|pg_verifybackup|pg_checksums|pg_amcheck|pg_dump) tap_suites+=" $suite" ;;
		*) echo "unknown suite \"$suite\"" >&2; failed=1; exit 1 ;;
	esac
done
for suite in $tap_suites
do
	for kind in plain vault
	do
		begun=$SECONDS
		echo "$suite, $kind: $(run_tap "$suite" $kind) ($((SECONDS - begun)) s)"
	done
	compare_tap "$suite"
done
for kind in ${server_suites:+plain vault}
do
	start_server $kind || { cat "$tmp/$kind.log" "$tmp/$kind/log"; failed=1; exit 1; }
	if [ $kind = vault ] && [ -n "${STANDBY:-}" ]
	then
		start_standby || { tail "$tmp/standby/log"; failed=1; exit 1; }
		walstart=$(as_server "$bindir/psql" -X -At -h "$tmp" -d postgres -c 'SELECT pg_current_wal_flush_lsn()')
	fi
	for suite in $server_suites
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
		[ -n "$standby" ] && check_standby
		grep -aE 'PANIC|server process .* was terminated' "$tmp/vault/log" && failed=1
	fi
	stop_server
done
for suite in $server_suites
do
	compare "$suite"
done
[ "$failed" = 0 ] && [ "$compared" -gt 0 ]
