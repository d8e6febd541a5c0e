/*
 * direct_scan.c
 *		Reads batches by indexes, without planner and executor.
 *
 * What a request asks for is put into quals on the table's columns; paths.c finds
 * the rows, and here those of the page are fetched.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "batches.h"
#include "estimate.h"
#include "paths.h"
#include "direct_scan.h"

/*
 * Pages and counts
 */

/*
 * Fetches the rows of a page: the tuples of one table, and those of the other that have
 * the same keys. They are handed over in blocks of so many, so that the other table's rows
 * are found in one pass over sorted keys.
 */
#define PAGE_READER_ROWS 128

typedef struct PageReader
{
	DirectScan *scan;
	Fetch fetches[N_SOURCES];
	Source found; /* the table whose tuples were found */
	int nrows;
	HeapTuple tuples[N_SOURCES][PAGE_READER_ROWS]; /* copies */
	int parts[N_SOURCES][PAGE_READER_ROWS];        /* of their tables */
	TupleTableSlot **part_slots[N_SOURCES]; /* for tuples of each part; NULL until the first one */
	TupleTableSlot *slots[N_SOURCES];       /* have the row being read */
	BatchKey keys[PAGE_READER_ROWS];
	MemoryContext block_context;
	MemoryContext row_context;
} PageReader;

static PageReader *
begin_rows(DirectScan *scan, Source found)
{
	PageReader *reader = palloc0(sizeof(PageReader));

	reader->scan = scan;
	reader->found = found;
	for (int i = 0; i < N_SOURCES; i++)
	{
		fetch_init(&reader->fetches[i], scan->tables[i], NULL, scan->snapshot);
		reader->part_slots[i] = palloc0(sizeof(TupleTableSlot *) * scan->tables[i]->nparts);
	}
	reader->block_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches rows", ALLOCSET_DEFAULT_SIZES);
	reader->row_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches row", ALLOCSET_DEFAULT_SIZES);
	return reader;
}

static void
end_rows(PageReader *reader)
{
	for (int i = 0; i < N_SOURCES; i++)
	{
		fetch_end(&reader->fetches[i]);
		for (int part = 0; part < reader->scan->tables[i]->nparts; part++)
			if (reader->part_slots[i][part] != NULL)
				ExecDropSingleTupleTableSlot(reader->part_slots[i][part]);
	}
	MemoryContextDelete(reader->block_context);
	MemoryContextDelete(reader->row_context);
}

/* A part of the key of the tuple fetched. A null is looked for as a uuid of zeros. */
static pg_uuid_t
key_column(const PageReader *reader, Source source, ColumnId column)
{
	static const pg_uuid_t none = {{0}};
	bool isnull;
	Datum value =
		slot_getattr(reader->fetches[source].slot, reader->scan->columns[source][column], &isnull);

	return isnull ? none : *DatumGetUUIDP(value);
}

/* Keeps the tuple fetched, which is of a row of the block. */
static void
keep_tuple(PageReader *reader, Source source, RowPlace place, int number)
{
	reader->tuples[source][number] = ExecCopySlotHeapTuple(reader->fetches[source].slot);
	reader->parts[source][number] = place_part(place);
}

/* A KeyCallback: one of the versions that a row of the other table has had */
static void
take_other(const BatchKey *key, RowPlace place, void *arg)
{
	PageReader *reader = arg;
	Source other = reader->found == SOURCE_BATCH ? SOURCE_JOB_COUNT : SOURCE_BATCH;

	if (fetch_tuple(&reader->fetches[other], place))
		keep_tuple(reader, other, place, key->number);
}

/* Puts a row's tuple into the slot of its part. */
static void
store_tuple(PageReader *reader, Source source, int number)
{
	int part = reader->parts[source][number];
	TupleTableSlot **slot = &reader->part_slots[source][part];

	if (*slot == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(reader->scan->context);

		*slot = MakeSingleTupleTableSlot(
			RelationGetDescr(reader->scan->tables[source]->parts[part]), &TTSOpsHeapTuple);
		MemoryContextSwitchTo(previous);
	}
	reader->slots[source] = ExecStoreHeapTuple(reader->tuples[source][number], *slot, false);
}

