/*
 * gather.c
 *		Gathers all rows that match: counts them, or keeps the first ones.
 */
#include "postgres.h"
#include "compat.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"

#include "estimate.h"
#include "gather.h"

/* As ItemPointerCompare(), but inlined. */
static inline int
compare_tids(const ItemPointerData *a, const ItemPointerData *b)
{
	BlockNumber a_block = ItemPointerGetBlockNumberNoCheck(a);
	BlockNumber b_block = ItemPointerGetBlockNumberNoCheck(b);

	if (a_block != b_block)
		return a_block < b_block ? -1 : 1;
	return (int) ItemPointerGetOffsetNumberNoCheck(a) - (int) ItemPointerGetOffsetNumberNoCheck(b);
}

#define ST_SORT sort_tids
#define ST_ELEMENT_TYPE ItemPointerData
#define ST_COMPARE(a, b) compare_tids(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* Sorts the matches, and drops those behind the page. */
void
gather_sort(Gather *gather)
{
	IndexScan *scan = gather->scan;

	sort_matches(gather->matches, gather->nmatches, scan);
	while (gather->nmatches > scan->wanted)
		free_key(scan, &gather->matches[--gather->nmatches]);
	gather->full = gather->nmatches == scan->wanted;
}

static void
keep_match(Gather *gather, bool fetched, ItemPointer tid)
{
	IndexScan *scan = gather->scan;
	bool isnull;
	bool id_isnull;
	Datum key = match_value(&gather->walk, fetched ? &gather->fetch : NULL, scan->request->order_by,
							&isnull);
	const Match *last = gather->full ? &gather->matches[scan->wanted - 1] : NULL;
	Match match;

	/* Of most rows that do not make the page, no more than the key is read. */
	set_match_key(scan, &match, key, isnull);
	if (last != NULL && compare_keys(scan, &match, last) > 0)
		return;
	set_match_place(
		&match, match_value(&gather->walk, fetched ? &gather->fetch : NULL, COLUMN_ID, &id_isnull),
		tid);
	if (last != NULL && compare_matches(scan, &match, last) >= 0)
		return;
	if (gather->nmatches >= gather->size)
	{
		if (gather->nmatches / 2 >= scan->wanted)
			gather_sort(gather);
		else if (gather->size >= most_matches())
		{
			gather->gave_up = true;
			return;
		}
		else
		{
			gather->size = gather->size == 0 ? 256 : Min(gather->size * 2, most_matches());
			if (gather->matches == NULL)
				gather->matches = palloc(sizeof(Match) * gather->size);
			else
				gather->matches = repalloc_huge(gather->matches, sizeof(Match) * gather->size);
		}
	}
	keep_key(scan, &match);
	gather->matches[gather->nmatches++] = match;
}

static void
take_match(Gather *gather, bool fetched, ItemPointer tid)
{
	gather->count++;
	if (gather->keeps)
		keep_match(gather, fetched, tid);
}

static void
add_tid(Gather *gather, const ItemPointerData *tid)
{
	if (gather->ntids == gather->tids_size)
	{
		gather->tids_size = gather->tids_size == 0 ? 256 : gather->tids_size * 2;
		if (gather->tids == NULL)
			gather->tids = palloc(sizeof(ItemPointerData) * gather->tids_size);
		else
			gather->tids = repalloc_huge(gather->tids, sizeof(ItemPointerData) * gather->tids_size);
	}
	gather->tids[gather->ntids++] = *tid;
}

/* Fetches a tuple and takes it, if it matches. Returns whether to go on. */
static bool
fetch_tid(Gather *gather, ItemPointer tid)
{
	CHECK_FOR_INTERRUPTS();
	if (fetch_match(&gather->fetch, tid, gather->conditions, gather->nconditions))
	{
		if (gather->tags == NULL)
			pgstat_count_heap_fetch(gather->walk.index->relation);
		take_match(gather, true, tid);
	}
	return !gather->gave_up;
}

/* Fetches what was found, each page of the table once. Returns whether to go on. */
static bool
fetch_found(Gather *gather)
{
	sort_tids(gather->tids, gather->ntids);
	for (int64 i = 0; i < gather->ntids; i++)
		if (!fetch_tid(gather, &gather->tids[i]))
			return false;
	gather->ntids = 0;
	return true;
}

/*
 * Goes on with a gather that need not fetch, but what has changed lately: that comes
 * last. Returns whether all is gathered.
 */
bool
gather_entries(Gather *gather, int64 work_limit)
{
	Walk *walk = &gather->walk;

	while (gather->stream < walk->nstreams)
	{
		if (!gather->started)
			walk_start_stream(walk, gather->stream);
		gather->started = true;
		switch (walk_next_entry(walk, work_limit))
		{
			case WALK_PAUSED:
				return false;
			case WALK_END:
				gather->stream++;
				gather->started = false;
				break;
			case WALK_MATCH:
				if (walk_is_visible(walk))
					take_match(gather, false, &walk->tid);
				else
				{
					if (gather->ntids == most_tids() && !fetch_found(gather))
						return false;
					walk->work += WORK_TUPLE;
					add_tid(gather, &walk->tid);
				}
				if (gather->gave_up)
					return false;
				break;
		}
	}
	return fetch_found(gather);
}

