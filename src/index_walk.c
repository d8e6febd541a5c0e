/*
 * index_walk.c
 *		Walks over the entries of B-tree indexes, as an index-only scan does them.
 *
 * A tuple is fetched only if its page is not all-visible, or if a qual or a column that is
 * asked for is not in the index.
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
#include "index_walk.h"

/* A key range's value, two bounds, and the place to resume behind */
#define MAX_KEYS 4

/* As in visibilitymap.c. A wrong number would only make asking the map slower. */
#define BLOCKS_PER_MAP_PAGE                                                                        \
	((BLCKSZ - MAXALIGN(SizeOfPageHeaderData)) * BITS_PER_BYTE / BITS_PER_HEAPBLOCK)

/* The part of a range. */
static int
range_part(const IndexWalk *walk, int64 range)
{
	if (walk->ranges != NULL)
		return walk->ranges[range].part;
	return walk->list == NULL ? range : range / walk->list->nvalues;
}

/* The value of the list that a range has. */
Datum
index_walk_range_value(const IndexWalk *walk, int64 range)
{
	return walk->list
		->values[walk->ranges != NULL ? walk->ranges[range].value : range % walk->list->nvalues];
}

/* The ranges of a list of projects: those of the request, or a single one. Only parts that can have them have one. */
static void
find_project_ranges(IndexWalk *walk)
{
	const DirectTable *table = walk->table;

	if (walk->list->values == table->asked_projects)
	{
		walk->ranges = table->projects;
		walk->nranges = table->nprojects;
		walk->stands = table->has_projects_apart && keeps_parts_pinned(table);
		return;
	}
	if (walk->list->nvalues != 1)
		elog(ERROR, "a list of %d projects is not the request's", walk->list->nvalues);
	walk->ranges = palloc0(sizeof(PartProject));
	walk->ranges[0].part = direct_part(table, walk->list->values[0]);
	walk->nranges = walk->ranges[0].part < 0 ? 0 : 1;
	walk->stands = true;
}

/*
 * Prepares a walk over the entries that meet the quals. With a list, which is on the
 * index's first column, there is a key range for each of its values. A direction is for a
 * caller who needs the index's order and may stop early.
 */
void
index_walk_init(IndexWalk *walk, DirectTable *table, DirectIndex *index, Qual *quals, int nquals,
				Qual *list, ScanDirection direction)
{
	int bounds_position = list == NULL ? 0 : 1;

	memset(walk, 0, sizeof(*walk));
	walk->table = table;
	walk->index = index;
	walk->snapshot = GetActiveSnapshot();
	walk->direction = direction;
	walk->list = list;
	walk->nranges = (int64) table->nparts * (list == NULL ? 1 : list->nvalues);
	walk->stands = (list == NULL || list->nvalues <= 1) && keeps_parts_pinned(table);
	if (table->partitions != NULL && list != NULL &&
		list->columns[table->source] == table->columns[COLUMN_PROJECT_ID])
		find_project_ranges(walk);
	walk->visible_block = InvalidBlockNumber;
	fetch_init(&walk->fetch, table, NULL, walk->snapshot);
	walk->index_quals = palloc(sizeof(Qual *) * (nquals + 1));
	walk->positions = palloc(sizeof(int) * (nquals + 1));
	walk->heap_quals = palloc(sizeof(Qual *) * (nquals + 1));
	for (int i = 0; i < nquals; i++)
	{
		Qual *qual = &quals[i];
		AttrNumber column = qual->columns[table->source];
		int position = direct_position(index, column);

		/* A column of the other table is for index_walk_join(). */
		if (qual == list || column == InvalidAttrNumber)
			continue;
		if (position == bounds_position + 1 && position <= index->nkeys &&
			(qual->has_lower || qual->has_upper))
			walk->bounds = qual;
		/* An index may include the tags; taking an array apart is for fetched tuples. */
		else if (position > 0 && !qual->on_elements)
		{
			walk->positions[walk->nindex_quals] = position;
			walk->index_quals[walk->nindex_quals++] = qual;
		}
		else
			walk->heap_quals[walk->nheap_quals++] = qual;
	}
	walk->needs_heap = walk->nheap_quals > 0;
}

/* Joins the rows of the other table: their columns will be asked for. */
void
index_walk_join(IndexWalk *walk, KeyJoin *join)
{
	walk->fetch.join = join;
	walk->needs_heap = true;
}