/* The row that is in the slots. */
static void
read_row(PageReader *reader, BatchRow *row)
{
	DirectScan *scan = reader->scan;

	for (int i = 0; i < N_SOURCES; i++)
		slot_getallattrs(reader->slots[i]);
	for (int column = 0; column < N_COLUMNS; column++)
	{
		Source source = batch_columns[column].is_job_count ? SOURCE_JOB_COUNT : SOURCE_BATCH;
		int i = scan->columns[source][column] - 1;

		row->isnull[column] = scan->request->omits[column];
		if (row->isnull[column] || batch_columns[column].type == COLUMN_TYPE_JOB_COUNTS)
			continue;
		row->values[column] = reader->slots[source]->tts_values[i];
		row->isnull[column] = reader->slots[source]->tts_isnull[i];
	}
	row->values[COLUMN_COMPLETE] = BoolGetDatum(!DatumGetBool(row->values[COLUMN_OPEN]));
	for (int status = 0; status < N_JOB_STATUSES; status++)
	{
		int i = scan->job_columns[status] - 1;

		if (!reader->slots[SOURCE_JOB_COUNT]->tts_isnull[i])
			row->job_counts[status] = DatumGetInt32(reader->slots[SOURCE_JOB_COUNT]->tts_values[i]);
	}
	require_valid_counts(row);
}

/* A row has no counterpart in the other table. */
static void
fail_on_missing_row(const PageReader *reader, int number)
{
	/* Looking for them has put the keys in order. */
	for (int i = 0; i < reader->nrows; i++)
	{
		if (reader->keys[i].number != number)
			continue;
		if (reader->found == SOURCE_JOB_COUNT)
			fail_on_missing_batch(&reader->keys[i].id);
		fail_on_missing_counts(&reader->keys[i].id);
	}
}

/* Hands the rows over whose tuples were fetched. */
static void
flush_rows(PageReader *reader, BatchRowCallback callback, void *arg)
{
	MemoryContext previous = MemoryContextSwitchTo(reader->block_context);
	Source other = reader->found == SOURCE_BATCH ? SOURCE_JOB_COUNT : SOURCE_BATCH;

	memset(reader->tuples[other], 0, sizeof(reader->tuples[other]));
	find_keys(reader->scan->tables[other], scan_key(reader->scan, other), reader->scan->snapshot,
			  reader->keys, reader->nrows, take_other, reader);
	for (int i = 0; i < reader->nrows; i++)
	{
		BatchRow row = {0};

		CHECK_FOR_INTERRUPTS();
		if (reader->tuples[other][i] == NULL)
			fail_on_missing_row(reader, i);
		for (int source = 0; source < N_SOURCES; source++)
			store_tuple(reader, source, i);
		MemoryContextSwitchTo(reader->row_context);
		read_row(reader, &row);
		callback(&row, arg);
		MemoryContextSwitchTo(reader->block_context);
		MemoryContextReset(reader->row_context);
	}
	for (int source = 0; source < N_SOURCES; source++)
		for (int part = 0; part < reader->scan->tables[source]->nparts; part++)
			if (reader->part_slots[source][part] != NULL)
				ExecClearTuple(reader->part_slots[source][part]);
	reader->nrows = 0;
	MemoryContextSwitchTo(previous);
	MemoryContextReset(reader->block_context);
}

/* Whether all that is wanted of a row is in the tuples found. */
static bool
has_wanted_key(const PageReader *reader)
{
	const Request *request = reader->scan->request;

	return request->keys_only &&
		   reader->scan->columns[reader->found][request->order_by] != InvalidAttrNumber;
}

/* Hands over the key of the tuple fetched, and its value in the order column. */
static void
hand_over_key(PageReader *reader, BatchRowCallback callback, void *arg)
{
	const ColumnId wanted[] = {COLUMN_PROJECT_ID, COLUMN_ID, reader->scan->request->order_by};
	MemoryContext previous = MemoryContextSwitchTo(reader->row_context);
	BatchRow row = {0};

	memset(row.isnull, true, sizeof(row.isnull));
	for (int i = 0; i < lengthof(wanted); i++)
		row.values[wanted[i]] =
			slot_getattr(reader->fetches[reader->found].slot,
						 reader->scan->columns[reader->found][wanted[i]], &row.isnull[wanted[i]]);
	if (reader->scan->request->order_by == COLUMN_COMPLETE)
		row.values[COLUMN_COMPLETE] = BoolGetDatum(!DatumGetBool(row.values[COLUMN_COMPLETE]));
	callback(&row, arg);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(reader->row_context);
}

