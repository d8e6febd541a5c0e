/*
 * walk.h
 *		Reading the entries of an index that meet conditions.
 */
#ifndef BATCHES_WALK_H
#define BATCHES_WALK_H

#include "access/genam.h"
#include "access/relscan.h"
#include "executor/tuptable.h"
#include "storage/buf.h"

#include "condition.h"
#include "direct.h"

/* What reading costs, in entries of an index passed over. */
#define WORK_ENTRY 1
#define WORK_HEAP 10    /* fetching a tuple */
#define WORK_DESCENT 40 /* finding a place in an index */

typedef struct TagWalk TagWalk;

typedef enum WalkResult
{
	WALK_MATCH,
	WALK_PAUSED, /* the work allowed is done */
	WALK_END,    /* of the stream */
} WalkResult;

/*
 * A walk has streams: one for each value of a list on the index's first column, or
 * a single one. A stream has its entries in the order of the remaining columns.
 */
typedef struct Walk
{
	DirectTable *table;
	DirectIndex *index;
	Snapshot snapshot;
	ScanDirection direction;
	int nstreams;
	const Datum *first_values; /* of the streams; NULL: a single stream */
	Condition *range;          /* on the next column, or NULL */
	bool resumable;            /* a stream can be started within */

	/* Conditions that the streams do not meet by themselves */
	int nindex_conditions;
	Condition **index_conditions; /* on columns that the index has */
	int *positions;               /* of these columns */
	int nheap_conditions;
	Condition **heap_conditions;
	bool needs_column;   /* that the index does not have */
	bool needs_heap;     /* for either */
	const TagWalk *tags; /* knows which tuples have the tag; or NULL */

	IndexScanDesc scan;
	TupleTableSlot *slot;
	bool in_slot;        /* the last match was fetched */
	ItemPointerData tid; /* of the last match: where its chain of updates begins */
	Buffer map_buffer;
	MemoryContext check_context;
	int64 work;
} Walk;

extern void walk_init(Walk *walk, DirectTable *table, DirectIndex *index, Condition *conditions,
					  int nconditions, Condition *list, ScanDirection direction);
extern void walk_need_column(Walk *walk, AttrNumber column);
extern void walk_use_tags(Walk *walk, const TagWalk *tags);
extern void walk_start_stream(Walk *walk, int stream);
extern void walk_resume_stream(Walk *walk, int stream, Datum from);
extern WalkResult walk_next(Walk *walk, int64 work_limit);
extern WalkResult walk_pass(Walk *walk, int64 work_limit, int64 *passed);
extern Datum walk_value(Walk *walk, AttrNumber column, bool *isnull);
extern void walk_end(Walk *walk);

/* tag_walk.c */
extern bool tag_walk_has(const TagWalk *walk, ItemPointer tid);

#endif /* BATCHES_WALK_H */
