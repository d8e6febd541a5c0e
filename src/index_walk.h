/*
 * index_walk.h
 *		Reading the entries of an index that meet quals.
 */
#ifndef BATCHES_INDEX_WALK_H
#define BATCHES_INDEX_WALK_H

#include "access/genam.h"
#include "access/skey.h"
#include "storage/buf.h"

#include "qual.h"
#include "direct.h"
#include "fetch.h"
#include "leaf.h"
#include "tag_walk.h"
#include "work.h"

/*
 * How many pages of the visibility map a walk has at hand. One is for 256 MB of the table,
 * and entries that are neighbours need not be of tuples that are.
 */
#define N_MAP_BUFFERS 16

typedef enum WalkResult
{
	WALK_MATCH,
	WALK_PAUSED, /* the work allowed is done */
	WALK_END,    /* of the range */
} WalkResult;

typedef struct IndexWalk IndexWalk;

typedef enum FilterAnswer
{
	FILTER_REJECTS,
	FILTER_ACCEPTS,
	FILTER_PAUSED, /* the work allowed is done: it has to be asked again */
} FilterAnswer;

/* What else an entry has to meet, as far as that is told without fetching */
typedef struct EntryFilter
{
	FilterAnswer (*ask)(struct EntryFilter *filter, IndexWalk *walk, int64 work_limit);
	void (*end)(struct EntryFilter *filter);
	int64 work; /* of asking it once */
} EntryFilter;

/* What a walk has open of a part of its index */
typedef struct WalkPart
{
	Relation index;
	LeafReader *leaves; /* for a walk without a direction */
	IndexScanDesc scan; /* for one with a direction */
	Buffer map_buffers[N_MAP_BUFFERS];
} WalkPart;

/*
 * A walk reads key ranges: one for each value of a list on the index's first column, or a
 * single one. A key range has its entries in the order of the remaining columns. Of a
 * partitioned table, each part has such ranges, but for projects, which are in one part each.
 */
struct IndexWalk
{
	DirectTable *table;
	DirectIndex *index;
	Snapshot snapshot;
	ScanDirection direction;
	int64 nranges;
	PartProject *ranges; /* of a list of projects of a partitioned table; else NULL */
	bool stands;         /* no part has two ranges: each goes on where it stopped */
	Qual *list;          /* whose values the ranges have; NULL: a single range */
	Qual *bounds;        /* on the next column, or NULL */
	bool resumable;      /* a range can be started within */

	/* Quals that the ranges do not meet by themselves */
	int nindex_quals;
	Qual **index_quals; /* on columns that the index has */
	int *positions;     /* of these columns */
	int nheap_quals;
	Qual **heap_quals;
	bool needs_column;   /* that the index does not have */
	bool needs_heap;     /* for these, or for the other table's row */
	const TagWalk *tags; /* knows which tuples have the tag; or NULL */

	EntryFilter *filter; /* one more for the entries, or NULL */
	bool asks_again;     /* it, for the last entry */

	WalkPart **parts;    /* those that were started */
	WalkPart *at;        /* the one being read */
	int part;            /* its number */
	int64 range;         /* the one being read */
	int64 range_entries; /* read of it */
	int64 page;          /* of the leaves, the last one seen in the range; they count from 1 */
	bool page_is_inside; /* the range, with all its entries */
	int nkeys;           /* of each of its ranges */
	ScanKeyData place_keys[2]; /* the place behind which a range is resumed */
	IndexTuple entry;          /* the last one */
	ItemPointerData tid;       /* where its chain of updates begins */
	Fetch fetch;
	BlockNumber visible_block; /* the last one seen to be visible to everybody */
	int64 work;
};

extern void index_walk_init(IndexWalk *walk, DirectTable *table, DirectIndex *index, Qual *quals,
							int nquals, Qual *list, ScanDirection direction);
extern void index_walk_join(IndexWalk *walk, KeyJoin *join);
extern void index_walk_need_column(IndexWalk *walk, AttrNumber column);
extern bool index_walk_is_filtered(const IndexWalk *walk);
extern int64 index_walk_whole_work(const IndexWalk *walk);
extern void index_walk_use_tags(IndexWalk *walk, const TagWalk *tags);
extern void index_walk_start_range(IndexWalk *walk, int64 range);
extern void index_walk_start_behind(IndexWalk *walk, int64 range, const Datum *place, int nplace);
extern void index_walk_continue_range(IndexWalk *walk, int64 range);
extern Datum index_walk_range_value(const IndexWalk *walk, int64 range);
extern RowPlace index_walk_place(const IndexWalk *walk);
extern WalkResult index_walk_next_entry(IndexWalk *walk, int64 work_limit);
extern bool index_walk_is_visible(IndexWalk *walk);
extern WalkResult index_walk_next(IndexWalk *walk, int64 work_limit);
extern Datum index_walk_value(IndexWalk *walk, AttrNumber column, bool *isnull);
extern void index_walk_end(IndexWalk *walk);

#endif /* BATCHES_INDEX_WALK_H */
