/*
 * job_counts.c
 *		How many jobs a batch has, by its key.
 *
 * Who asks for few batches of a project is told by looking each of them up. Who asks for
 * many of them, project by project, is told from a map of all batches of the project, read
 * from the leaf pages of the key's index, which includes the size class: no more than one
 * project is in memory, and small classes are the numbers themselves.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "column.h"
#include "counts.h"
#include "job_counts.h"
#include "walk.h"

/* A map is read when more batches of a project than this were asked for, */
#define FEW_LOOK_UPS 4
/* and one at least of so many that were passed over: as many are read in the time of a look-up. */
#define READ_PER_LOOK_UP 25

typedef struct JobCountEntry
{
	pg_uuid_t id;
	int16 size_class;
	char status;
} JobCountEntry;

#define SH_PREFIX job_count_map
#define SH_ELEMENT_TYPE JobCountEntry
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY id
#define SH_HASH_KEY(table, key) hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(table, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct JobCounts
{
	DirectTable *table;
	DirectIndex *key;
	AttrNumber size_class;
	Snapshot snapshot;
	MemoryContext context;
	MemoryContext map_context; /* NULL until the first map */
	IndexScanDesc scan;        /* NULL until the first look-up */
	TupleTableSlot *slot;
	pg_uuid_t project_id; /* the last one asked for */
	int nasked;           /* batches of this */
	bool has_map;
	bool is_large; /* its map takes more memory than there is */
	job_count_map_hash *map;
};

JobCounts *
job_counts_begin(DirectTable *table, DirectIndex *key, AttrNumber size_class, Snapshot snapshot)
{
	JobCounts *counts = palloc0(sizeof(JobCounts));

	counts->table = table;
	counts->key = key;
	counts->size_class = size_class;
	counts->snapshot = snapshot;
	counts->context = CurrentMemoryContext;
	return counts;
}

/* Reads the size classes of all batches of the project. */
static void
read_map(JobCounts *counts, int64 *work)
{
	Condition condition;
	Datum *project;
	Walk walk;
	MemoryContext previous;

	if (counts->map_context == NULL)
		counts->map_context =
			AllocSetContextCreate(counts->context, "batches job counts", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(counts->map_context);
	previous = MemoryContextSwitchTo(counts->map_context);
	counts->map = job_count_map_create(counts->map_context, 256, NULL);
	project = palloc(sizeof(Datum));
	init_condition(&condition, UUIDOID);
	condition.columns[counts->table->source] = counts->table->columns[COLUMN_PROJECT_ID];
	project[0] = UUIDPGetDatum(&counts->project_id);
	restrict_to_list(&condition, project, 1);
	walk_init(&walk, counts->table, counts->key, &condition, 1, &condition,
			  NoMovementScanDirection);
	walk_need_column(&walk, counts->size_class);
	walk_start_stream(&walk, 0);
	while (!counts->is_large && walk_next(&walk, NO_WORK_LIMIT) == WALK_MATCH)
	{
		bool isnull;
		bool found;
		JobCountEntry *entry = job_count_map_insert(
			counts->map,
			*DatumGetUUIDP(walk_value(&walk, counts->table->columns[COLUMN_ID], &isnull)), &found);

		entry->size_class =
			DatumGetInt16(direct_position(counts->key, counts->size_class) > 0
							  ? walk_value(&walk, counts->size_class, &isnull)
							  : slot_getattr(walk.fetch.slot, counts->size_class, &isnull));
		counts->is_large =
			counts->map->members * (int64) sizeof(JobCountEntry) > work_mem * INT64CONST(1024);
	}
	*work += walk.work;
	walk_end(&walk);
	MemoryContextSwitchTo(previous);
	counts->has_map = !counts->is_large;
}

/* Looks a single batch up. */
static int32
look_up(JobCounts *counts, const pg_uuid_t *project_id, const pg_uuid_t *id)
{
	AttrNumber number = counts->table->columns[COLUMN_JOBS_COUNT];
	bool isnull;

	if (counts->scan == NULL)
	{
		counts->scan = begin_key_scan(counts->table, counts->key, counts->snapshot);
		counts->slot = table_slot_create(counts->table->relation, NULL);
	}
	if (!find_by_key(counts->scan, counts->key, UUIDPGetDatum(project_id), UUIDPGetDatum(id),
					 counts->slot))
		return -1;
	return DatumGetInt32(slot_getattr(counts->slot, number, &isnull));
}

/*
 * The number of jobs of a batch, or -1 if it has none at all in the table. So many batches
 * of the project, with those that were asked for, have been passed. Adds up the work.
 */
int32
job_counts_of(JobCounts *counts, const pg_uuid_t *project_id, const pg_uuid_t *id, int64 passed,
			  int64 *work)
{
	MemoryContext previous = MemoryContextSwitchTo(counts->context);
	JobCountEntry *entry = NULL;
	int32 count;

	if (memcmp(&counts->project_id, project_id, UUID_LEN) != 0)
	{
		counts->project_id = *project_id;
		counts->nasked = 0;
		counts->has_map = false;
		counts->is_large = false;
	}
	counts->nasked++;
	if (!counts->has_map && !counts->is_large && counts->nasked > FEW_LOOK_UPS &&
		counts->nasked >= passed / READ_PER_LOOK_UP)
		read_map(counts, work);
	if (counts->has_map)
	{
		*work += WORK_ENTRY;
		entry = job_count_map_lookup(counts->map, *id);
		count = entry == NULL ? -1 : entry->size_class;
	}
	if (!counts->has_map || count >= EXACT_SIZE_CLASSES)
	{
		*work += WORK_JOIN;
		count = look_up(counts, project_id, id);
	}
	MemoryContextSwitchTo(previous);
	return count;
}

void
job_counts_end(JobCounts *counts)
{
	if (counts->map_context != NULL)
		MemoryContextDelete(counts->map_context);
	counts->map_context = NULL;
	counts->has_map = false;
	if (counts->scan == NULL)
		return;
	index_endscan(counts->scan);
	ExecDropSingleTupleTableSlot(counts->slot);
	counts->scan = NULL;
}
