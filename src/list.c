/*
 * list.c
 *		The SQL functions that list and count batches.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "batches.h"
#include "json.h"
#include "list.h"
#include "scan.h"

typedef struct Rows
{
	ReturnSetInfo *result;
	ColumnId columns[N_COLUMNS]; /* of the result */
} Rows;

/* Which columns of the listing the calling function returns, by their names and types. */
static void
bind_columns(Rows *rows, Oid function)
{
	TupleDesc descriptor = rows->result->setDesc;

	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
		int column = find_column(NameStr(attribute->attname));
		Oid type = InvalidOid;

		if (column < N_COLUMNS)
			type = column == COLUMN_JOBS_COUNT_PER_STATUS
					   ? JSONBOID
					   : column_type_oid(batch_columns[column].type);
		if (attribute->atttypid != type || i >= N_COLUMNS)
			fail_on_other_version(function,
								  psprintf("column \"%s\" %s", NameStr(attribute->attname),
										   format_type_be(attribute->atttypid)));
		rows->columns[i] = column;
	}
}

/* A BatchRowCallback */
static void
put_row(const BatchRow *row, void *arg)
{
	const Rows *rows = arg;
	TupleDesc descriptor = rows->result->setDesc;
	Datum values[N_COLUMNS];
	bool isnull[N_COLUMNS];

	for (int i = 0; i < descriptor->natts; i++)
	{
		ColumnId column = rows->columns[i];

		values[i] = column == COLUMN_JOBS_COUNT_PER_STATUS
						? JsonbPGetDatum(jobs_count_per_status_jsonb(row->job_counts))
						: row->values[column];
		isnull[i] = row->isnull[column];
	}
	tuplestore_putvalues(rows->result->setResult, descriptor, values, isnull);
}

/*
 * batches.list_batches(… filters …, order_by text, order_by_direction text,
 *						"limit" bigint, "offset" bigint) returns table (…)
 */
PG_FUNCTION_INFO_V1(batches_list_batches);
Datum
batches_list_batches(PG_FUNCTION_ARGS)
{
	Rows rows = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	Request request;
	BatchScan *scan;

	InitMaterializedSRF(fcinfo, 0);
	bind_columns(&rows, fcinfo->flinfo->fn_oid);
	read_arguments(&request, fcinfo, LIMIT_OPTIONAL);
	scan = scan_begin(&request);
	scan_page(scan, put_row, &rows);
	scan_end(scan);
	return (Datum) 0;
}

/* batches.count_batches(… filters …) returns bigint */
PG_FUNCTION_INFO_V1(batches_count_batches);
Datum
batches_count_batches(PG_FUNCTION_ARGS)
{
	Request request;
	BatchScan *scan;
	int64 count;

	read_arguments(&request, fcinfo, LIMIT_OPTIONAL);
	scan = scan_begin(&request);
	count = scan_count(scan);
	scan_end(scan);
	PG_RETURN_INT64(count);
}

/* Renders the document of a request. */
text *
render_document(Request *request, int64 *total, int64 *rows)
{
	BatchScan *scan = scan_begin(request);
	Document document;

	begin_document(&document);
	scan_page(scan, add_row_to_document, &document);

	/* A page that ends before its limit tells the total by itself. */
	if (document.rows < request->limit && (document.rows > 0 || request->offset == 0))
		*total = request->offset + document.rows;
	else
		*total = scan_count(scan);
	scan_end(scan);
	*rows = document.rows;
	return end_document(&document, *total, request->offset);
}

/*
 * batches.batches_document(… filters …, order_by text, order_by_direction text,
 *							"limit" bigint, "offset" bigint) returns json
 */
PG_FUNCTION_INFO_V1(batches_document);
Datum
batches_document(PG_FUNCTION_ARGS)
{
	Request request;
	int64 total;
	int64 rows;

	if (authenticated_user_id() == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("no authenticated user"),
						errhint("Set batches.user_id to the user's id, for example: SET LOCAL "
								"batches.user_id = 'user-123'.")));
	read_arguments(&request, fcinfo, LIMIT_PAGE);
	PG_RETURN_TEXT_P(render_document(&request, &total, &rows));
}