static void
read_tuple(PageReader *reader, RowPlace place, BatchRowCallback callback, void *arg)
{
	Source found = reader->found;
	int i = reader->nrows;
	MemoryContext previous;

	CHECK_FOR_INTERRUPTS();
	if (!fetch_tuple(&reader->fetches[found], place))
		elog(ERROR, "tuple (%u,%u) of a page is gone", place_block(place), place_offset(place));
	if (has_wanted_key(reader))
	{
		hand_over_key(reader, callback, arg);
		return;
	}
	reader->keys[i].project_id = key_column(reader, found, COLUMN_PROJECT_ID);
	reader->keys[i].id = key_column(reader, found, COLUMN_ID);
	reader->keys[i].number = i;
	previous = MemoryContextSwitchTo(reader->block_context);
	keep_tuple(reader, found, place, i);
	MemoryContextSwitchTo(previous);
	if (++reader->nrows == PAGE_READER_ROWS)
		flush_rows(reader, callback, arg);
}

static void
prepare_page(DirectScan *scan)
{
	const Request *request = scan->request;
	Oid type = column_type_oid(batch_columns[request->order_by].type);

	get_typlenbyval(type, &scan->key_length, &scan->key_byval);
	prepare_order(&scan->key_order, type, request->descending);
	if (request->after != NULL)
	{
		scan->after.key = request->after->key;
		scan->after.isnull = request->after->isnull;
		scan->after.id = request->after->id;
	}
	if (request->limit == NO_LIMIT ||
		pg_add_s64_overflow(request->offset, request->limit, &scan->wanted))
		scan->wanted = PG_INT64_MAX;
}

/*
 * Has the page of a request, of whose rows there are so many in all, read from the last row
 * on, if that is nearer: in the opposite order all rows are the other way round, nulls and ties, too.
 * A merge has all rows of such a page before it hands the first one over.
 */
void
direct_scan_turn(DirectScan *scan, int64 total)
{
	Request *turned;
	int64 rest = Max(total - scan->request->offset, 0);
	int64 nrows = scan->request->limit == NO_LIMIT ? rest : Min(scan->request->limit, rest);

	scan->total = total;
	if (rest - nrows >= scan->request->offset || nrows > PAGE_READER_ROWS)
		return;
	turned = MemoryContextAlloc(scan->context, sizeof(Request));
	*turned = *scan->request;
	turned->descending = !turned->descending;
	turned->offset = rest - nrows;
	turned->limit = nrows;
	scan->request = turned;
	scan->is_turned = true;
	prepare_page(scan);
}

/* Why a page was not found */
static const char *
no_page_reason(const DirectScan *scan)
{
	if (scan->met_null)
		return "there is a batch without an id";
	return "no index has the order of the page, and to sort the rows takes more memory than "
		   "work_mem";
}

/* Reads a page. Returns NULL, or why it cannot be read: then nothing was. */
const char *
direct_scan_page(DirectScan *scan, BatchRowCallback callback, void *arg)
{
	const Request *request = scan->request;
	MemoryContext previous;
	PageReader *reader;
	PathSet paths;
	Merge *merge;
	Collection *collection;
	int64 nrows;
	bool complete;

	if (scan->matches_nothing)
		return NULL;
	previous = MemoryContextSwitchTo(scan->context);
	paths_begin(&paths, scan, true);
	if (!paths_run(&paths))
	{
		MemoryContextSwitchTo(previous);
		return no_page_reason(scan);
	}
	merge = paths.merge;
	collection = paths.collection;
	reader = begin_rows(scan, paths_source(&paths));
	if (merge == NULL)
		collect_sort(collection);
	do
	{
		complete = merge == NULL || merge->complete;
		if (complete)
		{
			/* Who has read all that matches knows how much that is. */
			scan->total = merge != NULL ? merge_total(merge) : collection->count;
			/* What an index has pinned keeps vacuum waiting: not while the rows are rendered. */
			paths_end(&paths);
		}
		nrows = merge != NULL ? merge->nplaces : collection->nsort_entries - request->offset;
		for (int64 i = 0; i < nrows; i++)
		{
			int64 place = scan->is_turned ? nrows - 1 - i : i;

			read_tuple(reader,
					   merge != NULL
						   ? merge->places[place]
						   : sort_place(&collection->sort_entries[request->offset + place]),
					   callback, arg);
		}
		flush_rows(reader, callback, arg);
		if (!complete)
		{
			merge->nplaces = 0;
			merge->has_handed_over = true;
			(void) merge_advance(merge, NO_WORK_LIMIT);
			/* Rows were handed over: SQL cannot begin anew. More memory is taken if need be. */
			if (scan->met_null)
				fail_on_missing_counts(NULL);
		}
	} while (!complete);
	end_rows(reader);
	MemoryContextSwitchTo(previous);
	return NULL;
}

