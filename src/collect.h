/*
 * collect.h
 *		Reading all rows that match, in any order.
 */
#ifndef BATCHES_COLLECT_H
#define BATCHES_COLLECT_H

#include "fetch.h"
#include "index_walk.h"
#include "sort_entry.h"

/*
 * Reads an index walk, or the tuples with a tag. If index entries are not enough, it first
 * collects the tuples' places and then fetches them in physical order, each heap page once.
 * A walk over "batch_job_count" gives keys of batches, whose places are looked up.
 */
typedef struct Collection
{
	DirectScan *scan;
	bool keeps; /* sort entries; else matches are only counted */
	IndexWalk walk;
	int64 range;
	bool started;  /* the range */
	TagWalk *tags; /* instead of the walk, or NULL */

	DirectIndex *key; /* by which the walk's batches are found, if it is not over their table */
	BatchKey *keys;   /* found and not looked for yet */
	int64 nkeys;
	int64 keys_size;

	/* If it has to fetch tuples: where they are, found before any is fetched */
	int nquals;
	Qual **quals;
	RowPlace *places;
	int64 nplaces;
	int64 places_size;
	bool sized;   /* known_work is: they were found, or their number follows from a unique index */
	bool partial; /* there were more than there was memory for */
	int64 known_work;    /* of fetching these, once it is sized */
	int64 expected_work; /* of walking; 0: not asked for */
	Fetch fetch;
	Fetch joined;            /* rows of the other table */
	RowPlace *joined_places; /* what they are joined with, by the numbers of the keys */

	int64 count;
	SortEntry *sort_entries;
	int64 nsort_entries;
	int64 sort_entries_size;
	bool gave_up; /* for want of memory, or at a null */
	bool full;    /* the last one wanted is at wanted - 1 */
} Collection;

extern bool collect_fetches(const Collection *collection);
extern int64 fetch_work(const Collection *collection, int64 ntuples, int64 nblocks);
extern bool collect_entries(Collection *collection, int64 work_limit);
extern bool collect_find(Collection *collection, int64 work_limit);
extern void collect_narrow(Collection *collection, const Collection *other);
extern void collect_use_tags(Collection *collection, const TagWalk *tags);
extern bool collect_reserve(Collection *collection);
extern void collect_yield(Collection *collection);
extern bool collect_tuples(Collection *collection);
extern bool collect_tagged(Collection *collection);
extern void collect_sort(Collection *collection);
extern void collect_estimate(Collection *collection);
extern bool collect_is_known(const Collection *collection);
extern int64 collect_work_found(const Collection *collection);
extern int64 collect_work_left(const Collection *collection);
extern void collect_end(Collection *collection);
extern void collect_drop(Collection *collection);

#endif /* BATCHES_COLLECT_H */
