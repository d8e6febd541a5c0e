/*
 * collect.c
 *		Collects all rows that match: counts them, or keeps the first ones of the order.
 */
#include "postgres.h"
#include "compat.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"

#include "budget.h"
#include "collect.h"
#include "estimate.h"

/* How many tuples are fetched before the rows of the other table that they are joined with. */
#define LEAST_FETCH_BLOCK 256
#define MOST_FETCH_BLOCK 65536
/* What a match's copied key takes: a uuid does, and a text as far as can be known beforehand. */
#define COPIED_KEY_SIZE 32

/* Sorts the matches, and drops those behind the page. */
void
collect_sort(Collection *collection)
{
	DirectScan *scan = collection->scan;

	sort_entries(collection->sort_entries, collection->nsort_entries, scan);
	while (collection->nsort_entries > scan->wanted)
		free_key(scan, &collection->sort_entries[--collection->nsort_entries]);
	collection->full = collection->nsort_entries == scan->wanted;
}

/* Doubles an array, if there is memory for it; the first elements always have room. */
static bool
grow_array(Collection *collection, void **array, int64 *size, Size element)
{
	int64 larger = *size == 0 ? 256 : *size * 2;

	if (*size > 0 && !fits_budget(collection->scan->context, *size * element, larger * element))
		return false;
	*array = *array == NULL ? palloc(larger * element) : repalloc_huge(*array, larger * element);
	*size = larger;
	return true;
}

/* Whether one of a collection's arrays has room for one more, or there is memory to make it. */
#define make_room(collection, array)                                                               \
	((collection)->n##array < (collection)->array##_size ||                                        \
	 grow_array(collection, (void **) &(collection)->array, &(collection)->array##_size,           \
				sizeof(*(collection)->array)))

/*
 * Whether there is room for one more match: sorting drops those behind the page, half of them,
 * or at least a quarter where there is no memory to double the room.
 */
static bool
make_room_for_match(Collection *collection)
{
	int64 wanted = collection->scan->wanted;
	int64 n = collection->nsort_entries;

	if (n == collection->sort_entries_size && n / 2 >= wanted)
		collect_sort(collection);
	if (make_room(collection, sort_entries))
		return true;
	if (n - n / 4 < wanted)
		return false;
	collect_sort(collection);
	return true;
}

static void
keep_match(Collection *collection, bool fetched, RowPlace place)
{
	DirectScan *scan = collection->scan;
	bool isnull;
	bool id_isnull;
	Datum key = row_value(&collection->walk, fetched ? &collection->fetch : NULL,
						  scan->request->order_by, &isnull);
	Datum id;
	const SortEntry *last = collection->full ? &collection->sort_entries[scan->wanted - 1] : NULL;
	int to_last = -1; /* the key, compared with that of the last one wanted */
	int to_after = 1; /* and with that of the place where the page begins */
	SortEntry match;

	/* For most rows before the page and behind its end, the key alone tells so. */
	set_sort_key(scan, &match, key, isnull);
	if (last != NULL && (to_last = compare_keys(scan, &match, last)) > 0)
		return;
	if (scan->request->after != NULL && (to_after = compare_keys(scan, &match, &scan->after)) < 0)
		return;
	id = row_value(&collection->walk, fetched ? &collection->fetch : NULL, COLUMN_ID, &id_isnull);
	if (id_isnull)
	{
		scan->met_null = true;
		collection->gave_up = true;
		return;
	}
	if ((to_last == 0 && compare_ids(scan, DatumGetUUIDP(id), &last->id) >= 0) ||
		(to_after == 0 && compare_ids(scan, DatumGetUUIDP(id), &scan->after.id) <= 0))
		return;
	set_sort_place(&match, id, place);
	if (!make_room_for_match(collection))
	{
		collection->gave_up = true;
		return;
	}
	keep_key(scan, &match);
	collection->sort_entries[collection->nsort_entries++] = match;
}

static void
take_match(Collection *collection, bool fetched, RowPlace place)
{
	collection->count++;
	if (collection->keeps)
		keep_match(collection, fetched, place);
}

