/*
 * list.c
 *		The SQL functions that list and count batches, and say how.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/tuplestore.h"

#include "batches.h"
#include "cursor.h"
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

	for (int i = 0; i < Min(descriptor->natts, N_COLUMNS); i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
		int column = find_column(NameStr(attribute->attname));
		Oid type = InvalidOid;

		if (column < N_COLUMNS)
			type = column == COLUMN_JOBS_COUNT_PER_STATUS
					   ? JSONBOID
					   : column_type_oid(batch_columns[column].type);
		if (attribute->atttypid != type)
			fail_on_other_version(function,
								  psprintf("column \"%s\" %s", NameStr(attribute->attname),
										   format_type_be(attribute->atttypid)));
		rows->columns[i] = column;
	}
	if (descriptor->natts > N_COLUMNS)
		fail_on_other_version(function, "result");
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

		isnull[i] = row->isnull[column];
		values[i] = column == COLUMN_JOBS_COUNT_PER_STATUS && !isnull[i]
						? JsonbPGetDatum(jobs_count_per_status_jsonb(row->job_counts))
						: row->values[column];
	}
	tuplestore_putvalues(rows->result->setResult, descriptor, values, isnull);
}

/*
 * batches.list_batches(… filters …, order_by text, order_by_direction text,
 *						"limit" bigint, "offset" bigint, after text, omit text[]) returns table (…)
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
	require_cursor(&request);
	request.without_total = true;
	scan = scan_begin(&request, false);
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
	scan = scan_begin(&request, false);
	count = scan_count(scan);
	scan_end(scan);
	PG_RETURN_INT64(count);
}

/* A document in the making, of a page that may be followed by another one */
typedef struct CursorPage
{
	const Request *request;
	Document document;
	int64 limit; /* of the page */
	MemoryContext context;
	char *last; /* the cursor behind the last row */
	bool has_more;
} CursorPage;

/* A BatchRowCallback: keeps the cursor behind the row. */
static void
put_cursor(const BatchRow *row, void *arg)
{
	CursorPage *page = arg;
	MemoryContext previous = MemoryContextSwitchTo(page->context);

	page->last = write_cursor(page->request, row);
	MemoryContextSwitchTo(previous);
}

/* A BatchRowCallback: the rows of the page go to the document. */
static void
add_row_to_page(const BatchRow *row, void *arg)
{
	CursorPage *page = arg;

	page->has_more = page->document.rows == page->limit;
	if (page->has_more)
		return;
	add_row_to_document(row, &page->document);
	if (page->document.rows == page->limit)
		put_cursor(row, page);
}

/* Behind a cursor, one row more is read than the page has: so it is seen that there are more. */
static void
look_beyond_page(Request *request)
{
	if (request->cursor != NULL && request->limit != NO_LIMIT && request->limit < PG_INT64_MAX)
		request->limit++;
}

/* Renders the document of a request. */
text *
render_document(Request *request, int64 *total, int64 *rows)
{
	CursorPage page = {
		.request = request, .limit = request->limit, .context = CurrentMemoryContext};
	BatchScan *scan;

	begin_document(&page.document);
	look_beyond_page(request);
	scan = scan_begin(request, false);
	if (request->cursor != NULL)
		scan_page(scan, add_row_to_page, &page);
	else if (scan_has_page(scan))
		scan_page(scan, add_row_to_document, &page.document);
	*rows = page.document.rows;
	*total = request->without_total ? 0 : scan_total(scan, *rows + page.has_more);
	scan_end(scan);
	return end_document(&page.document, request, *total, page.has_more ? page.last : NULL);
}

/*
 * batches.batches_document(… filters …, order_by text, order_by_direction text,
 *							"limit" bigint, "offset" bigint, after text, omit text[],
 *							total text) returns json
 */
PG_FUNCTION_INFO_V1(batches_document);
Datum
batches_document(PG_FUNCTION_ARGS)
{
	Request request;
	int64 total;
	int64 rows;

	require_user();
	read_arguments(&request, fcinfo, LIMIT_PAGE);
	require_cursor(&request);
	PG_RETURN_TEXT_P(render_document(&request, &total, &rows));
}

