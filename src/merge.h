/*
 * merge.h
 *		Reading the rows of a page in its order.
 */
#ifndef BATCHES_MERGE_H
#define BATCHES_MERGE_H

#include "lib/binaryheap.h"

#include "index_walk.h"
#include "sort_entry.h"

typedef struct KeyRange KeyRange;

/* An index walk whose key ranges are each in the order of the page */
typedef struct Merge
{
	DirectScan *scan;
	IndexWalk walk;
	KeyRange *ranges;
	int nstarted;
	int reading; /* a range, or -1 */
	int64 nread; /* matches */
	/* How much work reading has taken: up to the first match of each range, and behind it */
	int64 reading_from; /* the walk's work before what is being read */
	int64 first_work;
	int64 later_work;
	int nfirst; /* ranges that had a match */
	int64 nlater;
	double first_rates; /* the sum of their first matches by work, but for the descent */
	int most_read;      /* of a range at once */
	Size room;          /* for the matches of all ranges, in bytes */
	binaryheap *heap;
	int64 skipped;
	int64 found;      /* of the page's rows */
	RowPlace *places; /* of those that were not taken yet */
	int64 nplaces;
	int64 size;
	bool complete;        /* the page */
	bool has_handed_over; /* rows: it cannot give up any more */
	bool gave_up;         /* for want of memory, or at a null */
} Merge;

extern void merge_prepare(Merge *merge);
extern bool merge_advance(Merge *merge, int64 work_limit);
extern int64 merge_work_left(const Merge *merge);
extern int64 merge_total(const Merge *merge);

#endif /* BATCHES_MERGE_H */
