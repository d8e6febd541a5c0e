/*
 * merge.c
 *		Merges the key ranges of an index walk into the order of a page.
 *
 * One index scan reads all key ranges: a few matches of each, and more from behind the
 * last one when they are used up. So many key ranges cost little more than their matches.
 * The merge stops when the page is full.
 */
#include "postgres.h"
#include "compat.h"

#include "miscadmin.h"

#include "budget.h"
#include "merge.h"

/* How many matches of a range are read at once, if there is memory for them. */
#define LEAST_RANGE_READ 4
#define MOST_RANGE_READ 1024

/* What is read of a range and not yet merged */
struct KeyRange
{
	SortEntry *sort_entries;
	int nsort_entries;
	int nready; /* how many are in their final order; those behind are of the size class being read */
	int next;
	int size; /* how many to read at once */
	bool ended;
	bool resumes; /* behind last */
	SortEntry last;
};

static int
compare_ranges(Datum a, Datum b, void *arg)
{
	Merge *merge = arg;
	KeyRange *x = &merge->ranges[DatumGetInt32(a)];
	KeyRange *y = &merge->ranges[DatumGetInt32(b)];

	/* The heap has the largest first. */
	return -compare_sort_entries(merge->scan, &x->sort_entries[x->next], &y->sort_entries[y->next]);
}

/* Whether there is memory for so many more matches of a merge's ranges. */
static bool
has_room(const Merge *merge, int64 more)
{
	return fits_budget(merge->scan->context, merge->room,
					   merge->room + sizeof(SortEntry) * (Size) more);
}

/* Gives a range room for so many matches. */
static void
set_room(Merge *merge, KeyRange *range, int size)
{
	Size bytes = sizeof(SortEntry) * (Size) size;

	if (range->sort_entries == NULL)
		range->sort_entries = palloc_extended(bytes, MCXT_ALLOC_HUGE);
	else
	{
		merge->room -= sizeof(SortEntry) * (Size) range->size;
		range->sort_entries = repalloc_huge(range->sort_entries, bytes);
	}
	merge->room += bytes;
	range->size = size;
}

/*
 * Makes room for the first matches of every range, for one of each if there is no memory
 * for more. Returns false if there is not even that. All have room before any is read, as
 * by then other paths may have the memory.
 */
static bool
make_first_room(Merge *merge)
{
	int64 nranges = merge->walk.nranges;
	int64 share = Min(merge->scan->wanted / nranges, merge->most_read / 4);
	/* Several ranges that stand go on at no cost. */
	int size = merge->walk.stands && nranges > 1 ? 1 : Max(share, 1);

	if (!has_room(merge, nranges * size))
		size = 1;
	if (!has_room(merge, nranges * size))
		return false;
	for (int i = 0; i < nranges; i++)
		set_room(merge, &merge->ranges[i], size);
	return true;
}

/* Starts a range behind a place in its order. The id is in use until the next one is started. */
static void
start_behind(Merge *merge, int i, Datum key, const pg_uuid_t *id)
{
	IndexWalk *walk = &merge->walk;
	Datum place[] = {key, UUIDPGetDatum(id)};

	if (walk->index->columns[walk->list != NULL] == walk->table->columns[COLUMN_ID])
		index_walk_start_behind(walk, i, place + 1, 1);
	else
		index_walk_start_behind(walk, i, place, 2);
}

/* Starts the range of size classes behind the page's place. One of several numbers is read from its beginning. */
static void
start_behind_class(Merge *merge, int i)
{
	const SortEntry *after = &merge->scan->after;
	int16 class = size_class(DatumGetInt32(after->key));
	Datum place;

	if (class < EXACT_SIZE_CLASSES)
	{
		start_behind(merge, i, Int16GetDatum(class), &after->id);
		return;
	}
	place = Int16GetDatum(merge->scan->request->descending ? class + 1 : class - 1);
	index_walk_start_behind(&merge->walk, i, &place, 1);
}

