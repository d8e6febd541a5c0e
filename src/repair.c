/*
 * repair.c
 *		Mends the derived tables.
 *
 * The difference between a recount and what is kept is computed in one snapshot, and then
 * added as a trigger adds its changes. Writers change the recount and what is kept by the
 * same amount, so the difference stays right while they go on. Only another repair must
 * wait, and the deletion of a batch whose counts are being made. The snapshot must be
 * taken after an earlier repair has committed, and after who rewrites or empties a table
 * has: an older snapshot would see nothing there.
 */
#include "postgres.h"
#include "compat.h"

#include "access/xact.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "batches.h"
#include "citus.h"
#include "keep.h"
#include "plan.h"

/* The columns of differing_counts() */
enum
{
	DIFFERENCE_PROJECT_ID = 1,
	DIFFERENCE_BATCH_ID,
	DIFFERENCE_DEVICE_TYPE,
	DIFFERENCE_KEPT,
	DIFFERENCE_ACTUAL
};

typedef struct Repair
{
	JobCountTable job_counts;
	DerivedTable *totals;
	int64 mended;
} Repair;

/* The elements of an array of bigint, or zeros for null. */
static void
read_counts(TupleTableSlot *slot, AttrNumber number, int64 *counts, int ncounts, bool *isnull)
{
	Datum value = slot_getattr(slot, number, isnull);
	ArrayType *array;

	memset(counts, 0, sizeof(int64) * ncounts);
	if (*isnull)
		return;
	array = DatumGetArrayTypeP(value);
	if (ARR_HASNULL(array) || ARR_ELEMTYPE(array) != INT8OID ||
		ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) < ncounts)
		elog(ERROR, "unexpected result of differing_counts()");
	memcpy(counts, ARR_DATA_PTR(array), sizeof(int64) * ncounts);
}

static void
mend_job_counts(Repair *repair, TupleTableSlot *slot, const pg_uuid_t *project_id,
				const pg_uuid_t *batch_id)
{
	JobCountChange change = {.project_id = *project_id, .batch_id = *batch_id};
	int64 kept[N_JOB_STATUSES];
	int64 actual[N_JOB_STATUSES];
	bool is_missing;
	bool is_gone;

	read_counts(slot, DIFFERENCE_KEPT, kept, N_JOB_STATUSES, &is_missing);
	read_counts(slot, DIFFERENCE_ACTUAL, actual, N_JOB_STATUSES, &is_gone);
	for (int i = 0; i < N_JOB_STATUSES; i++)
		change.deltas[i] = actual[i] - kept[i];
	if (is_gone)
		repair->mended += remove_job_counts(&repair->job_counts, project_id, batch_id, true);
	else
		repair->mended += add_job_counts(&repair->job_counts, &change, is_missing);
}

static void
mend_total(Repair *repair, TupleTableSlot *slot, const pg_uuid_t *project_id)
{
	int64 kept[N_CELLS];
	int64 actual[N_CELLS];
	bool isnull;
	Datum device_type;

	read_counts(slot, DIFFERENCE_KEPT, kept, N_CELLS, &isnull);
	read_counts(slot, DIFFERENCE_ACTUAL, actual, N_CELLS, &isnull);
	for (int i = 0; i < N_CELLS; i++)
		actual[i] -= kept[i];
	device_type = slot_getattr(slot, DIFFERENCE_DEVICE_TYPE, &isnull);
	add_to_total(repair->totals, project_id, isnull ? NULL : DatumGetTextPP(device_type), actual);
	repair->mended++;
}

/* A QueryRowCallback */
static void
mend(TupleTableSlot *slot, void *arg)
{
	Repair *repair = arg;
	bool isnull;
	pg_uuid_t project_id = *DatumGetUUIDP(slot_getattr(slot, DIFFERENCE_PROJECT_ID, &isnull));
	Datum batch_id = slot_getattr(slot, DIFFERENCE_BATCH_ID, &isnull);

	if (isnull)
		mend_total(repair, slot, &project_id);
	else
		mend_job_counts(repair, slot, &project_id, DatumGetUUIDP(batch_id));
}