/* Announces that a column of the matches will be read. */
void
index_walk_need_column(IndexWalk *walk, AttrNumber column)
{
	if (direct_position(walk->index, column) > 0)
		return;
	walk->needs_column = true;
	walk->needs_heap = true;
}

/* Whether an entry of a key range may not match. */
bool
index_walk_is_filtered(const IndexWalk *walk)
{
	return walk->nindex_quals > 0 || walk->needs_heap || walk->tags != NULL || walk->filter != NULL;
}

/*
 * The work of walking through the whole index, if nothing has to be fetched: estimated by
 * direct_entries(), and at least what was done already.
 */
int64
index_walk_whole_work(const IndexWalk *walk)
{
	int64 each = ScanDirectionIsNoMovement(walk->direction) ? WORK_ENTRY : WORK_STEP;

	if (walk->needs_heap)
		return NO_WORK_LIMIT;
	return Max(walk->work, walk->nranges * (int64) WORK_DESCENT +
							   (int64) direct_entries(walk->table, walk->index) * each);
}

/* From here on, the tag is checked by a tuple's place. */
void
index_walk_use_tags(IndexWalk *walk, const TagWalk *tags)
{
	int n = 0;

	for (int i = 0; i < walk->nheap_quals; i++)
		if (!walk->heap_quals[i]->on_elements)
			walk->heap_quals[n++] = walk->heap_quals[i];
	walk->nheap_quals = n;
	walk->needs_heap = walk->needs_column || n > 0 || walk->fetch.join != NULL;
	walk->tags = tags;
}

static void
add_key(IndexWalk *walk, ScanKey keys, int *nkeys, int position, StrategyNumber strategy,
		Datum value)
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

static void
release_map(WalkPart *part)
{
	for (int i = 0; i < N_MAP_BUFFERS; i++)
	{
		if (BufferIsValid(part->map_buffers[i]))
			ReleaseBuffer(part->map_buffers[i]);
		part->map_buffers[i] = InvalidBuffer;
	}
}

static void
close_part(WalkPart *part)
{
	release_map(part);
	if (part->leaves != NULL)
		leaf_end(part->leaves);
	if (part->scan != NULL)
		index_endscan(part->scan);
	part->leaves = NULL;
	part->scan = NULL;
}

/* Unpins what the part being read has pinned, and goes on with it only if the walk "stands". */
static void
leave_part(IndexWalk *walk)
{
	if (keeps_parts_pinned(walk->table))
		return;
	if (walk->stands)
		release_map(walk->at);
	else
		close_part(walk->at);
}

/* Goes to a range, to start it or to go on with it. */
static void
go_to_range(IndexWalk *walk, int64 range)
{
	int part = range_part(walk, range);

	walk->range = range;
	walk->range_entries = 0;
	walk->asks_again = false;
	if (walk->at != NULL && walk->part == part)
		return;
	if (walk->at != NULL)
		leave_part(walk);
	if (walk->parts == NULL)
		walk->parts = palloc0(sizeof(WalkPart *) * walk->table->nparts);
	/* Opened only now, as many walks are prepared and never read. */
	if (walk->parts[part] == NULL)
	{
		walk->parts[part] = palloc0(sizeof(WalkPart));
		walk->parts[part]->index = direct_index_part(walk->table, walk->index, part);
		for (int i = 0; i < N_MAP_BUFFERS; i++)
			walk->parts[part]->map_buffers[i] = InvalidBuffer;
	}
	walk->at = walk->parts[part];
	walk->part = part;
	walk->visible_block = InvalidBlockNumber;
}

/* Opens a range of a walk without a direction. */
static void
start_leaves(IndexWalk *walk, int64 range)
{
	Datum from[2];
	int nfrom = 0;

	if (walk->list != NULL)
		from[nfrom++] = index_walk_range_value(walk, range);
	if (walk->bounds != NULL && walk->bounds->has_lower)
		from[nfrom++] = walk->bounds->lower;
	if (walk->at->leaves == NULL)
		walk->at->leaves = leaf_begin(walk->at->index, walk->snapshot);
	leaf_seek(walk->at->leaves, from, NULL, nfrom);
	/* The page at hand may be that of another range, which was not read to its end. */
	walk->page = 0;
}

/*
 * Adds the key of what is behind a place, which is one or two values of the columns
 * from a position on.
 */
static void
add_place_key(IndexWalk *walk, ScanKey keys, int *nkeys, int position, const Datum *place,
			  int nplace)
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

