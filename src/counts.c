/*
 * counts.c
 *		Job counts by status: kept in "batch" by triggers, and as an aggregate.
 *
 * After each statement on "job", the changes of its transition tables are sorted
 * by batch, and the counts of each batch are updated in the order of the ids.
 * Two statements that touch the same batches so lock them in the same order and
 * cannot deadlock; the sort keeps to work_mem. The update runs as the owner of
 * "batch", as a foreign key's actions do: who may write a job need not be able
 * to write, or see, its batch. What runs as the owner uses a search_path that the
 * caller cannot choose.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/int.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"
#include "utils/uuid.h"

#include "batches.h"
#include "counts.h"
#include "plan.h"

const JobStatus job_statuses[N_JOB_STATUSES] = {
	{"PENDING", "pending_jobs"}, {"RUNNING", "running_jobs"},   {"DONE", "done_jobs"},
	{"ERROR", "error_jobs"},     {"CANCELED", "canceled_jobs"}, {"CANCELING", "canceling_jobs"},
};

#define TOTAL_COLUMN "jobs_count"

/* The enumeration's OIDs, by index in job_statuses; filled as they are met. */
typedef struct JobStatusOids
{
	Oid oids[N_JOB_STATUSES];
} JobStatusOids;

/* A change of a job, as it is sorted: its batch, and its status's index. */
enum
{
	CHANGE_BATCH_ID = 1,
	CHANGE_PROJECT_ID,
	CHANGE_STATUS,
	CHANGE_DELTA, /* +1: such a job more; -1: one less */
	CHANGE_NATTS = CHANGE_DELTA
};

/* What a statement changes for one batch. */
typedef struct BatchChange
{
	pg_uuid_t batch_id;
	pg_uuid_t project_id;
	int32 deltas[N_JOB_STATUSES];
} BatchChange;

/*
 * While count_jobs() updates the counts in "batch": how deeply nested the triggers
 * are that this update fires itself. Those that they fire in turn are deeper.
 */
static int counting_depth = 0;

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* The index in job_statuses of a value of the enumeration. */
static int
job_status_index(Oid value, JobStatusOids *known)
{
	HeapTuple tuple;
	NameData label;

	for (int i = 0; i < N_JOB_STATUSES; i++)
		if (known->oids[i] == value)
			return i;

	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for enum value %u", value);
	label = ((Form_pg_enum) GETSTRUCT(tuple))->enumlabel;
	ReleaseSysCache(tuple);
	for (int i = 0; i < N_JOB_STATUSES; i++)
		if (strcmp(NameStr(label), job_statuses[i].label) == 0)
		{
			known->oids[i] = value;
			return i;
		}
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("unknown job status: \"%s\"", NameStr(label)),
					errhint("Jobs have the statuses that the extension defines: no label of "
							"%s.job_status is added or renamed.",
							BATCHES_SCHEMA)));
}

/* A job's column, which is not null. */
static Datum
job_value(TupleTableSlot *slot, AttrNumber number)
{
	bool isnull;
	Datum value = slot_getattr(slot, number, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column \"%s\" of a job",
						NameStr(TupleDescAttr(slot->tts_tupleDescriptor, number - 1)->attname)),
				 errhint("A job has a project, a batch and a status.")));
	return value;
}

/* Adds the rows of a transition table to the changes to be sorted. */
static void
put_changes(Tuplesortstate *changes, TupleTableSlot *change, Relation job, Tuplestorestate *rows,
			int delta)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(job), &TTSOpsMinimalTuple);
	TupleDesc descriptor = RelationGetDescr(job);
	AttrNumber batch_id = require_column(descriptor, "job", "batch_id", UUIDOID);
	AttrNumber project_id = require_column(descriptor, "job", "project_id", UUIDOID);
	AttrNumber status = require_column(descriptor, "job", "status", extension_type("job_status"));
	JobStatusOids known = {0};

	/* Other triggers may read the table too: it gets a read pointer of our own. */
	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		ExecClearTuple(change);
		memset(change->tts_isnull, false, CHANGE_NATTS * sizeof(bool));
		change->tts_values[CHANGE_BATCH_ID - 1] = job_value(slot, batch_id);
		change->tts_values[CHANGE_PROJECT_ID - 1] = job_value(slot, project_id);
		change->tts_values[CHANGE_STATUS - 1] =
			Int32GetDatum(job_status_index(DatumGetObjectId(job_value(slot, status)), &known));
		change->tts_values[CHANGE_DELTA - 1] = Int32GetDatum(delta);
		ExecStoreVirtualTuple(change);
		tuplesort_puttupleslot(changes, change);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* " where …": the batch of a change, by the columns that name it. */