/* Starts to read a range where the page may begin. Returns false if it is before that. */
static bool
start_range(Merge *merge, int i)
{
	DirectScan *scan = merge->scan;
	IndexWalk *walk = &merge->walk;
	ColumnId order_by = scan->request->order_by;

	if (scan->request->after == NULL)
		index_walk_start_range(walk, i);
	else if (order_by == COLUMN_JOBS_COUNT)
		start_behind_class(merge, i);
	else if (walk->list != NULL && walk->index->columns[0] == walk->table->columns[order_by])
	{
		SortEntry all; /* of the range, but for their ids */
		int order;

		set_sort_key(scan, &all, index_walk_range_value(walk, i), false);
		order = compare_keys(scan, &all, &scan->after);
		if (order < 0)
			return false;
		if (order == 0)
			start_behind(merge, i, all.key, &scan->after.id);
		else
			index_walk_start_range(walk, i);
	}
	else
		start_behind(merge, i, scan->after.key, &scan->after.id);
	return true;
}

/* Begins to read more of a range. */
static void
continue_range(Merge *merge, int i)
{
	KeyRange *range = &merge->ranges[i];
	SortEntry *last;

	merge->reading = i;
	merge->reading_from = merge->walk.work;
	/* All that was ready was taken. */
	last = &range->sort_entries[range->nready - 1];
	for (int j = 0; j < range->nready - 1; j++)
		free_key(merge->scan, &range->sort_entries[j]);
	if (range->resumes)
		free_key(merge->scan, &range->last);
	range->last = *last;
	range->resumes = true;
	range->nsort_entries -= range->nready;
	memmove(range->sort_entries, range->sort_entries + range->nready,
			sizeof(SortEntry) * range->nsort_entries);
	range->next = 0;
	range->nready = 0;
	if (merge->walk.stands)
		index_walk_continue_range(&merge->walk, i);
	else
		start_behind(merge, i, range->last.key, &range->last.id);
}

static void
add_to_range(Merge *merge, KeyRange *range, SortEntry *match)
{
	if (range->nsort_entries >= range->size)
		set_room(merge, range, range->size * 2);
	keep_key(merge->scan, match);
	range->sort_entries[range->nsort_entries++] = *match;
	merge->nread++;
}

/* Sorts the entries that came in the order of their size class only. */
static void
order_class(Merge *merge, KeyRange *range)
{
	sort_entries(range->sort_entries + range->nready, range->nsort_entries - range->nready,
				 merge->scan);
	range->nready = range->nsort_entries;
}

/* Leaves the memory of the ranges to the other paths. */
static void
give_up(Merge *merge)
{
	merge->gave_up = true;
	for (int i = 0; i < merge->walk.nranges; i++)
	{
		KeyRange *range = &merge->ranges[i];

		while (range->nsort_entries > 0)
			free_key(merge->scan, &range->sort_entries[--range->nsort_entries]);
		pfree(range->sort_entries);
		range->sort_entries = NULL;
	}
}

/*
 * Adds a match to a range that stands where it stops. By size classes, those of one class come in
 * any order, unless it has a single number.
 */
static void
add_to_standing_range(Merge *merge, KeyRange *range, SortEntry *match)
{
	bool by_class = merge->scan->request->order_by == COLUMN_JOBS_COUNT;
	int class = by_class ? size_class(DatumGetInt32(match->key)) : 0;

	if (by_class && range->nready < range->nsort_entries &&
		class != size_class(DatumGetInt32(range->sort_entries[range->nsort_entries - 1].key)))
		order_class(merge, range);
	if (!merge->has_handed_over && range->nsort_entries >= range->size &&
		range->nready < range->nsort_entries && !has_room(merge, range->size))
	{
		give_up(merge);
		return;
	}
	add_to_range(merge, range, match);
	if (class < EXACT_SIZE_CLASSES)
		range->nready = range->nsort_entries;
}

/*
 * Goes on reading a range until it has as many matches as it should; returns whether it
 * has. A range that is resumed behind the last match stops only between two different places in
 * the order: an equal one would be passed over.
 */
