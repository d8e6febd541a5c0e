/*
 * scan_sql.c
 *		Reads batches by generated SQL: works on anything that PostgreSQL can query.
 *
 * The text comes from our own tables of names; every value is a parameter.
 * Names and operators are schema-qualified, so no search_path changes what a
 * statement means.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "batches.h"
#include "citus.h"
#include "plan.h"
#include "qual.h"
#include "scan_sql.h"
#include "total.h"

/* A batch without counts would be a fault, which must not go unseen. */
#define JOIN_JOB_COUNTS                                                                            \
	" left join %s c"                                                                              \
	" on c.project_id operator(pg_catalog.=) b.project_id"                                         \
	" and c.batch_id operator(pg_catalog.=) b.id"

typedef struct PageReader
{
	const Request *request;
	BatchRowCallback callback;
	void *arg;
	bool checked; /* the types of the first row's columns */
	/* The keys of a page of a distributed table */
	int nkeys;
	pg_uuid_t *projects;
	pg_uuid_t *ids;
} PageReader;

/* How many keys of a page are read before its rows. */
#define MAX_KEYS 1000

static void
append_from(StringInfo sql)
{
	appendStringInfo(sql, " from %s b", table_expression("batch"));
}

/* Joins the job counts. Where their table is missing, SQL would not say what to do. */
static void
append_join(StringInfo sql)
{
	require_table(JOB_COUNT_TABLE);
	appendStringInfo(sql, JOIN_JOB_COUNTS, table_expression(JOB_COUNT_TABLE));
}

/* The SQL expression of a column that has one. */
static const char *
column_expression(ColumnId column)
{
	if (column == COLUMN_COMPLETE)
		return "(not b.open)";
	return psprintf("%s.%s", batch_columns[column].is_job_count ? "c" : "b",
					batch_columns[column].name);
}

/* Adds a list as a parameter, each value once and in order: what PostgreSQL does with one may take long otherwise. */
static int
add_list(QueryParameters *query_parameters, Datum list)
{
	Oid type = ARR_ELEMTYPE(DatumGetArrayTypeP(list));
	int count;
	Datum *values = sorted_list(list, &count);
	int16 length;
	bool byval;
	char align;

	get_typlenbyvalalign(type, &length, &byval, &align);
	return add_query_parameter(
		query_parameters, get_array_type(type),
		PointerGetDatum(construct_array(values, count, type, length, byval, align)));
}

/* column = any (list); of one element, column = element, which keeps an index's order. */
void
append_in(StringInfo sql, const char *column, Datum list, QueryParameters *query_parameters)
{
	int count;
	Datum *values = sorted_list(list, &count);

	appendStringInfo(sql, "%s operator(pg_catalog.=) ", column);
	if (count == 1)
		appendStringInfo(sql, "$%d",
						 add_query_parameter(query_parameters,
											 ARR_ELEMTYPE(DatumGetArrayTypeP(list)), values[0]));
	else
		appendStringInfo(sql, "any ($%d)", add_list(query_parameters, list));
}

/* column <> all (list) */
void
append_not_in(StringInfo sql, const char *column, Datum list, QueryParameters *query_parameters)
{
	appendStringInfo(sql, "%s operator(pg_catalog.<>) all ($%d)", column,
					 add_list(query_parameters, list));
}

/*
 * A bound on the number of jobs, and the same on their size class: an index has that. A
 * number outside of its type's range is compared as it is, and its class as the nearest.
 */
static void
append_jobs_bound(StringInfo sql, const char *operator, Datum value,
				  QueryParameters *query_parameters)
{
	int64 bound = DatumGetInt64(value);
	int32 nearest = (int32) Max(Min(bound, PG_INT32_MAX), PG_INT32_MIN);

	appendStringInfo(
		sql,
		"c." JOBS_COUNT_COLUMN " operator(pg_catalog.%s) $%d and c." SIZE_CLASS_COLUMN
		" operator(pg_catalog.%s) $%d",
		operator, add_query_parameter(query_parameters, INT8OID, value), operator,
		add_query_parameter(query_parameters, INT2OID, Int16GetDatum(size_class(nearest))));
}