static void
append_where_batch(StringInfo sql, const char *project_id, const char *batch_id,
				   const BatchChange *change, QueryParameters *query_parameters)
{
	appendStringInfo(
		sql, " where %s operator(pg_catalog.=) $%d", project_id,
		add_query_parameter(query_parameters, UUIDOID, UUIDPGetDatum(&change->project_id)));
	appendStringInfo(
		sql, " and %s operator(pg_catalog.=) $%d", batch_id,
		add_query_parameter(query_parameters, UUIDOID, UUIDPGetDatum(&change->batch_id)));
}

/*
 * No batch took the counts. That is right if it was deleted and its jobs with it;
 * if it is there, or its new jobs are, the counts would be wrong from now on.
 */
static void
check_batch_is_gone(const BatchChange *change, bool adds_jobs)
{
	QueryParameters query_parameters = {0};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "select 1 from " BATCHES_SCHEMA ".batch b");
	append_where_batch(&sql, "b.project_id", "b.id", change, &query_parameters);
	if (adds_jobs)
	{
		appendStringInfoString(&sql, " union all select 1 from " BATCHES_SCHEMA ".job j");
		append_where_batch(&sql, "j.project_id", "j.batch_id", change, &query_parameters);
	}
	if (run_statement(sql.data, &query_parameters) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("the job counts of batch %s could not be kept",
						DatumGetCString(
							DirectFunctionCall1(uuid_out, UUIDPGetDatum(&change->batch_id)))),
				 errhint("A job's batch must exist before the job does, and no trigger or rule on "
						 "%s.batch may prevent the update of its counts.",
						 BATCHES_SCHEMA)));
}

/* Adds what changed to the counts of a batch. */
static void
update_counts(const BatchChange *change)
{
	QueryParameters query_parameters = {0};
	StringInfoData sql;
	int32 total = 0;
	bool changed = false;

	for (int i = 0; i < N_JOB_STATUSES; i++)
	{
		total += change->deltas[i];
		changed |= change->deltas[i] != 0;
	}
	if (!changed)
		return;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "update " BATCHES_SCHEMA ".batch b set " TOTAL_COLUMN " = b." TOTAL_COLUMN
					 " operator(pg_catalog.+) $%d",
					 add_query_parameter(&query_parameters, INT4OID, Int32GetDatum(total)));
	for (int i = 0; i < N_JOB_STATUSES; i++)
		appendStringInfo(
			&sql, ", %s = b.%s operator(pg_catalog.+) $%d", job_statuses[i].column,
			job_statuses[i].column,
			add_query_parameter(&query_parameters, INT4OID, Int32GetDatum(change->deltas[i])));
	append_where_batch(&sql, "b.project_id", "b.id", change, &query_parameters);
	if (run_statement(sql.data, &query_parameters) == 0)
		check_batch_is_gone(change, total > 0);
}

