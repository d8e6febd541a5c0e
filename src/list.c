/*
 * list.c
 *		The SQL functions that list and count batches.
 */
#include "postgres.h"
#include "compat.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/tuplestore.h"

#include "batches.h"
#include "json.h"
#include "list.h"
#include "scan.h"

static void
put_row(const BatchRow *row, void *arg)
{
	ReturnSetInfo *result = arg;
	Datum values[N_COLUMNS];
	bool isnull[N_COLUMNS];

	memcpy(values, row->values, sizeof(values));
	memcpy(isnull, row->isnull, sizeof(isnull));
	values[COLUMN_JOBS_COUNT_PER_STATUS] =
		JsonbPGetDatum(jobs_count_per_status_jsonb(row->job_counts));
	tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
}

/*
 * batches.list_batches(… filters …, order_by text, order_by_direction text,
 *						"limit" bigint, "offset" bigint) returns table (…)
 */
PG_FUNCTION_INFO_V1(batches_list_batches);
Datum
batches_list_batches(PG_FUNCTION_ARGS)
{
	Request request;
	Scan *scan;

	InitMaterializedSRF(fcinfo, 0);
	read_arguments(&request, fcinfo, LIMIT_OPTIONAL);
	scan = scan_begin(&request);
	scan_page(scan, put_row, fcinfo->resultinfo);
	scan_end(scan);
	return (Datum) 0;
}

/* batches.count_batches(… filters …) returns bigint */
PG_FUNCTION_INFO_V1(batches_count_batches);
Datum
batches_count_batches(PG_FUNCTION_ARGS)
{
	Request request;
	Scan *scan;
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
	Scan *scan = scan_begin(request);
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
