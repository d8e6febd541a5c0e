/*
 * count_jobs.c
 *		Keeps "batch_job_count": the jobs of each batch, by status.
 *
 * After each statement on "job", the changes of its transition tables are sorted by
 * project and batch, and added to the counts of each batch in this order. So all
 * statements take their locks in one order: jobs first, then the counts by key. A batch
 * that is deleted with its jobs does the same, as foreign keys act before the triggers
 * that are fired after a statement. The sort keeps to work_mem.
 */
#include "postgres.h"
#include "compat.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "batches.h"
#include "keep.h"
#include "plan.h"
#include "row.h"

/* A change of a job, as it is sorted: its batch, and its status's index. */
enum
{
	CHANGE_PROJECT_ID = 1,
	CHANGE_BATCH_ID,
	CHANGE_STATUS,
	CHANGE_DELTA, /* +1: such a job more; -1: one less */
	CHANGE_NATTS = CHANGE_DELTA
};

/*
 * The counts of a batch
 */

void
open_job_counts(JobCountTable *table, Oid batch, Oid job)
{
	static const char *const keys[] = {"project_id", "batch_id"};
	TupleDesc descriptor;
	JobCountColumns *columns = &table->columns;

	table->batch = batch;
	table->job = job;
	table->rows = derived_open(batch, JOB_COUNT_TABLE, keys, lengthof(keys));
	descriptor = RelationGetDescr(table->rows->relation);
	columns->project_id = require_column(descriptor, JOB_COUNT_TABLE, "project_id", UUIDOID);
	columns->batch_id = require_column(descriptor, JOB_COUNT_TABLE, "batch_id", UUIDOID);
	columns->jobs_count = require_column(descriptor, JOB_COUNT_TABLE, JOBS_COUNT_COLUMN, INT4OID);
	columns->size_class = require_column(descriptor, JOB_COUNT_TABLE, SIZE_CLASS_COLUMN, INT2OID);
	for (int i = 0; i < N_JOB_STATUSES; i++)
		columns->by_status[i] =
			require_column(descriptor, JOB_COUNT_TABLE, job_status_columns[i], INT4OID);
}

void
close_job_counts(JobCountTable *table)
{
	derived_close(table->rows);
}

static bool
find_counts(JobCountTable *table, const pg_uuid_t *project_id, const pg_uuid_t *batch_id)
{
	Datum key[] = {UUIDPGetDatum(project_id), UUIDPGetDatum(batch_id)};

	return derived_find_to_change(table->rows, key);
}

static int32
found_count(JobCountTable *table, AttrNumber column)
{
	bool isnull;
	Datum value = slot_getattr(table->rows->found, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

/* A row of a batch that was looked for */
typedef struct BatchRows
{
	bool any;
	bool ours;   /* a row that this transaction has written */
	bool others; /* one that another has */
} BatchRows;

/* A QueryRowCallback */
static void
note_row(TupleTableSlot *slot, void *arg)
{
	BatchRows *rows = arg;
	bool isnull;

	rows->any = true;
	if (TransactionIdIsCurrentTransactionId(DatumGetTransactionId(slot_getattr(slot, 1, &isnull))))
		rows->ours = true;
	else
		rows->others = true;
}

/* Looks for rows of a batch in a table, by the columns of its key. Asks as the table's owner. */
static BatchRows
find_rows_of_batch(Oid table, const char *id_column, const pg_uuid_t *project_id,
				   const pg_uuid_t *batch_id)
{
	QueryParameters query_parameters = {0};
	StringInfoData sql;
	Oid caller;
	int security_context;
	BatchRows rows = {0};
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "batches rows", ALLOCSET_SMALL_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "select t.xmin from %s t where t.project_id operator(pg_catalog.=) $%d"
					 " and t.%s operator(pg_catalog.=) $%d",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
												get_rel_name(table)),
					 add_query_parameter(&query_parameters, UUIDOID, UUIDPGetDatum(project_id)),
					 id_column,
					 add_query_parameter(&query_parameters, UUIDOID, UUIDPGetDatum(batch_id)));
	/* Who may write a job need not be able to see its batch. */
	GetUserIdAndSecContext(&caller, &security_context);
	SetUserIdAndSecContext(table_owner(table),
						   security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	run_fresh_query(sql.data, &query_parameters, note_row, &rows);
	SetUserIdAndSecContext(caller, security_context);
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);
	return rows;
}