/* Updates the counts of each batch that the transition tables touch. */
static void
apply_changes(Relation job, Tuplestorestate *old_rows, Tuplestorestate *new_rows)
{
	TupleDesc descriptor = CreateTemplateTupleDesc(CHANGE_NATTS);
	AttrNumber keys[] = {CHANGE_BATCH_ID, CHANGE_PROJECT_ID};
	Oid less = lookup_type_cache(UUIDOID, TYPECACHE_LT_OPR)->lt_opr;
	Oid operators[] = {less, less};
	Oid collations[] = {InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false};
	Tuplesortstate *changes;
	TupleTableSlot *slot;
	MemoryContext batch_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches counts", ALLOCSET_DEFAULT_SIZES);
	BatchChange current = {0};
	bool any = false;

	TupleDescInitEntry(descriptor, CHANGE_BATCH_ID, "batch_id", UUIDOID, -1, 0);
	TupleDescInitEntry(descriptor, CHANGE_PROJECT_ID, "project_id", UUIDOID, -1, 0);
	TupleDescInitEntry(descriptor, CHANGE_STATUS, "status", INT4OID, -1, 0);
	TupleDescInitEntry(descriptor, CHANGE_DELTA, "delta", INT4OID, -1, 0);
	changes = tuplesort_begin_heap(descriptor, lengthof(keys), keys, operators, collations,
								   nulls_first, work_mem, NULL, TUPLESORT_NONE);

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
		pg_uuid_t *batch_id;
		pg_uuid_t *project_id;

		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		batch_id = DatumGetUUIDP(slot->tts_values[CHANGE_BATCH_ID - 1]);
		project_id = DatumGetUUIDP(slot->tts_values[CHANGE_PROJECT_ID - 1]);
		if (any && (memcmp(&current.batch_id, batch_id, sizeof(pg_uuid_t)) != 0 ||
					memcmp(&current.project_id, project_id, sizeof(pg_uuid_t)) != 0))
		{
			MemoryContext previous = MemoryContextSwitchTo(batch_context);

			update_counts(&current);
			MemoryContextSwitchTo(previous);
			MemoryContextReset(batch_context);
			memset(&current, 0, sizeof(current));
		}
		any = true;
		current.batch_id = *batch_id;
		current.project_id = *project_id;
		current.deltas[DatumGetInt32(slot->tts_values[CHANGE_STATUS - 1])] +=
			DatumGetInt32(slot->tts_values[CHANGE_DELTA - 1]);
	}
	if (any)
		update_counts(&current);
	ExecDropSingleTupleTableSlot(slot);
	tuplesort_end(changes);
	MemoryContextDelete(batch_context);
}

/* A QueryRowCallback: there is a row. */
static void
note_row(TupleTableSlot *slot, void *found)
{
	*(bool *) found = true;
}

/* After TRUNCATE: no batch has a job. */
static void
clear_counts(void)
{
	QueryParameters no_parameters = {0};
	StringInfoData sql;
	bool left = false;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "update " BATCHES_SCHEMA ".batch b set " TOTAL_COLUMN " = 0");
	for (int i = 0; i < N_JOB_STATUSES; i++)
		appendStringInfo(&sql, ", %s = 0", job_statuses[i].column);
	appendStringInfoString(&sql, " where b." TOTAL_COLUMN " operator(pg_catalog.<>) 0");
	run_statement(sql.data, &no_parameters);

	/*
	 * TRUNCATE also removes jobs that the transaction's snapshot does not see: the
	 * update has not found their batches. And a trigger may have prevented it.
	 */
	PushActiveSnapshot(GetLatestSnapshot());
	run_query("select 1 from " BATCHES_SCHEMA ".batch b where b." TOTAL_COLUMN
			  " operator(pg_catalog.<>) 0 limit 1",
			  &no_parameters, note_row, &left);
	PopActiveSnapshot();
	if (left && IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("could not serialize access due to concurrent update"),
						errhint("The transaction might succeed if retried.")));
	if (left)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("the job counts could not be cleared"),
				 errhint("No trigger or rule on %s.batch may prevent the update of its counts.",
						 BATCHES_SCHEMA)));
}

/* A trigger's function is for one of the extension's own tables. */
static void
require_trigger_on(TriggerData *trigger, const char *table)
{
	if (RelationGetRelid(trigger->tg_relation) != require_table(table))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("trigger \"%s\" must be on table \"%s.%s\"",
							   trigger->tg_trigger->tgname, BATCHES_SCHEMA, table)));
}

