/*
 * count_batches.c
 *		Keeps "batch_total", and which batches have a row in "batch_job_count".
 *
 * The changes of a statement on "batch" are first added up by project and device, and by
 * project alone. So a bulk load writes one row for each of these, not for each batch.
 *
 * Nobody waits for a total. A project and device may have several rows, whose sum is the
 * total: a statement adds to a row that no other transaction is changing, or else inserts
 * one. Each snapshot sees the sum that is right for it. A statement that finds several free
 * rows merges them, so there are about as many rows as there are writers at once. At
 * REPEATABLE READ and above, a row that was changed since the snapshot counts as busy.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "batches.h"
#include "keep.h"
#include "untrusted.h"

/* How many rows of a project and device are merged at once. */
#define MAX_MERGED_ROWS 16

/* For how many projects and devices changes are added up before they are written. */
#define MAX_TOTAL_CHANGES 10000

/* The columns of "batch" that are counted by */
typedef struct BatchColumns
{
	AttrNumber project_id;
	AttrNumber id;
	AttrNumber status;
	AttrNumber open;
	AttrNumber device_type;
	AttrNumber queue_priority;
} BatchColumns;

/* A batch, as far as it is counted */
typedef struct CountedBatch
{
	pg_uuid_t project_id;
	pg_uuid_t id;
	text *device_type;
	int cell;
} CountedBatch;

typedef struct TotalKey
{
	pg_uuid_t project_id;
	text *device_type; /* NULL: all devices */
} TotalKey;

/* What is to be added to a total */
typedef struct TotalChange
{
	TotalKey key;
	int64 *deltas; /* by cell */
	uint32 hash;
	char status;
} TotalChange;

static uint32
hash_total_key(TotalKey key)
{
	uint32 hash = hash_untrusted(&key.project_id, UUID_LEN);

	if (key.device_type == NULL)
		return hash;
	return hash_combine(
		hash, hash_untrusted(VARDATA_ANY(key.device_type), VARSIZE_ANY_EXHDR(key.device_type)));
}