/* Whether it is known how many rows match: none can, or all were read. */
bool
direct_scan_knows_count(DirectScan *scan, int64 *count)
{
	*count = scan->matches_nothing ? 0 : scan->total;
	return *count >= 0;
}

int64
direct_scan_count(DirectScan *scan)
{
	MemoryContext previous;
	PathSet paths;

	previous = MemoryContextSwitchTo(scan->context);
	paths_begin(&paths, scan, false);
	if (!paths_run(&paths))
		elog(ERROR, "batches cannot be counted");
	paths_end(&paths);
	MemoryContextSwitchTo(previous);
	return paths.collection->count;
}

/*
 * Requests
 */

static Qual *
new_qual(DirectScan *scan, Oid type)
{
	Qual *qual = &scan->quals[scan->nquals++];

	init_qual(qual, type);
	return qual;
}

/* The qual on a column, a new one if there is none. */
static Qual *
qual_on(DirectScan *scan, ColumnId column)
{
	Source source = batch_columns[column].is_job_count ? SOURCE_JOB_COUNT : SOURCE_BATCH;
	AttrNumber attribute = scan->columns[source][column];
	Qual *qual;

	for (int i = 0; i < scan->nquals; i++)
		if (scan->quals[i].columns[source] == attribute)
			return &scan->quals[i];
	qual = new_qual(scan, column_type_oid(batch_columns[column].type));
	for (int i = 0; i < N_SOURCES; i++)
		qual->columns[i] = scan->columns[i][column];
	return qual;
}

/* A bound on a column of type integer or timestamp. Returns false if no value can meet it. */
static bool
add_bound(Qual *qual, const Parameter *parameter, Datum value)
{
	bool lower = parameter->comparison == COMPARE_AT_LEAST;

	if (qual->type == INT4OID)
	{
		int64 bound = DatumGetInt64(value);

		if (lower ? bound > PG_INT32_MAX : bound < PG_INT32_MIN)
			return false;
		value = Int32GetDatum((int32) Max(Min(bound, PG_INT32_MAX), PG_INT32_MIN));
	}
	if (lower)
		restrict_to_lower(qual, value);
	else
		restrict_to_upper(qual, value);
	return true;
}

/* What a filter asks of its column. Returns false if no value can meet it. */
static bool
add_filter(DirectScan *scan, const Parameter *parameter, const FilterValue *filter)
{
	Qual *qual = qual_on(scan, parameter->column);

	switch (parameter->comparison)
	{
		case COMPARE_EQUAL:
		{
			Datum *values = palloc(sizeof(Datum));

			values[0] = filter->value;
			if (parameter->column == COLUMN_COMPLETE)
				values[0] = BoolGetDatum(!DatumGetBool(filter->value));
			restrict_to_list(qual, values, 1);
			return true;
		}
		case COMPARE_IN:
			restrict_to_array(qual, filter->value);
			return true;
		case COMPARE_AT_LEAST:
		case COMPARE_AT_MOST:
			return add_bound(qual, parameter, filter->value);
		case COMPARE_NOT_IN:
			exclude_array(qual, filter->value);
			return true;
		case COMPARE_HAS:
		{
			Datum tag = filter->value;

			restrict_to_all(
				qual, PointerGetDatum(construct_array(&tag, 1, TEXTOID, -1, false, TYPALIGN_INT)));
			return true;
		}
		case COMPARE_HAS_ALL:
			restrict_to_all(qual, filter->value);
			return true;
		case COMPARE_HAS_ANY:
			restrict_to_any(qual, filter->value);
			return true;
		case COMPARE_STARTS_WITH:
			restrict_to_lower(qual, UUIDPGetDatum(&scan->request->first_id));
			restrict_to_upper(qual, UUIDPGetDatum(&scan->request->last_id));
			return true;
		default:
			elog(ERROR, "parameter \"%s\" is not a filter", parameter->name);
	}
}

/*
 * Puts the bounds on the number of jobs on the size class, which has an index; both are
 * the same unless the numbers are large.
 */