/* " where …": the one place where filters become SQL. Behind the last one goes the joiner that is returned. */
static const char *
append_where(StringInfo sql, const Request *request, QueryParameters *query_parameters)
{
	const char *joiner = " where ";

	for (int id = FIRST_FILTER; id <= LAST_FILTER; id++)
	{
		const Parameter *parameter = &parameters[id];
		const FilterValue *filter = &request->filters[id];
		const char *column;
		const char *format;

		if (!filter->given)
			continue;
		column = column_expression(parameter->column);
		appendStringInfoString(sql, joiner);
		joiner = " and ";
		switch (parameter->comparison)
		{
			case COMPARE_EQUAL:
				format = "%s operator(pg_catalog.=) $%d";
				break;
			case COMPARE_AT_LEAST:
			case COMPARE_AT_MOST:
				if (parameter->column == COLUMN_JOBS_COUNT)
				{
					append_jobs_bound(sql, parameter->comparison == COMPARE_AT_LEAST ? ">=" : "<=",
									  filter->value, query_parameters);
					continue;
				}
				format = parameter->comparison == COMPARE_AT_LEAST
							 ? "%s operator(pg_catalog.>=) $%d"
							 : "%s operator(pg_catalog.<=) $%d";
				break;
			case COMPARE_HAS:
				format = "%s operator(pg_catalog.@>) array[$%d]";
				break;
			case COMPARE_HAS_ALL:
			case COMPARE_HAS_ANY:
				appendStringInfo(sql, "%s operator(pg_catalog.%s) $%d", column,
								 parameter->comparison == COMPARE_HAS_ALL ? "@>" : "&&",
								 add_list(query_parameters, filter->value));
				continue;
			case COMPARE_IN:
				append_in(sql, column, filter->value, query_parameters);
				continue;
			case COMPARE_NOT_IN:
				append_not_in(sql, column, filter->value, query_parameters);
				continue;
			case COMPARE_STARTS_WITH:
				appendStringInfo(sql, "%s operator(pg_catalog.>=) $%d", column,
								 add_query_parameter(query_parameters, UUIDOID,
													 UUIDPGetDatum(&request->first_id)));
				appendStringInfo(sql, " and %s operator(pg_catalog.<=) $%d", column,
								 add_query_parameter(query_parameters, UUIDOID,
													 UUIDPGetDatum(&request->last_id)));
				continue;
			default:
				elog(ERROR, "parameter \"%s\" is not a filter", parameter->name);
		}
		appendStringInfo(
			sql, format, column,
			add_query_parameter(query_parameters, parameter_type_oid(parameter), filter->value));
	}
	return joiner;
}

/* The expression that rows are ordered by: strings by code point. */
static const char *
order_expression(const Request *request)
{
	const char *expression = column_expression(request->order_by);

	return batch_columns[request->order_by].type == COLUMN_TYPE_TEXT
			   ? psprintf("%s collate pg_catalog.\"C\"", expression)
			   : expression;
}

/* The order of the size classes is that of the numbers of jobs; an index has it. */
static void
append_order_by(StringInfo sql, const Request *request)
{
	const char *direction = request->descending ? "desc" : "asc";

	appendStringInfoString(sql, " order by ");
	if (request->order_by == COLUMN_JOBS_COUNT)
		appendStringInfo(sql, "c." SIZE_CLASS_COLUMN " %s, ", direction);
	appendStringInfo(sql, "%s %s, b.id %s", order_expression(request), direction, direction);
}

/* Whether a column of "batch" may have nulls: a view's may. */
static bool
may_be_null(ColumnId column)
{
	Relation batch = table_open(require_table("batch"), AccessShareLock);
	AttrNumber number =
		get_attnum(RelationGetRelid(batch),
				   batch_columns[column == COLUMN_COMPLETE ? COLUMN_OPEN : column].name);
	bool may_be_null =
		!batch_columns[column].is_job_count &&
		(number == InvalidAttrNumber || !is_valid_not_null(RelationGetDescr(batch), number - 1));

	table_close(batch, NoLock);
	return may_be_null;
}