/* Opens a range of a walk with a direction, at its beginning or behind a place. */
static void
start_scan(IndexWalk *walk, int64 range, const Datum *place, int nplace)
{
	bool has_lower = walk->bounds != NULL && walk->bounds->has_lower;
	bool has_upper = walk->bounds != NULL && walk->bounds->has_upper;
	ScanKeyData keys[MAX_KEYS];
	int nkeys = 0;
	int position = 0;

	/* With a list, all its ranges have as many keys. Without one, the place is one key more. */
	walk->nkeys = (walk->list != NULL) + has_lower + has_upper +
				  (walk->list != NULL ? walk->resumable : nplace > 0);
	if (walk->at->scan != NULL && walk->at->scan->numberOfKeys != walk->nkeys)
	{
		index_endscan(walk->at->scan);
		walk->at->scan = NULL;
	}
	if (walk->at->scan == NULL)
	{
		walk->at->scan = begin_index_scan(walk->table->parts[walk->part], walk->at->index,
										  walk->snapshot, walk->nkeys, READ_ONLY);
		/* Also keeps the pin that makes it safe to ask the visibility map. */
		walk->at->scan->xs_want_itup = true;
	}
	if (walk->list != NULL)
	{
		/* The scan was opened for a number of keys: the first one is repeated to fill them. */
		do
			add_key(walk, keys, &nkeys, position, BTEqualStrategyNumber,
					index_walk_range_value(walk, range));
		while (nkeys + has_lower + has_upper + (nplace > 0) < walk->nkeys);
		position++;
	}
	/* Of the keys on a column, the first one that can be is what the scan begins at. */
	if (nplace > 0)
		add_place_key(walk, keys, &nkeys, position, place, nplace);
	if (has_lower)
		add_key(walk, keys, &nkeys, position, BTGreaterEqualStrategyNumber, walk->bounds->lower);
	if (has_upper)
		add_key(walk, keys, &nkeys, position, BTLessEqualStrategyNumber, walk->bounds->upper);
	index_rescan(walk->at->scan, keys, nkeys, NULL, 0);
}

void
index_walk_start_range(IndexWalk *walk, int64 range)
{
	go_to_range(walk, range);
	walk->work += WORK_DESCENT;
	if (ScanDirectionIsNoMovement(walk->direction))
		start_leaves(walk, range);
	else
		start_scan(walk, range, NULL, 0);
}

/*
 * Starts a range behind a place, of the columns that follow the list's; the values are in use
 * until it is started again.
 */
void
index_walk_start_behind(IndexWalk *walk, int64 range, const Datum *place, int nplace)
{
	Assert(walk->resumable);
	go_to_range(walk, range);
	walk->work += WORK_DESCENT;
	start_scan(walk, range, place, nplace);
}

/* Goes on with a range where it stopped: if the walk "stands". */
void
index_walk_continue_range(IndexWalk *walk, int64 range)
{
	Assert(walk->stands);
	go_to_range(walk, range);
}

/* Where the last entry leads. */
RowPlace
index_walk_place(const IndexWalk *walk)
{
	return place_of(walk->part, &walk->tid);
}

static Datum
entry_value(IndexWalk *walk, IndexTuple entry, int position, bool *isnull)
{
	return index_getattr(entry, position, RelationGetDescr(walk->index->relation), isnull);
}

/* Whether an entry, which is not before the range, is not behind it. */
static bool
is_in_range(IndexWalk *walk, IndexTuple entry)
{
	int position = 1;
	bool isnull;
	Datum value;

	if (walk->list != NULL)
	{
		value = entry_value(walk, entry, position++, &isnull);
		if (isnull ||
			compare_values(walk->list, value, index_walk_range_value(walk, walk->range)) != 0)
			return false;
	}
	if (walk->bounds == NULL)
		return true;
	value = entry_value(walk, entry, position, &isnull);
	return qual_holds(walk->bounds, value, isnull);
}

/* Goes on to the next entry of the range. Returns whether there is one. */
static bool
next_entry(IndexWalk *walk)
{
	LeafReader *leaves = walk->at->leaves;
	IndexScanDesc scan = walk->at->scan;
	ItemPointer tid;

	CHECK_FOR_INTERRUPTS();
	if (leaves == NULL)
	{
		walk->work += WORK_STEP;
		tid = index_getnext_tid(scan, walk->direction);
		if (tid == NULL)
			return false;
		walk->entry = scan->xs_itup;
		walk->tid = *tid;
		return true;
	}

	walk->work += WORK_ENTRY;
	walk->range_entries++;
	walk->entry = leaf_next(leaves, &walk->tid);
	if (walk->entry == NULL)
	{
		leaf_leave(leaves);
		return false;
	}
	if (walk->page != leaf_page(leaves))
	{
		walk->page = leaf_page(leaves);
		walk->page_is_inside = is_in_range(walk, leaf_last(leaves));
		walk->visible_block = InvalidBlockNumber;
	}
	if (walk->page_is_inside || is_in_range(walk, walk->entry))
		return true;
	leaf_leave(leaves);
	return false;
}

