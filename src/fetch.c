/*
 * fetch.c
 *		Fetching tuples by their place, and the other table's by key.
 *
 * A batch and its job counts have one key and are made and deleted by one statement, so a
 * snapshot that sees the one sees the other.
 */
#include "postgres.h"
#include "compat.h"

#include "access/stratnum.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

#include "column.h"
#include "fetch.h"
#include "leaf.h"

void
fetch_init(Fetch *fetch, DirectTable *table, KeyJoin *join, Snapshot snapshot)
{
	memset(fetch, 0, sizeof(*fetch));
	fetch->context = CurrentMemoryContext;
	fetch->table = table;
	fetch->join = join;
	fetch->snapshot = snapshot;
}

/*
 * Fetches what the snapshot sees of a chain of updates. Returns false if that is
 * nothing. Tuples of one page, one after the other, need their page once.
 */
bool
fetch_tuple(Fetch *fetch, const ItemPointerData *tid)
{
	ItemPointerData member = *tid;
	bool again = false;

	if (fetch->data == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(fetch->context);

		fetch->data = begin_fetch(fetch->table->relation, READ_ONLY);
		fetch->slot = table_slot_create(fetch->table->relation, NULL);
		fetch->check_context =
			AllocSetContextCreate(CurrentMemoryContext, "batches check", ALLOCSET_SMALL_SIZES);
		MemoryContextSwitchTo(previous);
	}
	return table_index_fetch_tuple(fetch->data, &member, fetch->snapshot, fetch->slot, &again,
								   &fetch->all_dead);
}

#define ST_SORT sort_tids
#define ST_ELEMENT_TYPE ItemPointerData
#define ST_COMPARE(a, b) compare_tids(a, b)
#define ST_SCOPE
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

static inline int
compare_keys_of_batches(const BatchKey *a, const BatchKey *b)
{
	return memcmp(a, b, offsetof(BatchKey, number));
}

static void
seek_key(LeafReader *leaves, const BatchKey *key,
		 void (*seek)(LeafReader *, const Datum *, const bool *, int))
{
	Datum from[] = {UUIDPGetDatum(&key->project_id), UUIDPGetDatum(&key->id)};

	seek(leaves, from, NULL, lengthof(from));
}

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE BatchKey
#define ST_COMPARE(a, b) compare_keys_of_batches(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Finds where the rows of many keys are, by an index on project and id: all entries of each
 * key, which may be of several versions of its row. The keys are put into the index's
 * order, so that those that are neighbours there are found on one page.
 */
void
find_keys(DirectIndex *index, Snapshot snapshot, BatchKey *keys, int64 nkeys, KeyCallback callback,
		  void *arg)
{
	TupleDesc descriptor = RelationGetDescr(index->relation);
	LeafReader *leaves = leaf_begin(index->relation, snapshot);
	IndexTuple entry;
	ItemPointerData tid;
	int64 i = 0;

	sort_keys(keys, nkeys);
	if (nkeys > 0)
		seek_key(leaves, &keys[0], leaf_seek);
	while (i < nkeys && (entry = leaf_next(leaves, &tid)) != NULL)
	{
		BatchKey found = {0};
		bool isnull;
		bool id_isnull;
		Datum project_id = index_getattr(entry, 1, descriptor, &isnull);
		Datum id = index_getattr(entry, 2, descriptor, &id_isnull);
		int order = 0;

		CHECK_FOR_INTERRUPTS();
		if (isnull || id_isnull)
			continue;
		found.project_id = *DatumGetUUIDP(project_id);
		found.id = *DatumGetUUIDP(id);
		while (i < nkeys && (order = compare_keys_of_batches(&keys[i], &found)) < 0)
			i++;
		if (i < nkeys && order > 0)
			seek_key(leaves, &keys[i], leaf_advance);
		else if (i < nkeys)
			callback(&keys[i], &tid, arg);
	}
	leaf_end(leaves);
}

/* Begins to find rows of a table by project and id. */
IndexScanDesc
begin_key_scan(DirectTable *table, DirectIndex *key, Snapshot snapshot)
{
	return begin_index_scan(table->relation, key->relation, snapshot, 2, READ_ONLY);
}

/* Finds the row of a project and id; returns whether there is one. */
bool
find_by_key(IndexScanDesc scan, DirectIndex *key, Datum project_id, Datum id, TupleTableSlot *slot)
{
	Datum values[] = {project_id, id};
	ScanKeyData keys[lengthof(values)];

	for (int i = 0; i < lengthof(values); i++)
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber,
							   key->relation->rd_opcintype[i], key->relation->rd_indcollation[i],
							   F_UUID_EQ, values[i]);
	index_rescan(scan, keys, lengthof(keys), NULL, 0);
	return index_getnext_slot(scan, ForwardScanDirection, slot);
}

/* The key of the last tuple. Returns whether it has one. */
bool
fetched_key(const Fetch *fetch, BatchKey *key)
{
	bool isnull;
	bool id_isnull;
	Datum project_id = slot_getattr(fetch->slot, fetch->table->columns[COLUMN_PROJECT_ID], &isnull);
	Datum id = slot_getattr(fetch->slot, fetch->table->columns[COLUMN_ID], &id_isnull);

	if (isnull || id_isnull)
		return false;
	key->project_id = *DatumGetUUIDP(project_id);
	key->id = *DatumGetUUIDP(id);
	return true;
}

/* Looks the other table's row up that has the key of the last tuple. Returns whether there is one. */
bool
fetch_joined(Fetch *fetch)
{
	KeyJoin *join = fetch->join;
	BatchKey key;

	if (!fetched_key(fetch, &key))
		return false;
	if (join->scan == NULL)
	{
		join->scan = begin_key_scan(join->table, join->key, fetch->snapshot);
		join->slot = table_slot_create(join->table->relation, NULL);
	}
	return find_by_key(join->scan, join->key, UUIDPGetDatum(&key.project_id),
					   UUIDPGetDatum(&key.id), join->slot);
}

/* Fetches a tuple. Returns whether it is visible and it and the joined row meet the quals. */
bool
fetch_match(Fetch *fetch, const ItemPointerData *tid, Qual **quals, int nquals)
{
	KeyJoin *join = fetch->join;

	return fetch_tuple(fetch, tid) &&
		   quals_hold(quals, nquals, fetch->table->source, fetch->slot, fetch->check_context) &&
		   (join == NULL ||
			(fetch_joined(fetch) && quals_hold(join->quals, join->nquals, join->table->source,
											   join->slot, fetch->check_context)));
}

void
fetch_end(Fetch *fetch)
{
	if (fetch->join != NULL && fetch->join->scan != NULL)
	{
		index_endscan(fetch->join->scan);
		ExecDropSingleTupleTableSlot(fetch->join->slot);
		fetch->join->scan = NULL;
	}
	if (fetch->data == NULL)
		return;
	table_index_fetch_end(fetch->data);
	ExecDropSingleTupleTableSlot(fetch->slot);
	MemoryContextDelete(fetch->check_context);
	fetch->data = NULL;
}
