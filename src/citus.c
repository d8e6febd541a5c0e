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
#include "catalog/pg_constraint.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "batches.h"
#include "citus.h"
#include "partition.h"

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

/* The state of a shard's placement that is read and written */
#define SHARD_IS_ACTIVE 1

/* How Citus says that it keeps a table the same on all nodes */
#define REPLICATED_EVERYWHERE 't'

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

static int
compare_hashes(const void *a, const void *b)
{
	int64 first_a = ((const Shard *) a)->first_hash;
	int64 first_b = ((const Shard *) b)->first_hash;

	return (first_a > first_b) - (first_a < first_b);
}

/* The shards of a distributed table, in the order of their hash values. */
static Shard *
read_shards(Relation catalog, Oid table, int *count)
{
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
	qsort(shards, *count, sizeof(Shard), compare_hashes);
	return shards;
}

/* The shards of "batch", on the coordinator. */
static Shard *
read_batch_shards(int *count)
{
	Relation catalog = open_catalog("pg_dist_shard");
	Shard *shards = read_shards(catalog, require_table("batch"), count);

	table_close(catalog, AccessShareLock);
	return shards;
}

static HashRange *
hashes_of(const Shard *shards, int count)
{
	HashRange *hashes = palloc(sizeof(HashRange) * (count + 1));

	for (int i = 0; i < count; i++)
	{
		hashes[i].first = shards[i].first_hash;
		hashes[i].last = shards[i].last_hash;
	}
	return hashes;
}

/* Leaves of some shards those that may have one of the projects. Returns their number. */
static int
keep_wanted(Shard *shards, int nshards, ArrayType *projects)
{
	const pg_uuid_t *ids = (const pg_uuid_t *) ARR_DATA_PTR(projects);
	int nprojects = ArrayGetNItems(ARR_NDIM(projects), ARR_DIMS(projects));
	HashRange *hashes = hashes_of(shards, nshards);
	bool *wanted = palloc0(nshards + 1);
	int nwanted = 0;

	for (int i = 0; i < nprojects; i++)
	{
		int shard = find_hash(hashes, nshards, shard_hash(UUIDPGetDatum(&ids[i])));

		CHECK_FOR_INTERRUPTS();
		if (shard >= 0)
			wanted[shard] = true;
	}
	for (int i = 0; i < nshards; i++)
		if (wanted[i])
			shards[nwanted++] = shards[i];
	return nwanted;
}

/*
 * Finds for each group of shards a key: the first number whose hash value is in the part of one
 * of them. A group whose parts are too small has none. Returns how many have one.
 */
static int
find_keys(const Shard *shards, const int *groups, int nshards, pg_uuid_t **keys, int ngroups)
{
	HashRange *hashes = hashes_of(shards, nshards);
	int nfound = 0;

	for (uint32 number = 0; nfound < ngroups && number < MAX_KEYS_TRIED; number++)
	{
		pg_uuid_t key = {{0}};
		int shard;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < sizeof(number); i++)
			key.data[UUID_LEN - 1 - i] = number >> (8 * i);
		shard = find_hash(hashes, nshards, shard_hash(UUIDPGetDatum(&key)));
		if (shard < 0 || keys[groups[shard]] != NULL)
			continue;
		keys[groups[shard]] = palloc(sizeof(key));
		*keys[groups[shard]] = key;
		nfound++;
	}
	return nfound;
}

/* batches.shard_keys() returns uuid[] */
PG_FUNCTION_INFO_V1(batches_shard_keys);
Datum
batches_shard_keys(PG_FUNCTION_ARGS)
{
	int nshards;
	Shard *shards;
	int *groups;
	pg_uuid_t **keys;
	ArrayBuildState *found;

	if (!is_distributed(require_table("batch")))
		PG_RETURN_NULL();
	shards = read_batch_shards(&nshards);
	groups = palloc(sizeof(int) * (nshards + 1));
	keys = palloc0(sizeof(pg_uuid_t *) * (nshards + 1));
	for (int i = 0; i < nshards; i++)
		groups[i] = i;
	(void) find_keys(shards, groups, nshards, keys, nshards);
	found = initArrayResult(UUIDOID, CurrentMemoryContext, false);
	for (int i = 0; i < nshards; i++)
		if (keys[i] != NULL)
			(void) accumArrayResult(found, UUIDPGetDatum(keys[i]), false, UUIDOID,
									CurrentMemoryContext);
	PG_RETURN_DATUM(makeArrayResult(found, CurrentMemoryContext));
}

