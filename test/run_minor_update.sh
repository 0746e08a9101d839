#!/bin/bash
# Updates of the server to another minor version, and back, with encrypted data.
#
#	test/run_minor_update.sh
#
# Gets every version of postgresql-15 that the machine's package sources offer
# (apt-get update first, and see "apt-cache madison postgresql-15"), unpacks
# them beside each other without installing them, and builds the module for
# each.  Fails if there is only one.  Downloads and builds, so it is not part of
# "make test".  Needs what "make test" installed.
#
# One cluster has tables of every cipher and index type, an encrypted
# tablespace, sealed catalogs, a vault with realms, and an audit log.  It is
# taken from the oldest version to the newest, and back, and on with a module
# that was built for the other of the two; once stopped cleanly each time, once
# killed each time, so that each version recovers the sealed log of the other.
# Then a primary on one with a standby on the other, both ways.  At each station
# every page is verified, rows are compared with those of plain tables which got
# the same changes, by every index, realms bind, the audit log's chain holds,
# keys are rotated, and more is written.
#
# wal_consistency_checking is not used: what it leaves out of its comparison
# differs between minor versions (15.18 and 15.20: GiST, also of a server without
# the module).
#
#	KEEP=1			keep the temporary directory
#	PACKAGES=dir	take *.deb from there instead of downloading them
#	JOBS=2			compiler runs at a time

set -u -o pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
tmp=$(mktemp -d /tmp/tde_vault_minor.XXXXXX)
packages="postgresql-15 postgresql-client-15 postgresql-server-dev-15"
running=
passed=0
failed=0

die() { echo "test/run_minor_update.sh: $*" >&2; failed=$((failed + 1)); exit 1; }

as_server()
(
	cd "$tmp" || exit
	if [ "$(id -u)" = 0 ]
	then runuser -u postgres -- env -i HOME="$tmp" LANG=C PATH=/usr/bin:/bin:/usr/sbin:/sbin SOFTHSM2_CONF="$tmp/softhsm2.conf" "$@"
	else env -u PGHOST -u PGPORT -u PGDATABASE -u PGUSER SOFTHSM2_CONF="$tmp/softhsm2.conf" "$@"
	fi
)