static bool
equals_text(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		   memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

static bool
equals_total_key(TotalKey a, TotalKey b)
{
	return memcmp(&a.project_id, &b.project_id, UUID_LEN) == 0 &&
		   equals_text(a.device_type, b.device_type);
}

#define SH_PREFIX total_changes
#define SH_ELEMENT_TYPE TotalChange
#define SH_KEY_TYPE TotalKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_total_key(key)
#define SH_EQUAL(table, a, b) equals_total_key(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, element) (element)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* The state of a trigger on batches during one statement */
typedef struct BatchCounter
{
	Relation batch;
	BatchColumns columns;
	CellLabels labels;
	MemoryContext statement_context;
	MemoryContext context; /* of the changes */
	total_changes_hash *changes;
	bool has_job_counts; /* open */
	JobCountTable job_counts;
} BatchCounter;

/*
 * Writing totals
 */

DerivedTable *
open_totals(Oid batch)
{
	static const char *const keys[] = {"device_type", "project_id"};

	return derived_open(batch, TOTAL_TABLE, keys, lengthof(keys));
}

/* Makes the row to be written. */
static void
prepare_row(DerivedTable *totals, const pg_uuid_t *project_id, const pg_uuid_t *id,
			text *device_type, ArrayType *cells)
{
	TupleDesc descriptor = RelationGetDescr(totals->relation);
	TupleTableSlot *row = totals->row;
	AttrNumber columns[] = {
		require_column(descriptor, TOTAL_TABLE, "project_id", UUIDOID),
		require_column(descriptor, TOTAL_TABLE, "id", UUIDOID),
		require_column(descriptor, TOTAL_TABLE, "n", INT8ARRAYOID),
		require_column(descriptor, TOTAL_TABLE, "device_type", TEXTOID),
	};
	Datum values[] = {UUIDPGetDatum(project_id), UUIDPGetDatum(id), PointerGetDatum(cells),
					  PointerGetDatum(device_type)};

	ExecClearTuple(row);
	memset(row->tts_isnull, true, sizeof(bool) * descriptor->natts);
	for (int i = 0; i < lengthof(columns); i++)
	{
		row->tts_values[columns[i] - 1] = values[i];
		row->tts_isnull[columns[i] - 1] = values[i] == (Datum) 0;
	}
	ExecStoreVirtualTuple(row);
}

/* Adds to the total of a project on a device, or on all of them. */
void
add_to_total(DerivedTable *totals, const pg_uuid_t *project_id, text *device_type,
			 const int64 *deltas)
{
	TupleDesc descriptor = RelationGetDescr(totals->relation);
	AttrNumber id_column = require_column(descriptor, TOTAL_TABLE, "id", UUIDOID);
	AttrNumber n_column = require_column(descriptor, TOTAL_TABLE, "n", INT8ARRAYOID);
	Datum key[] = {PointerGetDatum(device_type), UUIDPGetDatum(project_id)};
	bool isnull[] = {device_type == NULL, false};
	int64 cells[N_CELLS];      /* of the row to be written */
	int64 base_cells[N_CELLS]; /* of the row that it replaces */
	ItemPointerData base;
	int nmerged = 0;
	bool recalled;
	pg_uuid_t id;
	ArrayType *array;

	memcpy(cells, deltas, sizeof(cells));
	memset(base_cells, 0, sizeof(base_cells));
	ItemPointerSetInvalid(&base);
	recalled = derived_recall(totals, key, isnull) && derived_take(totals);
	if (!recalled)
		derived_seek(totals, key, isnull);
	while (recalled || (nmerged < MAX_MERGED_ROWS && derived_next(totals)))
	{
		bool isnull_id;
		ItemPointerData tid;
		ArrayType *found;

		if (!recalled && !derived_take(totals))
			continue;
		tid = totals->found->tts_tid;
		found = DatumGetArrayTypeP(counted_value(totals->found, n_column, "total"));
		if (!ItemPointerIsValid(&base))
		{
			base = tid;
			id = *DatumGetUUIDP(slot_getattr(totals->found, id_column, &isnull_id));
			add_cells(base_cells, found);
		}
		else
		{
			if (derived_delete(totals, &tid) == DERIVED_DONE)
			{
				add_cells(cells, found);
				nmerged++;
			}
			derived_release(totals, &tid);
		}
		if (recalled)
			break;
	}

	if (ItemPointerIsValid(&base))
	{
		DerivedResult result;

		for (int i = 0; i < N_CELLS; i++)
			base_cells[i] += cells[i];
		array = make_cells(base_cells);
		if (array == NULL)
			result = derived_delete(totals, &base);
		else
		{
			prepare_row(totals, project_id, &id, device_type, array);
			result = derived_update(totals, &base);
		}
		derived_release(totals, &base);
		if (result == DERIVED_DONE)
			return;
	}
	array = make_cells(cells);
	if (array == NULL)
		return;
	id = *DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0));
	prepare_row(totals, project_id, &id, device_type, array);
	derived_insert(totals);
}

/* A binaryheap_comparator: by device, all of them last, and project, as the index on them has it */
static int
compare_changes(Datum a, Datum b, void *arg)
{
	const TotalKey *x = &((TotalChange *) DatumGetPointer(a))->key;
	const TotalKey *y = &((TotalChange *) DatumGetPointer(b))->key;
	int order = (x->device_type == NULL) - (y->device_type == NULL);

	if (order == 0 && x->device_type != NULL)
		order = DatumGetInt32(DirectFunctionCall2Coll(bttextcmp, C_COLLATION_OID,
													  PointerGetDatum(x->device_type),
													  PointerGetDatum(y->device_type)));
	return order != 0 ? order : memcmp(&x->project_id, &y->project_id, UUID_LEN);
}

static bool
has_deltas(const TotalChange *change)
{
	for (int i = 0; i < N_CELLS; i++)
		if (change->deltas[i] != 0)
			return true;
	return false;
}

/*
 * Writes what has been added up, in the order in which it is read: of a bulk load, the rows
 * that a count needs are then on few pages.
 */