static void
add_size_class(DirectScan *scan)
{
	Qual *jobs = qual_on(scan, COLUMN_JOBS_COUNT);
	Qual *class;
	int32 lower = jobs->has_lower ? DatumGetInt32(jobs->lower) : 0;
	int32 upper = jobs->has_upper ? DatumGetInt32(jobs->upper) : 0;

	if (upper < 0)
	{
		scan->matches_nothing = true;
		return;
	}
	class =
		lower < EXACT_SIZE_CLASSES && upper < EXACT_SIZE_CLASSES ? jobs : new_qual(scan, INT2OID);
	if (class == jobs)
	{
		bool has_lower = jobs->has_lower;
		bool has_upper = jobs->has_upper;

		init_qual(class, INT2OID);
		class->has_lower = has_lower;
		class->has_upper = has_upper;
	}
	else
	{
		class->has_lower = jobs->has_lower;
		class->has_upper = jobs->has_upper;
	}
	class->columns[SOURCE_JOB_COUNT] = scan->size_class_column;
	class->lower = Int16GetDatum(size_class(lower));
	class->upper = Int16GetDatum(size_class(upper));
}

static void
add_filters(DirectScan *scan)
{
	for (int id = FIRST_FILTER; id <= LAST_FILTER; id++)
	{
		if (!scan->request->filters[id].given)
			continue;
		if (!add_filter(scan, &parameters[id], &scan->request->filters[id]))
			scan->matches_nothing = true;
	}
	for (int i = 0; i < scan->nquals; i++)
		if (!normalize_qual(&scan->quals[i]))
			scan->matches_nothing = true;
}

static const char *
other_column(const char *table, const char *name)
{
	return psprintf("column \"%s\" of \"%s\" is not as batches.create_tables() makes it", name,
					table);
}

/* Finds the columns of "batch". Returns why one cannot be read, or NULL. */
static const char *
find_batch_columns(DirectScan *scan)
{
	DirectTable *table = scan->tables[SOURCE_BATCH];

	table->columns = scan->columns[SOURCE_BATCH];
	for (int i = 0; i < N_COLUMNS; i++)
	{
		const Column *column = &batch_columns[i == COLUMN_COMPLETE ? COLUMN_OPEN : i];
		AttrNumber number;

		if (column->is_job_count)
			continue;
		number = direct_column(table, column->name, column_type_oid(column->type));
		if (number == InvalidAttrNumber)
			return other_column("batch", column->name);
		/* By job counts, a batch without an id would be passed over. */
		if (i == COLUMN_ID && scan->uses_job_counts && !direct_is_not_null(table, number))
			return "column \"id\" of \"batch\" may have nulls for this transaction";
		scan->columns[SOURCE_BATCH][i] = number;
	}
	return NULL;
}

/* The same for "batch_job_count". */
static const char *
find_job_count_columns(DirectScan *scan)
{
	DirectTable *table = scan->tables[SOURCE_JOB_COUNT];
	AttrNumber *columns = scan->columns[SOURCE_JOB_COUNT];

	const struct
	{
		const char *name;
		Oid type;
		AttrNumber *number;
	} wanted[] = {
		{"project_id", UUIDOID, &columns[COLUMN_PROJECT_ID]},
		{"batch_id", UUIDOID, &columns[COLUMN_ID]},
		{JOBS_COUNT_COLUMN, INT4OID, &columns[COLUMN_JOBS_COUNT]},
		{SIZE_CLASS_COLUMN, INT2OID, &scan->size_class_column},
	};

	table->source = SOURCE_JOB_COUNT;
	table->columns = columns;
	for (int i = 0; i < lengthof(wanted); i++)
	{
		*wanted[i].number = direct_column(table, wanted[i].name, wanted[i].type);
		if (*wanted[i].number == InvalidAttrNumber)
			return other_column(JOB_COUNT_TABLE, wanted[i].name);
	}
	for (int i = 0; i < N_JOB_STATUSES; i++)
	{
		scan->job_columns[i] = direct_column(table, job_status_columns[i], INT4OID);
		if (scan->job_columns[i] == InvalidAttrNumber)
			return other_column(JOB_COUNT_TABLE, job_status_columns[i]);
	}
	return NULL;
}

/* Opens one of the tables, but for its indexes. Returns why it cannot be read, or NULL. */
static const char *
open_table(DirectScan *scan, Source source)
{
	const char *name = source == SOURCE_BATCH ? "batch" : JOB_COUNT_TABLE;
	const char *reason;

	require_table(name);
	scan->tables[source] = direct_open(name, BATCH_POLICY, true, &reason);
	if (reason != NULL)
		return reason;
	return source == SOURCE_BATCH ? find_batch_columns(scan) : find_job_count_columns(scan);
}

