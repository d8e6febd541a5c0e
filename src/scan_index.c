/*
 * scan_index.c
 *		Reads batches by indexes, without planner and executor.
 *
 * What a request asks for is put into conditions on the table's columns; race.c finds
 * the rows, and here those of the page are fetched.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "batches.h"
#include "race.h"
#include "scan_index.h"

/* Which rows row-level security lets a member see; create_tables() makes these policies. */
#define BATCH_POLICY                                                                               \
	"project_id operator(pg_catalog.=) any (array(select m.project_id from " BATCHES_SCHEMA        \
	".project_member m where m.user_id operator(pg_catalog.=) (select " BATCHES_SCHEMA             \
	".current_user_id())))"
#define PROJECT_MEMBER_POLICY                                                                      \
	"user_id operator(pg_catalog.=) (select " BATCHES_SCHEMA ".current_user_id())"

/*
 * Pages and counts
 */

/* The row of a tuple. */
static void
read_row(IndexScan *scan, TupleTableSlot *slot, BatchRow *row)
{
	slot_getallattrs(slot);
	for (int column = 0; column < N_COLUMNS; column++)
	{
		int i = scan->columns[column] - 1;

		if (batch_columns[column].type == COLUMN_TYPE_JOB_COUNTS)
			continue;
		row->values[column] = slot->tts_values[i];
		row->isnull[column] = slot->tts_isnull[i];
	}
	row->values[COLUMN_COMPLETE] = BoolGetDatum(!DatumGetBool(row->values[COLUMN_OPEN]));
	for (int status = 0; status < N_JOB_STATUSES; status++)
	{
		int i = scan->job_columns[status] - 1;

		if (!slot->tts_isnull[i])
			row->job_counts[status] = DatumGetInt32(slot->tts_values[i]);
	}
}

/* Fetches the tuples of a page. */
typedef struct PageReader
{
	IndexScan *scan;
	Fetch fetch;
	MemoryContext row_context;
} PageReader;

static void
read_tuple(PageReader *reader, ItemPointerData tid, BatchRowCallback callback, void *arg)
{
	IndexScan *scan = reader->scan;
	MemoryContext previous;
	BatchRow row = {0};

	CHECK_FOR_INTERRUPTS();
	if (!fetch_tuple(&reader->fetch, &tid))
		elog(ERROR, "tuple (%u,%u) of a page is gone", ItemPointerGetBlockNumber(&tid),
			 ItemPointerGetOffsetNumber(&tid));
	previous = MemoryContextSwitchTo(reader->row_context);
	read_row(scan, reader->fetch.slot, &row);
	callback(&row, arg);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(reader->row_context);
}

/* Reads a page; returns false, and has read nothing, if that takes more memory than there is. */
bool
scan_index_page(IndexScan *scan, BatchRowCallback callback, void *arg)
{
	const Request *request = scan->request;
	MemoryContext previous;
	PageReader reader = {.scan = scan};
	Race race;
	Merge *merge;
	Gather *gather;
	bool complete;

	if (scan->matches_nothing)
		return true;
	previous = MemoryContextSwitchTo(scan->context);
	race_begin(&race, scan, true);
	if (!race_run(&race))
	{
		MemoryContextSwitchTo(previous);
		return false;
	}
	merge = race.merge;
	gather = race.gather;
	fetch_init(&reader.fetch, scan->table->relation, scan->snapshot);
	reader.row_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches row", ALLOCSET_DEFAULT_SIZES);
	if (merge == NULL)
		gather_sort(gather);
	do
	{
		complete = merge == NULL || merge->complete;
		if (complete)
		{
			/* Who has read all that matches knows how much that is. */
			scan->total = merge != NULL ? merge_total(merge) : gather->count;
			/* What is pinned keeps vacuum waiting: not while the rows are rendered. */
			race_end(&race);
		}
		/* The callback's own memory is the caller's. */
		MemoryContextSwitchTo(previous);
		if (merge != NULL)
			for (int64 i = 0; i < merge->ntids; i++)
				read_tuple(&reader, merge->tids[i], callback, arg);
		else
			for (int64 i = request->offset; i < gather->nmatches; i++)
				read_tuple(&reader, gather->matches[i].tid, callback, arg);
		MemoryContextSwitchTo(scan->context);
		if (!complete)
		{
			merge->ntids = 0;
			(void) merge_advance(merge, NO_WORK_LIMIT);
		}
	} while (!complete);
	fetch_end(&reader.fetch);
	MemoryContextSwitchTo(previous);
	return true;
}