/* A batch's counts are made or removed in another order than it and its jobs are. */
static void
fail_on_new_batch(const pg_uuid_t *batch_id)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
		 errmsg("the new batch %s has job counts already", batch_text(batch_id)),
		 errhint("One statement cannot delete a batch and insert it again. If the counts are "
				 "left over from a batch that was deleted while no trigger kept them, the owner "
				 "of the tables mends them: SELECT %s.repair_counts().",
				 BATCHES_SCHEMA)));
}

/*
 * Nested statements may delete a batch before the one that inserts it is counted, or the
 * other way round. Then the batch has no counts when they are to be removed, or some when
 * they are to be made; for the rest of the transaction, batches are looked for.
 */
static TransactionId out_of_order = InvalidTransactionId;

static void
note_out_of_order(void)
{
	out_of_order = GetTopTransactionId();
}

static bool
is_out_of_order(void)
{
	return TransactionIdIsValid(out_of_order) && out_of_order == GetTopTransactionIdIfAny();
}

static bool
batch_exists(JobCountTable *table, const pg_uuid_t *project_id, const pg_uuid_t *batch_id)
{
	return find_rows_of_batch(table->batch, "id", project_id, batch_id).any;
}

/*
 * Whether a trigger has run the statement. Then another one may be under way that has
 * written these jobs and is not counted yet: a count may be negative until it is.
 */
static bool
is_in_trigger(void)
{
	/* The caller is one. */
	return DatumGetInt32(OidFunctionCall0(F_PG_TRIGGER_DEPTH)) > 1;
}

/* A count that would be negative, of a batch that is there, is a fault. Otherwise it is 0. */
static void
check_negative_count(JobCountTable *table, const JobCountChange *change)
{
	/* A job that was not counted yet may be gone: a trigger has deleted its batch. */
	BatchRows batch =
		find_rows_of_batch(table->batch, "id", &change->project_id, &change->batch_id);

	if (batch.ours)
		fail_on_new_batch(&change->batch_id);
	if (batch.any)
		fail_on_wrong_counts(&change->batch_id);
}

/* Makes the row to be written: the one found, if there is one, with what is added. */
static void
prepare_row(JobCountTable *table, const JobCountChange *change, bool found)
{
	const JobCountColumns *columns = &table->columns;
	TupleTableSlot *row = table->rows->row;
	int64 total = 0;

	ExecClearTuple(row);
	if (found)
	{
		slot_getallattrs(table->rows->found);
		memcpy(row->tts_values, table->rows->found->tts_values,
			   sizeof(Datum) * row->tts_tupleDescriptor->natts);
		memcpy(row->tts_isnull, table->rows->found->tts_isnull,
			   sizeof(bool) * row->tts_tupleDescriptor->natts);
	}
	else
	{
		memset(row->tts_isnull, true, sizeof(bool) * row->tts_tupleDescriptor->natts);
		row->tts_values[columns->project_id - 1] = UUIDPGetDatum(&change->project_id);
		row->tts_isnull[columns->project_id - 1] = false;
		row->tts_values[columns->batch_id - 1] = UUIDPGetDatum(&change->batch_id);
		row->tts_isnull[columns->batch_id - 1] = false;
	}
	for (int i = 0; i < N_JOB_STATUSES; i++)
	{
		AttrNumber column = columns->by_status[i];
		int64 count = (found ? found_count(table, column) : 0) + change->deltas[i];

		if (count < 0 && !is_in_trigger())
		{
			check_negative_count(table, change);
			count = 0;
		}
		total += count;
		if (Max(count, total) > PG_INT32_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("integer out of range"),
					 errhint("A batch has at most %d jobs.", PG_INT32_MAX)));
		row->tts_values[column - 1] = Int32GetDatum(count);
		row->tts_isnull[column - 1] = false;
	}
	row->tts_values[columns->jobs_count - 1] = Int32GetDatum(total);
	row->tts_isnull[columns->jobs_count - 1] = false;
	row->tts_values[columns->size_class - 1] = Int16GetDatum(size_class(total));
	row->tts_isnull[columns->size_class - 1] = false;
	ExecStoreVirtualTuple(row);
}

