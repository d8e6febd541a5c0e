/*
 * gather.h
 *		Reading all rows that match, in any order.
 */
#ifndef BATCHES_GATHER_H
#define BATCHES_GATHER_H

#include "fetch.h"
#include "match.h"
#include "walk.h"

/*
 * It reads a walk, or the tuples with a tag. If what the walk knows is not enough, it
 * finds out first where the tuples are, and then fetches them in the order of their
 * places, so that each page of the table is read once. A walk over the job counts has
 * keys of batches, by which their tuples are found.
 */
typedef struct Gather
{
	IndexScan *scan;
	bool keeps; /* the matches; else they are counted */
	Walk walk;
	int stream;
	bool started;  /* the stream */
	TagWalk *tags; /* instead of the walk, or NULL */

	DirectIndex *key; /* by which the walk's batches are found, if it is not over their table */
	BatchKey *keys;   /* found and not looked for yet */
	int64 nkeys;
	int64 keys_size;

	/* If it has to fetch tuples: where they are, found before any is fetched */
	int nconditions;
	Condition **conditions;
	ItemPointerData *tids;
	int64 ntids;
	int64 tids_size;
	bool sized;   /* all are found, or as many as there is memory for, or their number is known */
	bool partial; /* there were more than there was memory for */
	int64 known_work;    /* of fetching these, once it is sized */
	int64 expected_work; /* of walking; 0: not asked for */
	Fetch fetch;

	int64 count;
	Match *matches;
	int64 nmatches;
	int64 size;
	bool gave_up; /* for want of memory */
	bool full;    /* the last one wanted is at wanted - 1 */
} Gather;

extern bool gather_fetches(const Gather *gather);
extern int64 fetch_work(const Fetch *fetch, int64 ntuples, int64 nblocks);
extern bool gather_entries(Gather *gather, int64 work_limit);
extern bool gather_find(Gather *gather, int64 work_limit);
extern void gather_narrow(Gather *gather, const Gather *other);
extern void gather_use_tags(Gather *gather, const TagWalk *tags);
extern bool gather_tuples(Gather *gather);
extern bool gather_tagged(Gather *gather);
extern void gather_sort(Gather *gather);
extern void gather_estimate(Gather *gather);
extern bool gather_is_known(const Gather *gather);
extern int64 gather_work_found(const Gather *gather);
extern int64 gather_work_left(const Gather *gather);
extern void gather_end(Gather *gather);
extern void gather_drop(Gather *gather);

#endif /* BATCHES_GATHER_H */