/* Takes the tuple that is in the slot. */
static void
take_tuple(Collection *collection, RowPlace place)
{
	if (collection->tags == NULL)
		pgstat_count_heap_fetch(collection->walk.index->relation);
	take_match(collection, true, place);
}

/* A KeyCallback: one of the versions that the other table's row of a tuple has had */
static void
take_joined(const BatchKey *key, RowPlace place, void *arg)
{
	Collection *collection = arg;
	KeyJoin *join = collection->fetch.join;
	Fetch *joined = &collection->joined;

	if (collection->gave_up || !fetch_tuple(joined, place) ||
		!quals_hold(join->quals, join->nquals, joined->table->source, joined->slot,
					joined->check_context))
		return;
	join->rows.slot = joined->slot;
	/* Other tuples were fetched since. */
	if (collection->keeps &&
		!fetch_tuple(&collection->fetch, collection->joined_places[key->number]))
		elog(ERROR, "a tuple of a batch is gone");
	take_tuple(collection, collection->joined_places[key->number]);
}

/*
 * Fetches tuples and takes those that match. What they are joined with is found for a block of
 * them at once, in the order of their keys. Returns whether to go on.
 */
static bool
fetch_places(Collection *collection, RowPlace *places, int64 nplaces)
{
	Fetch *fetch = &collection->fetch;
	BatchKey *keys = NULL;
	int64 nkeys = 0;

	if (fetch->join != NULL)
		keys = palloc(sizeof(BatchKey) * nplaces);
	for (int64 i = 0; i < nplaces && !collection->gave_up; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!fetch_tuple(fetch, places[i]) ||
			!quals_hold(collection->quals, collection->nquals, fetch->table->source, fetch->slot,
						fetch->check_context))
			continue;
		if (fetch->join == NULL)
			take_tuple(collection, places[i]);
		else if (fetched_key(fetch, &keys[nkeys]))
		{
			keys[nkeys].number = nkeys;
			places[nkeys++] = places[i];
		}
	}
	if (fetch->join == NULL)
		return !collection->gave_up;
	collection->joined_places = places;
	if (collection->joined.table == NULL)
		fetch_init(&collection->joined, fetch->join->rows.table, NULL, fetch->snapshot);
	find_keys(fetch->join->rows.table, fetch->join->rows.key, fetch->snapshot, keys, nkeys,
			  take_joined, collection);
	pfree(keys);
	return !collection->gave_up;
}

/*
 * How many tuples to fetch at once: the more, the more of their keys are on one page of the
 * index. The matches kept meanwhile need memory, too.
 */
static int64
fetch_block(const Collection *collection)
{
	int64 room = budget_left(collection->scan->context) / 4 / sizeof(BatchKey);

	return Max(Min(room, MOST_FETCH_BLOCK), LEAST_FETCH_BLOCK);
}

/* Fetches what was found, each page of the table once. Returns whether to go on. */
static bool
fetch_found(Collection *collection)
{
	int64 block = fetch_block(collection);

	sort_places(collection->places, collection->nplaces);
	for (int64 i = 0; i < collection->nplaces; i += block)
		if (!fetch_places(collection, collection->places + i, Min(collection->nplaces - i, block)))
			return false;
	collection->nplaces = 0;
	return true;
}

/* Goes on to the next match of the key ranges, by its entry alone or not; WALK_END is behind the last one. */
static WalkResult
next_match(Collection *collection, bool by_entry, int64 work_limit)
{
	IndexWalk *walk = &collection->walk;

	for (; collection->range < walk->nranges; collection->range++)
	{
		WalkResult result;

		if (!collection->started)
			index_walk_start_range(walk, collection->range);
		collection->started = true;
		result =
			by_entry ? index_walk_next_entry(walk, work_limit) : index_walk_next(walk, work_limit);
		if (result != WALK_END)
			return result;
		collection->started = false;
	}
	return WALK_END;
}

/*
 * Goes on with a collection that reads the index only. Tuples that are not all-visible are
 * fetched last. Returns whether it is complete.
 */