/*
 * What is behind the place where the page begins: a comparison of rows, which an index in
 * that order serves. Nulls are behind all values in ascending order and before them in
 * descending order, and a comparison with them is never true.
 */
static void
append_place(StringInfo sql, const char *joiner, const Request *request,
			 QueryParameters *query_parameters)
{
	const Place *after = request->after;
	const char *operator= request->descending ? "<" : ">";
	const char *key = order_expression(request);
	int id;

	if (after == NULL)
		return;
	id = add_query_parameter(query_parameters, UUIDOID, UUIDPGetDatum(&after->id));
	appendStringInfoString(sql, joiner);
	if (after->isnull)
	{
		appendStringInfo(sql, "(%s is null and b.id operator(pg_catalog.%s) $%d%s)", key, operator,
						 id, request->descending ? psprintf(" or %s is not null", key) : "");
		return;
	}
	/* The index has the size class alone. */
	if (request->order_by == COLUMN_JOBS_COUNT)
		appendStringInfo(sql, "c." SIZE_CLASS_COLUMN " operator(pg_catalog.%s=) $%d and ", operator,
						 add_query_parameter(query_parameters, INT2OID,
											 Int16GetDatum(size_class(DatumGetInt32(after->key)))));
	appendStringInfo(sql, "((%s, b.id) operator(pg_catalog.%s) ($%d, $%d)", key, operator,
					 add_query_parameter(query_parameters,
										 column_type_oid(batch_columns[request->order_by].type),
										 after->key),
					 id);
	if (!request->descending && may_be_null(request->order_by))
		appendStringInfo(sql, " or %s is null", key);
	appendStringInfoChar(sql, ')');
}

static void
append_limit(StringInfo sql, const Request *request, QueryParameters *query_parameters)
{
	if (request->limit != NO_LIMIT)
		appendStringInfo(
			sql, " limit $%d",
			add_query_parameter(query_parameters, INT8OID, Int64GetDatum(request->limit)));
	if (request->offset > 0)
		appendStringInfo(
			sql, " offset $%d",
			add_query_parameter(query_parameters, INT8OID, Int64GetDatum(request->offset)));
}

/* The conditions, the order and the limits of the page. */
static void
append_page(StringInfo sql, const Request *request, QueryParameters *query_parameters)
{
	append_place(sql, append_where(sql, request, query_parameters), request, query_parameters);
	append_order_by(sql, request);
	append_limit(sql, request, query_parameters);
}

/*
 * The select list: the columns in their order, a column for each job status among them. What
 * the request omits is not read.
 */
static void
append_select_list(StringInfo sql, const Request *request)
{
	const char *joiner = "";

	for (int column = 0; column < N_COLUMNS; column++)
	{
		bool by_status = column == COLUMN_JOBS_COUNT_PER_STATUS;
		Oid type = column_type_oid(batch_columns[column].type);

		for (int i = 0; i < (by_status ? N_JOB_STATUSES : 1); i++)
		{
			if (request->omits[column])
				appendStringInfo(sql, "%snull::%s", joiner, format_type_be_qualified(type));
			else if (by_status)
				appendStringInfo(sql, "%sc.%s", joiner, job_status_columns[i]);
			else
				appendStringInfo(sql, "%s%s", joiner, column_expression(column));
			joiner = ", ";
		}
	}
}

/* The columns of "batch" that the select list takes. */
static void
append_batch_columns(StringInfo sql, const Request *request)
{
	const char *joiner = "";

	for (int column = 0; column < N_COLUMNS; column++)
	{
		if (column == COLUMN_COMPLETE || batch_columns[column].is_job_count ||
			request->omits[column])
			continue;
		appendStringInfo(sql, "%sb.%s", joiner, batch_columns[column].name);
		joiner = ", ";
	}
}