int64
scan_index_count(IndexScan *scan)
{
	MemoryContext previous;
	Race race;

	if (scan->matches_nothing)
		return 0;
	if (scan->total >= 0)
		return scan->total;
	previous = MemoryContextSwitchTo(scan->context);
	race_begin(&race, scan, false);
	if (!race_run(&race))
		elog(ERROR, "batches cannot be counted");
	race_end(&race);
	MemoryContextSwitchTo(previous);
	return race.gather->count;
}

/*
 * Requests
 */

/* The condition on a column, a new one if there is none. */
static Condition *
condition_on(IndexScan *scan, ColumnId column)
{
	AttrNumber attribute = scan->columns[column];
	Condition *condition;

	for (int i = 0; i < scan->nconditions; i++)
		if (scan->conditions[i].column == attribute)
			return &scan->conditions[i];
	condition = &scan->conditions[scan->nconditions++];
	init_condition(condition, attribute, column_type_oid(batch_columns[column].type));
	return condition;
}

static void
add_list(Condition *condition, ArrayType *list)
{
	Datum *values;
	int nvalues;
	int16 length;
	bool byval;
	char align;

	get_typlenbyvalalign(ARR_ELEMTYPE(list), &length, &byval, &align);
	deconstruct_array(list, ARR_ELEMTYPE(list), length, byval, align, &values, NULL, &nvalues);
	restrict_to_list(condition, values, nvalues);
}

/* A bound on a column of type integer or timestamp. Returns false if no value can meet it. */
static bool
add_bound(Condition *condition, const Parameter *parameter, Datum value)
{
	bool lower = parameter->comparison == COMPARE_AT_LEAST;

	if (condition->type == INT4OID)
	{
		int64 bound = DatumGetInt64(value);

		if (lower ? bound > PG_INT32_MAX : bound < PG_INT32_MIN)
			return false;
		value = Int32GetDatum((int32) Max(Min(bound, PG_INT32_MAX), PG_INT32_MIN));
	}
	if (lower)
		restrict_to_lower(condition, value);
	else
		restrict_to_upper(condition, value);
	return true;
}

/* What a filter asks of its column. Returns false if no value can meet it. */
static bool
add_filter(IndexScan *scan, const Parameter *parameter, const FilterValue *filter)
{
	Condition *condition = condition_on(scan, parameter->column);

	switch (parameter->comparison)
	{
		case COMPARE_EQUAL:
		{
			Datum *values = palloc(sizeof(Datum));

			values[0] = filter->value;
			if (parameter->column == COLUMN_COMPLETE)
				values[0] = BoolGetDatum(!DatumGetBool(filter->value));
			restrict_to_list(condition, values, 1);
			return true;
		}
		case COMPARE_IN:
			add_list(condition, DatumGetArrayTypeP(filter->value));
			return true;
		case COMPARE_AT_LEAST:
		case COMPARE_AT_MOST:
			return add_bound(condition, parameter, filter->value);
		case COMPARE_HAS:
			restrict_to_element(condition, filter->value);
			return true;
		case COMPARE_STARTS_WITH:
			restrict_to_lower(condition, UUIDPGetDatum(&scan->request->first_id));
			restrict_to_upper(condition, UUIDPGetDatum(&scan->request->last_id));
			return true;
		default:
			elog(ERROR, "parameter \"%s\" is not a filter", parameter->name);
	}
}

static void
add_filters(IndexScan *scan)
{
	for (int id = FIRST_FILTER; id < N_PARAMETERS; id++)
		if (scan->request->filters[id].given &&
			!add_filter(scan, &parameters[id], &scan->request->filters[id]))
			scan->matches_nothing = true;
	for (int i = 0; i < scan->nconditions; i++)
		if (!normalize_condition(&scan->conditions[i]))
			scan->matches_nothing = true;
}

static const char *
other_column(const char *name)
{
	return psprintf("its column \"%s\" is not as batches.create_tables() makes it", name);
}

/* Finds the table's columns. Returns why one cannot be read, or NULL. */
static const char *
find_columns(IndexScan *scan)
{
	for (int i = 0; i < N_COLUMNS; i++)
	{
		const Column *column = &batch_columns[i == COLUMN_COMPLETE ? COLUMN_OPEN : i];

		if (column->type == COLUMN_TYPE_JOB_COUNTS)
			continue;
		scan->columns[i] = direct_column(scan->table, column->name, column_type_oid(column->type));
		if (scan->columns[i] == InvalidAttrNumber)
			return other_column(column->name);
		/* Every row has its place by them. */
		if ((i == COLUMN_ID || i == COLUMN_OPEN) &&
			!direct_is_not_null(scan->table, scan->columns[i]))
			return psprintf("its column \"%s\" is not surely without nulls for this transaction",
							column->name);
	}
	for (int i = 0; i < N_JOB_STATUSES; i++)
	{
		scan->job_columns[i] = direct_column(scan->table, job_statuses[i].column, INT4OID);
		if (scan->job_columns[i] == InvalidAttrNumber)
			return other_column(job_statuses[i].column);
	}
	return NULL;
}