bool
collect_entries(Collection *collection, int64 work_limit)
{
	IndexWalk *walk = &collection->walk;
	WalkResult result;

	while ((result = next_match(collection, true, work_limit)) == WALK_MATCH)
	{
		if (index_walk_is_visible(walk))
			take_match(collection, false, index_walk_place(walk));
		else
		{
			if (!make_room(collection, places) && !fetch_found(collection))
				return false;
			walk->work += WORK_TUPLE;
			collection->places[collection->nplaces++] = index_walk_place(walk);
		}
		if (collection->gave_up)
			return false;
	}
	return result == WALK_END && fetch_found(collection);
}

/*
 * The work of fetching so many tuples in the order of their places. What is kept of those that
 * are joined is fetched again, from pages that were read just before.
 */
int64
fetch_work(const Collection *collection, int64 ntuples, int64 nblocks)
{
	int64 each = WORK_TUPLE;

	if (collection->fetch.join != NULL)
		each += WORK_KEY + WORK_TUPLE + WORK_BLOCK + (collection->keeps ? WORK_TUPLE : 0);
	return ntuples * each + nblocks * WORK_BLOCK;
}

/* Sorts the places found, and computes the work of fetching them. */
static void
set_known_work(Collection *collection)
{
	int64 nblocks = 0;

	sort_places(collection->places, collection->nplaces);
	for (int64 i = 0; i < collection->nplaces; i++)
	{
		CHECK_FOR_INTERRUPTS();
		nblocks +=
			i == 0 || place_page(collection->places[i]) != place_page(collection->places[i - 1]);
	}
	collection->sized = true;
	collection->partial |= collection->range < collection->walk.nranges;
	collection->known_work = fetch_work(collection, collection->nplaces, nblocks);
}

/* Whether all that matches has to be fetched. */
bool
collect_fetches(const Collection *collection)
{
	return collection->walk.needs_heap || collection->key != NULL;
}

static void
add_key(Collection *collection)
{
	const AttrNumber *columns = collection->walk.table->columns;
	bool isnull;
	bool id_isnull;
	Datum project_id = index_walk_value(&collection->walk, columns[COLUMN_PROJECT_ID], &isnull);
	Datum id = index_walk_value(&collection->walk, columns[COLUMN_ID], &id_isnull);
	BatchKey *key;

	if (isnull || id_isnull)
		return;
	key = &collection->keys[collection->nkeys++];
	key->project_id = *DatumGetUUIDP(project_id);
	key->id = *DatumGetUUIDP(id);
}

/* A KeyCallback. Does not ask for memory: a key has a place for each version of its row, so there may be more places than keys. */
static void
add_key_place(const BatchKey *key, RowPlace place, void *arg)
{
	Collection *collection = arg;

	if (collection->nplaces == collection->places_size)
	{
		collection->places_size = Max(collection->places_size * 2, 256);
		collection->places =
			collection->places == NULL
				? palloc(sizeof(RowPlace) * collection->places_size)
				: repalloc_huge(collection->places, sizeof(RowPlace) * collection->places_size);
	}
	collection->places[collection->nplaces++] = place;
}

/*
 * Finds out where the tuples are that have to be fetched. Returns whether all are
 * found, or as many as there is memory for.
 */
bool
collect_find(Collection *collection, int64 work_limit)
{
	IndexWalk *walk = &collection->walk;
	bool by_key = collection->key != NULL;
	WalkResult result = WALK_MATCH;

	while (result == WALK_MATCH &&
		   (by_key ? make_room(collection, keys) : make_room(collection, places)))
	{
		result = next_match(collection, !by_key, work_limit);
		if (result == WALK_MATCH && by_key)
			add_key(collection);
		else if (result == WALK_MATCH)
			collection->places[collection->nplaces++] = index_walk_place(walk);
	}
	if (result == WALK_PAUSED)
		return false;
	if (by_key && walk->work + collection->nkeys * WORK_KEY > work_limit)
		return false;
	if (by_key)
		find_keys(collection->fetch.table, collection->key, collection->scan->snapshot,
				  collection->keys, collection->nkeys, add_key_place, collection);
	walk->work += collection->nkeys * WORK_KEY;
	collection->nkeys = 0;
	set_known_work(collection);
	return true;
}

