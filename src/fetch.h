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

#include "place.h"
#include "qual.h"

/* A batch as all tables know it, and which one it is of those asked for */
typedef struct BatchKey
{
	pg_uuid_t project_id;
	pg_uuid_t id;
	int part; /* of the table that they are looked for in */
	int64 number;
} BatchKey;

/* Gets where one of the entries of a key leads. */
typedef void (*KeyCallback)(const BatchKey *key, RowPlace place, void *arg);

/* Finds rows of a table by project and id, one by one */
typedef struct KeyScan
{
	DirectTable *table;
	DirectIndex *key; /* on project and id */
	Snapshot snapshot;
	IndexScanDesc *scans;   /* of the parts; NULL until the first look-up */
	TupleTableSlot **slots; /* for them */
	int part;               /* of the last look-up */
	TupleTableSlot *slot;   /* has the last row found */
} KeyScan;

/* The row of the other table that has a batch's key */
typedef struct KeyJoin
{
	KeyScan rows;
	int nquals; /* on columns that only this table has */
	Qual **quals;
} KeyJoin;

typedef struct Fetch
{
	MemoryContext context;      /* of what is made for the first tuple */
	IndexFetchTableData **data; /* of the parts; NULL until the first tuple */
	TupleTableSlot **slots;     /* for their tuples */
	int part;                   /* of the last tuple */
	DirectTable *table;
	Snapshot snapshot;
	KeyJoin *join;        /* or NULL */
	TupleTableSlot *slot; /* has the last tuple */
	bool all_dead;        /* nobody sees anything of the last chain */
	MemoryContext check_context;
} Fetch;

extern void sort_places(RowPlace *places, size_t nplaces);
extern void fetch_init(Fetch *fetch, DirectTable *table, KeyJoin *join, Snapshot snapshot);
extern bool fetch_tuple(Fetch *fetch, RowPlace place);
extern void find_keys(DirectTable *table, DirectIndex *index, Snapshot snapshot, BatchKey *keys,
					  int64 nkeys, KeyCallback callback, void *arg);
extern void key_scan_init(KeyScan *scan, DirectTable *table, DirectIndex *key, Snapshot snapshot);
extern bool key_scan_find(KeyScan *scan, Datum project_id, Datum id);
extern void key_scan_end(KeyScan *scan);
extern bool fetched_key(const Fetch *fetch, BatchKey *key);
extern bool fetch_joined(Fetch *fetch);
extern bool fetch_match(Fetch *fetch, RowPlace place, Qual **quals, int nquals);
extern void fetch_end(Fetch *fetch);

#endif /* BATCHES_FETCH_H */