static void
write_totals(BatchCounter *counter)
{
	total_changes_iterator iterator;
	TotalChange *change;
	Datum *changes;
	int n = 0;

	if (counter->changes == NULL)
		return;
	changes = palloc(sizeof(Datum) * counter->changes->members);
	total_changes_start_iterate(counter->changes, &iterator);
	while ((change = total_changes_iterate(counter->changes, &iterator)) != NULL)
		if (has_deltas(change))
			changes[n++] = PointerGetDatum(change);
	if (n > 0)
	{
		DerivedTable *totals = open_totals(RelationGetRelid(counter->batch));
		MemoryContext row_context =
			AllocSetContextCreate(CurrentMemoryContext, "batches total", ALLOCSET_DEFAULT_SIZES);

		sort_list(changes, n, compare_changes, NULL);
		for (int i = 0; i < n; i++)
		{
			MemoryContext previous = MemoryContextSwitchTo(row_context);

			change = (TotalChange *) DatumGetPointer(changes[i]);
			add_to_total(totals, &change->key.project_id, change->key.device_type, change->deltas);
			MemoryContextSwitchTo(previous);
			MemoryContextReset(row_context);
		}
		derived_close(totals);
		MemoryContextDelete(row_context);
		CommandCounterIncrement();
	}
	pfree(changes);
	MemoryContextReset(counter->context);
	counter->changes = NULL;
}

/*
 * Adding up
 */

static void
add_change(BatchCounter *counter, TotalKey key, int cell, int delta)
{
	bool found;
	TotalChange *change = total_changes_insert(counter->changes, key, &found);

	if (!found)
	{
		MemoryContext previous = MemoryContextSwitchTo(counter->context);

		if (key.device_type != NULL)
			change->key.device_type = cstring_to_text_with_len(VARDATA_ANY(key.device_type),
															   VARSIZE_ANY_EXHDR(key.device_type));
		change->deltas = palloc0(sizeof(int64) * N_CELLS);
		MemoryContextSwitchTo(previous);
	}
	change->deltas[cell] += delta;
}

/* Counts a batch more, or one less. */
static void
count_batch(BatchCounter *counter, const CountedBatch *batch, int delta)
{
	TotalKey all = {.project_id = batch->project_id};
	TotalKey device = {.project_id = batch->project_id, .device_type = batch->device_type};

	if (counter->changes != NULL && counter->changes->members >= MAX_TOTAL_CHANGES)
		write_totals(counter);
	if (counter->changes == NULL)
		counter->changes = total_changes_create(counter->context, 16, NULL);
	add_change(counter, all, batch->cell, delta);
	add_change(counter, device, batch->cell, delta);
}

static void
read_batch(BatchCounter *counter, TupleTableSlot *slot, CountedBatch *batch)
{
	const BatchColumns *columns = &counter->columns;

	batch->project_id = *DatumGetUUIDP(counted_value(slot, columns->project_id, "batch"));
	batch->id = *DatumGetUUIDP(counted_value(slot, columns->id, "batch"));
	batch->device_type = DatumGetTextPP(counted_value(slot, columns->device_type, "batch"));
	batch->cell = cell_index(
		DatumGetObjectId(counted_value(slot, columns->status, "batch")),
		DatumGetBool(counted_value(slot, columns->open, "batch")),
		DatumGetObjectId(counted_value(slot, columns->queue_priority, "batch")), &counter->labels);
}

/*
 * Job counts
 */

static JobCountTable *
job_counts(BatchCounter *counter)
{
	if (!counter->has_job_counts)
	{
		MemoryContext previous = MemoryContextSwitchTo(counter->statement_context);

		open_job_counts(&counter->job_counts, RelationGetRelid(counter->batch), InvalidOid);
		counter->has_job_counts = true;
		MemoryContextSwitchTo(previous);
	}
	return &counter->job_counts;
}

/* A key of "batch" that a statement has added or removed, as it is sorted */
enum
{
	KEY_PROJECT_ID = 1,
	KEY_ID,
	KEY_DELTA,
	KEY_NATTS = KEY_DELTA
};

