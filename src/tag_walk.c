/*
 * tag_walk.c
 *		Walks over the tuples that a GIN index has for a tag.
 *
 * Such an index answers with a bitmap of all of them at once, so nothing can be
 * had of it in small steps. How many there may be is known from the statistics
 * of the tags: a tag that is not among the common ones is rarer than they are.
 */
#include "postgres.h"
#include "compat.h"

#include "access/gin.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "tag_walk.h"

/* The work of getting a tuple into the bitmap and out of it, and of fetching it */
#define WORK_TUPLE (2 * WORK_ENTRY + WORK_HEAP)
/* What share of the tuples is taken to have a tag when there are no statistics. */
#define DEFAULT_SHARE 0.001

struct TagWalk
{
	DirectTable *table;
	Relation index;
	Snapshot snapshot;
	Condition *tag;
	Condition *conditions;
	int nconditions;
	int64 entry_work;

	bool started;
	TIDBitmap *bitmap;
	BitmapIterator *iterator;
	BlockNumber block;
	OffsetNumber offsets[MAX_BITMAP_OFFSETS];
	int noffsets;
	int next;
	ItemPointerData tid; /* where the chain of updates begins */
	IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	MemoryContext check_context;
	int64 work;
};

/* The GIN index on the column of the tags, or NULL. */
static Relation
find_index(DirectTable *table, AttrNumber column)
{
	Oid family = get_opclass_family(GetDefaultOpClass(TEXTARRAYOID, GIN_AM_OID));
	ListCell *cell;

	/* With it, an index does not find all: SQL decides what that means. */
	if (GinFuzzySearchLimit > 0)
		return NULL;
	foreach (cell, table->others)
	{
		Relation index = lfirst(cell);

		if (index->rd_rel->relam == GIN_AM_OID && index->rd_index->indkey.values[0] == column &&
			index->rd_opfamily[0] == family &&
			(!OidIsValid(index->rd_indcollation[0]) ||
			 get_collation_isdeterministic(index->rd_indcollation[0])))
			return index;
	}
	return NULL;
}

/* The share of the tuples that have a tag, at most, by the statistics. */
static double
estimate_share(DirectTable *table, const Condition *tag)
{
	text *wanted = DatumGetTextPP(tag->element);
	double share = DEFAULT_SHARE;
	HeapTuple statistics = SearchSysCache3(STATRELATTINH, RelationGetRelid(table->relation),
										   Int16GetDatum(tag->column), BoolGetDatum(false));
	AttStatsSlot slot;

	if (!HeapTupleIsValid(statistics))
		return share;
	if (get_attstatsslot(&slot, statistics, STATISTIC_KIND_MCELEM, InvalidOid,
						 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
	{
		/* Behind the frequencies of the elements are the least and the largest one. */
		if (slot.nnumbers > slot.nvalues)
			share = slot.numbers[slot.nvalues];
		for (int i = 0; i < slot.nvalues; i++)
		{
			text *common = DatumGetTextPP(slot.values[i]);

			if (VARSIZE_ANY_EXHDR(common) == VARSIZE_ANY_EXHDR(wanted) &&
				memcmp(VARDATA_ANY(common), VARDATA_ANY(wanted), VARSIZE_ANY_EXHDR(wanted)) == 0)
				share = slot.numbers[i];
		}
		free_attstatsslot(&slot);
	}
	ReleaseSysCache(statistics);
	return share;
}

/* Prepares a walk over what meets the conditions, or returns NULL without an index for it. */
TagWalk *
tag_walk_init(DirectTable *table, Condition *tag, Condition *conditions, int nconditions)
{
	Relation index = find_index(table, tag->column);
	TagWalk *walk;

	if (index == NULL)
		return NULL;
	walk = palloc0(sizeof(TagWalk));
	walk->table = table;
	walk->index = index;
	walk->snapshot = GetActiveSnapshot();
	walk->tag = tag;
	walk->conditions = conditions;
	walk->nconditions = nconditions;
	walk->entry_work = WORK_DESCENT + WORK_TUPLE * estimate_share(table, tag) *
										  Max(table->relation->rd_rel->reltuples, 0);
	return walk;
}

/* How much work others should have done before this walk begins. */
int64
tag_walk_entry_work(const TagWalk *walk)
{
	return walk->entry_work;
}

static void
start(TagWalk *walk)
{
	Oid operator= OID_ARRAY_CONTAINS_OP;
	ArrayType *wanted = construct_array(&walk->tag->element, 1, TEXTOID, -1, false, TYPALIGN_INT);
	IndexScanDesc scan = begin_bitmap_scan(walk->index, walk->snapshot, 1);
	ScanKeyData key;

	ScanKeyEntryInitialize(
		&key, 0, 1, get_op_opfamily_strategy(operator, walk->index->rd_opfamily[0]), ANYARRAYOID,
		walk->index->rd_indcollation[0], get_opcode(operator), PointerGetDatum(wanted));
	index_rescan(scan, &key, 1, NULL, 0);
	walk->bitmap = tbm_create(work_mem * (Size) 1024, NULL);
	walk->work += index_getbitmap(scan, walk->bitmap);
	index_endscan(scan);
	walk->iterator = begin_bitmap(walk->bitmap);
	walk->fetch = table_index_fetch_begin(walk->table->relation);
	walk->slot = table_slot_create(walk->table->relation, NULL);
	walk->check_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches check", ALLOCSET_SMALL_SIZES);
	walk->started = true;
}

static bool
meets_conditions(TagWalk *walk)
{
	MemoryContext previous = MemoryContextSwitchTo(walk->check_context);
	bool holds = true;

	for (int i = 0; i < walk->nconditions && holds; i++)
	{
		Condition *condition = &walk->conditions[i];
		bool isnull;
		Datum value = slot_getattr(walk->slot, condition->column, &isnull);

		holds = condition_holds(condition, value, isnull);
	}
	MemoryContextSwitchTo(previous);
	MemoryContextReset(walk->check_context);
	return holds;
}

/* Goes on to the next match, unless that takes more work than is allowed. */
WalkResult
tag_walk_next(TagWalk *walk, int64 work_limit)
{
	if (!walk->started)
		start(walk);
	for (;;)
	{
		ItemPointerData tid;
		bool again = false;

		if (walk->work >= work_limit)
			return WALK_PAUSED;
		CHECK_FOR_INTERRUPTS();
		if (walk->next >= walk->noffsets)
		{
			if (!next_bitmap_page(walk->iterator, &walk->block, walk->offsets, &walk->noffsets))
				return WALK_END;
			walk->next = 0;
			continue;
		}
		walk->work += WORK_HEAP;
		ItemPointerSet(&walk->tid, walk->block, walk->offsets[walk->next++]);
		tid = walk->tid;
		if (table_index_fetch_tuple(walk->fetch, &tid, walk->snapshot, walk->slot, &again, NULL) &&
			meets_conditions(walk))
			return WALK_MATCH;
	}
}

/* The last match. */
TupleTableSlot *
tag_walk_slot(const TagWalk *walk)
{
	return walk->slot;
}

ItemPointer
tag_walk_tid(TagWalk *walk)
{
	return &walk->tid;
}

void
tag_walk_end(TagWalk *walk)
{
	if (!walk->started)
		return;
	table_index_fetch_end(walk->fetch);
	ExecDropSingleTupleTableSlot(walk->slot);
	MemoryContextDelete(walk->check_context);
	end_bitmap(walk->iterator);
	tbm_free(walk->bitmap);
	walk->started = false;
}