/* Whether the tuples found, if any of them are, are all. */
static bool
has_found_all(const Collection *collection)
{
	return !collection->gave_up && collection->sized && !collection->partial &&
		   collection->range == collection->walk.nranges;
}

/*
 * Drops the tuples found that another collection, which has found all of its own, has not.
 * A row that the snapshot sees has its entries in all indexes for the same tuple, so a row
 * of the request is in both.
 */
void
collect_narrow(Collection *collection, const Collection *other)
{
	int64 n = 0;
	int64 j = 0;

	if (!has_found_all(other) || other->fetch.table != collection->fetch.table)
		return;
	for (int64 i = 0; i < collection->nplaces; i++)
	{
		CHECK_FOR_INTERRUPTS();
		while (j < other->nplaces && other->places[j] < collection->places[i])
			j++;
		if (j < other->nplaces && other->places[j] == collection->places[i])
			collection->places[n++] = collection->places[i];
	}
	collection->nplaces = n;
	set_known_work(collection);
}

/*
 * Makes room for the matches that are kept, if it is known how many there are: want of memory
 * shows before the tuples are fetched. Returns false if there is none.
 */
bool
collect_reserve(Collection *collection)
{
	const DirectScan *scan = collection->scan;
	int64 size = 256;
	int64 more;

	if (!collection->keeps || scan->total < 0)
		return true;
	while (size - size / 4 < scan->wanted && size < scan->total)
		size *= 2;
	while (collection->sort_entries_size < size)
		if (!grow_array(collection, (void **) &collection->sort_entries,
						&collection->sort_entries_size, sizeof(SortEntry)))
			return false;
	more = Max(Min(size, scan->total) - collection->nsort_entries, 0);
	return scan->key_byval || fits_budget(scan->context, 0, more * COPIED_KEY_SIZE);
}

/* Fetches what was found. Returns whether that was all. */
bool
collect_tuples(Collection *collection)
{
	/* Sized by the length of its list, in a unique index: the index is read only now. */
	if (collection->range == 0 && !collection->started)
		(void) collect_find(collection, NO_WORK_LIMIT);
	collection->walk.work += collection->known_work;
	collection->sized = false;
	return fetch_found(collection) && collection->range == collection->walk.nranges;
}

/* Fetches all that may have the tag. Returns whether it has all. */
bool
collect_tagged(Collection *collection)
{
	int64 block = fetch_block(collection);
	RowPlace *places = palloc(sizeof(RowPlace) * block);
	int64 nplaces;
	bool goes_on;

	collection->walk.work += collect_work_left(collection);
	tag_walk_rewind(collection->tags);
	do
	{
		for (nplaces = 0; nplaces < block && tag_walk_next(collection->tags, &places[nplaces]);)
			nplaces++;
		goes_on = fetch_places(collection, places, nplaces);
	} while (goes_on && nplaces == block);
	pfree(places);
	return goes_on;
}

static void
forget_tuples(Collection *collection)
{
	if (collection->places != NULL)
		pfree(collection->places);
	collection->places = NULL;
	collection->nplaces = 0;
	collection->places_size = 0;
	if (collection->keys != NULL)
		pfree(collection->keys);
	collection->keys = NULL;
	collection->nkeys = 0;
	collection->keys_size = 0;
}

static void
forget_matches(Collection *collection)
{
	while (collection->nsort_entries > 0)
		free_key(collection->scan, &collection->sort_entries[--collection->nsort_entries]);
	if (collection->sort_entries != NULL)
		pfree(collection->sort_entries);
	collection->sort_entries = NULL;
	collection->sort_entries_size = 0;
	collection->full = false;
}

/* Gives up, if it has memory that it can leave to another collection. */
void
collect_yield(Collection *collection)
{
	if (collection->places == NULL && collection->keys == NULL && collection->sort_entries == NULL)
		return;
	collection->gave_up = true;
	collection->sized = false;
	forget_tuples(collection);
	forget_matches(collection);
}