/*
 * Handles a batch without counts. It may have been deleted, with its jobs. Or it is new, and
 * got jobs before the end of the statement that inserts it: it gets its counts now.
 * Otherwise counts are missing, which is an error. Returns whether the batch is new.
 */
static bool
is_new_batch(JobCountTable *table, const JobCountChange *change)
{
	BatchRows batch =
		find_rows_of_batch(table->batch, "id", &change->project_id, &change->batch_id);
	BatchRows jobs = {0};
	bool adds_jobs = false;

	for (int i = 0; i < N_JOB_STATUSES; i++)
		adds_jobs |= change->deltas[i] > 0;
	if (OidIsValid(table->job) && (batch.ours || adds_jobs))
		jobs = find_rows_of_batch(table->job, "batch_id", &change->project_id, &change->batch_id);
	/* The transaction may have updated a batch that is older. */
	if (batch.ours && !jobs.others)
		return true;
	if (batch.any)
		fail_on_wrong_counts(&change->batch_id);
	if (jobs.any)
		ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
						errmsg("the job counts of batch %s could not be kept",
							   batch_text(&change->batch_id)),
						errhint("A job's batch must exist before the job does.")));
	return false;
}

/*
 * Adds to the counts of a batch. Unless they may be missing, they are made for a new batch
 * only. Returns whether there were counts, or are now.
 */
bool
add_job_counts(JobCountTable *table, const JobCountChange *change, bool may_be_missing)
{
	DerivedResult result = DERIVED_GONE;
	bool found = find_counts(table, &change->project_id, &change->batch_id);

	while (found)
	{
		prepare_row(table, change, true);
		result = derived_update(table->rows, &table->rows->found->tts_tid);
		if (result != DERIVED_CHANGED)
			break;
	}
	if (result == DERIVED_DONE)
		return true;
	if (!may_be_missing && !is_new_batch(table, change))
		return false;
	prepare_row(table, change, false);
	derived_insert(table->rows);
	return true;
}

/* Makes the counts of a new batch, unless a trigger has given it jobs already. */
void
insert_job_counts(JobCountTable *table, const pg_uuid_t *project_id, const pg_uuid_t *batch_id)
{
	JobCountChange none = {.project_id = *project_id, .batch_id = *batch_id};
	Datum key[] = {UUIDPGetDatum(project_id), UUIDPGetDatum(batch_id)};

	/* Nobody else changes the counts of a batch that nobody else sees: one look is enough. */
	if (derived_find(table->rows, key))
	{
		if (!derived_is_ours(table->rows))
			fail_on_new_batch(batch_id);
		note_out_of_order();
	}
	else if (!is_out_of_order() || batch_exists(table, project_id, batch_id))
	{
		prepare_row(table, &none, false);
		derived_insert(table->rows);
	}
}

/*
 * Removes the counts of a batch. Unless it may have jobs, that is an error if the counts
 * say so. Returns whether there were counts.
 */
