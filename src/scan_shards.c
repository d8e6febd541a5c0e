/*
 * scan_shards.c
 *		Reads batches of distributed tables where their shards are.
 *
 * A statement calls read_shards() once on each server that has shards with rows that may match;
 * it reads them by their indexes. The servers answer in one round trip with the first rows in
 * the order of the page and with their totals. The rows are merged here. Each server sends as
 * many keys as the page and its offset could have of it, but not all rows as a whole; what is
 * missing at the end is asked for by a second statement.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/sortsupport.h"

#include "batches.h"
#include "citus.h"
#include "plan.h"
#include "qual.h"
#include "scan_shards.h"
#include "scan_sql.h"
#include "shard_request.h"
#include "shard_row.h"

/* Larger pages, and those further behind, are read by SQL. */
#define MAX_ROWS 1000
#define MAX_KEYS 10000

/* What a call has answered */
typedef struct ShardAnswer
{
	const pg_uuid_t *key;
	bool complete;
	int64 total;
	List *chunks; /* of StringInfo */
	int chunk;    /* that is read */
	bool has_row;
	ShardRow row; /* the next one, if there is one */
} ShardAnswer;

struct ShardScan
{
	const Request *request;
	MemoryContext context;
	RowFormat format;
	SortSupportData key_order;
	const ShardRoute *route;
	ShardAnswer *answers; /* to its calls */
};

/*
 * Asking
 */

/* A QueryRowCallback: a piece of an answer */
static void
take_chunk(TupleTableSlot *slot, void *arg)
{
	ShardScan *scan = arg;
	bool isnull[2];
	const pg_uuid_t *key = DatumGetUUIDP(slot_getattr(slot, 1, &isnull[0]));
	Datum value = slot_getattr(slot, 2, &isnull[1]);
	MemoryContext previous = MemoryContextSwitchTo(scan->context);
	bytea *bytes = DatumGetByteaPCopy(value);
	StringInfo chunk = palloc0(sizeof(StringInfoData));
	ShardAnswer *answer = scan->answers;

	while (memcmp(answer->key, key, UUID_LEN) != 0)
		if (++answer == scan->answers + scan->route->ncalls)
			elog(ERROR, "a shard has answered that was not asked");
	chunk->data = VARDATA(bytes);
	chunk->len = VARSIZE(bytes) - VARHDRSZ;
	chunk->maxlen = chunk->len;
	if (pq_getmsgbyte(chunk) == SHARD_ROWS)
		answer->chunks = lappend(answer->chunks, chunk);
	else
	{
		answer->total = pq_getmsgint64(chunk);
		answer->complete = true;
	}
	MemoryContextSwitchTo(previous);
}

/* A shard has no row in "batch_shard", so it was not asked: it was split, or the row is gone. */
static void
check_answers(const ShardScan *scan)
{
	for (int i = 0; i < scan->route->ncalls; i++)
		if (!scan->answers[i].complete)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("a shard of \"%s.%s\" has no row in \"%s.%s\"", BATCHES_SCHEMA,
								   "batch", BATCHES_SCHEMA, SHARD_TABLE),
							errhint("After shards were split, the owner of the tables calls "
									"%s.distribute_tables() again.",
									BATCHES_SCHEMA)));
}

/*
 * Asks the servers for the total, if the request has one, and for rows, if they are wanted:
 * so many of each as a whole, or all of them if that is NO_LIMIT.
 */
static void
ask_shards(ShardScan *scan, const Request *request, bool wants_rows, int64 whole_rows)
{
	const ShardRoute *route = scan->route;
	QueryParameters query_parameters = {0};
	StringInfoData sql;
	Datum *calls = palloc(sizeof(Datum) * route->ncalls);

	scan->answers = palloc0(sizeof(ShardAnswer) * route->ncalls);
	for (int i = 0; i < route->ncalls; i++)
	{
		scan->answers[i].key = &route->calls[i];
		calls[i] = UUIDPGetDatum(&route->calls[i]);
	}
	initStringInfo(&sql);
	appendStringInfo(
		&sql,
		"select s.project_id, " BATCHES_SCHEMA ".read_shards(s.project_id, $%d)"
		" from " BATCHES_SCHEMA "." SHARD_TABLE " s where ",
		add_query_parameter(&query_parameters, TEXTOID,
							PointerGetDatum(pack_request(request, wants_rows, whole_rows, route))));
	append_in(&sql, "s.project_id",
			  PointerGetDatum(
				  construct_array(calls, route->ncalls, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)),
			  &query_parameters);
	run_query(sql.data, &query_parameters, take_chunk, scan);
	check_answers(scan);
}

