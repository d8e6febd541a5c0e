/*
 * total.c
 *		The cells of "batch_total", whose rows each count the batches of a project on one
 *		device, or on all of them.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "port/pg_bitutils.h"

#include "batches.h"
#include "total.h"

/* The cell of a batch. */
int
cell_index(Oid status, bool open, Oid queue_priority, CellLabels *known)
{
	int status_index =
		enum_index(status, parameters[PARAMETER_STATUS].labels, N_BATCH_STATUSES, known->statuses);
	int priority_index = enum_index(queue_priority, parameters[PARAMETER_QUEUE_PRIORITY].labels,
									N_QUEUE_PRIORITIES, known->queue_priorities);

	return (status_index * 2 + open) * N_QUEUE_PRIORITIES + priority_index;
}

/*
 * batches.total_cell(status batches.batch_status, open boolean, queue_priority batches.queue_priority)
 *		returns integer
 */
PG_FUNCTION_INFO_V1(batches_total_cell);
Datum
batches_total_cell(PG_FUNCTION_ARGS)
{
	CellLabels known = {0};
	Oid status = PG_GETARG_OID(0);
	Oid queue_priority = PG_GETARG_OID(2);

	/* No batch has a label that was added to an enumeration. */
	if (find_enum_index(status, parameters[PARAMETER_STATUS].labels, N_BATCH_STATUSES,
						known.statuses) < 0 ||
		find_enum_index(queue_priority, parameters[PARAMETER_QUEUE_PRIORITY].labels,
						N_QUEUE_PRIORITIES, known.queue_priorities) < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(cell_index(status, PG_GETARG_BOOL(1), queue_priority, &known) + 1);
}

/* The totals were changed while no trigger kept them. */
void
fail_on_wrong_totals(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the totals in \"%s.%s\" are wrong", BATCHES_SCHEMA, TOTAL_TABLE),
			 errhint("They were changed, or batches were, while no trigger kept them. The owner "
					 "of the tables mends them: SELECT %s.repair_counts().",
					 BATCHES_SCHEMA)));
}

/* Adds what an array of the table has to cells. A null, as most are, is no batch. */
void
add_cells(int64 *cells, ArrayType *array)
{
	const uint8 *present = ARR_NULLBITMAP(array);
	const int64 *value = (const int64 *) ARR_DATA_PTR(array);

	if (ARR_ELEMTYPE(array) != INT8OID ||
		ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) != N_CELLS)
		fail_on_wrong_totals();
	for (int first = 0; first < N_CELLS; first += BITS_PER_BYTE)
	{
		uint32 mask = present == NULL ? 0xFF : present[first / BITS_PER_BYTE];

		if (N_CELLS - first < BITS_PER_BYTE)
			mask &= (1 << (N_CELLS - first)) - 1;
		for (; mask != 0; mask &= mask - 1)
			cells[first + pg_rightmost_one_pos32(mask)] += *value++;
	}
}

/* The array that the table has for cells, or NULL if they count nothing. */
ArrayType *
make_cells(const int64 *cells)
{
	Datum values[N_CELLS];
	bool isnull[N_CELLS];
	bool any = false;
	int dimensions[] = {N_BATCH_STATUSES, 2, N_QUEUE_PRIORITIES};
	int lower_bounds[] = {1, 1, 1};

	for (int i = 0; i < N_CELLS; i++)
	{
		values[i] = Int64GetDatum(cells[i]);
		isnull[i] = cells[i] == 0;
		any |= !isnull[i];
	}
	if (!any)
		return NULL;
	return construct_md_array(values, isnull, lengthof(dimensions), dimensions, lower_bounds,
							  INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}
