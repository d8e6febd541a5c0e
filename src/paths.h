/*
 * paths.h
 *		The paths to the rows of a request, and which of them is taken.
 */
#ifndef BATCHES_PATHS_H
#define BATCHES_PATHS_H

#include "collect.h"
#include "merge.h"

/* Merges are for pages only. */
typedef struct PathSet
{
	DirectScan *scan;
	bool for_page;
	Merge *merges;
	int nmerges;
	Collection *collections;
	int ncollections;
	Collection *tags; /* or NULL */
	/* As long as only paths by the viewer's projects take part: the qual on these; or NULL */
	const Qual *viewer_projects;
	Merge *merge; /* the winner, or NULL */
	Collection *collection;
} PathSet;

extern void paths_begin(PathSet *paths, DirectScan *scan, bool for_page);
extern bool paths_run(PathSet *paths);
extern Source paths_source(const PathSet *paths);
extern void paths_end(PathSet *paths);

#endif /* BATCHES_PATHS_H */
