/*
 * sort_entry.c
 *		Rows that match a request, as far as sorting them takes.
 */
#include "postgres.h"
#include "compat.h"

#include "miscadmin.h"
#include "utils/datum.h"

#include "job_counts.h"
#include "sort_entry.h"

/* The index of a table by which rows are found by project and id. */
DirectIndex *
scan_key(DirectScan *scan, Source source)
{
	return direct_key(scan->tables[source], scan->columns[source][COLUMN_PROJECT_ID],
					  scan->columns[source][COLUMN_ID]);
}

/*
 * Joins the rows of the other table with those of one, by project and id. The quals
 * are those on columns that only the other one has.
 */
KeyJoin *
new_join(DirectScan *scan, Source source)
{
	Source other = source == SOURCE_BATCH ? SOURCE_JOB_COUNT : SOURCE_BATCH;
	KeyJoin *join = palloc0(sizeof(KeyJoin));

	key_scan_init(&join->rows, scan->tables[other], scan_key(scan, other), scan->snapshot);
	join->quals = palloc(sizeof(Qual *) * (scan->nquals + 1));
	for (int i = 0; i < scan->nquals; i++)
		if (scan->quals[i].columns[source] == InvalidAttrNumber)
			join->quals[join->nquals++] = &scan->quals[i];
	return join;
}

/* Lets a walk tell the number of jobs by its entries alone. Returns whether it can. */
bool
filter_by_jobs(DirectScan *scan, IndexWalk *walk)
{
	return walk->table->source == SOURCE_BATCH &&
		   job_counts_filter(walk, scan->tables[SOURCE_JOB_COUNT], scan_key(scan, SOURCE_JOB_COUNT),
							 scan->size_class_column, scan->quals, scan->nquals);
}

/*
 * From here on, a walk checks the tag by a tuple's place. If a tuple is then fetched only for
 * the number of its jobs, the entry is enough for that, too.
 */
void
walk_use_tags(DirectScan *scan, IndexWalk *walk, const TagWalk *tags)
{
	index_walk_use_tags(walk, tags);
	if (walk->fetch.join == NULL || walk->nheap_quals > 0 || walk->needs_column)
		return;
	walk->needs_heap = !filter_by_jobs(scan, walk);
	if (walk->needs_heap)
		return;
	fetch_end(&walk->fetch);
	walk->fetch.join = NULL;
}

int
compare_keys(DirectScan *scan, const SortEntry *a, const SortEntry *b)
{
	return ApplySortComparator(a->key, a->isnull, b->key, b->isnull, &scan->key_order);
}

int
compare_sort_entries(DirectScan *scan, const SortEntry *a, const SortEntry *b)
{
	int order = compare_keys(scan, a, b);

	return order != 0 ? order : compare_ids(scan, &a->id, &b->id);
}

/* Whether a match is behind the place where the page begins. */
bool
is_behind(DirectScan *scan, const SortEntry *match)
{
	return scan->request->after == NULL || compare_sort_entries(scan, match, &scan->after) > 0;
}

#define ST_SORT sort_entries
#define ST_ELEMENT_TYPE SortEntry
#define ST_COMPARE_ARG_TYPE DirectScan
#define ST_COMPARE(a, b, scan) compare_sort_entries(scan, a, b)
#define ST_SCOPE
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* A column of the last tuple fetched, or of the row joined with it. */
Datum
fetched_value(const Fetch *fetch, ColumnId column, bool *isnull)
{
	AttrNumber own = fetch->table->columns[column];

	if (own != InvalidAttrNumber)
		return slot_getattr(fetch->slot, own, isnull);
	return slot_getattr(fetch->join->rows.slot, fetch->join->rows.table->columns[column], isnull);
}

/*
 * A column of a walk's match: in its entry, in what was fetched for it if anything was, or
 * known from its key.
 */
Datum
row_value(IndexWalk *walk, const Fetch *fetch, ColumnId column, bool *isnull)
{
	*isnull = false;
	if (column == COLUMN_JOBS_COUNT && walk->filter != NULL)
	{
		bool id_isnull;

		if (fetch == NULL)
			return Int32GetDatum(job_counts_last(walk));
		/* Other entries have been read since. */
		return Int32GetDatum(
			job_counts_of(walk, DatumGetUUIDP(fetched_value(fetch, COLUMN_PROJECT_ID, isnull)),
						  DatumGetUUIDP(fetched_value(fetch, COLUMN_ID, &id_isnull))));
	}
	if (fetch != NULL)
		return fetched_value(fetch, column, isnull);
	return index_walk_value(walk, walk->table->columns[column], isnull);
}

/* The keys of "complete" are those of "open", turned round. */
void
set_sort_key(DirectScan *scan, SortEntry *match, Datum key, bool isnull)
{
	match->key = key;
	match->isnull = isnull;
	if (scan->request->order_by == COLUMN_COMPLETE && !isnull)
		match->key = BoolGetDatum(!DatumGetBool(key));
}

void
set_sort_place(SortEntry *match, Datum id, RowPlace place)
{
	match->id = *DatumGetUUIDP(id);
	match->part = place_part(place);
	ItemPointerSet(&match->tid, place_block(place), place_offset(place));
}

/* Where a match's tuple is. */
RowPlace
sort_place(const SortEntry *match)
{
	return place_of(match->part, &match->tid);
}

/* Gives a match a key of its own. */
void
keep_key(DirectScan *scan, SortEntry *match)
{
	if (!match->isnull)
		match->key = datumCopy(match->key, scan->key_byval, scan->key_length);
}

void
free_key(DirectScan *scan, SortEntry *match)
{
	if (!match->isnull && !scan->key_byval)
		pfree(DatumGetPointer(match->key));
}