/*
 * batches.next_cursor(last_id uuid, … filters …, order_by text, order_by_direction text)
 *		returns text
 */
PG_FUNCTION_INFO_V1(batches_next_cursor);
Datum
batches_next_cursor(PG_FUNCTION_ARGS)
{
	Request request;
	CursorPage page = {.request = &request, .context = CurrentMemoryContext};
	Datum id;
	BatchScan *scan;

	read_arguments(&request, fcinfo, LIMIT_OPTIONAL);
	if (request.last_of_page == NULL)
		PG_RETURN_NULL();
	request.cursor = cstring_to_text("");
	require_cursor(&request);
	id = UUIDPGetDatum(request.last_of_page);
	request.filters[PARAMETER_ID].given = true;
	request.filters[PARAMETER_ID].value =
		PointerGetDatum(construct_array(&id, 1, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	scan = scan_begin(&request, false);
	scan_page(scan, put_cursor, &page);
	scan_end(scan);
	if (page.last == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(page.last));
}

/* A BatchRowCallback */
static void
count_row(const BatchRow *row, void *arg)
{
	int64 *rows = arg;

	(*rows)++;
}

/* What the paths did, the rows of the page and the total, if it was asked for, as jsonb. */
static Datum
render_detail(const ScanReport *report, int64 rows, int64 total)
{
	StringInfoData json;
	ListCell *cell;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"rows\":" INT64_FORMAT, rows);
	if (report->total_source == NULL)
		appendStringInfoString(&json, ",\"total\":null,\"total_source\":null");
	else
		appendStringInfo(&json, ",\"total\":" INT64_FORMAT ",\"total_source\":\"%s\"", total,
						 report->total_source);
	appendStringInfoString(&json, ",\"paths\":[");
	foreach (cell, report->paths)
	{
		const PathReport *path = lfirst(cell);

		appendStringInfo(&json,
						 "%s{\"for\":\"%s\",\"path\":", cell == list_head(report->paths) ? "" : ",",
						 path->for_page ? "page" : "total");
		escape_json(&json, path->name);
		appendStringInfo(&json, ",\"work\":" INT64_FORMAT ",\"outcome\":\"%s\"}", path->work,
						 path->outcome);
	}
	appendStringInfoString(&json, "]}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * batches.explain_batches(… filters …, order_by text, order_by_direction text, "limit" bigint,
 *						   "offset" bigint, after text, omit text[], total text,
 *						   out engine text, out reason text, out path text, out work bigint,
 *						   out detail jsonb)
 */
PG_FUNCTION_INFO_V1(batches_explain_batches);
Datum
batches_explain_batches(PG_FUNCTION_ARGS)
{
	Request request;
	BatchScan *scan;
	const ScanReport *report;
	const PathReport *path;
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID, INT8OID, JSONBOID};
	TupleDesc descriptor;
	Datum values[lengthof(types)] = {0};
	bool isnull[lengthof(values)] = {false, true, true, true, true};
	int64 rows = 0;
	int64 total = 0;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	check_result_types(fcinfo->flinfo->fn_oid, descriptor, types, lengthof(types));
	read_arguments(&request, fcinfo, LIMIT_OPTIONAL);
	require_cursor(&request);
	look_beyond_page(&request);
	scan = scan_begin(&request, true);
	if (scan_has_page(scan))
		scan_page(scan, count_row, &rows);
	if (!request.without_total)
		total = scan_total(scan, rows);
	if (request.cursor != NULL && rows == request.limit)
		rows--;
	report = scan_report(scan);
	path = report_winner(report, true);
	isnull[1] = report->fallback_reason == NULL;
	values[0] = CStringGetTextDatum(report_engine(report));
	if (!isnull[1])
		values[1] = CStringGetTextDatum(report->fallback_reason);
	if (report->lists_paths)
	{
		isnull[2] = path == NULL;
		if (path != NULL)
			values[2] = CStringGetTextDatum(path->name);
		isnull[3] = report->fallback_reason != NULL;
		values[3] = Int64GetDatum(report_work(report));
		isnull[4] = false;
		values[4] = render_detail(report, rows, total);
	}
	scan_end(scan);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, isnull));
}
