/*
 * fetch.h
 *		Fetching tuples by their place, and the other table's by key.
 */
#ifndef BATCHES_FETCH_H
#define BATCHES_FETCH_H

#include "access/genam.h"
#include "access/relscan.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

#include "qual.h"

/* A batch as all tables know it, and which one it is of those asked for */
typedef struct BatchKey
{
	pg_uuid_t project_id;
	pg_uuid_t id;
	int64 number;
} BatchKey;

/* Gets where one of the entries of a key leads. */
typedef void (*KeyCallback)(const BatchKey *key, const ItemPointerData *tid, void *arg);

/* The row of the other table that has a batch's key */
typedef struct KeyJoin
{
	DirectTable *table;
	DirectIndex *key;   /* on project and id */
	IndexScanDesc scan; /* NULL until the first look-up */
	TupleTableSlot *slot;
	int nquals; /* on columns that only this table has */
	Qual **quals;
} KeyJoin;

typedef struct Fetch
{
	MemoryContext context;     /* of what is made for the first tuple */
	IndexFetchTableData *data; /* NULL until the first tuple */
	DirectTable *table;
	Snapshot snapshot;
	KeyJoin *join;        /* or NULL */
	TupleTableSlot *slot; /* has the last tuple */
	bool all_dead;        /* nobody sees anything of the last chain */
	MemoryContext check_context;
} Fetch;

/* As ItemPointerCompare(), but inlined. */
static inline int
compare_tids(const ItemPointerData *a, const ItemPointerData *b)
{
	BlockNumber a_block = ItemPointerGetBlockNumberNoCheck(a);
	BlockNumber b_block = ItemPointerGetBlockNumberNoCheck(b);

	if (a_block != b_block)
		return a_block < b_block ? -1 : 1;
	return (int) ItemPointerGetOffsetNumberNoCheck(a) - (int) ItemPointerGetOffsetNumberNoCheck(b);
}

extern void sort_tids(ItemPointerData *tids, size_t ntids);
extern void fetch_init(Fetch *fetch, DirectTable *table, KeyJoin *join, Snapshot snapshot);
extern bool fetch_tuple(Fetch *fetch, const ItemPointerData *tid);
extern void find_keys(DirectIndex *index, Snapshot snapshot, BatchKey *keys, int64 nkeys,
					  KeyCallback callback, void *arg);
extern IndexScanDesc begin_key_scan(DirectTable *table, DirectIndex *key, Snapshot snapshot);
extern bool find_by_key(IndexScanDesc scan, DirectIndex *key, Datum project_id, Datum id,
						TupleTableSlot *slot);
extern bool fetched_key(const Fetch *fetch, BatchKey *key);
extern bool fetch_joined(Fetch *fetch);
extern bool fetch_match(Fetch *fetch, const ItemPointerData *tid, Qual **quals, int nquals);
extern void fetch_end(Fetch *fetch);

#endif /* BATCHES_FETCH_H */
