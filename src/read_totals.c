/*
 * read_totals.c
 *		Counting batches by "batch_total": how long it takes follows the number of projects
 *		and devices, not that of the batches.
 *
 * Totals can answer if every filter is on what they are counted by, if the role sees all
 * batches of a project or none of them, and if the triggers of the table that is listed
 * keep them.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "batches.h"
#include "fetch.h"
#include "leaf.h"
#include "read_totals.h"
#include "scan_sql.h"

/*
 * Whether they can
 */

/* Whether all filters are on what the totals count by. */
static bool
has_cell_filters_only(const Request *request)
{
	for (int id = FIRST_FILTER; id <= LAST_FILTER; id++)
		if (request->filters[id].given && !parameters[id].is_cell)
			return false;
	return true;
}

/* Whether the triggers of a table of batches keep the totals, whatever statement changes it. */
static bool
triggers_keep_totals(Relation batch)
{
	const int16 all =
		TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE | TRIGGER_TYPE_TRUNCATE;
	Oid function = extension_function("count_changed_batches");
	int16 kept = 0;

	for (int i = 0; batch->trigdesc != NULL && i < batch->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &batch->trigdesc->triggers[i];

		if (trigger->tgfoid == function && trigger->tgqual == NULL &&
			trigger->tgenabled != TRIGGER_DISABLED &&
			trigger->tgenabled != TRIGGER_FIRES_ON_REPLICA)
			kept |= trigger->tgtype & all;
	}
	return kept == all;
}