/*
 * A view or another table may stand in for "batch": the types must be what we take
 * them for. By position, as a row that a parallel worker sends has no names.
 */
static void
check_types(TupleDesc descriptor)
{
	int i = 0;

	for (int column = 0; column < N_COLUMNS; column++)
	{
		ColumnType type = batch_columns[column].type;
		Oid expected = column_type_oid(type);

		if (type == COLUMN_TYPE_JOB_COUNTS)
			for (int status = 0; status < N_JOB_STATUSES; status++)
				check_column_type(JOB_COUNT_TABLE, job_status_columns[status],
								  TupleDescAttr(descriptor, i++)->atttypid, expected);
		else
			check_column_type(batch_columns[column].is_job_count ? JOB_COUNT_TABLE : "batch",
							  batch_columns[column].name, TupleDescAttr(descriptor, i++)->atttypid,
							  expected);
	}
}

static void
read_row(TupleTableSlot *slot, void *arg)
{
	PageReader *reader = arg;
	BatchRow row = {0};
	int i = 0;

	if (!reader->checked)
		check_types(slot->tts_tupleDescriptor);
	reader->checked = true;

	slot_getallattrs(slot);
	for (int column = 0; column < N_COLUMNS; column++)
	{
		if (batch_columns[column].type == COLUMN_TYPE_JOB_COUNTS)
		{
			row.isnull[column] = reader->request->omits[column];
			for (int status = 0; status < N_JOB_STATUSES; status++, i++)
				if (!slot->tts_isnull[i])
					row.job_counts[status] = DatumGetInt32(slot->tts_values[i]);
			continue;
		}
		row.values[column] = slot->tts_values[i];
		row.isnull[column] = slot->tts_isnull[i];
		i++;
	}
	if (row.isnull[COLUMN_JOBS_COUNT])
		fail_on_missing_counts(row.isnull[COLUMN_ID] ? NULL : DatumGetUUIDP(row.values[COLUMN_ID]));
	require_valid_counts(&row);
	reader->callback(&row, reader->arg);
}

static bool
is_for_one_project(const Request *request)
{
	const FilterValue *projects = &request->filters[PARAMETER_PROJECT_ID];
	int count = 0;

	if (projects->given)
		(void) sorted_list(projects->value, &count);
	return count == 1;
}

/* Reads the page by one statement. */
static void
read_page(PageReader *reader)
{
	const Request *request = reader->request;
	QueryParameters query_parameters = {0};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "select ");
	append_select_list(&sql, request);
	if (uses_job_counts(request))
	{
		append_from(&sql);
		append_join(&sql);
		append_page(&sql, request, &query_parameters);
	}
	else
	{
		/* Counts are looked up for the page alone. */
		appendStringInfoString(&sql, " from (select ");
		append_batch_columns(&sql, request);
		append_from(&sql);
		append_page(&sql, request, &query_parameters);
		appendStringInfoString(&sql, ") b");
		append_join(&sql);
		/* Citus does not see through the limit that one shard has them all. */
		if (is_for_one_project(request))
		{
			appendStringInfoString(&sql, " and ");
			append_in(&sql, "c.project_id", request->filters[PARAMETER_PROJECT_ID].value,
					  &query_parameters);
		}
		append_order_by(&sql, request);
	}
	run_query(sql.data, &query_parameters, read_row, reader);
}

/*
 * Pages of distributed tables
 */

/* A QueryRowCallback */
static void
read_key(TupleTableSlot *slot, void *arg)
{
	PageReader *reader = arg;
	bool isnull;

	reader->projects[reader->nkeys] = *DatumGetUUIDP(slot_getattr(slot, 1, &isnull));
	reader->ids[reader->nkeys++] = *DatumGetUUIDP(slot_getattr(slot, 2, &isnull));
}