/* Whether a list is empty, or a range: no batch matches. */
static bool
matches_nothing(const Request *request)
{
	for (int id = FIRST_FILTER; id <= LAST_FILTER; id++)
	{
		const FilterValue *filter = &request->filters[id];
		ArrayType *list;

		if (!filter->given)
			continue;
		if (id == PARAMETER_ID_STARTS_WITH &&
			memcmp(&request->first_id, &request->last_id, UUID_LEN) > 0)
			return true;
		if (!parameters[id].is_list)
			continue;
		list = DatumGetArrayTypeP(filter->value);
		if (ArrayGetNItems(ARR_NDIM(list), ARR_DIMS(list)) == 0)
			return true;
	}
	return false;
}

/*
 * Begins to read what a request asks for, or returns NULL where that is left to SQL: tables
 * that are not distributed, what matches nothing, and shards that no key leads to.
 */
ShardScan *
shard_scan_begin(const Request *request)
{
	const FilterValue *projects = &request->filters[PARAMETER_PROJECT_ID];
	Oid table = get_relname_relid(SHARD_TABLE, get_namespace_oid(BATCHES_SCHEMA, false));
	ShardScan *scan;

	/* Shards that are read by SQL are none of them. */
	if (!is_distributed(require_table("batch")) || !OidIsValid(table) || !is_distributed(table) ||
		matches_nothing(request))
		return NULL;
	scan = palloc0(sizeof(ShardScan));
	scan->request = request;
	scan->context = CurrentMemoryContext;
	scan->format.context = CurrentMemoryContext;
	scan->route = route_to_shards(projects->given ? DatumGetArrayTypeP(projects->value) : NULL);
	return scan->route == NULL ? NULL : scan;
}

/*
 * Before SQL reads what a request asks for: if it is distributed, the nodes must be of one
 * version. What another one keeps may mean something else.
 */
void
require_same_versions(const Request *request)
{
	ShardScan *scan = shard_scan_begin(request);
	Request question = *request;

	if (scan == NULL)
		return;
	question.without_total = true;
	question.after = NULL;
	ask_shards(scan, &question, false, 0);
}

/*
 * The page
 */

/* Whether the page is not longer, and not further behind, than can be kept. */
bool
shard_scan_may_page(const ShardScan *scan)
{
	const Request *request = scan->request;

	return request->limit != NO_LIMIT && request->limit <= MAX_ROWS &&
		   request->offset <= MAX_KEYS - request->limit;
}

/* Goes on to an answer's next row. */
static void
next_row(ShardScan *scan, ShardAnswer *answer)
{
	answer->has_row = false;
	while (!answer->has_row && answer->chunk < list_length(answer->chunks))
	{
		answer->has_row = unpack_row(&scan->format, list_nth(answer->chunks, answer->chunk),
									 scan->request->order_by, &answer->row);
		if (!answer->has_row)
			answer->chunk++;
	}
}

static int
compare_rows(ShardScan *scan, const ShardRow *a, const ShardRow *b)
{
	int order = ApplySortComparator(a->key, a->isnull, b->key, b->isnull, &scan->key_order);

	if (order != 0)
		return order;
	order = memcmp(&a->id, &b->id, UUID_LEN);
	return scan->request->descending ? -order : order;
}

/* Merges the rows of all answers. Returns the number of those of the page. */
static int
merge_rows(ShardScan *scan, int64 offset, int64 limit, ShardRow *page)
{
	int nrows = 0;

	for (int i = 0; i < scan->route->ncalls; i++)
		next_row(scan, &scan->answers[i]);
	for (int64 place = 0; nrows < limit; place++)
	{
		ShardAnswer *first = NULL;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < scan->route->ncalls; i++)
			if (scan->answers[i].has_row &&
				(first == NULL || compare_rows(scan, &scan->answers[i].row, &first->row) < 0))
				first = &scan->answers[i];
		if (first == NULL)
			break;
		if (place >= offset)
			page[nrows++] = first->row;
		next_row(scan, first);
	}
	return nrows;
}

