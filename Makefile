# tde_vault: transparent encryption and a vault for PostgreSQL 15

EXTENSION = tde_vault
EXTVERSION = 1.0
MODULE_big = tde_vault
PGFILEDESC = "tde_vault - transparent encryption and a vault"

SOURCES = $(sort $(wildcard src/*.c src/*/*.c))
OBJS = $(SOURCES:.c=.o)
DATA_built = sql/$(EXTENSION)--$(EXTVERSION).sql
EXTRA_CLEAN = sql/$(EXTENSION)--$(EXTVERSION).sql build $(SOURCES:.c=.d) $(SOURCES:.c=.bc)

REGRESS = $(sort $(patsubst sql/%.sql,%,$(filter-out sql/$(EXTENSION)--%,$(wildcard sql/*.sql))))
REGRESS_OPTS = --load-extension=$(EXTENSION) --inputdir=. --outputdir=build/regress

# just-in-time inlining of our functions into queries buys nothing
override with_llvm = no

PG_CPPFLAGS = -Isrc
PG_CFLAGS = -std=gnu11 -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers -Wno-declaration-after-statement -Wno-suggest-attribute=format \
	-fno-plt -fno-align-functions -fno-align-jumps -fno-align-loops -fno-align-labels
SHLIB_LINK = -lcrypto -lIPSec_MB -lsodium -lp11 -lZydis -lgfshare \
	-Wl,--version-script=src/tde_vault.map -Wl,-z,now

PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config
SERVER_HEADER := $(wildcard $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h)
ifneq ($(SERVER_HEADER),)
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
else ifndef DEPS_INSTALLED
# a fresh machine: get what it takes to build, then begin anew
all install: deps
	$(MAKE) DEPS_INSTALLED=1 $@
else
all install:
	@echo "the header files of the server of $(PG_CONFIG) are not installed" >&2; exit 1
endif

# the checksum of a page is meant to be vectorised (storage/checksum_impl.h)
src/page/tv_page_checksum.o: CFLAGS += -O3 -funroll-loops -ftree-vectorize

$(OBJS): $(wildcard src/*/*.h)

sql/$(EXTENSION)--$(EXTVERSION).sql: $(sort $(wildcard sql/ext/*.sql))
	{ printf '%s\n' '\echo Use "CREATE EXTENSION tde_vault" to load this file. \quit'; cat $^; } > $@

.PHONY: deps test-deps test demo bench bench-online layers unit

# Debian packages: to build, to run, to test.
DEPS = postgresql-15 postgresql-server-dev-15 postgresql-15-pgtap postgresql-15-cron postgresql-plperl-15 pgbackrest \
	build-essential libssl-dev libgcrypt20-dev libipsec-mb-dev libsodium-dev libargon2-dev \
	libgfshare-dev libp11-dev libp11-kit-dev libzydis-dev softhsm2 opensc clang libclang-rt-14-dev valgrind \
	libipc-run-perl procps

# What only the tests use, and may come with services that start by themselves.
TEST_DEPS = patroni etcd-server pgbouncer

deps:
	contrib/install-packages $(DEPS)

test-deps:
	contrib/install-packages $(DEPS) $(TEST_DEPS)

layers:
	contrib/check-layers

unit:
	$(MAKE) -C test/unit check

test:
	test/run.sh

demo:
	contrib/demo

bench:
	test/bench/run
	test/bench/rotate
	test/bench/online
	test/bench/vault

# what users notice of a table of 2 GB that is encrypted in place
bench-online:
	SIZE=2048 test/bench/online