/* batches.count_jobs() returns trigger */
PG_FUNCTION_INFO_V1(batches_count_jobs);
Datum
batches_count_jobs(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	int outer_counting_depth = counting_depth;
	bool deletes;
	bool inserts;
	HeapTuple batch_tuple;
	Oid owner;
	Oid caller;
	int security_context;
	int guc_nest_level;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s.count_jobs\" was not called as a trigger", BATCHES_SCHEMA)));
	deletes =
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event);
	inserts =
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) || TRIGGER_FIRED_BY_INSERT(trigger->tg_event);
	if (!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) ||
		(deletes && trigger->tg_oldtable == NULL) || (inserts && trigger->tg_newtable == NULL))
		ereport(
			ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\" must be fired after a statement, with its transition tables",
					trigger->tg_trigger->tgname),
			 errhint("Use the triggers that %s.create_tables() makes.", BATCHES_SCHEMA)));
	/* It runs as the owner of "batch": on any other table it would lend out that right. */
	require_trigger_on(trigger, "job");

	batch_tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(require_table("batch")));
	if (!HeapTupleIsValid(batch_tuple))
		elog(ERROR, "cache lookup failed for table \"%s.batch\"", BATCHES_SCHEMA);
	owner = ((Form_pg_class) GETSTRUCT(batch_tuple))->relowner;
	ReleaseSysCache(batch_tuple);

	GetUserIdAndSecContext(&caller, &security_context);
	SetUserIdAndSecContext(owner,
						   security_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	guc_nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	counting_depth = trigger_depth() + 1;
	PG_TRY();
	{
		if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
			clear_counts();
		else
			apply_changes(trigger->tg_relation, deletes ? trigger->tg_oldtable : NULL,
						  inserts ? trigger->tg_newtable : NULL);
	}
	PG_FINALLY();
	{
		counting_depth = outer_counting_depth;
		SetUserIdAndSecContext(caller, security_context);
	}
	PG_END_TRY();
	AtEOXact_GUC(true, guc_nest_level);
	return PointerGetDatum(NULL);
}

/* A new batch with its job counts set to zero. */
static HeapTuple
zero_counts(TriggerData *trigger, FmgrInfo *flinfo)
{
	HeapTuple tuple = trigger->tg_trigtuple;
	TupleDesc descriptor = RelationGetDescr(trigger->tg_relation);
	Datum zeros[N_JOB_STATUSES + 1] = {0};
	bool isnull[N_JOB_STATUSES + 1] = {0};
	int *columns = flinfo->fn_extra;
	bool clean = true;

	/* The executor looks a trigger's function up for each statement: so often are these. */
	if (columns == NULL)
	{
		columns = MemoryContextAlloc(flinfo->fn_mcxt, sizeof(int) * (N_JOB_STATUSES + 1));
		columns[0] = require_column(descriptor, "batch", TOTAL_COLUMN, INT4OID);
		for (int i = 0; i < N_JOB_STATUSES; i++)
			columns[i + 1] = require_column(descriptor, "batch", job_statuses[i].column, INT4OID);
		flinfo->fn_extra = columns;
	}
	for (int i = 0; i <= N_JOB_STATUSES; i++)
	{
		bool is_null;
		Datum value = heap_getattr(tuple, columns[i], descriptor, &is_null);

		if (is_null || DatumGetInt32(value) != 0)
			clean = false;
	}
	if (clean)
		return tuple;
	return heap_modify_tuple_by_cols(tuple, descriptor, N_JOB_STATUSES + 1, columns, zeros, isnull);
}