static void
prepare_page(IndexScan *scan)
{
	const Request *request = scan->request;
	ColumnType type = batch_columns[request->order_by].type;
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(scan->table->relation),
												scan->columns[request->order_by] - 1);

	scan->key_byval = attribute->attbyval;
	scan->key_length = attribute->attlen;
	prepare_order(&scan->key_order, column_type_oid(type), request->descending);
	prepare_order(&scan->id_order, UUIDOID, request->descending);
	if (request->limit == NO_LIMIT ||
		pg_add_s64_overflow(request->offset, request->limit, &scan->wanted))
		scan->wanted = PG_INT64_MAX;
}

/*
 * Begins to read what a request asks for in the active snapshot, or returns NULL
 * and why that is left to SQL.
 */
IndexScan *
scan_index_begin(const Request *request, const char **obstacle)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "batches index scan", ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	IndexScan *scan = palloc0(sizeof(IndexScan));

	scan->request = request;
	scan->context = context;
	scan->total = -1;
	scan->snapshot = GetActiveSnapshot();
	scan->table = direct_open("batch", BATCH_POLICY, obstacle);
	if (scan->table != NULL)
	{
		*obstacle = find_columns(scan);
		if (*obstacle == NULL && scan->table->nindexes == 0)
			*obstacle = "it has no usable index";
	}
	if (*obstacle == NULL)
	{
		scan->nblocks = RelationGetNumberOfBlocks(scan->table->relation);
		prepare_page(scan);
		add_filters(scan);
	}
	else if (scan->table != NULL)
		direct_close(scan->table);
	MemoryContextSwitchTo(previous);
	return *obstacle == NULL ? scan : NULL;
}

/* Whether the role has the rights on all columns. */
bool
scan_index_may_page(IndexScan *scan)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < N_COLUMNS; i++)
		if (batch_columns[i].type != COLUMN_TYPE_JOB_COUNTS)
			columns = bms_add_member(columns, scan->columns[i]);
	for (int i = 0; i < N_JOB_STATUSES; i++)
		columns = bms_add_member(columns, scan->job_columns[i]);
	return direct_may_select(scan->table, columns);
}

/* Whether the role has the rights on the columns of the filters. */
bool
scan_index_may_count(IndexScan *scan)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < scan->nconditions; i++)
		columns = bms_add_member(columns, scan->conditions[i].column);
	return direct_may_select(scan->table, columns);
}

void
scan_index_end(IndexScan *scan)
{
	direct_close(scan->table);
	MemoryContextDelete(scan->context);
}

/*
 * The projects of a user, in order, or NULL if that is left to SQL.
 */
ArrayType *
scan_index_projects(const char *user_id)
{
	const char *obstacle;
	DirectTable *table = direct_open("project_member", PROJECT_MEMBER_POLICY, &obstacle);
	AttrNumber project_column;
	AttrNumber user_column;
	ArrayType *projects = NULL;

	if (table == NULL)
		return NULL;
	project_column = direct_column(table, "project_id", UUIDOID);
	user_column = direct_column(table, "user_id", TEXTOID);
	for (int i = 0; i < table->nindexes && projects == NULL; i++)
	{
		DirectIndex *index = &table->indexes[i];
		Condition condition;
		Datum *user = palloc(sizeof(Datum));
		ArrayBuildState *state;
		Walk walk;

		if (project_column == InvalidAttrNumber || user_column == InvalidAttrNumber ||
			index->columns[0] != user_column || index->nkeys < 2 ||
			index->columns[1] != project_column ||
			!direct_may_select(table,
							   bms_add_member(bms_make_singleton(project_column), user_column)))
			continue;
		init_condition(&condition, user_column, TEXTOID);
		user[0] = CStringGetTextDatum(user_id);
		restrict_to_list(&condition, user, 1);
		walk_init(&walk, table, index, &condition, 1, &condition, NoMovementScanDirection);
		state = initArrayResult(UUIDOID, CurrentMemoryContext, false);
		walk_start_stream(&walk, 0);
		while (walk_next(&walk, NO_WORK_LIMIT) == WALK_MATCH)
		{
			bool isnull;
			Datum project = walk_value(&walk, project_column, &isnull);

			if (!isnull)
				accumArrayResult(state, project, false, UUIDOID, CurrentMemoryContext);
		}
		walk_end(&walk);
		projects = DatumGetArrayTypeP(makeArrayResult(state, CurrentMemoryContext));
	}
	direct_close(table);
	return projects;
}