static bool
fill_range(Merge *merge, int64 work_limit)
{
	DirectScan *scan = merge->scan;
	IndexWalk *walk = &merge->walk;
	KeyRange *range = &merge->ranges[merge->reading];
	const Fetch *fetch = walk->needs_heap ? &walk->fetch : NULL;
	/* The page takes no more of a range than it still wants. */
	int enough = Min(range->size, scan->wanted - merge->skipped - merge->found);

	Assert(enough > 0);
	for (;;)
	{
		SortEntry match;
		bool isnull;
		bool id_isnull;
		Datum key;
		Datum id;
		WalkResult result = index_walk_next(walk, work_limit);

		if (result == WALK_PAUSED)
			return false;
		if (result == WALK_END)
		{
			order_class(merge, range);
			range->ended = true;
			return true;
		}
		key = row_value(walk, fetch, scan->request->order_by, &isnull);
		id = row_value(walk, fetch, COLUMN_ID, &id_isnull);
		if (id_isnull)
		{
			scan->met_null = true;
			merge->gave_up = true;
			return false;
		}
		set_sort_key(scan, &match, key, isnull);
		set_sort_place(&match, id, index_walk_place(walk));
		if (!is_behind(scan, &match))
			continue;
		if (walk->stands)
		{
			add_to_standing_range(merge, range, &match);
			if (merge->gave_up)
				return false;
			if (range->nready >= enough)
				return true;
			continue;
		}
		if (range->nsort_entries >= enough &&
			compare_sort_entries(scan, &match, &range->sort_entries[range->nsort_entries - 1]) != 0)
			return true;
		add_to_range(merge, range, &match);
		range->nready = range->nsort_entries;
	}
}

/* Adds up what reading a range has taken. */
static void
add_work(Merge *merge, const KeyRange *range)
{
	int64 work = merge->walk.work - merge->reading_from;

	if (range->resumes)
	{
		merge->later_work += work;
		merge->nlater += range->nready;
		return;
	}
	merge->first_work += work;
	if (range->nready == 0)
		return;
	merge->nfirst++;
	merge->first_rates += range->nready / (double) Max(work - WORK_DESCENT, 1);
}

static void
add_place(Merge *merge, RowPlace place)
{
	if (merge->nplaces >= merge->size)
	{
		merge->size *= 2;
		merge->places = repalloc_huge(merge->places, sizeof(RowPlace) * merge->size);
	}
	merge->places[merge->nplaces++] = place;
	merge->found++;
}