cleanup()
{
	local data
	for data in $running
	do
		as_server "$(bin "$(<"$data.server")")/pg_ctl" -D "$data" -m immediate stop >/dev/null 2>&1
	done
	if [ "$failed" != 0 ] || [ -n "${KEEP:-}" ]
	then echo "logs and data are in $tmp"
	else rm -rf "$tmp"
	fi
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# --- servers beside each other ---------------------------------------------------

# A directory for a version of the server and a version that the module was built for
tree() { echo "$tmp/server/$1,$2"; }
# "15.18 (module for 15.20)"
short() { sed -E 's/-[^,]*//g; s/,(.*)/ (module for \1)/' <<<"$1"; }
bin() { echo "$tmp/server/$1/usr/lib/postgresql/15/bin"; }

offered() { apt-cache madison postgresql-15 | awk '$NF == "Packages" { print $3 }' | sort -uV; }

download()
{
	local version package
	mkdir "$tmp/packages"
	if [ -n "${PACKAGES:-}" ]
	then
		cp "$PACKAGES"/*.deb "$tmp/packages/" || die "no packages in $PACKAGES"
		return
	fi
	for version in "${versions[@]}"
	do
		for package in $packages
		do
			(cd "$tmp/packages" && apt-get -q -o APT::Sandbox::User=root download "$package=$version") >>"$tmp/download.log" 2>&1 ||
				{ tail -n 3 "$tmp/download.log"; die "could not download $package $version"; }
		done
	done
}

# unpack VERSION: server, programs and headers, as one tree
unpack()
{
	local package dir=$tmp/unpacked/$1
	mkdir -p "$dir"
	for package in $packages
	do
		dpkg -x "$tmp/packages/${package}_$1_$(dpkg --print-architecture).deb" "$dir" || die "could not unpack $package $1"
	done
}

# build VERSION: the module, with that version's headers
build()
{
	local pg_config=$tmp/unpacked/$1/usr/lib/postgresql/15/bin/pg_config
	mkdir -p "$tmp/build/$1/sql"
	cp -r "$top/Makefile" "$top/tde_vault.control" "$top/src" "$tmp/build/$1/"
	cp -r "$top/sql/ext" "$tmp/build/$1/sql/"
	find "$tmp/build/$1" \( -name '*.o' -o -name '*.d' \) -delete
	make -s -C "$tmp/build/$1" -j"${JOBS:-2}" "PG_CONFIG=$pg_config" all install >"$tmp/build-$1.log" 2>&1 ||
		{ tail "$tmp/build-$1.log"; die "could not build the module for $1"; }
}

# assemble SERVER MODULE: that server with the module built for another version
assemble()
{
	local dir
	dir=$(tree "$1" "$2")
	mkdir -p "$(dirname "$dir")"
	cp -r "$tmp/unpacked/$1" "$dir"
	cp "$tmp/unpacked/$2/usr/lib/postgresql/15/lib/tde_vault.so" "$dir/usr/lib/postgresql/15/lib/"
	cp "$tmp/unpacked/$2/usr/share/postgresql/15/extension"/tde_vault* "$dir/usr/share/postgresql/15/extension/"
}

# start SERVER,MODULE DATA
start()
{
	echo "$1" >"$2.server"
	if ! as_server "$(bin "$1")/pg_ctl" -w -t 120 -D "$2" -l "$2.log" start >"$tmp/start.out" 2>&1
	then
		tail -n 20 "$2.log"
		die "$1 did not start"
	fi
	running="$running $2"
}

# stop clean|crash DATA
stop()
{
	local pid children server
	server=$(<"$2.server")
	running=${running/ $2/}
	if [ "$1" = clean ]
	then
		as_server "$(bin "$server")/pg_ctl" -w -D "$2" -m fast stop >"$tmp/stop.out" 2>&1 || die "$server did not stop"
		return
	fi
	pid=$(head -n 1 "$2/postmaster.pid")
	children=$(pgrep -P "$pid")
	cp -a "$tmp/tokens" "$tmp/tokens.saved"
	kill -9 "$pid"
	# its children end by themselves
	for pid in $children
	do
		while kill -0 "$pid" 2>/dev/null
		do sleep 0.05
		done
	done
	# SoftHSM writes its token anew at each login, and a kill can leave it empty
	if [ -n "$(find "$tmp/tokens" -name '*.object' -size 0)" ]
	then rm -rf "$tmp/tokens" && mv "$tmp/tokens.saved" "$tmp/tokens"
	else rm -rf "$tmp/tokens.saved"
	fi
}

# sql DATA DATABASE USER STATEMENT ...: one session, a transaction each
sql()
{
	local data=$1 db=$2 user=$3 statement args=()
	shift 3
	for statement
	do args+=(-c "$statement")
	done
	as_server "$(bin "$(<"$data.server")")/psql" -XAtq -v ON_ERROR_STOP=1 -v VERBOSITY=verbose -h "$data.socket" -U "$user" -d "$db" "${args[@]}" 2>&1
}

must() { sql "$@" >"$tmp/must.out" || { cat "$tmp/must.out"; die "$station: failed"; }; }

# is NAME EXPECTED GOT
is()
{
	if [ "$2" = "$3" ]
	then passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'not ok: %s: %s\n  expected: %s\n       got: %s\n' "$station" "$1" "$2" "$3"
	fi
}

# refused NAME SQLSTATE GOT
refused()
{
	case $3 in
		*"$2:"*) passed=$((passed + 1)) ;;
		*) is "$1" "an error $2" "$3" ;;
	esac
}

# wait_for NAME DATA DATABASE QUERY: until it answers t
wait_for()
{
	local got=
	for _ in $(seq 600)
	do
		got=$(sql "$2" "$3" postgres "$4")
		[ "$got" = t ] && return
		sleep 0.1
	done
	die "$station: $1: $got"
}

# --- what is in the cluster ------------------------------------------------------

ciphers="aes_256_gcm chacha20_poly1305 aes_256_ctr aes_256_xts"
sealed="$ciphers in_space"
unlock="UNLOCK REALM records PASSWORD 'lantern-orbit-53'"

# create_cluster DATA SERVER,MODULE
create_cluster()
{
	local data=$1 table
	as_server "$(bin "$2")/initdb" -D "$data" -A trust -N -U postgres --no-locale -E UTF8 >"$tmp/initdb.out" 2>&1 || die "initdb failed"
	as_server mkdir "$data.socket"
	as_server tee -a "$data/postgresql.conf" >/dev/null <<-CONF
		listen_addresses = ''
		unix_socket_directories = '$data.socket'
		shared_preload_libraries = 'tde_vault'
		tde_vault.key_provider = 'pkcs11:token=tdevault?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:$tmp/pin'
		tde_vault.password_memory = '8MB'
		shared_buffers = 16MB
		autovacuum = off
		wal_keep_size = 1GB
	CONF
	start "$2" "$data"
	must "$data" postgres postgres 'CREATE DATABASE data' 'CREATE DATABASE clinic' 'CREATE ROLE officer LOGIN' 'CREATE ROLE director LOGIN' 'CREATE ROLE nurse LOGIN'

	must "$data" data postgres 'CREATE EXTENSION tde_vault' 'CREATE EXTENSION amcheck' "CALL tde_vault.create_master_key('data_key_$(basename "$data")')" \
		"CREATE TABLESPACE space ENCRYPTION USING 'AES256'" 'CREATE TABLE plain (s serial, id int, v int, h int, b int, t text, a int[], p point)'
	for table in $ciphers
	do must "$data" data postgres "CREATE TABLE $table (s serial, id int, v int, h int, b int, t text, a int[], p point) ENCRYPTION USING '${table//_/-}'"
	done
	must "$data" data postgres 'CREATE TABLE in_space (s serial, id int, v int, h int, b int, t text, a int[], p point) TABLESPACE space'
	for table in plain $sealed
	do
		must "$data" data postgres "ALTER TABLE $table ADD PRIMARY KEY (s)" "CREATE INDEX ${table}_btree ON $table (v)" \
			"CREATE INDEX ${table}_hash ON $table USING hash (h)" "CREATE INDEX ${table}_brin ON $table USING brin (b)" \
			"CREATE INDEX ${table}_spgist ON $table USING spgist (left(t, 32))" "CREATE INDEX ${table}_gin ON $table USING gin (a)" \
			"CREATE INDEX ${table}_gist ON $table USING gist (p)"
	done
	must "$data" data postgres 'CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY, t text) USING tde_heap' "INSERT INTO unlogged SELECT g, 'row ' || g FROM generate_series(1, 500) g" \
		"CREATE FUNCTION from_catalog() RETURNS text LANGUAGE sql AS \$\$ SELECT 'a text in the catalog' \$\$" "COMMENT ON TABLE plain IS 'a comment in the catalog'" \
		'CALL tde_vault.seal_catalogs()'

	must "$data" clinic postgres 'CREATE EXTENSION tde_vault' "CALL tde_vault.create_master_key('clinic_key_$(basename "$data")')" \
		'CREATE TABLE patients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text) USING tde_heap' \
		"INSERT INTO patients (name) SELECT 'patient ' || g FROM generate_series(1, 1000) g" 'CALL tde_vault.seal_catalogs()' \
		'GRANT SELECT, INSERT, DELETE ON patients TO nurse' 'ALTER DATABASE ENABLE DATABASE VAULT' 'GRANT VAULT_ADMIN TO officer'
	must "$data" clinic officer 'CREATE REALM records OWNER director REQUIRE VAULT PASSWORD' 'ALTER REALM records ADD TABLE patients' 'ALTER REALM records AUTHORIZE nurse' \
		"GRANT VAULT PASSWORD ON REALM records TO nurse PASSWORD 'lantern-orbit-53'" 'GRANT vault_auditor TO officer' \
		"CREATE COMMAND RULE no_delete FOR DELETE ON TABLE patients DENY MESSAGE 'patients are never deleted'"
	works=0
}

# write DATA N: the same changes in each table
write()
{
	local data=$1 n=$2
	must "$data" data postgres "DO \$\$
		DECLARE r text;
		BEGIN
			FOREACH r IN ARRAY string_to_array('plain $sealed', ' ') LOOP
				EXECUTE format('INSERT INTO %I (id, v, h, b, t, a, p)
					SELECT g, g %% 97, g %% 89, g, md5(g::text) || CASE WHEN g %% 100 = 0 THEN repeat(md5(g::text), 3000) ELSE '''' END,
						ARRAY[g %% 10, g %% 7], point(g %% 50, g %% 30) FROM generate_series(%s, %s) g', r, $n * 1000, $n * 1000 + 999);
				EXECUTE format('UPDATE %I SET v = v + 1, h = h + 1 WHERE id %% 5 = %s', r, $n % 5);
				EXECUTE format('DELETE FROM %I WHERE id %% 11 = %s', r, $n % 11);
			END LOOP;
		END \$\$"
	must "$data" clinic nurse "$unlock" "INSERT INTO patients (name) VALUES ('patient of $n')"
}

# work DATA: keys are rotated, objects made, tables written; what follows the
# checkpoint is in the log only, and a table is being encrypted in place
work()
{
	local data=$1 n table
	works=$((works + 1))
	n=$works
	table=$(cut -d ' ' -f $((n % 5 + 1)) <<<"$sealed")
	write "$data" "$((2 * n))"
	must "$data" data postgres "ALTER TABLE $table ROTATE ENCRYPTION KEY" "ALTER DATABASE ROTATE MASTER KEY KEY_ID 'data_key_$(basename "$data")_$n'" \
		"CREATE TABLE made_$n USING tde_heap AS SELECT * FROM plain" "CREATE INDEX ON made_$n (v)" "VACUUM ANALYZE $table" "REINDEX TABLE $table" 'VACUUM FULL pg_class'
	wait_for 'rotation of a key' "$data" data "SELECT bool_and(state = 'done') FROM tde_vault.encryption_progress WHERE database = 'data'"
	must "$data" clinic postgres "ALTER DATABASE ROTATE MASTER KEY KEY_ID 'clinic_key_$(basename "$data")_$n'"
	must "$data" data postgres 'CHECKPOINT'
	write "$data" "$((2 * n + 1))"
	must "$data" data postgres "CREATE TABLE online_$n AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 20000) g" "ALTER TABLE online_$n ENABLE ENCRYPTION"
}

digest() { sql "$1" data postgres "SELECT count(*) || ' ' || md5(string_agg(concat_ws(' ', id, v, h, b, md5(t), a, p), ',' ORDER BY id)) FROM $2"; }

# Counts by each index: a query for each, and the names of the indexes that are used.
by_index()
{
	local table=$2 queries
	queries=(
		"SELECT count(*) FROM $table WHERE v = 13" "SELECT count(*) FROM $table WHERE h = 13" "SELECT count(*) FROM $table WHERE b BETWEEN 100 AND 200000"
		"SELECT count(*) FROM $table WHERE left(t, 32) >= 'a'" "SELECT count(*) FROM $table WHERE a @> ARRAY[3]" "SELECT count(*) FROM $table WHERE p <@ box '(3,3),(9,9)'")
	sql "$1" data postgres 'SET enable_seqscan = off' "${queries[@]}"
	sql "$1" data postgres 'SET enable_seqscan = off' "${queries[@]/#/EXPLAIN (COSTS OFF) }" | grep -oE "${table}_(btree|hash|brin|spgist|gin|gist)" | sed "s/^${table}//" | sort -u
}

# check DATA HOW: all that was written is there, and sealed
check()
{
	local data=$1 how=$2 table n server
	server=$(<"$data.server")
	is 'server' "${server%%-*}" "$(sql "$data" data postgres "SELECT split_part(current_setting('server_version'), ' ', 1)")"
	is 'module' "$(sed 's/.*,//; s/-.*//' <<<"$server")" "$(sql "$data" data postgres "SELECT split_part(value, ' ', 1) FROM tde_vault.system_info() WHERE name = 'built for server version'")"
	for table in $sealed
	do
		is "rows of $table" "$(digest "$data" plain)" "$(digest "$data" "$table")"
		is "rows of $table by its indexes" "$(by_index "$data" plain)" "$(by_index "$data" "$table")"
		is "B-trees of $table" '' "$(sql "$data" data postgres "SELECT bt_index_check(c, true) FROM unnest(ARRAY['${table}_btree', '${table}_pkey']::regclass[]) c" | tr -d '\n')"
		is "$table is encrypted" t "$(sql "$data" data postgres "SELECT tde_vault.is_encrypted('$table')")"
	done
	is 'each type of index was used' 6 "$(by_index "$data" plain | grep -c '^_')"
	for n in $(seq "$works")
	do
		[ "$how" = standby ] || wait_for "encryption in place of online_$n" "$data" data \
			"SELECT tde_vault.is_encrypted('online_$n') AND NOT EXISTS (SELECT FROM tde_vault.encryption_progress WHERE relation = 'online_$n'::regclass AND state <> 'done')"
		is "rows of online_$n" 20000 "$(sql "$data" data postgres "SELECT count(*) FROM online_$n WHERE t = md5(id::text)")"
	done
	is 'catalogs' 'a text in the catalog|a comment in the catalog' "$(sql "$data" data postgres "SELECT from_catalog(), obj_description('plain'::regclass)")"
	for table in data clinic
	do
		sql "$data" "$table" postgres CHECKPOINT
		is "no catalog of $table is plain" 0 "$(sql "$data" "$table" postgres \
			"SELECT count(*) FROM tde_vault.plaintext_files WHERE relation::oid < 16384 AND reason <> 'system catalog, shared by all databases'")"
		is "pages of $table verify" t "$(sql "$data" "$table" postgres \
			"SELECT CASE WHEN sum(pages) > 100 AND sum(bad) = 0 AND (sum(unsealed) = 0 OR '$how' = 'standby') THEN 't' ELSE string_agg(v::text, ' ') FILTER (WHERE bad > 0 OR unsealed > 0) END
			FROM (SELECT DISTINCT relation FROM tde_vault.encryption_status WHERE relkind IN ('r', 'm', 'S')) s, LATERAL tde_vault.verify(s.relation) v")"
	done
	refused 'a superuser in a realm' TV031 "$(sql "$data" clinic postgres 'SELECT * FROM patients')"
	refused 'who has not unlocked it' TV030 "$(sql "$data" clinic nurse 'SELECT * FROM patients')"
	is 'who has' "$((1000 + 2 * works))" "$(sql "$data" clinic nurse "$unlock" 'SELECT count(*) FROM patients')"
	is 'audit log' t "$(sql "$data" clinic officer 'SELECT ok FROM tde_vault.audit_verify()')"
	[ "$how" = standby ] && return
	refused 'a command rule' TV032 "$(sql "$data" clinic nurse "$unlock" 'DELETE FROM patients')"
	[ "$how" = promoted ] || is 'unlogged table' "$unlogged" "$(sql "$data" data postgres 'SELECT count(*) FROM unlogged')"
}

# --- all of it -------------------------------------------------------------------

[ "$(dpkg --print-architecture)" = amd64 ] || die "this is for amd64"
mapfile -t versions < <(offered)
[ "${#versions[@]}" -ge 2 ] || die "the package sources offer ${#versions[@]} version of postgresql-15, which makes no update: ${versions[*]}"
oldest=${versions[0]}
newest=${versions[-1]}
echo "versions: ${versions[*]}"
chmod 755 "$tmp"
download
for version in "${versions[@]}"
do
	unpack "$version"
	build "$version"
	assemble "$version" "$version"
done
assemble "$newest" "$oldest"
assemble "$oldest" "$newest"

mkdir "$tmp/tokens" "$tmp/data"
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$tmp/tokens" >"$tmp/softhsm2.conf"
printf 1234 >"$tmp/pin"
chmod 600 "$tmp/pin"
[ "$(id -u)" = 0 ] && chown postgres: "$tmp/tokens" "$tmp/data" "$tmp/softhsm2.conf" "$tmp/pin"
as_server softhsm2-util --init-token --free --label tdevault --so-pin 12345678 --pin 1234 >/dev/null || die "no token"

# update and downgrade of both; of the server alone; of the module alone; and
# each version between
stations=("$newest,$newest" "$oldest,$oldest" "$newest,$oldest" "$oldest,$newest")
for version in "${versions[@]:1}"
do stations+=("$version,$version")
done

for how in clean crash
do
	data=$tmp/data/$how
	station="$how, $(short "$oldest,$oldest")"
	begun=$SECONDS
	create_cluster "$data" "$oldest,$oldest"
	unlogged=$([ $how = clean ] && echo 500 || echo 0)
	work "$data"
	for server in "${stations[@]}"
	do
		station="$how, from $(short "$(<"$data.server")") to $(short "$server")"
		stop "$how" "$data"
		start "$server" "$data"
		check "$data" "$how"
		work "$data"
		echo "$station: $passed passed, $failed failed"
	done
	stop clean "$data"
	rm -rf "$data" "${data}_tablespaces"
	echo "$how: $((SECONDS - begun)) s"
done

pairs=0
for pair in "$oldest,$oldest $newest,$newest" "$newest,$newest $oldest,$oldest" "$oldest,$oldest $newest,$oldest"
do
	read -r one other <<<"$pair"
	pairs=$((pairs + 1))
	data=$tmp/data/pair$pairs
	station="primary $(short "$one"), standby $(short "$other")"
	begun=$SECONDS
	create_cluster "$data" "$one"
	work "$data"
	as_server mkdir -p "$data.standby.space" "$data.standby.socket"
	as_server "$(bin "$one")/pg_basebackup" -h "$data.socket" -U postgres -D "$data.standby" -T "${data}_tablespaces/space=$data.standby.space" -R -c fast >"$tmp/basebackup.out" 2>&1 ||
		{ cat "$tmp/basebackup.out"; die "$station: no base backup"; }
	as_server sed -i "s|^unix_socket_directories = .*|unix_socket_directories = '$data.standby.socket'|" "$data.standby/postgresql.conf"
	start "$other" "$data.standby"
	work "$data"
	lsn=$(sql "$data" postgres postgres 'SELECT pg_current_wal_flush_lsn()')
	wait_for 'replay' "$data.standby" postgres "SELECT pg_last_wal_replay_lsn() >= '$lsn'"
	check "$data.standby" standby
	stop clean "$data"
	as_server "$(bin "$other")/pg_ctl" -w -D "$data.standby" promote >"$tmp/promote.out" || die "$station: no promotion"
	check "$data.standby" promoted
	work "$data.standby"
	check "$data.standby" promoted
	stop clean "$data.standby"
	rm -rf "$data" "$data.standby" "$data.standby.space" "${data}_tablespaces"
	echo "$station: $passed passed, $failed failed, $((SECONDS - begun)) s"
done

if grep -lE 'PANIC|was terminated by signal' "$tmp"/data/*.log
then die "a server crashed by itself"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