/* The work of fetching so many tuples in the order of their places. */
int64
fetch_work(const Fetch *fetch, int64 ntuples, int64 nblocks)
{
	int64 each = WORK_TUPLE + (fetch->join != NULL ? WORK_JOIN : 0);

	return ntuples * each + nblocks * WORK_BLOCK;
}

/* Puts the tuples found in order, and tells what is left to do. */
static void
set_known_work(Gather *gather)
{
	int64 nblocks = 0;

	sort_tids(gather->tids, gather->ntids);
	for (int64 i = 0; i < gather->ntids; i++)
	{
		CHECK_FOR_INTERRUPTS();
		nblocks += i == 0 || ItemPointerGetBlockNumber(&gather->tids[i]) !=
								 ItemPointerGetBlockNumber(&gather->tids[i - 1]);
	}
	gather->sized = true;
	gather->partial |= gather->stream < gather->walk.nstreams;
	gather->known_work = fetch_work(&gather->fetch, gather->ntids, nblocks);
}

/* Whether all that matches has to be fetched. */
bool
gather_fetches(const Gather *gather)
{
	return gather->walk.needs_heap || gather->key != NULL;
}

static void
add_key(Gather *gather)
{
	const AttrNumber *columns = gather->walk.table->columns;
	bool isnull;
	bool id_isnull;
	Datum project_id = walk_value(&gather->walk, columns[COLUMN_PROJECT_ID], &isnull);
	Datum id = walk_value(&gather->walk, columns[COLUMN_ID], &id_isnull);
	BatchKey *key;

	if (isnull || id_isnull)
		return;
	if (gather->nkeys == gather->keys_size)
	{
		gather->keys_size = gather->keys_size == 0 ? 256 : gather->keys_size * 2;
		if (gather->keys == NULL)
			gather->keys = palloc(sizeof(BatchKey) * gather->keys_size);
		else
			gather->keys = repalloc_huge(gather->keys, sizeof(BatchKey) * gather->keys_size);
	}
	key = &gather->keys[gather->nkeys++];
	key->project_id = *DatumGetUUIDP(project_id);
	key->id = *DatumGetUUIDP(id);
}

/* A KeyCallback */
static void
add_key_tid(const BatchKey *key, const ItemPointerData *tid, void *gather)
{
	add_tid(gather, tid);
}

/*
 * Finds out where the tuples are that have to be fetched. Returns whether all are
 * found, or as many as there is memory for.
 */
bool
gather_find(Gather *gather, int64 work_limit)
{
	Walk *walk = &gather->walk;
	int64 most_keys = work_mem * INT64CONST(1024) / sizeof(BatchKey);

	while (gather->stream < walk->nstreams && gather->ntids < most_tids() &&
		   gather->nkeys < most_keys)
	{
		if (!gather->started)
			walk_start_stream(walk, gather->stream);
		gather->started = true;
		switch (gather->key != NULL ? walk_next(walk, work_limit)
									: walk_next_entry(walk, work_limit))
		{
			case WALK_PAUSED:
				return false;
			case WALK_END:
				gather->stream++;
				gather->started = false;
				break;
			case WALK_MATCH:
				if (gather->key != NULL)
					add_key(gather);
				else
					add_tid(gather, &walk->tid);
				break;
		}
	}
	if (gather->key != NULL)
		find_keys(gather->key, gather->scan->snapshot, gather->keys, gather->nkeys, add_key_tid,
				  gather);
	walk->work += gather->nkeys * WORK_KEY;
	gather->nkeys = 0;
	set_known_work(gather);
	return true;
}

/* Whether the tuples found, if any of them are, are all. */
static bool
has_found_all(const Gather *gather)
{
	return gather->sized && !gather->partial && gather->stream == gather->walk.nstreams;
}

/*
 * Leaves of the tuples found those that another gather has found, too, if it has found all.
 * A row that the snapshot sees has its entries in all indexes for the same tuple, so a row
 * of the request is in both.
 */
void
gather_narrow(Gather *gather, const Gather *other)
{
	int64 n = 0;
	int64 j = 0;

	if (!has_found_all(other) || other->fetch.table != gather->fetch.table)
		return;
	for (int64 i = 0; i < gather->ntids; i++)
	{
		CHECK_FOR_INTERRUPTS();
		while (j < other->ntids && compare_tids(&other->tids[j], &gather->tids[i]) < 0)
			j++;
		if (j < other->ntids && compare_tids(&other->tids[j], &gather->tids[i]) == 0)
			gather->tids[n++] = gather->tids[i];
	}
	gather->ntids = n;
	set_known_work(gather);
}

