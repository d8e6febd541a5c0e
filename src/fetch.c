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

/* Prepares to fetch tuples of a part. */
static void
begin_part(Fetch *fetch, int part)
{
	Relation relation = fetch->table->parts[part];
	MemoryContext previous = MemoryContextSwitchTo(fetch->context);

	if (fetch->data == NULL)
	{
		fetch->data = palloc0(sizeof(*fetch->data) * fetch->table->nparts);
		fetch->slots = palloc0(sizeof(*fetch->slots) * fetch->table->nparts);
		fetch->check_context =
			AllocSetContextCreate(CurrentMemoryContext, "batches check", ALLOCSET_SMALL_SIZES);
	}
	fetch->slots[part] = table_slot_create(relation, NULL);
	fetch->data[part] = begin_fetch(relation, READ_ONLY);
	MemoryContextSwitchTo(previous);
}

/* Goes to a part. */
static void
go_to_part(Fetch *fetch, int part)
{
	if (fetch->data != NULL && fetch->part != part && !keeps_parts_pinned(fetch->table))
	{
		ExecClearTuple(fetch->slots[fetch->part]);
		table_index_fetch_reset(fetch->data[fetch->part]);
	}
	if (fetch->data == NULL || fetch->data[part] == NULL)
		begin_part(fetch, part);
	fetch->part = part;
	fetch->slot = fetch->slots[part];
}

/*
 * Fetches what the snapshot sees of a chain of updates. Returns false if that is
 * nothing. Tuples of one page, one after the other, need their page once.
 */
bool
fetch_tuple(Fetch *fetch, RowPlace place)
{
	int part = place_part(place);
	ItemPointerData member;
	bool again = false;

	go_to_part(fetch, part);
	ItemPointerSet(&member, place_block(place), place_offset(place));
	return table_index_fetch_tuple(fetch->data[part], &member, fetch->snapshot, fetch->slot, &again,
								   &fetch->all_dead);
}

#define ST_SORT sort_places
#define ST_ELEMENT_TYPE RowPlace
#define ST_COMPARE(a, b) (*(a) < *(b) ? -1 : *(a) > *(b))
#define ST_SCOPE
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

static inline int
compare_keys_of_batches(const BatchKey *a, const BatchKey *b)
{
	return memcmp(a, b, offsetof(BatchKey, part));
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
#define ST_COMPARE(a, b)                                                                           \
	((a)->part != (b)->part ? (a)->part - (b)->part : compare_keys_of_batches(a, b))
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* Finds where the rows of some keys of one part are. The keys are in the index's order. */
static void
find_part_keys(Relation index, Snapshot snapshot, const BatchKey *keys, int64 nkeys,
			   KeyCallback callback, void *arg)
{
	TupleDesc descriptor = RelationGetDescr(index);
	LeafReader *leaves = leaf_begin(index, snapshot);
	IndexTuple entry;
	ItemPointerData tid;
	int64 i = 0;

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
			callback(&keys[i], place_of(keys[i].part, &tid), arg);
	}
	leaf_end(leaves);
}

/*
 * Finds where the rows of many keys are, by an index on project and id: all entries of each
 * key, which may be of several versions of its row. The keys are put into the index's
 * order, so that those that are neighbours there are found on one page.
 */
void
find_keys(DirectTable *table, DirectIndex *index, Snapshot snapshot, BatchKey *keys, int64 nkeys,
		  KeyCallback callback, void *arg)
{
	for (int64 i = 0; i < nkeys; i++)
		keys[i].part = direct_part(table, UUIDPGetDatum(&keys[i].project_id));
	sort_keys(keys, nkeys);
	for (int64 i = 0, n; i < nkeys; i += n)
	{
		for (n = 1; i + n < nkeys && keys[i + n].part == keys[i].part;)
			n++;
		if (keys[i].part >= 0)
			find_part_keys(direct_index_part(table, index, keys[i].part), snapshot, &keys[i], n,
						   callback, arg);
	}
}

void
key_scan_init(KeyScan *scan, DirectTable *table, DirectIndex *key, Snapshot snapshot)
{
	memset(scan, 0, sizeof(*scan));
	scan->table = table;
	scan->key = key;
	scan->snapshot = snapshot;
}

static void
end_key_scan(KeyScan *scan, int part)
{
	if (scan->scans[part] == NULL)
		return;
	index_endscan(scan->scans[part]);
	ExecDropSingleTupleTableSlot(scan->slots[part]);
	scan->scans[part] = NULL;
}

/* Finds the row of a project and id; returns whether there is one. */
bool
key_scan_find(KeyScan *scan, Datum project_id, Datum id)
{
	int part = direct_part(scan->table, project_id);
	Datum values[] = {project_id, id};
	ScanKeyData keys[lengthof(values)];
	Relation index;

	if (part < 0)
		return false;
	index = direct_index_part(scan->table, scan->key, part);
	if (scan->scans == NULL)
	{
		scan->scans = palloc0(sizeof(*scan->scans) * scan->table->nparts);
		scan->slots = palloc0(sizeof(*scan->slots) * scan->table->nparts);
	}
	if (scan->part != part && !keeps_parts_pinned(scan->table))
		end_key_scan(scan, scan->part);
	scan->part = part;
	if (scan->scans[part] == NULL)
	{
		scan->slots[part] = table_slot_create(scan->table->parts[part], NULL);
		scan->scans[part] = begin_index_scan(scan->table->parts[part], index, scan->snapshot,
											 lengthof(keys), READ_ONLY);
	}
	scan->slot = scan->slots[part];
	for (int i = 0; i < lengthof(values); i++)
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, index->rd_opcintype[i],
							   index->rd_indcollation[i], F_UUID_EQ, values[i]);
	index_rescan(scan->scans[part], keys, lengthof(keys), NULL, 0);
	return index_getnext_slot(scan->scans[part], ForwardScanDirection, scan->slot);
}

void
key_scan_end(KeyScan *scan)
{
	for (int i = 0; scan->scans != NULL && i < scan->table->nparts; i++)
		end_key_scan(scan, i);
	scan->scans = NULL;
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
	BatchKey key;

	return fetched_key(fetch, &key) &&
		   key_scan_find(&fetch->join->rows, UUIDPGetDatum(&key.project_id),
						 UUIDPGetDatum(&key.id));
}

/* Fetches a tuple. Returns whether it is visible and it and the joined row meet the quals. */
bool
fetch_match(Fetch *fetch, RowPlace place, Qual **quals, int nquals)
{
	KeyJoin *join = fetch->join;

	return fetch_tuple(fetch, place) &&
		   quals_hold(quals, nquals, fetch->table->source, fetch->slot, fetch->check_context) &&
		   (join == NULL ||
			(fetch_joined(fetch) && quals_hold(join->quals, join->nquals, join->rows.table->source,
											   join->rows.slot, fetch->check_context)));
}

void
fetch_end(Fetch *fetch)
{
	if (fetch->join != NULL)
		key_scan_end(&fetch->join->rows);
	if (fetch->data == NULL)
		return;
	for (int i = 0; i < fetch->table->nparts; i++)
		if (fetch->data[i] != NULL)
		{
			table_index_fetch_end(fetch->data[i]);
			ExecDropSingleTupleTableSlot(fetch->slots[i]);
		}
	MemoryContextDelete(fetch->check_context);
	fetch->data = NULL;
}
