/*
 * match.h
 *		What the ways to a page's rows share: the request, and the rows found.
 */
#ifndef BATCHES_MATCH_H
#define BATCHES_MATCH_H

#include "utils/sortsupport.h"
#include "utils/uuid.h"

#include "column.h"
#include "fetch.h"
#include "filter.h"
#include "scan_index.h"
#include "tag_walk.h"

/* A request as it is read by indexes */
struct IndexScan
{
	const Request *request;
	Snapshot snapshot;
	MemoryContext context;
	DirectTable *tables[N_SOURCES];
	BlockNumber nblocks;                      /* of "batch" */
	AttrNumber columns[N_SOURCES][N_COLUMNS]; /* by ColumnId; those that the table has */
	AttrNumber job_columns[N_JOB_STATUSES];   /* of "batch_job_count" */
	AttrNumber size_class_column;             /* of that, too */
	bool uses_job_counts;                     /* for a filter or the order */
	bool matches_nothing;
	int nconditions;
	Condition conditions[N_FILTERS + 1]; /* one more for the size class */
	TagWalk *tags; /* what has the wanted tag, by an index on the tags; or NULL */
	int64 wanted;  /* rows from the first one to the end of the page */
	int64 total;   /* once it is known; or -1 */
	bool key_byval;
	int16 key_length;
	SortSupportData key_order;
	SortSupportData id_order;
};

/* A row of the page to be, as far as ordering it takes. */
typedef struct Match
{
	Datum key; /* in the order column */
	bool isnull;
	pg_uuid_t id;
	ItemPointerData tid;
} Match;

extern DirectIndex *scan_key(IndexScan *scan, Source source);
extern KeyJoin *new_join(IndexScan *scan, Source source);
extern int64 most_matches(void);
extern int64 most_tids(void);
extern int compare_keys(IndexScan *scan, const Match *a, const Match *b);
extern int compare_matches(IndexScan *scan, const Match *a, const Match *b);
extern void sort_matches(Match *matches, size_t nmatches, IndexScan *scan);
extern Datum match_value(Walk *walk, const Fetch *fetch, ColumnId column, bool *isnull);
extern Datum fetched_value(const Fetch *fetch, ColumnId column, bool *isnull);
extern void set_match_key(IndexScan *scan, Match *match, Datum key, bool isnull);
extern void set_match_place(Match *match, Datum id, const ItemPointerData *tid);
extern void keep_key(IndexScan *scan, Match *match);
extern void free_key(IndexScan *scan, Match *match);

#endif /* BATCHES_MATCH_H */