/*
 * Asks for the rows of the page that were not sent as a whole. Returns false if one has
 * changed since, or is gone, so that it may not be where it was.
 */
static bool
complete_rows(ShardScan *scan, ShardRow *page, int nrows)
{
	Request request = *scan->request;
	Datum *ids = palloc(sizeof(Datum) * nrows);
	int nids = 0;
	int ncomplete = 0;

	for (int i = 0; i < nrows; i++)
		if (page[i].columns.len == 0)
			ids[nids++] = UUIDPGetDatum(&page[i].id);
	if (nids == 0)
		return true;
	request.filters[PARAMETER_ID].given = true;
	request.filters[PARAMETER_ID].value =
		PointerGetDatum(construct_array(ids, nids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	request.limit = NO_LIMIT;
	request.offset = 0;
	request.after = NULL;
	request.without_total = true;
	ask_shards(scan, &request, true, NO_LIMIT);
	for (int call = 0; call < scan->route->ncalls; call++)
	{
		ShardAnswer *answer = &scan->answers[call];

		for (next_row(scan, answer); answer->has_row; next_row(scan, answer))
		{
			const ShardRow *found = &answer->row;

			CHECK_FOR_INTERRUPTS();
			for (int i = 0; i < nrows; i++)
				if (page[i].columns.len == 0 && compare_rows(scan, &page[i], found) == 0 &&
					memcmp(&page[i].project_id, &found->project_id, UUID_LEN) == 0)
				{
					page[i].columns = found->columns;
					ncomplete++;
				}
		}
	}
	return ncomplete == nids;
}

static int64
sum_totals(const ShardScan *scan)
{
	int64 total = 0;

	for (int i = 0; i < scan->route->ncalls; i++)
		total += scan->answers[i].total;
	return total;
}

/* Reads the page, and the total if that is asked for, too. */
void
shard_scan_page(ShardScan *scan, BatchRowCallback callback, void *arg, int64 *total)
{
	Request request = *scan->request;
	int64 offset = 0;
	int64 whole_rows = NO_LIMIT;
	ShardRow *page = palloc0(sizeof(ShardRow) * request.limit);
	MemoryContext row_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches row", ALLOCSET_DEFAULT_SIZES);
	int nrows;

	prepare_order(&scan->key_order, column_type_oid(batch_columns[request.order_by].type),
				  request.descending);
	if (scan->route->ncalls > 1)
	{
		/* Of a page that is far behind, rows are not where they would be if servers were alike. */
		offset = request.offset;
		request.limit += offset;
		request.offset = 0;
		whole_rows =
			offset > scan->request->limit ? 0 : 2 * request.limit / scan->route->ncalls + 10;
	}
	ask_shards(scan, &request, true, whole_rows);
	if (!request.without_total)
		*total = sum_totals(scan);
	nrows = merge_rows(scan, offset, scan->request->limit, page);
	if (!complete_rows(scan, page, nrows))
	{
		/* This can be so at READ COMMITTED alone. Each server answers once more, at one moment. */
		request.without_total = true;
		ask_shards(scan, &request, true, NO_LIMIT);
		nrows = merge_rows(scan, offset, scan->request->limit, page);
	}
	for (int i = 0; i < nrows; i++)
	{
		BatchRow row = {0};
		MemoryContext previous = MemoryContextSwitchTo(row_context);

		unpack_columns(&scan->format, &page[i], &row);
		callback(&row, arg);
		MemoryContextSwitchTo(previous);
		MemoryContextReset(row_context);
	}
	MemoryContextDelete(row_context);
}

/* Counts all rows that match. */
int64
shard_scan_count(ShardScan *scan)
{
	Request request = *scan->request;

	request.without_total = false;
	request.after = NULL;
	ask_shards(scan, &request, false, 0);
	return sum_totals(scan);
}
