/*
 * counts.c
 *		The statuses of jobs, and the aggregate that counts by them.
 */
#include "postgres.h"
#include "compat.h"

#include "common/int.h"
#include "fmgr.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "batches.h"
#include "counts.h"

const char *const job_status_labels[N_JOB_STATUSES] = {
	"PENDING", "RUNNING", "DONE", "ERROR", "CANCELED", "CANCELING",
};

const char *const job_status_columns[N_JOB_STATUSES] = {
	"pending_jobs", "running_jobs", "done_jobs", "error_jobs", "canceled_jobs", "canceling_jobs",
};

/*
 * The class of a number of jobs: the number itself below EXACT_SIZE_CLASSES, and so many
 * steps for each two doublings from there on. So an index on it orders batches by their
 * jobs, nearly, and has a new entry only when a number has changed by a step.
 */
int16
size_class(int32 jobs_count)
{
	int shift;

	if (jobs_count < EXACT_SIZE_CLASSES)
		return (int16) Max(jobs_count, 0);
	shift = pg_leftmost_one_pos32(jobs_count) - pg_leftmost_one_pos32(EXACT_SIZE_CLASSES) + 1;
	return (int16) (shift * (EXACT_SIZE_CLASSES / 2) + (jobs_count >> shift));
}

/* batches.size_class(jobs_count integer) returns smallint */
PG_FUNCTION_INFO_V1(batches_size_class);
Datum
batches_size_class(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT16(size_class(PG_GETARG_INT32(0)));
}

/* Counts by status as a jsonb object, without the zeros. */
Jsonb *
jobs_count_per_status_jsonb(const int64 *counts)
{
	JsonbInMaking state = {0};

	push_jsonb(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < N_JOB_STATUSES; i++)
	{
		JsonbValue key;
		JsonbValue value;

		if (counts[i] == 0)
			continue;
		key.type = jbvString;
		key.val.string.val = unconstify(char *, job_status_labels[i]);
		key.val.string.len = strlen(job_status_labels[i]);
		push_jsonb(&state, WJB_KEY, &key);
		value.type = jbvNumeric;
		value.val.numeric = int64_to_numeric(counts[i]);
		push_jsonb(&state, WJB_VALUE, &value);
	}
	push_jsonb(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
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
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Oid) * N_JOB_STATUSES);
	add_count(&counts[enum_index(PG_GETARG_OID(1), job_status_labels, N_JOB_STATUSES,
								 fcinfo->flinfo->fn_extra)],
			  1);
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
