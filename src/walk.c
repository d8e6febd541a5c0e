/*
 * walk.c
 *		Walks over the entries of B-tree indexes, as an index-only scan does them.
 *
 * What can be told from an entry is told from it; a tuple is fetched only when
 * the visibility map does not know that everybody sees it, or when a condition
 * or a column that is asked for is not in the index.
 */
#include "postgres.h"
#include "compat.h"

#include "access/nbtree.h"
#include "access/stratnum.h"
#include "access/visibilitymap.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "column.h"
#include "counts.h"
#include "walk.h"

/* The stream's value, the range's two ends, and one more for where to resume */
#define MAX_KEYS 4

/* Where the visibility map's pages end; if it were elsewhere, it would only take longer. */
#define BLOCKS_PER_MAP_PAGE                                                                        \
	((BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * BITS_PER_BYTE / BITS_PER_HEAPBLOCK)

/*
 * Prepares a walk over what meets the conditions. With a list, which is on the
 * index's first column, there is a stream for each of its values. A direction is for
 * who needs the order of the index and may stop early.
 */
void
walk_init(Walk *walk, DirectTable *table, DirectIndex *index, Condition *conditions,
		  int nconditions, Condition *list, ScanDirection direction)
{
	int range_position = list == NULL ? 0 : 1;

	memset(walk, 0, sizeof(*walk));
	walk->table = table;
	walk->index = index;
	walk->snapshot = GetActiveSnapshot();
	walk->direction = direction;
	walk->nstreams = list == NULL ? 1 : list->nvalues;
	walk->list = list;
	for (int i = 0; i < N_MAP_BUFFERS; i++)
		walk->map_buffers[i] = InvalidBuffer;
	walk->visible_block = InvalidBlockNumber;
	fetch_init(&walk->fetch, table, NULL, walk->snapshot);
	walk->index_conditions = palloc(sizeof(Condition *) * (nconditions + 1));
	walk->positions = palloc(sizeof(int) * (nconditions + 1));
	walk->heap_conditions = palloc(sizeof(Condition *) * (nconditions + 1));
	for (int i = 0; i < nconditions; i++)
	{
		Condition *condition = &conditions[i];
		AttrNumber column = condition->columns[table->source];
		int position = direct_position(index, column);

		/* A column of the other table is for walk_join(). */
		if (condition == list || column == InvalidAttrNumber)
			continue;
		if (position == range_position + 1 && position <= index->nkeys &&
			(condition->has_lower || condition->has_upper))
			walk->range = condition;
		/* An index may include the tags; taking an array apart is for fetched tuples. */
		else if (position > 0 && !condition->has_element)
		{
			walk->positions[walk->nindex_conditions] = position;
			walk->index_conditions[walk->nindex_conditions++] = condition;
		}
		else
			walk->heap_conditions[walk->nheap_conditions++] = condition;
	}
	walk->needs_heap = walk->nheap_conditions > 0;
}

/* Joins the rows of the other table: their columns will be asked for. */
void
walk_join(Walk *walk, KeyJoin *join)
{
	walk->fetch.join = join;
	walk->needs_heap = true;
}

/*
 * The same for the numbers of jobs alone, without fetching: if entries tell whose they are
 * asked for, and no tuple has to be fetched otherwise. Returns whether that is so.
 */
bool
walk_count_jobs(Walk *walk, DirectTable *table, DirectIndex *key, AttrNumber size_class,
				Condition *conditions, int nconditions)
{
	walk->project_position = direct_position(walk->index, walk->table->columns[COLUMN_PROJECT_ID]);
	walk->id_position = direct_position(walk->index, walk->table->columns[COLUMN_ID]);
	if (walk->needs_heap || walk->project_position == 0 || walk->id_position == 0)
		return false;
	walk->job_counts = job_counts_begin(table, key, size_class, walk->snapshot);
	walk->job_conditions = palloc(sizeof(Condition *) * (nconditions + 1));
	for (int i = 0; i < nconditions; i++)
		if (conditions[i].columns[walk->table->source] == InvalidAttrNumber)
			walk->job_conditions[walk->njob_conditions++] = &conditions[i];
	return true;
}

/* Says that a match's column will be asked for. */
void
walk_need_column(Walk *walk, AttrNumber column)
{
	if (direct_position(walk->index, column) > 0)
		return;
	walk->needs_column = true;
	walk->needs_heap = true;
}

/* Whether entries of the streams may be no matches. */
bool
walk_is_filtered(const Walk *walk)
{
	return walk->nindex_conditions > 0 || walk->needs_heap || walk->tags != NULL ||
		   walk->njob_conditions > 0;
}

/*
 * What work it takes to walk through the whole index, if nothing has to be fetched, by
 * the number of its entries as they were counted last and its size now; or what it took.
 */
int64
walk_whole_work(const Walk *walk)
{
	int64 each = ScanDirectionIsNoMovement(walk->direction) ? WORK_ENTRY : WORK_STEP;

	if (walk->needs_heap)
		return NO_WORK_LIMIT;
	return Max(walk->work,
			   walk->nstreams * (int64) WORK_DESCENT + (int64) direct_entries(walk->index) * each);
}

/* Lets a tag be told from where a tuple is, from here on. */
void
walk_use_tags(Walk *walk, const TagWalk *tags)
{
	int n = 0;

	for (int i = 0; i < walk->nheap_conditions; i++)
		if (!walk->heap_conditions[i]->has_element)
			walk->heap_conditions[n++] = walk->heap_conditions[i];
	walk->nheap_conditions = n;
	walk->needs_heap = walk->needs_column || n > 0 || walk->fetch.join != NULL;
	walk->tags = tags;
}

static void
add_key(Walk *walk, ScanKey keys, int *nkeys, int position, StrategyNumber strategy, Datum value)
{
	Relation index = walk->index->relation;
	Oid family = index->rd_opfamily[position];
	Oid type = index->rd_opcintype[position];
	Oid operator_oid = get_opfamily_member(family, type, type, strategy);

	if (!OidIsValid(operator_oid))
		elog(ERROR, "missing operator %d(%u,%u) in opfamily %u", strategy, type, type, family);
	ScanKeyEntryInitialize(&keys[(*nkeys)++], 0, position + 1, strategy, type,
						   index->rd_indcollation[position], get_opcode(operator_oid), value);
}

/* Opens a stream of a walk without a direction. */
static void
start_leaves(Walk *walk, int stream)
{
	Datum from[2];
	int nfrom = 0;

	if (walk->list != NULL)
		from[nfrom++] = walk->list->values[stream];
	if (walk->range != NULL && walk->range->has_lower)
		from[nfrom++] = walk->range->lower;
	if (walk->leaves == NULL)
		walk->leaves = leaf_begin(walk->index->relation, walk->snapshot);
	leaf_seek(walk->leaves, from, NULL, nfrom);
}

/*
 * Adds the key of what is behind a place, which is one or two values of the columns
 * from a position on.
 */
static void
add_place_key(Walk *walk, ScanKey keys, int *nkeys, int position, const Datum *place, int nplace)
{
	Relation index = walk->index->relation;
	StrategyNumber strategy =
		ScanDirectionIsForward(walk->direction) ? BTGreaterStrategyNumber : BTLessStrategyNumber;
	ScanKey header;

	if (nplace == 1)
	{
		add_key(walk, keys, nkeys, position, strategy, place[0]);
		return;
	}
	for (int i = 0; i < nplace; i++)
		ScanKeyEntryInitialize(&walk->place_keys[i],
							   SK_ROW_MEMBER | (i == nplace - 1 ? SK_ROW_END : 0), position + i + 1,
							   strategy, index->rd_opcintype[position + i],
							   index->rd_indcollation[position + i],
							   index_getprocid(index, position + i + 1, BTORDER_PROC), place[i]);
	header = &keys[(*nkeys)++];
	memset(header, 0, sizeof(*header));
	header->sk_flags = SK_ROW_HEADER;
	header->sk_attno = position + 1;
	header->sk_strategy = strategy;
	header->sk_argument = PointerGetDatum(walk->place_keys);
}

/* Opens a stream of a walk with a direction, at its beginning or behind a place. */
static void
start_scan(Walk *walk, int stream, const Datum *place, int nplace)
{
	bool forward = ScanDirectionIsForward(walk->direction);
	/* A place is in the range: the end that was passed says nothing more. */
	bool has_lower = walk->range != NULL && walk->range->has_lower && !(nplace > 0 && forward);
	bool has_upper = walk->range != NULL && walk->range->has_upper && !(nplace > 0 && !forward);
	ScanKeyData keys[MAX_KEYS];
	int nkeys = 0;
	int position = 0;

	/* Only now: many a walk is prepared and never read. */
	if (walk->scan == NULL)
	{
		walk->nkeys = (walk->list != NULL) + has_lower + has_upper + walk->resumable;
		walk->scan = begin_index_scan(walk->table->relation, walk->index->relation, walk->snapshot,
									  walk->nkeys);
		/* Also keeps the pin that makes it safe to ask the visibility map. */
		walk->scan->xs_want_itup = true;
	}
	if (walk->list != NULL)
	{
		/* A scan always has as many keys: this one fills it up. */
		do
			add_key(walk, keys, &nkeys, position, BTEqualStrategyNumber,
					walk->list->values[stream]);
		while (nkeys + has_lower + has_upper + (nplace > 0) < walk->nkeys);
		position++;
	}
	if (has_lower)
		add_key(walk, keys, &nkeys, position, BTGreaterEqualStrategyNumber, walk->range->lower);
	if (has_upper)
		add_key(walk, keys, &nkeys, position, BTLessEqualStrategyNumber, walk->range->upper);
	if (nplace > 0)
		add_place_key(walk, keys, &nkeys, position, place, nplace);
	index_rescan(walk->scan, keys, nkeys, NULL, 0);
}

void
walk_start_stream(Walk *walk, int stream)
{
	walk->stream = stream;
	walk->stream_entries = 0;
	walk->work += WORK_DESCENT;
	if (ScanDirectionIsNoMovement(walk->direction))
		start_leaves(walk, stream);
	else
		start_scan(walk, stream, NULL, 0);
}

/* Starts a stream behind a place; the values are in use until it is started again. */
void
walk_resume_stream(Walk *walk, int stream, const Datum *place, int nplace)
{
	Assert(walk->resumable && walk->list != NULL);
	walk->stream = stream;
	walk->work += WORK_DESCENT;
	start_scan(walk, stream, place, nplace);
}

static Datum
entry_value(Walk *walk, IndexTuple entry, int position, bool *isnull)
{
	return index_getattr(entry, position, RelationGetDescr(walk->index->relation), isnull);
}

/* Whether an entry that is not before the stream's first one is not behind its last one. */
static bool
is_in_stream(Walk *walk, IndexTuple entry)
{
	int position = 1;
	bool isnull;
	Datum value;

	if (walk->list != NULL)
	{
		value = entry_value(walk, entry, position++, &isnull);
		if (isnull || compare_values(walk->list, value, walk->list->values[walk->stream]) != 0)
			return false;
	}
	if (walk->range == NULL)
		return true;
	value = entry_value(walk, entry, position, &isnull);
	return condition_holds(walk->range, value, isnull);
}

/* Goes on to the next entry of the stream. Returns whether there is one. */
static bool
next_entry(Walk *walk)
{
	ItemPointer tid;

	CHECK_FOR_INTERRUPTS();
	if (walk->leaves == NULL)
	{
		walk->work += WORK_STEP;
		tid = index_getnext_tid(walk->scan, walk->direction);
		if (tid == NULL)
			return false;
		walk->entry = walk->scan->xs_itup;
		walk->tid = *tid;
		return true;
	}

	walk->work += WORK_ENTRY;
	walk->stream_entries++;
	walk->entry = leaf_next(walk->leaves, &walk->tid);
	if (walk->entry == NULL)
	{
		leaf_leave(walk->leaves);
		return false;
	}
	if (walk->page != leaf_page(walk->leaves))
	{
		walk->page = leaf_page(walk->leaves);
		walk->page_is_inside = is_in_stream(walk, leaf_last(walk->leaves));
		walk->visible_block = InvalidBlockNumber;
	}
	if (walk->page_is_inside || is_in_stream(walk, walk->entry))
		return true;
	leaf_leave(walk->leaves);
	return false;
}

/*
 * Whether everybody sees the entry's tuple, so that it need not be fetched. What the
 * visibility map says holds for what was in the index before: for all entries of a page
 * that was copied.
 */
bool
walk_is_visible(Walk *walk)
{
	BlockNumber block = ItemPointerGetBlockNumber(&walk->tid);
	Buffer *map_buffer = &walk->map_buffers[block / BLOCKS_PER_MAP_PAGE % N_MAP_BUFFERS];

	if (walk->leaves != NULL && block == walk->visible_block)
		return true;
	if (!VM_ALL_VISIBLE(walk->table->relation, block, map_buffer))
		return false;
	/* As the tuple is not fetched, the lock is on all of its page. */
	PredicateLockPage(walk->table->relation, block, walk->snapshot);
	walk->visible_block = block;
	return true;
}

/* Fetches the entry's tuple. Returns whether it is visible and meets the conditions. */
static bool
fetch_entry(Walk *walk)
{
	bool found =
		fetch_match(&walk->fetch, &walk->tid, walk->heap_conditions, walk->nheap_conditions);

	walk->work += WORK_BLOCK + WORK_TUPLE + (walk->fetch.join != NULL ? WORK_JOIN : 0);
	if (found)
		pgstat_count_heap_fetch(walk->index->relation);
	/* The next step may mark the entry as dead, for whoever comes next; not so on a replica. */
	if (walk->scan != NULL && !walk->scan->xactStartedInRecovery)
		walk->scan->kill_prior_tuple = walk->fetch.all_dead;
	return found;
}

/* Whether the streams have a project each, and are read to their ends. */
static bool
is_by_project(const Walk *walk)
{
	return ScanDirectionIsNoMovement(walk->direction) && walk->list != NULL &&
		   walk->index->columns[0] == walk->table->columns[COLUMN_PROJECT_ID];
}

/* How many batches of the entry's project were passed, or very many where that is not known. */
static int64
passed_of_project(const Walk *walk)
{
	return is_by_project(walk) ? walk->stream_entries : PG_INT64_MAX;
}

/* What more work an entry takes whose batch's jobs are asked for, if they are. */
int64
walk_counting_work(const Walk *walk)
{
	if (walk->job_counts == NULL)
		return 0;
	return is_by_project(walk) ? WORK_COUNTED : WORK_JOIN;
}

/* Whether the entry's batch meets the conditions on the number of its jobs. */
static bool
has_wanted_jobs(Walk *walk)
{
	bool isnull;
	bool id_isnull;
	Datum project_id = entry_value(walk, walk->entry, walk->project_position, &isnull);
	Datum id = entry_value(walk, walk->entry, walk->id_position, &id_isnull);

	if (isnull || id_isnull)
		return false;
	walk->jobs_count = job_counts_of(walk->job_counts, DatumGetUUIDP(project_id), DatumGetUUIDP(id),
									 passed_of_project(walk), &walk->work);
	if (walk->jobs_count < 0)
		return false;
	for (int i = 0; i < walk->njob_conditions; i++)
	{
		Datum value = walk->job_conditions[i]->type == INT2OID
						  ? Int16GetDatum(size_class(walk->jobs_count))
						  : Int32GetDatum(walk->jobs_count);

		if (!condition_holds(walk->job_conditions[i], value, false))
			return false;
	}
	return true;
}

/*
 * Goes on to the next entry of the stream that meets the conditions that can be told
 * without fetching, unless that takes more work than is allowed.
 */
WalkResult
walk_next_entry(Walk *walk, int64 work_limit)
{
	while (walk->work < work_limit)
	{
		bool holds = true;

		if (!next_entry(walk))
			return WALK_END;
		for (int i = 0; i < walk->nindex_conditions && holds; i++)
		{
			bool isnull;
			Datum value = entry_value(walk, walk->entry, walk->positions[i], &isnull);

			holds = condition_holds(walk->index_conditions[i], value, isnull);
		}
		if (holds && (walk->tags == NULL || tag_walk_has(walk->tags, &walk->tid)) &&
			(walk->job_counts == NULL || has_wanted_jobs(walk)))
			return WALK_MATCH;
	}
	return WALK_PAUSED;
}

/* Goes on to the stream's next match, unless that takes more work than is allowed. */
WalkResult
walk_next(Walk *walk, int64 work_limit)
{
	for (;;)
	{
		WalkResult result = walk_next_entry(walk, work_limit);

		if (result != WALK_MATCH)
			return result;
		if (!walk->needs_heap && walk_is_visible(walk))
			return WALK_MATCH;
		if (fetch_entry(walk))
			return WALK_MATCH;
	}
}

/* A column of the last match that the index has. */
Datum
walk_value(Walk *walk, AttrNumber column, bool *isnull)
{
	return entry_value(walk, walk->entry, direct_position(walk->index, column), isnull);
}

void
walk_end(Walk *walk)
{
	if (walk->leaves != NULL)
		leaf_end(walk->leaves);
	if (walk->scan != NULL)
		index_endscan(walk->scan);
	if (walk->job_counts != NULL)
		job_counts_end(walk->job_counts);
	fetch_end(&walk->fetch);
	for (int i = 0; i < N_MAP_BUFFERS; i++)
		if (BufferIsValid(walk->map_buffers[i]))
			ReleaseBuffer(walk->map_buffers[i]);
}