typedef struct IndexWish
{
	const DirectScan *scan;
	Source source;
	bool any; /* one that has all columns of the quals was found */
} IndexWish;

/*
 * An IndexFilter: whether an index can serve the request. It begins with the order's
 * column or with one that a filter is on, or it has all of these, or it is the key by
 * which the other table's rows find theirs here. Without filters every index has all:
 * one is enough for a count.
 */
static bool
is_wished(const int16 *columns, int ncolumns, int nkeys, void *arg)
{
	IndexWish *wish = arg;
	const DirectScan *scan = wish->scan;
	const AttrNumber *table_columns = scan->columns[wish->source];
	bool has_all = scan->nquals > 0 || !wish->any;

	if (wish->source == SOURCE_JOB_COUNT || scan->uses_job_counts)
		if (nkeys >= 2 && columns[0] == table_columns[COLUMN_PROJECT_ID] &&
			columns[1] == table_columns[COLUMN_ID])
			return true;
	if (!scan->uses_job_counts && wish->source == SOURCE_JOB_COUNT)
		return false;
	if (columns[0] == table_columns[scan->request->order_by] ||
		(wish->source == SOURCE_JOB_COUNT && columns[0] == scan->size_class_column))
		return true;
	for (int i = 0; i < scan->nquals; i++)
	{
		AttrNumber column = scan->quals[i].columns[wish->source];
		bool has = false;

		if (column == columns[0])
			return true;
		for (int j = 0; j < ncolumns; j++)
			has |= columns[j] == column;
		has_all &= has;
	}
	wish->any |= has_all;
	return has_all;
}

/* Opens the parts of a table that can have rows of the request. Returns why one cannot be read, or NULL. */
static const char *
open_parts(DirectScan *scan, Source source)
{
	DirectTable *table = scan->tables[source];
	const Datum *projects = NULL;
	int nprojects = scan->matches_nothing ? 0 : -1;
	const char *reason;

	if (table->partitions == NULL)
		return NULL;
	for (int i = 0; i < scan->nquals && nprojects < 0; i++)
		if (scan->quals[i].has_list &&
			scan->quals[i].columns[SOURCE_BATCH] == scan->columns[SOURCE_BATCH][COLUMN_PROJECT_ID])
		{
			projects = scan->quals[i].values;
			nprojects = scan->quals[i].nvalues;
		}
	reason = direct_open_parts(table, source == SOURCE_BATCH ? NULL : scan->tables[SOURCE_BATCH],
							   projects, nprojects);
	if (reason != NULL)
		return reason;
	if (table->nparts > 0)
		return source == SOURCE_BATCH && scan->uses_job_counts &&
					   !direct_is_not_null(table, scan->columns[source][COLUMN_ID])
				   ? "column \"id\" of a partition of \"batch\" may have nulls for this transaction"
				   : NULL;
	if (source == SOURCE_BATCH)
		scan->matches_nothing = true;
	return scan->matches_nothing ? NULL : "it has no partition for the projects";
}

static const char *
open_indexes(DirectScan *scan, Source source)
{
	IndexWish wish = {.scan = scan, .source = source};
	DirectTable *table = scan->tables[source];
	const char *reason = open_parts(scan, source);

	if (reason != NULL)
		return reason;
	direct_open_indexes(table, is_wished, &wish);
	/* No index fits the request. Any whole index leads to every row. */
	if (table->nindexes == 0)
		direct_open_indexes(table, NULL, NULL);
	if (table->nindexes == 0)
		return "it has no usable index";
	if ((source == SOURCE_JOB_COUNT || scan->uses_job_counts) && scan_key(scan, source) == NULL)
		return "it has no index on project and batch";
	return NULL;
}

static void
close_tables(DirectScan *scan)
{
	for (int i = 0; i < N_SOURCES; i++)
		if (scan->tables[i] != NULL)
			direct_close(scan->tables[i]);
}

static DirectScan *
new_scan(const Request *request)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "batches index scan", ALLOCSET_DEFAULT_SIZES);
	DirectScan *scan = MemoryContextAllocZero(context, sizeof(DirectScan));

	scan->request = request;
	scan->context = context;
	scan->total = -1;
	scan->snapshot = GetActiveSnapshot();
	scan->uses_job_counts = uses_job_counts(request);
	return scan;
}

