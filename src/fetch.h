/*
 * fetch.h
 *		Fetching tuples by their place.
 */
#ifndef BATCHES_FETCH_H
#define BATCHES_FETCH_H

#include "access/relscan.h"
#include "utils/snapshot.h"

#include "condition.h"

typedef struct Fetch
{
	IndexFetchTableData *data; /* NULL until the first tuple */
	Relation table;
	Snapshot snapshot;
	TupleTableSlot *slot; /* has the last tuple */
	bool all_dead;        /* nobody sees anything of the last chain */
	MemoryContext check_context;
} Fetch;

extern void fetch_init(Fetch *fetch, Relation table, Snapshot snapshot);
extern bool fetch_tuple(Fetch *fetch, const ItemPointerData *tid);
extern bool fetch_match(Fetch *fetch, const ItemPointerData *tid, Condition **conditions,
						int nconditions);
extern void fetch_end(Fetch *fetch);

#endif /* BATCHES_FETCH_H */
