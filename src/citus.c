/*
 * citus.c
 *		What Citus has made of a table.
 *
 * Citus is asked by its catalogs alone, so that nothing depends on it. A table that it has
 * distributed is an ordinary table without rows on the coordinator and on each worker; its
 * rows are in the shards, which are ordinary tables named after it. Triggers fire on the
 * shards. Those of colocated tables that have the same projects are on the same node.
 *
 * The table "batch_shard" has a row in each shard, its key: a query that asks for keys runs
 * once in each of their shards.
 */
#include "postgres.h"
#include "compat.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "batches.h"
#include "citus.h"

/* A row of the catalog of shards */
typedef struct Shard
{
	Oid table;
	int64 id;
	bool has_hashes;
	int64 first_hash; /* its part of the hash values */
	int64 last_hash;
} Shard;

/* How many numbers are tried to find one whose hash value is in a shard's part. */
#define MAX_KEYS_TRIED 100000

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

	shard->has_hashes = !isnull;
	if (!isnull)
	{
		shard->first_hash = strtoll(TextDatumGetCString(hash), NULL, 10);
		hash = catalog_value(catalog, tuple, "shardmaxvalue", &isnull);
		shard->last_hash = strtoll(TextDatumGetCString(hash), NULL, 10);
	}
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
		if (other.has_hashes && shard->has_hashes && other.first_hash == shard->first_hash &&
			other.last_hash == shard->last_hash)
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

/*
 * Reading shards
 */

static int64
project_hash(const pg_uuid_t *project_id)
{
	return DatumGetInt32(DirectFunctionCall1(uuid_hash, UUIDPGetDatum(project_id)));
}

static bool
has_hash(const Shard *shard, int64 hash)
{
	return shard->first_hash <= hash && hash <= shard->last_hash;
}

/* The shards of a distributed table. */
static Shard *
read_shards(Oid table, int *count)
{
	Relation catalog = open_catalog("pg_dist_shard");
	SysScanDesc scan = begin_catalog_scan(catalog, "pg_dist_shard_logical_relid_index",
										  "logicalrelid", F_OIDEQ, ObjectIdGetDatum(table));
	int size = 64;
	Shard *shards = palloc(sizeof(Shard) * size);
	HeapTuple tuple;

	*count = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (*count == size)
			shards = repalloc(shards, sizeof(Shard) * (size *= 2));
		read_shard(catalog, tuple, &shards[*count]);
		if (shards[*count].has_hashes)
			(*count)++;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return shards;
}

/* Leaves of some shards those that may have one of the projects. Returns their number. */
static int
keep_wanted(Shard *shards, int nshards, ArrayType *projects)
{
	const pg_uuid_t *ids = (const pg_uuid_t *) ARR_DATA_PTR(projects);
	int nprojects = ArrayGetNItems(ARR_NDIM(projects), ARR_DIMS(projects));
	int nwanted = 0;

	for (int i = 0; i < nprojects && nwanted < nshards; i++)
	{
		int64 hash = project_hash(&ids[i]);

		CHECK_FOR_INTERRUPTS();
		for (int j = nwanted; j < nshards; j++)
			if (has_hash(&shards[j], hash))
			{
				Shard wanted = shards[j];

				shards[j] = shards[nwanted];
				shards[nwanted++] = wanted;
				break;
			}
	}
	return nwanted;
}

/*
 * The keys of the shards of "batch" that may have some projects, or of all: for each the first
 * number whose hash value is in its part. A shard whose part is too small has none, and the
 * keys are not complete; nor are they where there are no such shards.
 */
ArrayType *
shard_keys(ArrayType *projects, bool *complete)
{
	int nshards;
	Shard *shards = read_shards(require_table("batch"), &nshards);
	Datum *keys = palloc0(sizeof(Datum) * (nshards + 1));
	int nwanted = projects == NULL ? nshards : keep_wanted(shards, nshards, projects);
	int nfound = 0;

	for (uint32 number = 0; nfound < nwanted && number < MAX_KEYS_TRIED; number++)
	{
		pg_uuid_t key = {{0}};
		int64 hash;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < sizeof(number); i++)
			key.data[UUID_LEN - 1 - i] = number >> (8 * i);
		hash = project_hash(&key);
		for (int i = 0; i < nwanted; i++)
			if (keys[i] == (Datum) 0 && has_hash(&shards[i], hash))
			{
				pg_uuid_t *found = palloc(sizeof(key));

				*found = key;
				keys[i] = UUIDPGetDatum(found);
				nfound++;
				break;
			}
	}
	*complete = nfound == nwanted && nwanted > 0;
	nfound = 0;
	for (int i = 0; i < nwanted; i++)
		if (keys[i] != (Datum) 0)
			keys[nfound++] = keys[i];
	return construct_array(keys, nfound, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
}

/* batches.shard_keys() returns uuid[] */
PG_FUNCTION_INFO_V1(batches_shard_keys);
Datum
batches_shard_keys(PG_FUNCTION_ARGS)
{
	bool complete;

	if (!is_distributed(require_table("batch")))
		PG_RETURN_NULL();
	PG_RETURN_ARRAYTYPE_P(shard_keys(NULL, &complete));
}

/*
 * Finds the tables of a shard of "batch_shard". Returns false if it is none. The projects,
 * unless they are NULL, are left to be those that may be in it.
 */
bool
find_shard_tables(Oid table, ShardTable *tables, ArrayType **projects)
{
	static const char *const names[N_SHARD_TABLES] = {"batch", JOB_COUNT_TABLE, TOTAL_TABLE};
	const char *name = get_rel_name(table);
	Oid schema = get_rel_namespace(table);
	const char *base;
	Relation catalog;
	Shard shard;
	bool is_shard;

	if (name == NULL || shard_number(name) == 0 ||
		(catalog = open_catalog("pg_dist_shard")) == NULL)
		return false;
	is_shard = find_shard(catalog, name, schema, &shard) && shard.has_hashes &&
			   schema == get_namespace_oid(BATCHES_SCHEMA, false) &&
			   (base = get_rel_name(shard.table)) != NULL && strcmp(base, SHARD_TABLE) == 0;
	for (int i = 0; i < N_SHARD_TABLES && is_shard; i++)
	{
		Oid same_part = find_same_part(catalog, &shard, names[i], schema);

		tables[i].table = names[i];
		tables[i].shard = OidIsValid(same_part) ? get_rel_name(same_part) : NULL;
		is_shard = tables[i].shard != NULL;
	}
	tables[N_SHARD_TABLES].table = NULL;
	table_close(catalog, AccessShareLock);
	if (is_shard && *projects != NULL)
	{
		const pg_uuid_t *ids = (const pg_uuid_t *) ARR_DATA_PTR(*projects);
		int nprojects = ArrayGetNItems(ARR_NDIM(*projects), ARR_DIMS(*projects));
		Datum *own = palloc(sizeof(Datum) * (nprojects + 1));
		int nown = 0;

		for (int i = 0; i < nprojects; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (has_hash(&shard, project_hash(&ids[i])))
				own[nown++] = UUIDPGetDatum(&ids[i]);
		}
		*projects = construct_array(own, nown, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	}
	return is_shard;
}

/* What has to be the same on all nodes. */
const char *
node_version(void)
{
	Relation catalog = table_open(ExtensionRelationId, AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool isnull = true;
	Datum version = (Datum) 0;
	const char *described;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("batches"));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		version =
			heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(catalog), &isnull);
	described = psprintf("extension %s, library %s, encoding %s",
						 isnull ? "none" : TextDatumGetCString(version), BATCHES_VERSION,
						 GetDatabaseEncodingName());
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return described;
}
