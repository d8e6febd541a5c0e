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

#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/visibilitymap.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "walk.h"

/* The stream's value, the range's two ends, and where to resume */
#define MAX_KEYS 4

/*
 * Prepares a walk over what meets the conditions. With a list, which is on the
 * index's first column, there is a stream for each of its values.
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
	walk->first_values = list == NULL ? NULL : list->values;
	walk->map_buffer = InvalidBuffer;
	walk->index_conditions = palloc(sizeof(Condition *) * (nconditions + 1));
	walk->positions = palloc(sizeof(int) * (nconditions + 1));
	walk->heap_conditions = palloc(sizeof(Condition *) * (nconditions + 1));
	for (int i = 0; i < nconditions; i++)
	{
		Condition *condition = &conditions[i];
		int position = direct_position(index, condition->column);

		if (condition == list)
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

/* Says that a match's column will be asked for. */
void
walk_need_column(Walk *walk, AttrNumber column)
{
	if (direct_position(walk->index, column) > 0)
		return;
	walk->needs_column = true;
	walk->needs_heap = true;
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
	walk->needs_heap = walk->needs_column || n > 0;
	walk->tags = tags;
}

static void
add_key(Walk *walk, ScanKey keys, int *nkeys, int position, StrategyNumber strategy, Datum value)
{
	Relation index = walk->index->relation;
	Oid family = index->rd_opfamily[position];
	Oid type = index->rd_opcintype[position];
	Oid operator= get_opfamily_member(family, type, type, strategy);

	if (!OidIsValid(operator))
		elog(ERROR, "missing operator %d(%u,%u) in opfamily %u", strategy, type, type, family);
	ScanKeyEntryInitialize(&keys[(*nkeys)++], 0, position + 1, strategy, type,
						   index->rd_indcollation[position], get_opcode(operator), value);
}

/* Opens what is needed for reading. A walk that lost its race before does not get here. */
static void
open_scan(Walk *walk, int nkeys)
{
	walk->scan =
		begin_index_scan(walk->table->relation, walk->index->relation, walk->snapshot, nkeys);
	/* Also keeps the pin that makes it safe to ask the visibility map. */
	walk->scan->xs_want_itup = true;
	walk->slot = table_slot_create(walk->table->relation, NULL);
	walk->check_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches check", ALLOCSET_SMALL_SIZES);
}

static void
start(Walk *walk, int stream, bool resume, Datum from)
{
	ScanKeyData keys[MAX_KEYS];
	int nkeys = 0;
	int position = 0;

	if (walk->first_values != NULL)
	{
		Datum value = walk->first_values[stream];

		add_key(walk, keys, &nkeys, position, BTEqualStrategyNumber, value);
		/* A scan always has as many keys: one says where to resume, or the same again. */
		if (walk->resumable && !resume)
			add_key(walk, keys, &nkeys, position, BTEqualStrategyNumber, value);
		position++;
	}
	if (walk->range != NULL && walk->range->has_lower)
		add_key(walk, keys, &nkeys, position, BTGreaterEqualStrategyNumber, walk->range->lower);
	if (walk->range != NULL && walk->range->has_upper)
		add_key(walk, keys, &nkeys, position, BTLessEqualStrategyNumber, walk->range->upper);
	if (resume)
		add_key(walk, keys, &nkeys, position,
				ScanDirectionIsForward(walk->direction) ? BTGreaterEqualStrategyNumber
														: BTLessEqualStrategyNumber,
				from);

	if (walk->scan == NULL)
		open_scan(walk, nkeys);
	index_rescan(walk->scan, keys, nkeys, NULL, 0);
	walk->work += WORK_DESCENT;
}

void
walk_start_stream(Walk *walk, int stream)
{
	start(walk, stream, false, (Datum) 0);
}

/* Starts a stream at a value of the column that it is ordered by. */
void
walk_resume_stream(Walk *walk, int stream, Datum from)
{
	Assert(walk->resumable && walk->first_values != NULL);
	start(walk, stream, true, from);
}

static bool
meets_index_conditions(Walk *walk)
{
	IndexScanDesc scan = walk->scan;

	for (int i = 0; i < walk->nindex_conditions; i++)
	{
		bool isnull;
		Datum value = index_getattr(scan->xs_itup, walk->positions[i], scan->xs_itupdesc, &isnull);

		if (!condition_holds(walk->index_conditions[i], value, isnull))
			return false;
	}
	return true;
}

/* Goes on to the stream's next match, unless that takes more work than is allowed. */
WalkResult
walk_next(Walk *walk, int64 work_limit)
{
	for (;;)
	{
		ItemPointer tid;

		if (walk->work >= work_limit)
			return WALK_PAUSED;
		CHECK_FOR_INTERRUPTS();
		tid = index_getnext_tid(walk->scan, walk->direction);
		if (tid == NULL)
			return WALK_END;
		walk->work += WORK_ENTRY;
		if (!meets_index_conditions(walk) || (walk->tags != NULL && !tag_walk_has(walk->tags, tid)))
			continue;
		walk->tid = *tid;

		walk->in_slot =
			walk->needs_heap || !VM_ALL_VISIBLE(walk->table->relation,
												ItemPointerGetBlockNumber(tid), &walk->map_buffer);
		if (!walk->in_slot)
		{
			/* As the tuple is not fetched, the lock is on all of its page. */
			PredicateLockPage(walk->table->relation, ItemPointerGetBlockNumber(tid),
							  walk->snapshot);
			return WALK_MATCH;
		}
		walk->work += WORK_HEAP;
		if (index_fetch_heap(walk->scan, walk->slot) &&
			conditions_hold(walk->heap_conditions, walk->nheap_conditions, walk->slot,
							walk->check_context))
			return WALK_MATCH;
	}
}

/* Passes over entries, and counts those whose tuples would be fetched. */
WalkResult
walk_pass(Walk *walk, int64 work_limit, int64 *passed)
{
	while (walk->work < work_limit)
	{
		CHECK_FOR_INTERRUPTS();
		if (index_getnext_tid(walk->scan, walk->direction) == NULL)
			return WALK_END;
		walk->work += WORK_ENTRY;
		if (meets_index_conditions(walk))
			(*passed)++;
	}
	return WALK_PAUSED;
}

/* A column of the last match: one that was said to be needed, or that the index has. */
Datum
walk_value(Walk *walk, AttrNumber column, bool *isnull)
{
	int position = direct_position(walk->index, column);

	if (position > 0)
		return index_getattr(walk->scan->xs_itup, position, walk->scan->xs_itupdesc, isnull);
	Assert(walk->in_slot);
	return slot_getattr(walk->slot, column, isnull);
}

void
walk_end(Walk *walk)
{
	if (walk->scan == NULL)
		return;
	index_endscan(walk->scan);
	ExecDropSingleTupleTableSlot(walk->slot);
	if (BufferIsValid(walk->map_buffer))
		ReleaseBuffer(walk->map_buffer);
	MemoryContextDelete(walk->check_context);
	walk->scan = NULL;
}