/* batches.protect_job_counts() returns trigger */
PG_FUNCTION_INFO_V1(batches_protect_job_counts);
Datum
batches_protect_job_counts(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"%s.protect_job_counts\" was not called as a trigger",
							   BATCHES_SCHEMA)));
	require_trigger_on(trigger, "batch");

	/*
	 * What an insert says of the counts is not taken over, so that data which
	 * were dumped with their counts can be loaded again before their jobs.
	 */
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return PointerGetDatum(zero_counts(trigger, fcinfo->flinfo));

	if (TRIGGER_FIRED_AFTER(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
		TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		if (trigger_depth() != counting_depth)
			ereport(ERROR, (errcode(ERRCODE_GENERATED_ALWAYS),
							errmsg("the job counts of table \"%s\" cannot be updated directly",
								   RelationGetRelationName(trigger->tg_relation)),
							errhint("Change the rows of %s.job: its triggers keep the counts.",
									BATCHES_SCHEMA)));
		return PointerGetDatum(NULL);
	}

	ereport(
		ERROR,
		(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
		 errmsg("trigger \"%s\" must be fired before each inserted row, or after each updated row",
				trigger->tg_trigger->tgname),
		 errhint("Use the triggers that %s.create_tables() makes.", BATCHES_SCHEMA)));
}

/* Counts by status as a jsonb object, without the zeros. */
Jsonb *
jobs_count_per_status_jsonb(const int64 *counts)
{
	JsonbParseState *state = NULL;
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < N_JOB_STATUSES; i++)
	{
		JsonbValue key;
		JsonbValue value;

		if (counts[i] == 0)
			continue;
		key.type = jbvString;
		key.val.string.val = unconstify(char *, job_statuses[i].label);
		key.val.string.len = strlen(job_statuses[i].label);
		pushJsonbValue(&state, WJB_KEY, &key);
		value.type = jbvNumeric;
		value.val.numeric = int64_to_numeric(counts[i]);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(object);
}

/*
 * The aggregate's state: a bigint array with a count for each status. The
 * functions can be called by hand, so its form is checked. Within an aggregate
 * the state is the executor's own and may be changed in place.
 */
static int64 *
state_counts(ArrayType *state)
{
	if (ARR_NDIM(state) != 1 || ARR_DIMS(state)[0] != N_JOB_STATUSES || ARR_HASNULL(state) ||
		ARR_ELEMTYPE(state) != INT8OID)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the counts must be an array of %d numbers", N_JOB_STATUSES),
						errhint("Use the aggregate %s.jobs_count_per_status().", BATCHES_SCHEMA)));
	return (int64 *) ARR_DATA_PTR(state);
}

static void
add_count(int64 *count, int64 more)
{
	if (pg_add_s64_overflow(*count, more, count))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("bigint out of range")));
}

static ArrayType *
changeable_state(FunctionCallInfo fcinfo)
{
	if (AggCheckCallContext(fcinfo, NULL))
		return PG_GETARG_ARRAYTYPE_P(0);
	return PG_GETARG_ARRAYTYPE_P_COPY(0);
}

/* batches.jobs_count_per_status_accum(bigint[], batches.job_status) returns bigint[] */
PG_FUNCTION_INFO_V1(batches_jobs_count_accum);
Datum
batches_jobs_count_accum(PG_FUNCTION_ARGS)
{
	ArrayType *state = changeable_state(fcinfo);
	int64 *counts = state_counts(state);

	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra =
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(JobStatusOids));
	add_count(&counts[job_status_index(PG_GETARG_OID(1), fcinfo->flinfo->fn_extra)], 1);
	PG_RETURN_ARRAYTYPE_P(state);
}

/* batches.jobs_count_per_status_combine(bigint[], bigint[]) returns bigint[] */
PG_FUNCTION_INFO_V1(batches_jobs_count_combine);
Datum
batches_jobs_count_combine(PG_FUNCTION_ARGS)
{
	ArrayType *state = changeable_state(fcinfo);
	int64 *counts = state_counts(state);
	const int64 *more = state_counts(PG_GETARG_ARRAYTYPE_P(1));

	for (int i = 0; i < N_JOB_STATUSES; i++)
		add_count(&counts[i], more[i]);
	PG_RETURN_ARRAYTYPE_P(state);
}

/* batches.jobs_count_per_status_final(bigint[]) returns jsonb */
PG_FUNCTION_INFO_V1(batches_jobs_count_final);
Datum
batches_jobs_count_final(PG_FUNCTION_ARGS)
{
	PG_RETURN_JSONB_P(jobs_count_per_status_jsonb(state_counts(PG_GETARG_ARRAYTYPE_P(0))));
}