void
merge_prepare(Merge *merge)
{
	int64 nranges = merge->walk.nranges;
	int64 room = work_mem * INT64CONST(1024) / sizeof(SortEntry) / nranges;

	merge->gave_up =
		nranges > PG_INT32_MAX ||
		!fits_budget(merge->scan->context, 0, (sizeof(KeyRange) + sizeof(Datum)) * (Size) nranges);
	if (merge->gave_up)
		return;
	merge->most_read = Max(Min(room, MOST_RANGE_READ), LEAST_RANGE_READ);
	merge->walk.resumable = !merge->walk.stands || merge->scan->request->after != NULL;
	merge->ranges = palloc_extended(sizeof(KeyRange) * nranges, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	merge->heap = binaryheap_allocate(nranges, compare_ranges, merge);
	merge->reading = -1;
	merge->size = 128;
	merge->places = palloc(sizeof(RowPlace) * merge->size);
}

/*
 * Goes on with a merge. Returns true when the page is complete, or when memory is full and
 * the caller has to take what was found; "complete" tells which.
 */
bool
merge_advance(Merge *merge, int64 work_limit)
{
	const Request *request = merge->scan->request;

	if (merge->room == 0 && !make_first_room(merge))
	{
		merge->gave_up = true;
		return false;
	}
	for (;;)
	{
		int i;
		KeyRange *range;

		if (merge->reading < 0 && merge->nstarted < merge->walk.nranges)
		{
			merge->reading = merge->nstarted++;
			merge->reading_from = merge->walk.work;
			if (!start_range(merge, merge->reading))
			{
				merge->ranges[merge->reading].ended = true;
				merge->reading = -1;
				continue;
			}
		}
		if (merge->reading >= 0)
		{
			if (!fill_range(merge, work_limit))
				return false;
			range = &merge->ranges[merge->reading];
			add_work(merge, range);
			if (range->nready > 0)
				binaryheap_add(merge->heap, Int32GetDatum(merge->reading));
			merge->reading = -1;
			continue;
		}

		if (binaryheap_empty(merge->heap))
		{
			merge->complete = true;
			return true;
		}
		if (merge->nplaces == merge->size &&
			!fits_budget(merge->scan->context, sizeof(RowPlace) * merge->size,
						 sizeof(RowPlace) * merge->size * 2))
			return true;
		i = DatumGetInt32(binaryheap_first(merge->heap));
		range = &merge->ranges[i];
		if (merge->skipped < request->offset)
			merge->skipped++;
		else
			add_place(merge, sort_place(&range->sort_entries[range->next]));
		if (merge->found == request->limit)
		{
			merge->complete = true;
			return true;
		}
		if (++range->next < range->nready)
			binaryheap_replace_first(merge->heap, Int32GetDatum(i));
		else
		{
			binaryheap_remove_first(merge->heap);
			if (!range->ended)
			{
				int larger = Min(range->size * 2, merge->most_read);

				continue_range(merge, i);
				if ((!merge->walk.stands || merge->walk.nranges == 1) && larger > range->size &&
					has_room(merge, larger - range->size))
					set_room(merge, range, larger);
			}
		}
	}
}

/* What a merge may have left to do, if it goes on to find as many matches as up to now. */
static double
expected_work_left(const Merge *merge)
{
	/* Each range but the one taken from last has read a match that the page does not use. */
	double wanted = (double) merge->scan->wanted + merge->walk.nranges - 1 - merge->nread;

	if (merge->nread > 0)
		return (double) merge->walk.work * wanted / merge->nread;
	if (merge->walk.work == 0 && !index_walk_is_filtered(&merge->walk))
		return wanted * WORK_STEP + (double) merge->walk.nranges * WORK_DESCENT;
	return (double) NO_WORK_LIMIT;
}

/*
 * The same of several ranges that stand, each of which is found once. A page takes more from
 * those that have more: so the first match of each range counts by the mean of their rates,
 * and the later ones, of which the one being looked for is one, by the work that they took.
 */
static double
expected_work_left_of_standing(const Merge *merge)
{
	bool is_starting = merge->reading >= 0 && !merge->ranges[merge->reading].resumes;
	bool is_resumed = merge->reading >= 0 && !is_starting;
	int nstarted = merge->nstarted - (is_starting ? 1 : 0);
	double reading = merge->walk.work - merge->first_work - merge->later_work;
	/* But for the range taken from last, each has read a match that the page does not use. */
	double wanted = (double) merge->scan->wanted + merge->nfirst - 1 - merge->nread;
	double each;

	if (merge->nfirst == 0)
		return expected_work_left(merge);
	each = (merge->nfirst * (merge->nfirst / merge->first_rates) + merge->later_work +
			(is_resumed ? reading : 0)) /
		   (merge->nfirst + merge->nlater + (is_resumed ? 1 : 0));
	return reading + (merge->walk.nranges - nstarted) * (double) merge->first_work / nstarted +
		   Max(wanted, 0) * each;
}

int64
merge_work_left(const Merge *merge)
{
	double whole = index_walk_whole_work(&merge->walk);
	/* Once the estimate is used up, as much is taken to be left as was done. */
	double most = whole > merge->walk.work ? whole - merge->walk.work : merge->walk.work;
	double expected;

	if (merge->gave_up)
		return NO_WORK_LIMIT;
	expected = merge->walk.stands && merge->walk.nranges > 1 ? expected_work_left_of_standing(merge)
															 : expected_work_left(merge);
	return (int64) Max(Min(expected, most), 0);
}

/* How many rows match, if all were read; or -1. */
int64
merge_total(const Merge *merge)
{
	if (merge->scan->request->after != NULL || !binaryheap_empty(merge->heap))
		return -1;
	return merge->skipped + merge->found;
}
