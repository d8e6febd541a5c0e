/*
 * fetch.c
 *		Fetches tuples of a table by their place, as index scans do.
 */
#include "postgres.h"
#include "compat.h"

#include "access/tableam.h"
#include "utils/memutils.h"

#include "fetch.h"

void
fetch_init(Fetch *fetch, Relation table, Snapshot snapshot)
{
	memset(fetch, 0, sizeof(*fetch));
	fetch->table = table;
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
		fetch->data = table_index_fetch_begin(fetch->table);
		fetch->slot = table_slot_create(fetch->table, NULL);
		fetch->check_context =
			AllocSetContextCreate(CurrentMemoryContext, "batches check", ALLOCSET_SMALL_SIZES);
	}
	return table_index_fetch_tuple(fetch->data, &member, fetch->snapshot, fetch->slot, &again,
								   &fetch->all_dead);
}

/* The same for what meets conditions. */
bool
fetch_match(Fetch *fetch, const ItemPointerData *tid, Condition **conditions, int nconditions)
{
	return fetch_tuple(fetch, tid) &&
		   conditions_hold(conditions, nconditions, fetch->slot, fetch->check_context);
}

void
fetch_end(Fetch *fetch)
{
	if (fetch->data == NULL)
		return;
	table_index_fetch_end(fetch->data);
	ExecDropSingleTupleTableSlot(fetch->slot);
	MemoryContextDelete(fetch->check_context);
	fetch->data = NULL;
}
