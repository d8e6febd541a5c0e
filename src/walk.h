/*
 * walk.h
 *		Reading the entries of an index that meet conditions.
 */
#ifndef BATCHES_WALK_H
#define BATCHES_WALK_H

#include "access/genam.h"
#include "access/skey.h"
#include "storage/buf.h"

#include "condition.h"
#include "direct.h"
#include "fetch.h"
#include "job_counts.h"
#include "leaf.h"

/* What reading costs, in entries of a leaf page passed over. */
#define WORK_ENTRY 1
#define WORK_COUNTED 4  /* an entry whose batch's jobs are known from a map */
#define WORK_STEP 3     /* of an index scan, from one entry to the next */
#define WORK_TAGGED 4   /* adding an entry of an index on the tags to a bitmap */
#define WORK_TUPLE 5    /* fetching a tuple */
#define WORK_BLOCK 20   /* finding its page */
#define WORK_KEY 40     /* finding the next key of some that are in order */
#define WORK_JOIN 100   /* looking the other table's row up */
#define WORK_DESCENT 80 /* finding a place in an index */

/* More than any walk takes. The limits that are multiples of others stay below. */
#define NO_WORK_LIMIT (PG_INT64_MAX / 32)

/*
 * How many pages of the visibility map a walk has at hand. One is for 256 MB of the table,
 * and entries that are neighbours need not be of tuples that are.
 */
#define N_MAP_BUFFERS 16

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
	Condition *list;  /* whose values the streams have; NULL: a single stream */
	Condition *range; /* on the next column, or NULL */
	bool resumable;   /* a stream can be started within */

	/* Conditions that the streams do not meet by themselves */
	int nindex_conditions;
	Condition **index_conditions; /* on columns that the index has */
	int *positions;               /* of these columns */
	int nheap_conditions;
	Condition **heap_conditions;
	bool needs_column;   /* that the index does not have */
	bool needs_heap;     /* for these, or for the other table's row */
	const TagWalk *tags; /* knows which tuples have the tag; or NULL */

	/* Conditions on the number of jobs, if it is asked for by the entries' keys */
	JobCounts *job_counts; /* or NULL */
	int project_position;
	int id_position;
	int njob_conditions;
	Condition **job_conditions;
	int32 jobs_count; /* of the last entry */

	int stream;           /* the one being read */
	int64 stream_entries; /* read of it */
	LeafReader *leaves;   /* for a walk without a direction */
	int64 page;           /* of the leaves, the last one seen */
	bool page_is_inside;
	IndexScanDesc scan;        /* for one with a direction */
	int nkeys;                 /* of each of its streams */
	ScanKeyData place_keys[2]; /* the place behind which a stream is resumed */
	IndexTuple entry;          /* the last one */
	ItemPointerData tid;       /* where its chain of updates begins */
	Fetch fetch;
	Buffer map_buffers[N_MAP_BUFFERS];
	BlockNumber visible_block; /* the last one seen to be visible to everybody */
	int64 work;
} Walk;

extern void walk_init(Walk *walk, DirectTable *table, DirectIndex *index, Condition *conditions,
					  int nconditions, Condition *list, ScanDirection direction);
extern void walk_join(Walk *walk, KeyJoin *join);
extern bool walk_count_jobs(Walk *walk, DirectTable *table, DirectIndex *key, AttrNumber size_class,
							Condition *conditions, int nconditions);
extern void walk_need_column(Walk *walk, AttrNumber column);
extern bool walk_is_filtered(const Walk *walk);
extern int64 walk_counting_work(const Walk *walk);
extern int64 walk_whole_work(const Walk *walk);
extern void walk_use_tags(Walk *walk, const TagWalk *tags);
extern void walk_start_stream(Walk *walk, int stream);
extern void walk_resume_stream(Walk *walk, int stream, const Datum *place, int nplace);
extern WalkResult walk_next_entry(Walk *walk, int64 work_limit);
extern bool walk_is_visible(Walk *walk);
extern WalkResult walk_next(Walk *walk, int64 work_limit);
extern Datum walk_value(Walk *walk, AttrNumber column, bool *isnull);
extern void walk_end(Walk *walk);

/* tag_walk.c */
extern bool tag_walk_has(const TagWalk *walk, ItemPointer tid);

#endif /* BATCHES_WALK_H */