static int
add_uuids(QueryParameters *query_parameters, pg_uuid_t *uuids, int count)
{
	Datum *values = palloc(sizeof(Datum) * count);

	for (int i = 0; i < count; i++)
		values[i] = UUIDPGetDatum(&uuids[i]);
	return add_query_parameter(
		query_parameters, UUIDARRAYOID,
		PointerGetDatum(construct_array(values, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)));
}

/* A QueryRowCallback: a batch of another project may have the id of one of the page. */
static void
read_row_of_page(TupleTableSlot *slot, void *arg)
{
	PageReader *reader = arg;
	bool isnull;
	/* Before the counts by status, columns are in their own places. */
	Datum id = slot_getattr(slot, COLUMN_ID + 1, &isnull);
	Datum project = slot_getattr(slot, COLUMN_PROJECT_ID + 1, &isnull);

	for (int i = 0; i < reader->nkeys; i++)
		if (memcmp(&reader->ids[i], DatumGetUUIDP(id), UUID_LEN) == 0 &&
			memcmp(&reader->projects[i], DatumGetUUIDP(project), UUID_LEN) == 0)
		{
			read_row(slot, arg);
			return;
		}
}

/*
 * Reads the keys of the page first and then its rows: each shard has to send as many rows as
 * the page and its offset have.
 */
static void
read_page_by_keys(PageReader *reader)
{
	const Request *request = reader->request;
	QueryParameters query_parameters = {0};
	StringInfoData sql;

	reader->projects = palloc(sizeof(pg_uuid_t) * request->limit);
	reader->ids = palloc(sizeof(pg_uuid_t) * request->limit);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "select b.project_id, b.id");
	append_from(&sql);
	if (uses_job_counts(request))
		append_join(&sql);
	append_page(&sql, request, &query_parameters);
	run_query(sql.data, &query_parameters, read_key, reader);
	if (reader->nkeys == 0)
		return;

	query_parameters.count = 0;
	resetStringInfo(&sql);
	appendStringInfoString(&sql, "select ");
	append_select_list(&sql, request);
	append_from(&sql);
	append_join(&sql);
	appendStringInfo(&sql,
					 " where b.project_id operator(pg_catalog.=) any ($%d)"
					 " and b.id operator(pg_catalog.=) any ($%d)",
					 add_uuids(&query_parameters, reader->projects, reader->nkeys),
					 add_uuids(&query_parameters, reader->ids, reader->nkeys));
	append_order_by(&sql, request);
	run_query(sql.data, &query_parameters, read_row_of_page, reader);
}

void
scan_sql_page(const Request *request, BatchRowCallback callback, void *arg)
{
	PageReader reader = {.request = request, .callback = callback, .arg = arg};

	if (request->limit != NO_LIMIT && request->limit <= MAX_KEYS && !is_for_one_project(request) &&
		is_distributed(require_table("batch")))
		read_page_by_keys(&reader);
	else
		read_page(&reader);
}

static void
read_count(TupleTableSlot *slot, void *arg)
{
	bool isnull;

	*(int64 *) arg = DatumGetInt64(slot_getattr(slot, 1, &isnull));
}

int64
scan_sql_count(const Request *request)
{
	QueryParameters query_parameters = {0};
	StringInfoData sql;
	int64 count = 0;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "select pg_catalog.count(*)");
	append_from(&sql);
	if (filters_job_counts(request))
		append_join(&sql);
	append_where(&sql, request, &query_parameters);
	run_query(sql.data, &query_parameters, read_count, &count);
	return count;
}

/* Groups of the batches that match: project, device, status, open, queue priority, and their number. */
void
scan_sql_groups(const Request *request, QueryRowCallback callback, void *arg)
{
	QueryParameters query_parameters = {0};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql,
						   "select b.project_id, b.device_type, b.status, b.open, b.queue_priority,"
						   " pg_catalog.count(*)");
	append_from(&sql);
	if (filters_job_counts(request))
		append_join(&sql);
	append_where(&sql, request, &query_parameters);
	appendStringInfoString(&sql, " group by 1, 2, 3, 4, 5");
	run_query(sql.data, &query_parameters, callback, arg);
}
