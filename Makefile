# The version is the one in batches.control.
EXTENSION = batches
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" batches.control)

MODULE_big = batches
OBJS = \
	src/batches.o \
	src/budget.o \
	src/citus.o \
	src/collect.o \
	src/count_batches.o \
	src/count_jobs.o \
	src/counts.o \
	src/cursor.o \
	src/derived.o \
	src/direct.o \
	src/direct_scan.o \
	src/estimate.o \
	src/etag.o \
	src/facets.o \
	src/fetch.o \
	src/filter.o \
	src/http.o \
	src/index_walk.o \
	src/job_counts.o \
	src/json.o \
	src/leaf.o \
	src/list.o \
	src/merge.o \
	src/module.o \
	src/parameter.o \
	src/partition.o \
	src/paths.o \
	src/plan.o \
	src/qual.o \
	src/query.o \
	src/read_shards.o \
	src/read_totals.o \
	src/repair.o \
	src/report.o \
	src/row.o \
	src/scan.o \
	src/scan_shards.o \
	src/scan_sql.o \
	src/shard_request.o \
	src/shard_row.o \
	src/sort_entry.o \
	src/support.o \
	src/tag_walk.o \
	src/tags.o \
	src/total.o \
	src/untrusted.o \
	src/user.o
DATA = $(wildcard sql/batches--*.sql)
PGFILEDESC = "batches - lists the batches of a quantum cloud"

REGRESS = install document errors explain standins
REGRESS_OPTS = --encoding=UTF8 --no-locale
ISOLATION = opposite_orders concurrent_jobs locks totals repair serializable serializable_empty serializable_partitions snapshots
ISOLATION_OPTS = --inputdir=test
# With TAP_TESTS=1, installcheck runs these, too. They start servers of their own, so
# not as root, and take minutes.
PROVE_TESTS = $(wildcard test/t/*.pl)

PG_CPPFLAGS = -DBATCHES_VERSION='"$(EXTVERSION)"'

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# Every object sees every header: there are few, and they change seldom.
$(OBJS): $(wildcard src/*.h)

# Fuzzes the parser of query strings for so many seconds.
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz:
	scripts/fuzz $(FUZZ_SECONDS)

# The release as a zip, of what is committed.
RELEASE = $(EXTENSION)-$(shell sed -n 's/^   "version": "\(.*\)",/\1/p' META.json)
.PHONY: dist
dist:
	git archive --format=zip --prefix=$(RELEASE)/ --output=$(RELEASE).zip HEAD
