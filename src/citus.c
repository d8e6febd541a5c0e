/*
 * citus.c
 *		What Citus has made of a table.
 *
 * Citus is asked by its catalogs alone, so that nothing depends on it. A table that it has
 * distributed is an ordinary table without rows on the coordinator and on each worker; its
 * rows are in the shards, which are ordinary tables named after it. Triggers fire on the
 * shards. Those of colocated tables that have the same projects are on the same node.
 */
#include "postgres.h"
#include "compat.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "batches.h"
#include "citus.h"

/* A row of the catalog of shards */
typedef struct Shard
{
	Oid table;
	int64 id;
	char *first_hash; /* where its part of the hash values begins */
} Shard;

/* Opens a catalog of Citus. Returns NULL where there is no Citus in the database. */
static Relation
open_catalog(const char *name)
{
	Oid catalog = get_relname_relid(name, PG_CATALOG_NAMESPACE);

	return OidIsValid(catalog) ? table_open(catalog, AccessShareLock) : NULL;
}

/* Begins to look for a catalog's rows with a value. */
static SysScanDesc
begin_catalog_scan(Relation catalog, const char *index, const char *column, RegProcedure equals,
				   Datum value)
{
	Oid index_oid = get_relname_relid(index, PG_CATALOG_NAMESPACE);
	ScanKeyData key;

	ScanKeyInit(&key, get_attnum(RelationGetRelid(catalog), column), BTEqualStrategyNumber, equals,
				value);
	return systable_beginscan(catalog, index_oid, OidIsValid(index_oid), NULL, 1, &key);
}

/* Whether a table's rows are elsewhere: in shards, or in its copies on all nodes. */
bool
is_distributed(Oid table)
{
	Relation catalog = open_catalog("pg_dist_partition");
	SysScanDesc scan;
	bool found;

	if (catalog == NULL)
		return false;
	scan = begin_catalog_scan(catalog, "pg_dist_partition_logical_relid_index", "logicalrelid",
							  F_OIDEQ, ObjectIdGetDatum(table));
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static Datum
catalog_value(Relation catalog, HeapTuple tuple, const char *column, bool *isnull)
{
	return heap_getattr(tuple, get_attnum(RelationGetRelid(catalog), column),
						RelationGetDescr(catalog), isnull);
}

static void
read_shard(Relation catalog, HeapTuple tuple, Shard *shard)
{
	bool isnull;
	Datum hash = catalog_value(catalog, tuple, "shardminvalue", &isnull);

	shard->first_hash = isnull ? NULL : TextDatumGetCString(hash);
	shard->table = DatumGetObjectId(catalog_value(catalog, tuple, "logicalrelid", &isnull));
	shard->id = DatumGetInt64(catalog_value(catalog, tuple, "shardid", &isnull));
}

/* The number at the end of a shard's name, or 0. */
static int64
shard_number(const char *name)
{
	const char *number = strrchr(name, '_');

	return number == NULL || strspn(number + 1, "0123456789") != strlen(number + 1)
			   ? 0
			   : strtoll(number + 1, NULL, 10);
}

static char *
shard_name(const char *table, int64 id)
{
	return psprintf("%s_" INT64_FORMAT, table, id);
}

/* The row of the catalog for a table of such a name. Returns whether it is a shard. */
static bool
find_shard(Relation catalog, const char *name, Oid schema, Shard *shard)
{
	SysScanDesc scan = begin_catalog_scan(catalog, "pg_dist_shard_shardid_index", "shardid",
										  F_INT8EQ, Int64GetDatum(shard_number(name)));
	HeapTuple tuple = systable_getnext(scan);
	bool found = false;

	if (HeapTupleIsValid(tuple))
	{
		const char *table;

		read_shard(catalog, tuple, shard);
		table = get_rel_name(shard->table);
		found = table != NULL && get_rel_namespace(shard->table) == schema &&
				strcmp(name, shard_name(table, shard->id)) == 0;
	}
	systable_endscan(scan);
	return found;
}

/* The shard of another table that has the same part of the hash values, or InvalidOid. */
static Oid
find_same_part(Relation catalog, const Shard *shard, const char *name, Oid schema)
{
	SysScanDesc scan =
		begin_catalog_scan(catalog, "pg_dist_shard_logical_relid_index", "logicalrelid", F_OIDEQ,
						   ObjectIdGetDatum(get_relname_relid(name, schema)));
	HeapTuple tuple;
	Oid found = InvalidOid;

	while (!OidIsValid(found) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Shard other;

		read_shard(catalog, tuple, &other);
		if (other.first_hash != NULL && shard->first_hash != NULL &&
			strcmp(other.first_hash, shard->first_hash) == 0)
			found = get_relname_relid(shard_name(name, other.id), schema);
	}
	systable_endscan(scan);
	return found;
}

/*
 * Whether a table is a shard; if so, finds the shard of another table of its schema that has
 * the same projects.
 */
bool
find_shard_beside(Oid table, const char *name, Oid *beside)
{
	const char *own_name = get_rel_name(table);
	Oid schema = get_rel_namespace(table);
	Relation catalog;
	Shard shard;
	bool is_shard;

	if (shard_number(own_name) == 0 || (catalog = open_catalog("pg_dist_shard")) == NULL)
		return false;
	is_shard = find_shard(catalog, own_name, schema, &shard);
	if (is_shard)
		*beside = find_same_part(catalog, &shard, name, schema);
	table_close(catalog, AccessShareLock);
	if (is_shard && !OidIsValid(*beside))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("shard \"%s\" has no shard of \"%s\" beside it", own_name, name),
						errhint("The tables are distributed together: SELECT "
								"%s.distribute_tables().",
								BATCHES_SCHEMA)));
	return is_shard;
}