bool
remove_job_counts(JobCountTable *table, const pg_uuid_t *project_id, const pg_uuid_t *batch_id,
				  bool with_jobs)
{
	bool found = find_counts(table, project_id, batch_id);
	DerivedResult result = DERIVED_GONE;

	if (!found)
		note_out_of_order();
	else if (is_out_of_order() && derived_is_ours(table->rows) &&
			 batch_exists(table, project_id, batch_id))
		fail_on_new_batch(batch_id);
	while (found)
	{
		if (!with_jobs && found_count(table, table->columns.jobs_count) > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
					 errmsg("batch %s has jobs and keeps its project and id", batch_text(batch_id)),
					 errhint("Delete its jobs, or move them to another batch, first.")));
		result = derived_delete(table->rows, &table->rows->found->tts_tid);
		if (result != DERIVED_CHANGED)
			break;
	}
	return result == DERIVED_DONE;
}

/*
 * The trigger on the jobs
 */

/* Adds the rows of a transition table to the changes to be sorted. */
static void
put_changes(Tuplesortstate *changes, TupleTableSlot *change, Relation job, Tuplestorestate *rows,
			int delta)
{
	TupleDesc descriptor = RelationGetDescr(job);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
	AttrNumber batch_id = require_column(descriptor, "job", "batch_id", UUIDOID);
	AttrNumber project_id = require_column(descriptor, "job", "project_id", UUIDOID);
	AttrNumber status = require_column(descriptor, "job", "status", extension_type("job_status"));
	Oid known[N_JOB_STATUSES] = {0};

	begin_transition_rows(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		ExecClearTuple(change);
		memset(change->tts_isnull, false, CHANGE_NATTS * sizeof(bool));
		change->tts_values[CHANGE_BATCH_ID - 1] = counted_value(slot, batch_id, "job");
		change->tts_values[CHANGE_PROJECT_ID - 1] = counted_value(slot, project_id, "job");
		change->tts_values[CHANGE_STATUS - 1] =
			Int32GetDatum(enum_index(DatumGetObjectId(counted_value(slot, status, "job")),
									 job_status_labels, N_JOB_STATUSES, known));
		change->tts_values[CHANGE_DELTA - 1] = Int32GetDatum(delta);
		ExecStoreVirtualTuple(change);
		tuplesort_puttupleslot(changes, change);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Adds a batch's changes to its counts, if there are any. */
static void
apply_change(JobCountTable *table, const JobCountChange *change, MemoryContext context)
{
	MemoryContext previous;

	for (int i = 0; i < N_JOB_STATUSES; i++)
		if (change->deltas[i] != 0)
		{
			previous = MemoryContextSwitchTo(context);
			add_job_counts(table, change, false);
			MemoryContextSwitchTo(previous);
			MemoryContextReset(context);
			return;
		}
}

/* Updates the counts of each batch that the transition tables touch. */
static void
apply_changes(JobCountTable *table, Relation job, Tuplestorestate *old_rows,
			  Tuplestorestate *new_rows)
{
	TupleDesc descriptor = CreateTemplateTupleDesc(CHANGE_NATTS);
	Tuplesortstate *changes;
	TupleTableSlot *slot;
	MemoryContext batch_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches counts", ALLOCSET_DEFAULT_SIZES);
	JobCountChange current = {0};

	TupleDescInitEntry(descriptor, CHANGE_PROJECT_ID, "project_id", UUIDOID, -1, 0);
	TupleDescInitEntry(descriptor, CHANGE_BATCH_ID, "batch_id", UUIDOID, -1, 0);
	TupleDescInitEntry(descriptor, CHANGE_STATUS, "status", INT4OID, -1, 0);
	TupleDescInitEntry(descriptor, CHANGE_DELTA, "delta", INT4OID, -1, 0);
	TupleDescFinalize(descriptor);
	changes = begin_sort_by_batch(descriptor, CHANGE_PROJECT_ID, CHANGE_BATCH_ID);

	slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
	if (old_rows != NULL)
		put_changes(changes, slot, job, old_rows, -1);
	if (new_rows != NULL)
		put_changes(changes, slot, job, new_rows, 1);
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_performsort(changes);

	slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
	while (tuplesort_gettupleslot(changes, true, false, slot, NULL))
	{
		pg_uuid_t *project_id;
		pg_uuid_t *batch_id;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		project_id = DatumGetUUIDP(slot->tts_values[CHANGE_PROJECT_ID - 1]);
		batch_id = DatumGetUUIDP(slot->tts_values[CHANGE_BATCH_ID - 1]);
		if (memcmp(&current.batch_id, batch_id, sizeof(pg_uuid_t)) != 0 ||
			memcmp(&current.project_id, project_id, sizeof(pg_uuid_t)) != 0)
		{
			apply_change(table, &current, batch_context);
			memset(&current, 0, sizeof(current));
		}
		current.project_id = *project_id;
		current.batch_id = *batch_id;
		current.deltas[DatumGetInt32(slot->tts_values[CHANGE_STATUS - 1])] +=
			DatumGetInt32(slot->tts_values[CHANGE_DELTA - 1]);
	}
	apply_change(table, &current, batch_context);
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(changes);
	MemoryContextDelete(batch_context);
}

/*
 * After TRUNCATE: no batch has a job. Nobody else changes the counts as long as the
 * transaction has its lock on the jobs.
 */
static void
clear_part(JobCountTable *table)
{
	TableScanDesc scan = begin_table_scan(table->rows->part->relation, SnapshotSelf, READ_WRITE);

	while (table_scan_getnextslot(scan, ForwardScanDirection, table->rows->found))
	{
		JobCountChange change = {0};
		bool any = false;
		bool isnull;
		DerivedResult result;

		CHECK_FOR_INTERRUPTS();
		change.project_id =
			*DatumGetUUIDP(slot_getattr(table->rows->found, table->columns.project_id, &isnull));
		change.batch_id =
			*DatumGetUUIDP(slot_getattr(table->rows->found, table->columns.batch_id, &isnull));
		for (int i = 0; i < N_JOB_STATUSES; i++)
		{
			change.deltas[i] = -found_count(table, table->columns.by_status[i]);
			any |= change.deltas[i] != 0;
		}
		if (!any)
			continue;
		derived_require_change(table->rows);
		do
		{
			prepare_row(table, &change, true);
			result = derived_update(table->rows, &table->rows->found->tts_tid);
		} while (result == DERIVED_CHANGED);
	}
	table_endscan(scan);
}

static void
clear_counts(JobCountTable *table)
{
	for (int i = 0; i < derived_nparts(table->rows); i++)
	{
		derived_use_part(table->rows, i);
		clear_part(table);
	}
}

/* batches.count_jobs() returns trigger */
PG_FUNCTION_INFO_V1(batches_count_jobs);
Datum
batches_count_jobs(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Tuplestorestate *old_rows;
	Tuplestorestate *new_rows;
	JobCountTable table;
	Oid job;
	Oid batch;

	check_statement_trigger(fcinfo, "count_jobs", &old_rows, &new_rows);
	job = RelationGetRelid(trigger->tg_relation);
	if (is_detached(job, "job"))
		return PointerGetDatum(NULL);
	batch = referenced_batch(trigger->tg_relation);
	if (is_detached(batch, "batch"))
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		/* If the batches were truncated, too, their trigger empties the counts. */
		if (!is_truncated(batch) && has_truncated_rows(trigger))
		{
			open_job_counts(&table, batch, job);
			clear_counts(&table);
			close_job_counts(&table);
		}
	}
	else if (has_transition_rows(old_rows) || has_transition_rows(new_rows))
	{
		open_job_counts(&table, batch, job);
		apply_changes(&table, trigger->tg_relation, old_rows, new_rows);
		close_job_counts(&table);
	}
	/* What follows in the transaction sees the counts. */
	CommandCounterIncrement();
	return PointerGetDatum(NULL);
}