/* From here on, the tag is checked by a tuple's place. */
void
collect_use_tags(Collection *collection, const TagWalk *tags)
{
	IndexWalk *walk = &collection->walk;
	bool fetches = walk->needs_heap;
	int64 n = 0;

	walk_use_tags(collection->scan, walk, tags);
	collection->nquals = walk->nheap_quals;
	if (fetches && !walk->needs_heap && !collection->partial)
	{
		/* Nothing has to be fetched any more: it starts again, reading the index only. */
		collection->fetch.join = NULL;
		collection->range = 0;
		collection->started = false;
		walk->work = 0;
		collection->sized = false;
		forget_tuples(collection);
		return;
	}
	for (int64 i = 0; i < collection->nplaces; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (tag_walk_has(tags, collection->places[i]))
			collection->places[n++] = collection->places[i];
	}
	collection->nplaces = n;
	if (has_found_all(collection))
		set_known_work(collection);
}

/*
 * Estimates the work of reading a collection's index by the statistics: all entries of its
 * key ranges, and more for entries whose jobs or batches are looked up.
 */
void
collect_estimate(Collection *collection)
{
	const IndexWalk *walk = &collection->walk;
	double entries = direct_entries(walk->table, walk->index);
	double passed;

	if (walk->list != NULL)
		entries *= estimate_share(walk->table, walk->list);
	if (walk->bounds != NULL)
		entries *= estimate_share(walk->table, walk->bounds);
	passed = entries;
	for (int i = 0; i < walk->nindex_quals; i++)
		passed *= estimate_share(walk->table, walk->index_quals[i]);
	collection->expected_work =
		walk->nranges * (int64) WORK_DESCENT +
		(int64) (entries * WORK_ENTRY + passed * (walk->filter != NULL ? walk->filter->work : 0) +
				 (collection->key != NULL ? passed * (WORK_KEY + WORK_TUPLE + WORK_BLOCK) : 0));
}

/* Whether it is sure what work a collection that fetches has left. */
bool
collect_is_known(const Collection *collection)
{
	return collection->sized && !collection->partial;
}

/* The least work of a collection that fetches what it has found up to now. */
int64
collect_work_found(const Collection *collection)
{
	if (collect_is_known(collection))
		return collection->known_work;
	return collection->walk.work + collection->nkeys * WORK_KEY +
		   fetch_work(collection, collection->nplaces + collection->nkeys, 0);
}

/* The work that a collection may have left; NO_WORK_LIMIT if unknown. */
int64
collect_work_left(const Collection *collection)
{
	const IndexWalk *walk = &collection->walk;
	int64 left;

	if (collection->gave_up)
		return NO_WORK_LIMIT;
	if (collection->tags != NULL)
		return tag_walk_has_found(collection->tags)
				   ? fetch_work(collection, tag_walk_count(collection->tags),
								tag_walk_blocks(collection->tags))
				   : NO_WORK_LIMIT;
	/* Once all keys are found, it is known what looking for them takes. */
	if (collection->key != NULL && !collection->sized && collection->range == walk->nranges)
		return collection->nkeys * WORK_KEY;
	if (collect_fetches(collection) && !collection->sized)
		return NO_WORK_LIMIT;
	/* Behind what there was memory for, as much is taken to be left as was found. */
	if (collect_fetches(collection))
		return collect_is_known(collection) || collection->range == walk->nranges
				   ? collection->known_work
				   : 2 * collection->known_work;
	left =
		(collection->expected_work > 0 ? collection->expected_work : index_walk_whole_work(walk)) -
		walk->work;
	/* Once the estimate is used up, as much is taken to be left as was done. */
	return left > 0 ? left : walk->work;
}

/* Ends a collection, but keeps its sort entries. */
void
collect_end(Collection *collection)
{
	index_walk_end(&collection->walk);
	fetch_end(&collection->fetch);
	fetch_end(&collection->joined);
	forget_tuples(collection);
}

/* Ends a collection, with its sort entries. */
void
collect_drop(Collection *collection)
{
	collect_end(collection);
	forget_matches(collection);
}