/* How often a shard is there to be read, on a certain server, or, if that is negative, in all. One that has it is returned, too. */
static int
count_placements(Relation catalog, int64 shard, int wanted, int *server)
{
	SysScanDesc scan = begin_catalog_scan(catalog, "pg_dist_placement_shardid_index", "shardid",
										  F_INT8EQ, Int64GetDatum(shard));
	int count = 0;
	HeapTuple tuple;
	bool isnull;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int32 state = DatumGetInt32(catalog_value(catalog, tuple, "shardstate", &isnull));
		int32 group = DatumGetInt32(catalog_value(catalog, tuple, "groupid", &isnull));

		if (state != SHARD_IS_ACTIVE || (wanted >= 0 && group != wanted))
			continue;
		*server = group;
		count++;
	}
	systable_endscan(scan);
	return count;
}

/*
 * Whether this transaction may have changed a table, or one that it references, whose changes
 * may cascade. Citus writes to each shard, and each copy, in a session of its own, and only that
 * one sees what is not committed. Tables that were looked at are added to a list.
 */
static bool
may_be_changed(Oid table, List **seen)
{
	Relation catalog;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;
	List *referenced = NIL;
	ListCell *cell;

	if (list_member_oid(*seen, table))
		return false;
	*seen = lappend_oid(*seen, table);
	if (CheckRelationOidLockedByMe(table, RowExclusiveLock, true))
		return true;
	catalog = table_open(ConstraintRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(table));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint constraint = (Form_pg_constraint) GETSTRUCT(tuple);

		if (constraint->contype == CONSTRAINT_FOREIGN)
			referenced = lappend_oid(referenced, constraint->confrelid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	foreach (cell, referenced)
		if (may_be_changed(lfirst_oid(cell), seen))
			return true;
	return false;
}

/* The same of what is read of shards. */
static bool
may_have_changed_shards(void)
{
	static const char *const changed[] = {"batch", "job", JOB_COUNT_TABLE, TOTAL_TABLE};
	Oid schema = get_namespace_oid(BATCHES_SCHEMA, false);
	List *seen = NIL;

	for (int i = 0; i < lengthof(changed); i++)
	{
		Oid table = get_relname_relid(changed[i], schema);

		if (OidIsValid(table) && may_be_changed(table, &seen))
			return true;
	}
	return false;
}

/* Puts shards that are read together into one group. Returns the number of groups. */
static int
group_shards(const Shard *shards, int nshards, int *groups)
{
	Relation catalog = open_catalog("pg_dist_placement");
	bool apart = may_have_changed_shards();
	int *servers = palloc(sizeof(int) * (nshards + 1));
	int *sizes = palloc0(sizeof(int) * (nshards + 1));
	int ngroups = 0;

	for (int i = 0; i < nshards; i++)
	{
		int server = -1;
		int group = 0;

		/* Which of several Citus will ask is not known. */
		if (!apart && count_placements(catalog, shards[i].id, -1, &server) != 1)
			server = -1;
		while (group < ngroups &&
			   (server < 0 || servers[group] != server || sizes[group] == MAX_PARTITIONS))
			group++;
		if (group == ngroups)
			servers[ngroups++] = server;
		sizes[group]++;
		groups[i] = group;
	}
	table_close(catalog, AccessShareLock);
	return ngroups;
}

/*
 * Plans to read the shards that may have some projects, or all. Returns NULL where a shard has
 * too few hash values to be found by one, or there are none.
 */
ShardRoute *
route_to_shards(ArrayType *projects)
{
	ShardRoute *route = palloc0(sizeof(ShardRoute));
	Shard *shards = read_batch_shards(&route->nshards);
	pg_uuid_t **keys;

	if (projects != NULL)
		route->nshards = keep_wanted(shards, route->nshards, projects);
	route->shards = palloc(sizeof(int64) * (route->nshards + 1));
	for (int i = 0; i < route->nshards; i++)
		route->shards[i] = shards[i].id;
	route->call_of = palloc(sizeof(int) * (route->nshards + 1));
	route->ncalls = group_shards(shards, route->nshards, route->call_of);
	keys = palloc0(sizeof(pg_uuid_t *) * (route->ncalls + 1));
	if (route->ncalls == 0 ||
		find_keys(shards, route->call_of, route->nshards, keys, route->ncalls) < route->ncalls)
		return NULL;
	route->calls = palloc(sizeof(pg_uuid_t) * route->ncalls);
	for (int i = 0; i < route->ncalls; i++)
		route->calls[i] = *keys[i];
	return route;
}

/* The shard of a list that is in order whose part of the hash values is the same, or NULL. */
static const Shard *
find_same_hashes(const Shard *shards, int nshards, const Shard *other)
{
	const Shard *found = bsearch(other, shards, nshards, sizeof(Shard), compare_hashes);

	return found != NULL && found->last_hash == other->last_hash ? found : NULL;
}

/* The number of this server among the nodes */
static int
own_server(void)
{
	Relation catalog = open_catalog("pg_dist_local_group");
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple tuple = systable_getnext(scan);
	bool isnull;
	int server = HeapTupleIsValid(tuple)
					 ? DatumGetInt32(catalog_value(catalog, tuple, "groupid", &isnull))
					 : -1;

	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return server;
}

/* Locks a shard, if it is here, and returns its OID. */
static Oid
lock_shard(const char *table, const Shard *shard)
{
	Oid oid =
		get_relname_relid(shard_name(table, shard->id), get_namespace_oid(BATCHES_SCHEMA, false));
	Relation relation = OidIsValid(oid) ? try_table_open(oid, AccessShareLock) : NULL;

	if (relation == NULL)
		return InvalidOid;
	table_close(relation, NoLock);
	return oid;
}

/*
 * Finds and locks shards by the numbers of those of "batch": those beside them, too. Those
 * that are not on this server are left out.
 *
 * That a table has the name does not say that it is the shard: while a shard moves, there is one
 * on both servers. Which one is it, the catalog says, and goes on to say while it is locked.
 */
const ShardSet *
find_shards(const int64 *numbers, int count)
{
	Relation catalog = open_catalog("pg_dist_shard");
	ShardSet *set = palloc0(sizeof(ShardSet));
	Shard *shards[N_SHARD_TABLES];
	int nshards[N_SHARD_TABLES];
	Relation placements;
	int server;

	if (catalog == NULL)
		return set;
	for (int i = 0; i < N_SHARD_TABLES; i++)
	{
		shards[i] = read_shards(catalog, require_table(shard_tables[i]), &nshards[i]);
		set->oids[i] = palloc(sizeof(Oid) * (nshards[i] + 1));
	}
	table_close(catalog, AccessShareLock);
	placements = open_catalog("pg_dist_placement");
	server = own_server();
	set->hashes = palloc(sizeof(HashRange) * (nshards[SHARDS_OF_BATCH] + 1));
	for (int i = 0; i < nshards[SHARDS_OF_BATCH]; i++)
	{
		const Shard *shard = &shards[SHARDS_OF_BATCH][i];
		int place = 0;
		bool is_here = true;
		int found;

		CHECK_FOR_INTERRUPTS();
		while (place < count && numbers[place] != shard->id)
			place++;
		if (place == count)
			continue;
		set->hashes[set->nshards].first = shard->first_hash;
		set->hashes[set->nshards].last = shard->last_hash;
		for (int j = 0; j < N_SHARD_TABLES; j++)
		{
			const Shard *beside = find_same_hashes(shards[j], nshards[j], shard);
			Oid oid = beside == NULL ? InvalidOid : lock_shard(shard_tables[j], beside);

			is_here &=
				OidIsValid(oid) && count_placements(placements, beside->id, server, &found) > 0;
			set->oids[j][set->nshards] = oid;
		}
		if (is_here)
			set->nshards++;
	}
	table_close(placements, AccessShareLock);
	return set;
}

/*
 * Has Citus read in one session on each server, from here to the end of the nest level of the
 * settings. A transaction has a snapshot of its own in each session; with several, what is read
 * of one server would be of several moments.
 */
void
use_single_sessions(void)
{
	static const char sessions[] = "citus.max_adaptive_executor_pool_size";

	if (GetConfigOption(sessions, true, false) != NULL)
		(void) set_config_option(sessions, "1", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
								 0, false);
}

/* Whether Citus keeps a table the same on all nodes. */
static bool
is_reference(Oid table)
{
	Relation catalog = open_catalog("pg_dist_partition");
	SysScanDesc scan = begin_catalog_scan(catalog, "pg_dist_partition_logical_relid_index",
										  "logicalrelid", F_OIDEQ, ObjectIdGetDatum(table));
	HeapTuple tuple = systable_getnext(scan);
	bool isnull;
	bool is_reference =
		HeapTupleIsValid(tuple) &&
		DatumGetChar(catalog_value(catalog, tuple, "repmodel", &isnull)) == REPLICATED_EVERYWHERE;

	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return is_reference;
}

/*
 * The copy on this server of a table that Citus keeps the same on all nodes. InvalidOid if there
 * is none, or if this transaction may have changed the table.
 */
Oid
find_local_copy(Oid table)
{
	Relation catalog;
	Relation placements;
	SysScanDesc scan;
	HeapTuple tuple;
	Shard shard;
	List *seen = NIL;
	int server = own_server();
	bool is_here = false;

	if (server < 0 || !is_reference(table) || may_be_changed(table, &seen))
		return InvalidOid;
	catalog = open_catalog("pg_dist_shard");
	scan = begin_catalog_scan(catalog, "pg_dist_shard_logical_relid_index", "logicalrelid", F_OIDEQ,
							  ObjectIdGetDatum(table));
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		read_shard(catalog, tuple, &shard);
		placements = open_catalog("pg_dist_placement");
		is_here = count_placements(placements, shard.id, server, &server) > 0;
		table_close(placements, AccessShareLock);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return is_here ? get_relname_relid(shard_name(get_rel_name(table), shard.id),
									   get_rel_namespace(table))
				   : InvalidOid;
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