/* Opens the tables, and makes quals of the filters. Returns why that is left to SQL, or NULL. */
static const char *
open_tables(DirectScan *scan)
{
	const char *reason = open_table(scan, SOURCE_BATCH);

	if (reason == NULL && scan->uses_job_counts)
		reason = open_table(scan, SOURCE_JOB_COUNT);
	if (reason == NULL)
		add_filters(scan);
	return reason;
}

/*
 * Begins to read what a request asks for in the active snapshot, or returns NULL
 * and why that is left to SQL.
 */
DirectScan *
direct_scan_begin(const Request *request, ScanReport *report, const char **reason)
{
	DirectScan *scan = new_scan(request);
	MemoryContext previous = MemoryContextSwitchTo(scan->context);

	scan->report = report;
	*reason = open_tables(scan);
	if (*reason == NULL)
	{
		if (filters_job_counts(request) && !scan->matches_nothing)
			add_size_class(scan);
		for (int i = 0; i < N_SOURCES && *reason == NULL; i++)
			if (scan->tables[i] != NULL)
				*reason = open_indexes(scan, i);
	}
	if (*reason == NULL)
	{
		scan->nblocks = direct_blocks(scan->tables[SOURCE_BATCH]);
		prepare_page(scan);
	}
	else
		close_tables(scan);
	MemoryContextSwitchTo(previous);
	return *reason == NULL ? scan : NULL;
}

/* Whether the role has the rights on the key and the number of jobs, and by status. */
static bool
may_select_job_counts(DirectScan *scan, bool by_status)
{
	const AttrNumber *own = scan->columns[SOURCE_JOB_COUNT];
	Bitmapset *columns = bms_make_singleton(own[COLUMN_PROJECT_ID]);

	columns = bms_add_member(columns, own[COLUMN_ID]);
	columns = bms_add_member(columns, own[COLUMN_JOBS_COUNT]);
	columns = bms_add_member(columns, scan->size_class_column);
	for (int i = 0; i < N_JOB_STATUSES && by_status; i++)
		columns = bms_add_member(columns, scan->job_columns[i]);
	return direct_may_select(scan->tables[SOURCE_JOB_COUNT], columns);
}

/* Opens what the job counts of a page's rows are read from. Returns why it cannot be read, or NULL. */
const char *
direct_scan_page_fallback_reason(DirectScan *scan)
{
	MemoryContext previous;
	const char *reason;

	if (scan->tables[SOURCE_JOB_COUNT] != NULL)
		return NULL;
	previous = MemoryContextSwitchTo(scan->context);
	reason = open_table(scan, SOURCE_JOB_COUNT);
	if (reason == NULL)
		reason = open_indexes(scan, SOURCE_JOB_COUNT);
	if (reason != NULL && scan->tables[SOURCE_JOB_COUNT] != NULL)
	{
		/* Who asks once more is to be told the same. */
		direct_close(scan->tables[SOURCE_JOB_COUNT]);
		scan->tables[SOURCE_JOB_COUNT] = NULL;
	}
	MemoryContextSwitchTo(previous);
	return reason;
}

static Bitmapset *
add_filtered_columns(const DirectScan *scan, Bitmapset *columns)
{
	for (int i = 0; i < scan->nquals; i++)
		if (scan->quals[i].columns[SOURCE_BATCH] != InvalidAttrNumber)
			columns = bms_add_member(columns, scan->quals[i].columns[SOURCE_BATCH]);
	return columns;
}

/* Whether the role has the rights on all columns of a page, and of the filters. */
bool
direct_scan_may_page(DirectScan *scan)
{
	MemoryContext previous = MemoryContextSwitchTo(scan->context);
	Bitmapset *columns = NULL;
	bool may_select;

	for (int i = 0; i < N_COLUMNS; i++)
		if (!batch_columns[i].is_job_count && !scan->request->omits[i])
			columns = bms_add_member(columns, scan->columns[SOURCE_BATCH][i]);
	columns = add_filtered_columns(scan, columns);
	may_select = direct_may_select(scan->tables[SOURCE_BATCH], columns) &&
				 may_select_job_counts(scan, !scan->request->omits[COLUMN_JOBS_COUNT_PER_STATUS]);
	MemoryContextSwitchTo(previous);
	return may_select;
}

