/*
 * sort_entry.h
 *		What the paths to a page's rows share: the request, and the rows found.
 */
#ifndef BATCHES_SORT_ENTRY_H
#define BATCHES_SORT_ENTRY_H

#include "port/pg_bswap.h"
#include "utils/sortsupport.h"
#include "utils/uuid.h"

#include "column.h"
#include "fetch.h"
#include "filter.h"
#include "index_walk.h"
#include "report.h"
#include "tag_walk.h"

/* A row of the page to be, as far as ordering it takes. */
typedef struct SortEntry
{
	Datum key; /* in the order column */
	bool isnull;
	uint8 part; /* of the table */
	pg_uuid_t id;
	ItemPointerData tid;
} SortEntry;

/* A request as it is read by indexes */
typedef struct DirectScan
{
	const Request *request;
	ScanReport *report;
	Snapshot snapshot;
	MemoryContext context;
	DirectTable *tables[N_SOURCES];
	double nblocks;                           /* of "batch" */
	AttrNumber columns[N_SOURCES][N_COLUMNS]; /* by ColumnId; those that the table has */
	AttrNumber job_columns[N_JOB_STATUSES];   /* of "batch_job_count" */
	AttrNumber size_class_column;             /* of that, too */
	bool uses_job_counts;                     /* for a filter or the order */
	bool matches_nothing;
	bool met_null; /* an id that is null, which an old snapshot may see */
	int nquals;
	Qual quals[N_FILTERS + 1]; /* one more for the size class */
	TagWalk *tags;             /* what has the wanted tag, by an index on the tags; or NULL */
	int64 wanted;              /* rows from the first one to the end of the page */
	bool is_turned;            /* the page is read the other way round */
	SortEntry after;           /* where the page begins, if it begins behind a place */
	int64 total;               /* once it is known; or -1 */
	bool key_byval;
	int16 key_length;
	SortSupportData key_order;
} DirectScan;

/* The order of two entries with the same key. Inlined, as ties may be most of what is collected. */
static inline int
compare_ids(const DirectScan *scan, const pg_uuid_t *a, const pg_uuid_t *b)
{
	uint64 a_begin;
	uint64 b_begin;
	bool less;

	memcpy(&a_begin, a->data, sizeof(a_begin));
	memcpy(&b_begin, b->data, sizeof(b_begin));
	if (unlikely(a_begin == b_begin))
	{
		int order = memcmp(a->data, b->data, UUID_LEN);

		if (order == 0)
			return 0;
		less = order < 0;
	}
	else
		less = pg_ntoh64(a_begin) < pg_ntoh64(b_begin);
	return less != scan->request->descending ? -1 : 1;
}

extern DirectIndex *scan_key(DirectScan *scan, Source source);
extern KeyJoin *new_join(DirectScan *scan, Source source);
extern bool filter_by_jobs(DirectScan *scan, IndexWalk *walk);
extern void walk_use_tags(DirectScan *scan, IndexWalk *walk, const TagWalk *tags);
extern int compare_keys(DirectScan *scan, const SortEntry *a, const SortEntry *b);
extern int compare_sort_entries(DirectScan *scan, const SortEntry *a, const SortEntry *b);
extern bool is_behind(DirectScan *scan, const SortEntry *match);
extern void sort_entries(SortEntry *matches, size_t nsort_entries, DirectScan *scan);
extern Datum row_value(IndexWalk *walk, const Fetch *fetch, ColumnId column, bool *isnull);
extern Datum fetched_value(const Fetch *fetch, ColumnId column, bool *isnull);
extern void set_sort_key(DirectScan *scan, SortEntry *match, Datum key, bool isnull);
extern void set_sort_place(SortEntry *match, Datum id, RowPlace place);
extern RowPlace sort_place(const SortEntry *match);
extern void keep_key(DirectScan *scan, SortEntry *match);
extern void free_key(DirectScan *scan, SortEntry *match);

#endif /* BATCHES_SORT_ENTRY_H */
