/*
 * job_counts.c
 *		How many jobs a batch has, by its key.
 *
 * Who asks for few batches of a project is told by looking each of them up. Who asks for
 * many of them, project by project, is told from a map of the project's batches, read from
 * the leaf pages of the key's index, which includes the size class: no more than one
 * project is in memory, and small classes are the numbers themselves.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "budget.h"
#include "column.h"
#include "counts.h"
#include "job_counts.h"
#include "untrusted.h"

/*
 * A project's map is read once more than FEW_LOOK_UPS of its batches were asked for, and at
 * least one in READ_PER_LOOK_UP of its entries. Reading that many entries takes as long as
 * one look-up: of a smaller share, look-ups are cheaper.
 */
#define FEW_LOOK_UPS 4
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
#define SH_HASH_KEY(table, key) hash_untrusted(&(key), UUID_LEN)
#define SH_EQUAL(table, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct JobCounts
{
	EntryFilter filter; /* comes first: the walk has a pointer to it */
	int project_position;
	int id_position;
	int nquals; /* on the number of jobs */
	Qual **quals;
	int32 last; /* of the walk's last entry */

	DirectTable *table;
	DirectIndex *key;
	AttrNumber size_class;
	KeyScan rows;
	MemoryContext context;
	MemoryContext map_context; /* NULL until the first map */
	pg_uuid_t project_id;      /* the last one asked for */
	int nasked;                /* batches of this */
	bool has_map;
	bool is_large; /* its map takes more memory than there is */
	job_count_map_hash *map;
	bool reads_map; /* and was paused */
	Qual map_quals[2];
	IndexWalk map_walk;
} JobCounts;