/* Whether the role has the rights on the columns of the filters. */
bool
direct_scan_may_count(DirectScan *scan)
{
	const AttrNumber *own = scan->columns[SOURCE_BATCH];
	Bitmapset *columns = NULL;

	/* The key, by which the other table is joined */
	if (scan->uses_job_counts)
	{
		columns = bms_add_member(columns, own[COLUMN_PROJECT_ID]);
		columns = bms_add_member(columns, own[COLUMN_ID]);
	}
	columns = add_filtered_columns(scan, columns);
	return direct_may_select(scan->tables[SOURCE_BATCH], columns) &&
		   (!scan->uses_job_counts || may_select_job_counts(scan, false));
}

void
direct_scan_end(DirectScan *scan)
{
	close_tables(scan);
	MemoryContextDelete(scan->context);
}

/*
 * About how many rows match a request, or -1 where that cannot be told. For who does not see
 * all rows by the projects alone: other shares would tell what others have.
 */
double
direct_scan_estimate(const Request *request, bool sees_all)
{
	DirectScan *scan = new_scan(request);
	MemoryContext previous = MemoryContextSwitchTo(scan->context);
	double rows = -1;

	if (open_tables(scan) == NULL && open_parts(scan, SOURCE_BATCH) == NULL &&
		(scan->tables[SOURCE_JOB_COUNT] == NULL || open_parts(scan, SOURCE_JOB_COUNT) == NULL) &&
		direct_scan_may_count(scan))
	{
		rows = 0;
		for (int i = 0; i < scan->tables[SOURCE_BATCH]->nparts; i++)
		{
			BlockNumber pages;
			double all_visible;
			double part_rows;

			estimate_rel_size(scan->tables[SOURCE_BATCH]->parts[i], NULL, &pages, &part_rows,
							  &all_visible);
			rows += part_rows;
		}
		if (scan->matches_nothing)
			rows = 0;
		for (int i = 0; i < scan->nquals && rows > 0; i++)
		{
			Qual *qual = &scan->quals[i];
			Source source =
				qual->columns[SOURCE_BATCH] != InvalidAttrNumber ? SOURCE_BATCH : SOURCE_JOB_COUNT;

			if (sees_all ||
				qual->columns[SOURCE_BATCH] == scan->columns[SOURCE_BATCH][COLUMN_PROJECT_ID])
				rows *= estimate_share(scan->tables[source], qual);
		}
	}
	MemoryContextSwitchTo(previous);
	direct_scan_end(scan);
	return rows;
}

/*
 * The projects of a user, in order, or NULL if that is left to SQL.
 */
ArrayType *
direct_scan_projects(const char *user_id)
{
	const char *reason;
	DirectTable *table = direct_open("project_member", PROJECT_MEMBER_POLICY, false, &reason);
	AttrNumber project_column;
	AttrNumber user_column;
	ArrayType *projects = NULL;

	if (table == NULL)
		return NULL;
	direct_open_indexes(table, NULL, NULL);
	project_column = direct_column(table, "project_id", UUIDOID);
	user_column = direct_column(table, "user_id", TEXTOID);
	for (int i = 0; i < table->nindexes && projects == NULL; i++)
	{
		DirectIndex *index = &table->indexes[i];
		Qual qual;
		Datum *user = palloc(sizeof(Datum));
		ArrayBuildState *state;
		IndexWalk walk;

		if (project_column == InvalidAttrNumber || user_column == InvalidAttrNumber ||
			index->columns[0] != user_column || index->nkeys < 2 ||
			index->columns[1] != project_column ||
			!direct_may_select(table,
							   bms_add_member(bms_make_singleton(project_column), user_column)))
			continue;
		init_qual(&qual, TEXTOID);
		qual.columns[table->source] = user_column;
		user[0] = CStringGetTextDatum(user_id);
		restrict_to_list(&qual, user, 1);
		index_walk_init(&walk, table, index, &qual, 1, &qual, NoMovementScanDirection);
		state = initArrayResult(UUIDOID, CurrentMemoryContext, false);
		index_walk_start_range(&walk, 0);
		while (index_walk_next(&walk, NO_WORK_LIMIT) == WALK_MATCH)
		{
			bool isnull;
			Datum project = index_walk_value(&walk, project_column, &isnull);

			if (!isnull)
				accumArrayResult(state, project, false, UUIDOID, CurrentMemoryContext);
		}
		index_walk_end(&walk);
		projects = DatumGetArrayTypeP(makeArrayResult(state, CurrentMemoryContext));
	}
	direct_close(table);
	return projects;
}