/* Whether some partitions may be on other servers, where no trigger of the table's fires. */
static bool
may_have_foreign_partitions(Relation batch)
{
	PartitionDesc partitions;

	if (batch->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return false;
	partitions = RelationGetPartitionDesc(batch, true);
	for (int i = 0; i < partitions->nparts; i++)
		if (get_rel_relkind(partitions->oids[i]) != RELKIND_RELATION)
			return true;
	return false;
}

/* Whether the role may read what a count of the batches would read, and the totals. */
static bool
may_select_totals(const Request *request, Relation batch, Relation totals)
{
	Bitmapset *columns = NULL;

	for (int id = FIRST_FILTER; id <= LAST_FILTER; id++)
		if (request->filters[id].given)
		{
			ColumnId column = parameters[id].column;
			AttrNumber number =
				get_attnum(RelationGetRelid(batch),
						   batch_columns[column == COLUMN_COMPLETE ? COLUMN_OPEN : column].name);

			if (number == InvalidAttrNumber)
				return false;
			columns = bms_add_member(columns, number);
		}
	return may_select(batch, columns) && may_select(totals, NULL) &&
		   pg_class_aclcheck(RelationGetRelid(totals), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* Whether some totals are kept for some batches, and may be read in their place. */
static bool
are_kept(const Request *request, Oid batch_oid, Oid totals_oid)
{
	Relation batch;
	Relation totals;
	bool may_answer;

	if (!OidIsValid(totals_oid) || get_rel_relkind(totals_oid) != RELKIND_RELATION)
		return false;
	batch = table_open(batch_oid, AccessShareLock);
	totals = table_open(totals_oid, AccessShareLock);
	/*
	 * Other tables' rows are seen through a view, or through a table that others inherit from;
	 * and what is written through one that it inherits from, its triggers do not see.
	 */
	may_answer =
		(batch->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		 (batch->rd_rel->relkind == RELKIND_RELATION && !has_subclass(RelationGetRelid(batch)) &&
		  !has_superclass(RelationGetRelid(batch)))) &&
		triggers_keep_totals(batch) && !may_have_foreign_partitions(batch) &&
		direct_policy_fallback_reason(batch, BATCH_POLICY) == NULL &&
		direct_policy_fallback_reason(totals, BATCH_POLICY) == NULL &&
		may_select_totals(request, batch, totals);
	table_close(totals, NoLock);
	table_close(batch, NoLock);
	return may_answer;
}

/* Whether the totals can say how many batches match. */
bool
totals_may_answer(const Request *request)
{
	const Oid *batches;
	const Oid *totals;
	const ShardSet *shards = used_shards("batch", &batches);
	Oid batch;

	if (!has_cell_filters_only(request))
		return false;
	if (shards == NULL)
	{
		batch = require_table("batch");
		return are_kept(request, batch, get_relname_relid(TOTAL_TABLE, get_rel_namespace(batch)));
	}
	(void) used_shards(TOTAL_TABLE, &totals);
	for (int i = 0; i < shards->nshards; i++)
		if (!are_kept(request, batches[i], totals[i]))
			return false;
	return true;
}

/*
 * Reading them
 */

/* The cells of the batches that the request's filters choose. */
void
choose_cells(const Request *request, bool *chosen)
{
	static const ParameterId lists[] = {PARAMETER_STATUS, PARAMETER_QUEUE_PRIORITY};
	const FilterValue *open = &request->filters[PARAMETER_OPEN];
	const FilterValue *complete = &request->filters[PARAMETER_COMPLETE];
	bool labels[lengthof(lists)][N_BATCH_STATUSES] = {{false}};

	for (int i = 0; i < lengthof(lists); i++)
	{
		const FilterValue *list = &request->filters[lists[i]];
		Oid known[N_BATCH_STATUSES] = {0};
		ArrayType *array;
		const Oid *values;

		if (!list->given)
		{
			memset(labels[i], true, sizeof(labels[i]));
			continue;
		}
		array = DatumGetArrayTypeP(list->value);
		values = (const Oid *) ARR_DATA_PTR(array);
		for (int j = 0; j < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); j++)
		{
			int label = find_enum_index(values[j], parameters[lists[i]].labels,
										i == 0 ? N_BATCH_STATUSES : N_QUEUE_PRIORITIES, known);

			/* No batch has a label that was added to the enumeration. */
			if (label >= 0)
				labels[i][label] = true;
		}
	}
	for (int i = 0; i < N_CELLS; i++)
	{
		bool is_open = i / N_QUEUE_PRIORITIES % 2 == 1;

		chosen[i] = labels[0][i / (2 * N_QUEUE_PRIORITIES)] && labels[1][i % N_QUEUE_PRIORITIES] &&
					(!open->given || DatumGetBool(open->value) == is_open) &&
					(!complete->given || DatumGetBool(complete->value) != is_open);
	}
}

/* What has been read up to now */
typedef struct TotalSum
{
	int64 nrows;
	int64 cells[N_CELLS];
} TotalSum;

/* The cells of a row of read_total_rows(), or NULL. Its columns may have other types than create_tables() gives them. */
ArrayType *
total_row_cells(TupleTableSlot *slot)
{
	static const struct
	{
		const char *name;
		Oid type;
	} columns[] = {{"project_id", UUIDOID}, {"device_type", TEXTOID}, {"n", INT8ARRAYOID}};
	bool isnull;
	Datum cells;

	for (int i = 0; i < lengthof(columns); i++)
		check_column_type(TOTAL_TABLE, columns[i].name,
						  TupleDescAttr(slot->tts_tupleDescriptor, i)->atttypid, columns[i].type);
	cells = slot_getattr(slot, lengthof(columns), &isnull);
	return isnull ? NULL : DatumGetArrayTypeP(cells);
}

/* A QueryRowCallback */
static void
add_total_row(TupleTableSlot *slot, void *arg)
{
	TotalSum *sum = arg;
	ArrayType *cells = total_row_cells(slot);

	if (cells == NULL)
		return;
	sum->nrows++;
	add_cells(sum->cells, cells);
}

/* " where …": the rows that have what the filters choose, of all devices together or of each. */
static void
append_total_where(StringInfo sql, const Request *request, bool by_device,
				   QueryParameters *query_parameters)
{
	const FilterValue *projects = &request->filters[PARAMETER_PROJECT_ID];
	const FilterValue *devices = &request->filters[PARAMETER_DEVICE_TYPE];
	const FilterValue *excluded = &request->filters[PARAMETER_EXCLUDE_DEVICE_TYPE];

	appendStringInfoString(sql, " where ");
	if (devices->given)
		append_in(sql, "t.device_type", devices->value, query_parameters);
	else
		appendStringInfo(sql, "t.device_type is %snull",
						 by_device || excluded->given ? "not " : "");
	if (excluded->given)
	{
		appendStringInfoString(sql, " and ");
		append_not_in(sql, "t.device_type", excluded->value, query_parameters);
	}
	if (projects->given)
	{
		appendStringInfoString(sql, " and ");
		append_in(sql, "t.project_id", projects->value, query_parameters);
	}
}

/*
 * Reads the rows that have what the filters choose, by SQL: project, device and cells. They
 * are those of all devices together, or those of each.
 */
void
read_total_rows(const Request *request, bool by_device, QueryRowCallback callback, void *arg)
{
	QueryParameters query_parameters = {0};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "select t.project_id, t.device_type, t.n from %s t",
					 table_expression(TOTAL_TABLE));
	append_total_where(&sql, request, by_device, &query_parameters);
	run_query(sql.data, &query_parameters, callback, arg);
}

/* How many rows are fetched in the order of their places: each page is then looked up once, if projects share it. */
#define FETCHED_AT_ONCE 1024

/* What is read of the index on device and project */
typedef struct TotalReader
{
	DirectTable *table;
	DirectIndex *index;
	AttrNumber n_column;
	LeafReader *leaves;
	Fetch fetch;
	int nprojects; /* of the part; -1: all */
	Datum *projects;
	int part;
	Datum *part_projects; /* room for those of a part */
	int nplaces;
	RowPlace *places; /* found, and not fetched yet */
	TotalSum *sum;
} TotalReader;

/* Adds the rows that were found. */
static void
add_found(TotalReader *reader)
{
	sort_places(reader->places, reader->nplaces);
	for (int i = 0; i < reader->nplaces; i++)
	{
		bool isnull;
		Datum cells;
		ArrayType *array;

		CHECK_FOR_INTERRUPTS();
		if (!fetch_tuple(&reader->fetch, reader->places[i]))
			continue;
		cells = slot_getattr(reader->fetch.slot, reader->n_column, &isnull);
		if (isnull)
			continue;
		array = DatumGetArrayTypeP(cells);
		reader->sum->nrows++;
		add_cells(reader->sum->cells, array);
		if ((Pointer) array != DatumGetPointer(cells))
			pfree(array);
	}
	reader->nplaces = 0;
}

/* Finds the rows of a device, or of all devices together. The projects are in the index's order. */
static void
find_device(TotalReader *reader, Datum device, bool all_devices)
{
	TupleDesc descriptor = RelationGetDescr(reader->index->relation);
	Datum from[] = {device, 0};
	bool from_isnull[] = {all_devices, false};
	IndexTuple entry;
	ItemPointerData tid;
	int project = 0;

	if (reader->nprojects > 0)
		from[1] = reader->projects[0];
	leaf_seek(reader->leaves, from, from_isnull, reader->nprojects > 0 ? 2 : 1);
	while ((entry = leaf_next(reader->leaves, &tid)) != NULL)
	{
		bool isnull;
		Datum value = index_getattr(entry, 1, descriptor, &isnull);
		pg_uuid_t *found;
		int order = 0;

		CHECK_FOR_INTERRUPTS();
		if (isnull != all_devices || (!isnull && !DatumGetBool(DirectFunctionCall2Coll(
													 texteq, C_COLLATION_OID, value, device))))
			return;
		value = index_getattr(entry, 2, descriptor, &isnull);
		if (isnull)
			continue;
		found = DatumGetUUIDP(value);
		while (project < reader->nprojects &&
			   (order = memcmp(DatumGetUUIDP(reader->projects[project]), found, UUID_LEN)) < 0)
			project++;
		if (project == reader->nprojects)
			return;
		if (order > 0)
		{
			from[1] = reader->projects[project];
			leaf_advance(reader->leaves, from, from_isnull, lengthof(from));
		}
		else
		{
			reader->places[reader->nplaces++] = place_of(reader->part, &tid);
			if (reader->nplaces == FETCHED_AT_ONCE)
				add_found(reader);
		}
	}
}

static void
find_devices(TotalReader *reader, const Datum *devices, int ndevices)
{
	for (int i = 0; i < ndevices && reader->nprojects != 0; i++)
		find_device(reader, devices[i], false);
	add_found(reader);
}

/* An IndexFilter: an index on device and project */
static bool
is_total_index(const int16 *columns, int ncolumns, int nkeys, void *arg)
{
	const AttrNumber *wanted = arg;

	return nkeys >= 2 && columns[0] == wanted[0] && columns[1] == wanted[1];
}

/* Takes those of the projects that are in the reader's part, or all where there is but one. */
static void
take_projects(TotalReader *reader, Datum *projects, int nprojects)
{
	const DirectTable *table = reader->table;

	reader->projects = projects;
	reader->nprojects = nprojects;
	if (table->partitions == NULL || nprojects < 0)
		return;
	reader->projects = reader->part_projects;
	reader->nprojects = 0;
	for (int i = 0; i < table->nprojects; i++)
		if (table->projects[i].part == reader->part)
			reader->projects[reader->nprojects++] = projects[table->projects[i].value];
}

/* Adds up a part of the table. */
static void
sum_part(TotalReader *reader, const Request *request, Qual *names)
{
	TotalSum *sum = reader->sum;
	TotalSum without = {0};

	reader->leaves = leaf_begin(direct_index_part(reader->table, reader->index, reader->part),
								GetActiveSnapshot());
	if (request->filters[PARAMETER_DEVICE_TYPE].given)
		find_devices(reader, names->values, names->nvalues);
	else
	{
		if (reader->nprojects != 0)
			find_device(reader, (Datum) 0, true);
		add_found(reader);
		reader->sum = &without;
		find_devices(reader, names->excluded, names->nexcluded);
		reader->sum = sum;
		for (int i = 0; i < N_CELLS; i++)
			sum->cells[i] -= without.cells[i];
	}
	leaf_end(reader->leaves);
}

/* Opens what is read. Returns whether it can be read directly. */
static bool
open_totals(TotalReader *reader, const Datum *projects, int nprojects)
{
	const char *reason;
	AttrNumber key[2];

	reader->table = direct_open(TOTAL_TABLE, BATCH_POLICY, true, &reason);
	if (reader->table == NULL)
		return false;
	key[0] = direct_column(reader->table, "device_type", TEXTOID);
	key[1] = direct_column(reader->table, "project_id", UUIDOID);
	reader->n_column = direct_column(reader->table, "n", INT8ARRAYOID);
	if (key[0] != InvalidAttrNumber && key[1] != InvalidAttrNumber &&
		reader->n_column != InvalidAttrNumber &&
		direct_open_parts(reader->table, NULL, projects, nprojects) == NULL)
		direct_open_indexes(reader->table, is_total_index, key);
	if (reader->table->nindexes > 0)
		return true;
	direct_close(reader->table);
	return false;
}

/* Adds up by the index. Returns false if that cannot be read directly. */
static bool
sum_by_index(const Request *request, TotalSum *sum)
{
	const FilterValue *filter = &request->filters[PARAMETER_PROJECT_ID];
	const FilterValue *devices = &request->filters[PARAMETER_DEVICE_TYPE];
	const FilterValue *excluded = &request->filters[PARAMETER_EXCLUDE_DEVICE_TYPE];
	TotalReader reader = {.sum = sum};
	int nprojects = -1;
	Datum *projects = NULL;
	Qual names;

	if (filter->given)
		projects = sorted_list(filter->value, &nprojects);
	if (!open_totals(&reader, projects, nprojects))
		return false;
	reader.index = &reader.table->indexes[0];
	fetch_init(&reader.fetch, reader.table, NULL, GetActiveSnapshot());
	reader.places = palloc(sizeof(RowPlace) * FETCHED_AT_ONCE);
	reader.part_projects =
		palloc_extended(sizeof(Datum) * (reader.table->nprojects + 1), MCXT_ALLOC_HUGE);
	init_qual(&names, TEXTOID);
	if (devices->given)
		restrict_to_array(&names, devices->value);
	if (excluded->given)
		exclude_array(&names, excluded->value);
	if (normalize_qual(&names))
		for (reader.part = 0; reader.part < reader.table->nparts; reader.part++)
		{
			take_projects(&reader, projects, nprojects);
			sum_part(&reader, request, &names);
		}
	fetch_end(&reader.fetch);
	direct_close(reader.table);
	return true;
}

/*
 * Counts the batches that match by their totals. Returns false if there is no row for what
 * is asked for: no batch matches, or the batches were copied without their totals.
 */
bool
count_by_totals(const Request *request, bool by_index, int64 *count)
{
	TotalSum sum = {0};
	bool chosen[N_CELLS];

	if (!by_index || !sum_by_index(request, &sum))
		read_total_rows(request, false, add_total_row, &sum);
	if (sum.nrows == 0)
		return false;
	choose_cells(request, chosen);
	*count = 0;
	for (int i = 0; i < N_CELLS; i++)
	{
		if (sum.cells[i] < 0)
			fail_on_wrong_totals();
		if (chosen[i])
			*count += sum.cells[i];
	}
	return true;
}

/* Counts the batches of some projects. Returns false if the totals cannot tell. */
bool
count_projects(Datum *projects, int nprojects, int64 *count)
{
	Request request = {0};

	request.filters[PARAMETER_PROJECT_ID].given = true;
	request.filters[PARAMETER_PROJECT_ID].value = PointerGetDatum(
		construct_array(projects, nprojects, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	*count = 0;
	if (!totals_may_answer(&request))
		return false;
	/* A project that never had a batch has no row. */
	(void) count_by_totals(&request, true, count);
	return true;
}