/* Fetches what was found. Returns whether that was all. */
bool
gather_tuples(Gather *gather)
{
	/* Only the number was known. */
	if (gather->stream == 0 && !gather->started)
		(void) gather_find(gather, NO_WORK_LIMIT);
	gather->walk.work += gather->known_work;
	gather->sized = false;
	return fetch_found(gather) && gather->stream == gather->walk.nstreams;
}

/* Fetches all that may have the tag. Returns whether it has all. */
bool
gather_tagged(Gather *gather)
{
	ItemPointerData tid;

	tag_walk_rewind(gather->tags);
	while (tag_walk_next(gather->tags, &tid))
		if (!fetch_tid(gather, &tid))
			return false;
	return true;
}

static void
forget_tuples(Gather *gather)
{
	if (gather->tids != NULL)
		pfree(gather->tids);
	gather->tids = NULL;
	gather->ntids = 0;
	gather->tids_size = 0;
	if (gather->keys != NULL)
		pfree(gather->keys);
	gather->keys = NULL;
	gather->nkeys = 0;
	gather->keys_size = 0;
}

/* Lets the tag be told from where a tuple is, from here on. */
void
gather_use_tags(Gather *gather, const TagWalk *tags)
{
	Walk *walk = &gather->walk;
	bool fetches = walk->needs_heap;
	int64 n = 0;

	walk_use_tags(walk, tags);
	gather->nconditions = walk->nheap_conditions;
	if (fetches && !walk->needs_heap && !gather->partial)
	{
		/* Nothing has to be fetched any more, nor was any: it begins again. */
		gather->stream = 0;
		gather->started = false;
		walk->work = 0;
		gather->sized = false;
		forget_tuples(gather);
		return;
	}
	for (int64 i = 0; i < gather->ntids; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (tag_walk_has(tags, &gather->tids[i]))
			gather->tids[n++] = gather->tids[i];
	}
	gather->ntids = n;
	if (has_found_all(gather))
		set_known_work(gather);
}

/*
 * Finds out what work a gather may take to walk, by the statistics: all entries of its
 * streams, and more for those whose jobs are asked for or whose batches are looked for.
 */
void
gather_estimate(Gather *gather)
{
	const Walk *walk = &gather->walk;
	double entries = direct_entries(walk->index);
	double passed;

	if (walk->list != NULL)
		entries *= estimate_share(walk->table, walk->list);
	if (walk->range != NULL)
		entries *= estimate_share(walk->table, walk->range);
	passed = entries;
	for (int i = 0; i < walk->nindex_conditions; i++)
		passed *= estimate_share(walk->table, walk->index_conditions[i]);
	gather->expected_work =
		walk->nstreams * (int64) WORK_DESCENT +
		(int64) (entries * WORK_ENTRY + passed * walk_counting_work(walk) +
				 (gather->key != NULL ? passed * (WORK_KEY + WORK_TUPLE + WORK_BLOCK) : 0));
}

/* Whether it is sure what work a gather that fetches has left. */
bool
gather_is_known(const Gather *gather)
{
	return gather->sized && !gather->partial;
}

/* The least work of a gather that fetches what it has found up to now. */
int64
gather_work_found(const Gather *gather)
{
	if (gather_is_known(gather))
		return gather->known_work;
	return gather->walk.work + fetch_work(&gather->fetch, gather->ntids, 0);
}

/* What a gather may have left to do; much, if nothing is known of that. */
int64
gather_work_left(const Gather *gather)
{
	const Walk *walk = &gather->walk;
	int64 left;

	if (gather->tags != NULL)
		return tag_walk_has_found(gather->tags)
				   ? fetch_work(&gather->fetch, tag_walk_count(gather->tags),
								tag_walk_blocks(gather->tags))
				   : NO_WORK_LIMIT;
	if (gather_fetches(gather) && !gather->sized)
		return NO_WORK_LIMIT;
	/* If there is more than there was memory for: as much again. */
	if (gather_fetches(gather))
		return gather_is_known(gather) || gather->stream == walk->nstreams ? gather->known_work
																		   : 2 * gather->known_work;
	left = (gather->expected_work > 0 ? gather->expected_work : walk_whole_work(walk)) - walk->work;
	/* If there is more than was expected: as much again. */
	return left > 0 ? left : walk->work;
}

/* Ends a gather, but for its matches. */
void
gather_end(Gather *gather)
{
	walk_end(&gather->walk);
	fetch_end(&gather->fetch);
	forget_tuples(gather);
}

/* Ends a gather whose matches are of no use. */
void
gather_drop(Gather *gather)
{
	gather_end(gather);
	while (gather->nmatches > 0)
		free_key(gather->scan, &gather->matches[--gather->nmatches]);
	if (gather->matches != NULL)
		pfree(gather->matches);
	gather->matches = NULL;
}