static void
put_key(Tuplesortstate *keys, TupleTableSlot *slot, const CountedBatch *batch, int delta)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, KEY_NATTS * sizeof(bool));
	slot->tts_values[KEY_PROJECT_ID - 1] = UUIDPGetDatum(&batch->project_id);
	slot->tts_values[KEY_ID - 1] = UUIDPGetDatum(&batch->id);
	slot->tts_values[KEY_DELTA - 1] = Int32GetDatum(delta);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(keys, slot);
}

/* What a statement did to a key: inserted its batch, deleted it, or both. */
static void
apply_key(BatchCounter *counter, const CountedBatch *batch, int delta, bool with_jobs)
{
	if (delta > 0)
		insert_job_counts(job_counts(counter), &batch->project_id, &batch->id);
	else if (delta < 0)
		remove_job_counts(job_counts(counter), &batch->project_id, &batch->id, with_jobs);
}

/* Adds and removes job counts in the order of the keys. */
static void
apply_keys(BatchCounter *counter, Tuplesortstate *keys, TupleDesc descriptor, bool with_jobs)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
	CountedBatch current = {0};
	int delta = 0;

	tuplesort_performsort(keys);
	while (tuplesort_gettupleslot(keys, true, false, slot, NULL))
	{
		CountedBatch batch = {0};

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		batch.project_id = *DatumGetUUIDP(slot->tts_values[KEY_PROJECT_ID - 1]);
		batch.id = *DatumGetUUIDP(slot->tts_values[KEY_ID - 1]);
		if (memcmp(&batch.project_id, &current.project_id, UUID_LEN) != 0 ||
			memcmp(&batch.id, &current.id, UUID_LEN) != 0)
		{
			apply_key(counter, &current, delta, with_jobs);
			current = batch;
			delta = 0;
		}
		delta += DatumGetInt32(slot->tts_values[KEY_DELTA - 1]);
	}
	apply_key(counter, &current, delta, with_jobs);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * The trigger on the batches
 */

static void
find_columns(BatchCounter *counter)
{
	TupleDesc descriptor = RelationGetDescr(counter->batch);
	BatchColumns *columns = &counter->columns;

	columns->project_id = require_column(descriptor, "batch", "project_id", UUIDOID);
	columns->id = require_column(descriptor, "batch", "id", UUIDOID);
	columns->status = require_column(descriptor, "batch", "status", extension_type("batch_status"));
	columns->open = require_column(descriptor, "batch", "open", BOOLOID);
	columns->device_type = require_column(descriptor, "batch", "device_type", TEXTOID);
	columns->queue_priority =
		require_column(descriptor, "batch", "queue_priority", extension_type("queue_priority"));
}

/* New batches. Their order does not matter: nobody else can have locks on their counts. */
static void
count_new_batches(BatchCounter *counter, Tuplestorestate *new_rows, TupleTableSlot *slot,
				  MemoryContext row_context)
{
	begin_transition_rows(new_rows);
	while (tuplestore_gettupleslot(new_rows, true, false, slot))
	{
		MemoryContext previous = MemoryContextSwitchTo(row_context);
		CountedBatch batch;

		CHECK_FOR_INTERRUPTS();
		read_batch(counter, slot, &batch);
		insert_job_counts(job_counts(counter), &batch.project_id, &batch.id);
		count_batch(counter, &batch, 1);
		MemoryContextSwitchTo(previous);
		MemoryContextReset(row_context);
	}
}

static bool
has_same_key(const CountedBatch *a, const CountedBatch *b)
{
	return memcmp(&a->project_id, &b->project_id, UUID_LEN) == 0 &&
		   memcmp(&a->id, &b->id, UUID_LEN) == 0;
}

/*
 * Batches that were deleted or updated. An update has a new row for each old one; if what
 * is counted by is the same in both, as mostly, nothing is added.
 */