/*
 * Whether the entry's tuple is all-visible, so that it need not be fetched. The visibility
 * map is asked after the entry was read, so its answer holds for all entries of a page
 * that was copied.
 */
bool
index_walk_is_visible(IndexWalk *walk)
{
	BlockNumber block = ItemPointerGetBlockNumber(&walk->tid);
	Relation relation = walk->table->parts[walk->part];
	Buffer *map_buffer = &walk->at->map_buffers[block / BLOCKS_PER_MAP_PAGE % N_MAP_BUFFERS];

	if (walk->at->leaves != NULL && block == walk->visible_block)
		return true;
	if (!VM_ALL_VISIBLE(relation, block, map_buffer))
		return false;
	/* The tuple is not fetched, so the predicate lock is on its whole page. */
	PredicateLockPage(relation, block, walk->snapshot);
	walk->visible_block = block;
	return true;
}

/* Fetches the entry's tuple. Returns whether it is visible and meets the quals. */
static bool
fetch_entry(IndexWalk *walk)
{
	IndexScanDesc scan = walk->at->scan;
	bool found =
		fetch_match(&walk->fetch, index_walk_place(walk), walk->heap_quals, walk->nheap_quals);

	walk->work += WORK_BLOCK + WORK_TUPLE + (walk->fetch.join != NULL ? WORK_JOIN : 0);
	if (found)
		pgstat_count_heap_fetch(walk->at->index);
	/* The scan's next step may mark a dead entry for others, but not on a replica. */
	if (scan != NULL && !scan->xactStartedInRecovery)
		scan->kill_prior_tuple = walk->fetch.all_dead;
	return found;
}

/* Whether the entry meets the quals on the index's columns, and has the tag if that is known. */
static bool
meets_quals(IndexWalk *walk)
{
	for (int i = 0; i < walk->nindex_quals; i++)
	{
		bool isnull;
		Datum value = entry_value(walk, walk->entry, walk->positions[i], &isnull);

		if (!qual_holds(walk->index_quals[i], value, isnull))
			return false;
	}
	return walk->tags == NULL || tag_walk_has(walk->tags, index_walk_place(walk));
}

/*
 * Goes on to the next entry of the range that meets the quals that can be told
 * without fetching, unless that takes more work than is allowed.
 */
WalkResult
index_walk_next_entry(IndexWalk *walk, int64 work_limit)
{
	while (walk->work < work_limit)
	{
		FilterAnswer answer = FILTER_ACCEPTS;

		if (!walk->asks_again)
		{
			if (!next_entry(walk))
				return WALK_END;
			if (!meets_quals(walk))
				continue;
		}
		if (walk->filter != NULL)
			answer = walk->filter->ask(walk->filter, walk, work_limit);
		walk->asks_again = answer == FILTER_PAUSED;
		if (answer == FILTER_ACCEPTS)
			return WALK_MATCH;
	}
	return WALK_PAUSED;
}

/* Goes on to the range's next match, unless that takes more work than is allowed. */
WalkResult
index_walk_next(IndexWalk *walk, int64 work_limit)
{
	for (;;)
	{
		WalkResult result = index_walk_next_entry(walk, work_limit);

		if (result != WALK_MATCH)
			return result;
		if (!walk->needs_heap && index_walk_is_visible(walk))
			return WALK_MATCH;
		if (fetch_entry(walk))
			return WALK_MATCH;
	}
}

/* A column of the last match that the index has. */
Datum
index_walk_value(IndexWalk *walk, AttrNumber column, bool *isnull)
{
	return entry_value(walk, walk->entry, direct_position(walk->index, column), isnull);
}

void
index_walk_end(IndexWalk *walk)
{
	for (int i = 0; walk->parts != NULL && i < walk->table->nparts; i++)
		if (walk->parts[i] != NULL)
			close_part(walk->parts[i]);
	if (walk->filter != NULL)
		walk->filter->end(walk->filter);
	fetch_end(&walk->fetch);
}