/* A QueryRowCallback */
static void
ignore(TupleTableSlot *slot, void *arg)
{
}

/* A QueryRowCallback: removes a row of the totals that has no such cells as it should */
static void
remove_total(TupleTableSlot *slot, void *arg)
{
	Repair *repair = arg;
	bool isnull;
	Datum tid = slot_getattr(slot, 1, &isnull);

	repair->mended +=
		derived_delete(repair->totals, (ItemPointer) DatumGetPointer(tid)) == DERIVED_DONE;
}

static void
remove_malformed_totals(Repair *repair)
{
	QueryParameters query_parameters = {0};

	run_fresh_query(
		psprintf("select t.ctid from " BATCHES_SCHEMA "." TOTAL_TABLE " t"
				 " where (pg_catalog.cardinality(t.n) operator(pg_catalog.=) $%d) is not true",
				 add_query_parameter(&query_parameters, INT4OID, Int32GetDatum(N_CELLS))),
		&query_parameters, remove_total, repair);
	CommandCounterIncrement();
}

/* Locks a table and its partitions for reading. */
static void
lock_for_reading(const char *table)
{
	Oid oid = require_table(table);

	LockRelationOid(oid, AccessShareLock);
	(void) find_all_inheritors(oid, AccessShareLock, NULL);
}

/* batches.repair_counts() returns bigint */
PG_FUNCTION_INFO_V1(batches_repair_counts);
Datum
batches_repair_counts(PG_FUNCTION_ARGS)
{
	QueryParameters no_parameters = {0};
	Repair repair = {0};
	Oid batch = require_table("batch");
	int nest_level;
	Oid caller;
	int security_context;

	PreventCommandIfReadOnly("repair_counts()");
	if (!is_owner(batch))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s.%s\"", BATCHES_SCHEMA, get_rel_name(batch)),
				 errhint("First: SET ROLE %s.",
						 quote_identifier(GetUserNameFromId(table_owner(batch), false)))));
	if (is_distributed(batch))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("the counts of tables that Citus has distributed cannot be mended"),
						errhint("First: SELECT %s.undistribute_tables().", BATCHES_SCHEMA)));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("the counts are only mended at isolation level READ COMMITTED"),
						errhint("BEGIN ISOLATION LEVEL READ COMMITTED.")));
	/* In the order in which TRUNCATE locks them, before the tables that it empties last. */
	lock_for_reading("batch");
	lock_for_reading("job");
	/* Two repairs at once would each add what is lacking. */
	LockRelationOid(derived_table_of(batch, TOTAL_TABLE), ShareUpdateExclusiveLock);
	open_job_counts(&repair.job_counts, batch, InvalidOid);
	repair.totals = open_totals(batch);

	/*
	 * Rows that policies hide from the owner count, too. The setting goes with it because
	 * plans that are kept are told apart by it.
	 */
	GetUserIdAndSecContext(&caller, &security_context);
	SetUserIdAndSecContext(caller, security_context | SECURITY_NOFORCE_RLS);
	nest_level = NewGUCNestLevel();
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	remove_malformed_totals(&repair);
	/* Locked before their counts are written: the order of locks is a batch, then its counts. */
	run_fresh_query(
		"select 1 from " BATCHES_SCHEMA ".batch b where not exists (select from " BATCHES_SCHEMA
		"." JOB_COUNT_TABLE " c where c.project_id operator(pg_catalog.=) b.project_id"
		" and c.batch_id operator(pg_catalog.=) b.id)"
		" order by b.project_id using operator(pg_catalog.<), b.id using operator(pg_catalog.<)"
		" for key share of b",
		&no_parameters, ignore, NULL);
	run_fresh_query("select d.project_id, d.batch_id, d.device_type, d.kept, d.actual"
					" from " BATCHES_SCHEMA ".differing_counts() d",
					&no_parameters, mend, &repair);
	AtEOXact_GUC(true, nest_level);
	SetUserIdAndSecContext(caller, security_context);
	derived_close(repair.totals);
	close_job_counts(&repair.job_counts);
	CommandCounterIncrement();
	PG_RETURN_INT64(repair.mended);
}
