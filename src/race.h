/*
 * race.h
 *		The ways to the rows of a request, and which of them is taken.
 */
#ifndef BATCHES_RACE_H
#define BATCHES_RACE_H

#include "gather.h"
#include "merge.h"

/* Merges are for pages only. */
typedef struct Race
{
	Merge *merges;
	int nmerges;
	Gather *gathers;
	int ngathers;
	Gather *tags; /* or NULL */
	Merge *merge; /* the winner, or NULL */
	Gather *gather;
} Race;

extern void race_begin(Race *race, IndexScan *scan, bool for_page);
extern bool race_run(Race *race);
extern Source race_source(const Race *race);
extern void race_end(Race *race);

#endif /* BATCHES_RACE_H */