static void
count_old_batches(BatchCounter *counter, Tuplestorestate *old_rows, Tuplestorestate *new_rows,
				  TupleTableSlot *slot, MemoryContext row_context)
{
	TupleDesc descriptor = CreateTemplateTupleDesc(KEY_NATTS);
	TupleTableSlot *new_slot =
		MakeSingleTupleTableSlot(RelationGetDescr(counter->batch), &TTSOpsMinimalTuple);
	TupleTableSlot *key_slot;
	Tuplesortstate *keys;
	bool any_key = false;

	TupleDescInitEntry(descriptor, KEY_PROJECT_ID, "project_id", UUIDOID, -1, 0);
	TupleDescInitEntry(descriptor, KEY_ID, "id", UUIDOID, -1, 0);
	TupleDescInitEntry(descriptor, KEY_DELTA, "delta", INT4OID, -1, 0);
	TupleDescFinalize(descriptor);
	key_slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
	keys = begin_sort_by_batch(descriptor, KEY_PROJECT_ID, KEY_ID);
	begin_transition_rows(old_rows);
	if (new_rows != NULL)
		begin_transition_rows(new_rows);
	while (tuplestore_gettupleslot(old_rows, true, false, slot))
	{
		bool replaced =
			new_rows != NULL && tuplestore_gettupleslot(new_rows, true, false, new_slot);
		MemoryContext previous = MemoryContextSwitchTo(row_context);
		CountedBatch old;
		CountedBatch new;

		CHECK_FOR_INTERRUPTS();
		read_batch(counter, slot, &old);
		if (replaced)
			read_batch(counter, new_slot, &new);
		if (!replaced || !has_same_key(&old, &new))
		{
			any_key = true;
			put_key(keys, key_slot, &old, -1);
			if (replaced)
				put_key(keys, key_slot, &new, 1);
		}
		if (!replaced || old.cell != new.cell || !equals_text(old.device_type, new.device_type) ||
			memcmp(&old.project_id, &new.project_id, UUID_LEN) != 0)
		{
			count_batch(counter, &old, -1);
			if (replaced)
				count_batch(counter, &new, 1);
		}
		MemoryContextSwitchTo(previous);
		MemoryContextReset(row_context);
	}
	if (any_key)
		apply_keys(counter, keys, descriptor, new_rows == NULL);
	tuplesort_end(keys);
	ExecDropSingleTupleTableSlot(key_slot);
	ExecDropSingleTupleTableSlot(new_slot);
}

/* batches.count_changed_batches() returns trigger */
PG_FUNCTION_INFO_V1(batches_count_changed_batches);
Datum
batches_count_changed_batches(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Tuplestorestate *old_rows;
	Tuplestorestate *new_rows;
	BatchCounter counter = {0};
	TupleTableSlot *slot;
	MemoryContext row_context;

	check_statement_trigger(fcinfo, "count_changed_batches", &old_rows, &new_rows);
	if (is_detached(RelationGetRelid(trigger->tg_relation), "batch"))
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		if (has_truncated_rows(trigger))
			derived_truncate(RelationGetRelid(trigger->tg_relation));
		return PointerGetDatum(NULL);
	}
	if (!has_transition_rows(old_rows) && !has_transition_rows(new_rows))
		return PointerGetDatum(NULL);

	counter.batch = trigger->tg_relation;
	counter.statement_context = CurrentMemoryContext;
	counter.context =
		AllocSetContextCreate(CurrentMemoryContext, "batches totals", ALLOCSET_DEFAULT_SIZES);
	row_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches row", ALLOCSET_DEFAULT_SIZES);
	find_columns(&counter);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(counter.batch), &TTSOpsMinimalTuple);
	if (old_rows == NULL)
		count_new_batches(&counter, new_rows, slot, row_context);
	else
		count_old_batches(&counter, old_rows, new_rows, slot, row_context);
	write_totals(&counter);
	ExecDropSingleTupleTableSlot(slot);
	if (counter.has_job_counts)
		close_job_counts(&counter.job_counts);
	MemoryContextDelete(row_context);
	MemoryContextDelete(counter.context);
	/* What follows in the transaction sees the counts. */
	CommandCounterIncrement();
	return PointerGetDatum(NULL);
}