/* Begins to read the size classes of the project's batches, but for those that the quals rule out. */
static void
begin_map(JobCounts *counts)
{
	Qual *quals = counts->map_quals;
	int nquals = 1;
	Datum *project;
	MemoryContext previous;

	if (counts->map_context == NULL)
		counts->map_context =
			AllocSetContextCreate(counts->context, "batches job counts", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(counts->map_context);
	previous = MemoryContextSwitchTo(counts->map_context);
	counts->map = job_count_map_create(counts->map_context, 256, NULL);
	project = palloc(sizeof(Datum));
	init_qual(&quals[0], UUIDOID);
	quals[0].columns[counts->table->source] = counts->table->columns[COLUMN_PROJECT_ID];
	project[0] = UUIDPGetDatum(&counts->project_id);
	restrict_to_list(&quals[0], project, 1);
	for (int i = 0; i < counts->nquals; i++)
		if (counts->quals[i]->columns[counts->table->source] == counts->size_class)
			quals[nquals++] = *counts->quals[i];
	index_walk_init(&counts->map_walk, counts->table, counts->key, quals, nquals, &quals[0],
					NoMovementScanDirection);
	index_walk_need_column(&counts->map_walk, counts->size_class);
	counts->reads_map = counts->map_walk.nranges > 0;
	counts->has_map =
		!counts->reads_map; /* It is empty where there is no partition for the project. */
	if (counts->reads_map)
		index_walk_start_range(&counts->map_walk, 0);
	MemoryContextSwitchTo(previous);
}

static void
end_map(JobCounts *counts)
{
	if (counts->reads_map)
		index_walk_end(&counts->map_walk);
	counts->reads_map = false;
}

/* Goes on reading it. Returns whether that has ended, for lack of memory it may be. */
static bool
read_map(JobCounts *counts, int64 work_limit, int64 *work)
{
	IndexWalk *walk = &counts->map_walk;
	int64 done = walk->work;
	int64 limit = done + Max(work_limit - *work, 1);
	MemoryContext previous = MemoryContextSwitchTo(counts->map_context);
	WalkResult result = WALK_MATCH;

	while (!counts->is_large && (result = index_walk_next(walk, limit)) == WALK_MATCH)
	{
		bool isnull;
		bool found;
		JobCountEntry *entry = job_count_map_insert(
			counts->map,
			*DatumGetUUIDP(index_walk_value(walk, counts->table->columns[COLUMN_ID], &isnull)),
			&found);

		entry->size_class =
			DatumGetInt16(direct_position(counts->key, counts->size_class) > 0
							  ? index_walk_value(walk, counts->size_class, &isnull)
							  : slot_getattr(walk->fetch.slot, counts->size_class, &isnull));
		/* The map doubles when it is full. */
		counts->is_large = !found && counts->map->members >= counts->map->grow_threshold &&
						   !fits_budget(counts->context, counts->map->size * sizeof(JobCountEntry),
										2 * counts->map->size * sizeof(JobCountEntry));
	}
	*work += walk->work - done;
	MemoryContextSwitchTo(previous);
	if (result == WALK_PAUSED)
		return false;
	end_map(counts);
	counts->has_map = !counts->is_large;
	if (counts->is_large)
		MemoryContextReset(counts->map_context);
	return true;
}

/* Looks a single batch up. */
static int32
look_up(JobCounts *counts, const pg_uuid_t *project_id, const pg_uuid_t *id)
{
	AttrNumber number = counts->table->columns[COLUMN_JOBS_COUNT];
	bool isnull;

	if (!key_scan_find(&counts->rows, UUIDPGetDatum(project_id), UUIDPGetDatum(id)))
		return -1;
	return DatumGetInt32(slot_getattr(counts->rows.slot, number, &isnull));
}

/*
 * Prepares to tell of a batch of a project: reads the project's map if that pays. "passed" is
 * how many of the project's entries the asking walk has read. Adds up the work. Returns false
 * if that is as much as is allowed, and there is more to do.
 */
static bool
prepare_project(JobCounts *counts, const pg_uuid_t *project_id, int64 passed, int64 work_limit,
				int64 *work)
{
	if (memcmp(&counts->project_id, project_id, UUID_LEN) != 0)
	{
		end_map(counts);
		counts->project_id = *project_id;
		counts->nasked = 0;
		counts->has_map = false;
		counts->is_large = false;
	}
	counts->nasked++;
	if (!counts->reads_map && !counts->has_map && !counts->is_large &&
		counts->nasked > FEW_LOOK_UPS && counts->nasked >= passed / READ_PER_LOOK_UP)
		begin_map(counts);
	return !counts->reads_map || read_map(counts, work_limit, work);
}

/* The number of jobs of a batch of the project, or -1 if the batch has no row. */
static int32
count_jobs_of(JobCounts *counts, const pg_uuid_t *id, int64 *work)
{
	JobCountEntry *entry = NULL;
	int32 count = -1;

	if (counts->has_map)
	{
		*work += WORK_ENTRY;
		entry = job_count_map_lookup(counts->map, *id);
		count = entry == NULL ? -1 : entry->size_class;
	}
	if (!counts->has_map || count >= EXACT_SIZE_CLASSES)
	{
		MemoryContext previous = MemoryContextSwitchTo(counts->context);

		*work += WORK_JOIN;
		count = look_up(counts, &counts->project_id, id);
		MemoryContextSwitchTo(previous);
	}
	return count;
}

/* Whether the ranges of a walk have a project each, and are read to their ends. */
static bool
is_by_project(const IndexWalk *walk)
{
	return ScanDirectionIsNoMovement(walk->direction) && walk->list != NULL &&
		   walk->index->columns[0] == walk->table->columns[COLUMN_PROJECT_ID];
}

/* An EntryFilter: whether the entry's batch meets the quals on the number of its jobs */
static FilterAnswer
ask_for_jobs(EntryFilter *filter, IndexWalk *walk, int64 work_limit)
{
	JobCounts *counts = (JobCounts *) filter;
	TupleDesc descriptor = RelationGetDescr(walk->index->relation);
	bool isnull;
	bool id_isnull;
	Datum project_id = index_getattr(walk->entry, counts->project_position, descriptor, &isnull);
	Datum id = index_getattr(walk->entry, counts->id_position, descriptor, &id_isnull);

	if (isnull || id_isnull)
		return FILTER_REJECTS;
	if (!prepare_project(counts, DatumGetUUIDP(project_id),
						 is_by_project(walk) ? walk->range_entries : PG_INT64_MAX, work_limit,
						 &walk->work))
		return FILTER_PAUSED;
	counts->last = count_jobs_of(counts, DatumGetUUIDP(id), &walk->work);
	if (counts->last < 0)
		return FILTER_REJECTS;
	for (int i = 0; i < counts->nquals; i++)
	{
		Datum value = counts->quals[i]->type == INT2OID ? Int16GetDatum(size_class(counts->last))
														: Int32GetDatum(counts->last);

		if (!qual_holds(counts->quals[i], value, false))
			return FILTER_REJECTS;
	}
	return FILTER_ACCEPTS;
}

static void
end_filter(EntryFilter *filter)
{
	JobCounts *counts = (JobCounts *) filter;

	end_map(counts);
	if (counts->map_context != NULL)
		MemoryContextDelete(counts->map_context);
	counts->map_context = NULL;
	counts->has_map = false;
	key_scan_end(&counts->rows);
}

/*
 * Lets a walk over "batch" ask for the numbers of jobs, by its entries alone and without
 * fetching: if they have the batch's key, and no tuple has to be fetched otherwise. Of the
 * quals it takes those on the jobs. Returns whether that is so.
 */
bool
job_counts_filter(IndexWalk *walk, DirectTable *table, DirectIndex *key, AttrNumber size_class,
				  Qual *quals, int nquals)
{
	JobCounts *counts = palloc0(sizeof(JobCounts));

	counts->project_position =
		direct_position(walk->index, walk->table->columns[COLUMN_PROJECT_ID]);
	counts->id_position = direct_position(walk->index, walk->table->columns[COLUMN_ID]);
	if (walk->nheap_quals > 0 || walk->needs_column || counts->project_position == 0 ||
		counts->id_position == 0)
		return false;
	/* Who wants all, in an order that is not that of the projects, is told of many in one pass over their keys. */
	if (ScanDirectionIsNoMovement(walk->direction) && !is_by_project(walk))
		return false;
	counts->filter.ask = ask_for_jobs;
	counts->filter.end = end_filter;
	counts->filter.work = is_by_project(walk) ? WORK_COUNTED : WORK_JOIN;
	counts->quals = palloc(sizeof(Qual *) * (nquals + 1));
	for (int i = 0; i < nquals; i++)
		if (quals[i].columns[walk->table->source] == InvalidAttrNumber)
			counts->quals[counts->nquals++] = &quals[i];
	counts->table = table;
	counts->key = key;
	counts->size_class = size_class;
	key_scan_init(&counts->rows, table, key, walk->snapshot);
	counts->context = CurrentMemoryContext;
	walk->filter = &counts->filter;
	return true;
}

/* The number of jobs of the last entry's batch, of a walk that asks for them. */
int32
job_counts_last(const IndexWalk *walk)
{
	return ((const JobCounts *) walk->filter)->last;
}

/* The same of any batch. */
int32
job_counts_of(IndexWalk *walk, const pg_uuid_t *project_id, const pg_uuid_t *id)
{
	JobCounts *counts = (JobCounts *) walk->filter;

	(void) prepare_project(counts, project_id, PG_INT64_MAX, NO_WORK_LIMIT, &walk->work);
	return count_jobs_of(counts, id, &walk->work);
}
