/*
 * facets.c
 *		How many batches match, by each of what a listing is narrowed by.
 *
 * Totals answer where they can; else the matching batches are read once, grouped.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "batches.h"
#include "derived.h"
#include "read_totals.h"
#include "scan.h"
#include "scan_shards.h"
#include "scan_sql.h"
#include "untrusted.h"

/* A value of a facet whose values are not known before, and its number of batches */
typedef struct FacetValue
{
	char *value;
	int64 count;
	char status;
} FacetValue;

#define SH_PREFIX facet
#define SH_ELEMENT_TYPE FacetValue
#define SH_KEY_TYPE char *
#define SH_KEY value
#define SH_HASH_KEY(table, key) hash_untrusted(key, strlen(key))
#define SH_EQUAL(table, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Facets
{
	MemoryContext context;
	CellLabels labels;
	bool has_checked_types; /* of the columns of the batches */
	bool chosen[N_CELLS];
	int64 nrows;
	int64 cells[N_CELLS];
	facet_hash *devices;
	facet_hash *projects;
} Facets;

static void
count_value(Facets *facets, facet_hash *facet, char *value, int64 count)
{
	bool found;
	FacetValue *entry = facet_insert(facet, value, &found);

	if (!found)
	{
		entry->value = MemoryContextStrdup(facets->context, value);
		entry->count = 0;
	}
	entry->count += count;
}

/* Counts the cells of a project and device. */
static void
count_cells(Facets *facets, Datum project_id, Datum device_type, const int64 *cells)
{
	int64 count = 0;

	for (int i = 0; i < N_CELLS; i++)
		if (facets->chosen[i])
		{
			facets->cells[i] += cells[i];
			count += cells[i];
		}
	facets->nrows++;
	count_value(facets, facets->devices, TextDatumGetCString(device_type), count);
	count_value(facets, facets->projects,
				DatumGetCString(DirectFunctionCall1(uuid_out, project_id)), count);
}

/* A QueryRowCallback: a row of the totals */
static void
count_total_row(TupleTableSlot *slot, void *arg)
{
	int64 cells[N_CELLS] = {0};
	ArrayType *array = total_row_cells(slot);

	if (array == NULL)
		return;
	add_cells(cells, array);
	count_cells(arg, counted_value(slot, 1, "total"), counted_value(slot, 2, "total"), cells);
}

/* A QueryRowCallback: a group of batches */
static void
count_group(TupleTableSlot *slot, void *arg)
{
	static const ColumnId columns[] = {COLUMN_PROJECT_ID, COLUMN_DEVICE_TYPE, COLUMN_STATUS,
									   COLUMN_OPEN, COLUMN_QUEUE_PRIORITY};
	Facets *facets = arg;
	int64 cells[N_CELLS] = {0};
	Datum values[lengthof(columns)];
	bool isnull;

	for (int i = 0; i < lengthof(columns); i++)
	{
		const Column *column = &batch_columns[columns[i]];

		if (!facets->has_checked_types)
			check_column_type("batch", column->name,
							  TupleDescAttr(slot->tts_tupleDescriptor, i)->atttypid,
							  column_type_oid(column->type));
		/* What is neither open nor not is counted as not. */
		values[i] = columns[i] == COLUMN_OPEN ? slot_getattr(slot, i + 1, &isnull)
											  : counted_value(slot, i + 1, "batch");
	}
	facets->has_checked_types = true;
	cells[cell_index(DatumGetObjectId(values[2]), DatumGetBool(values[3]),
					 DatumGetObjectId(values[4]), &facets->labels)] =
		DatumGetInt64(slot_getattr(slot, lengthof(columns) + 1, &isnull));
	count_cells(facets, values[0], values[1], cells);
}

/*
 * Writing them
 */

static void
begin_facet(StringInfo json, const char *name)
{
	appendStringInfo(json, ",\"%s\":{", name);
}

/* Appends a value and its number, if it is not 0. */
static void
append_value(StringInfo json, const char *value, int64 count)
{
	if (count < 0)
		fail_on_wrong_totals();
	if (count == 0)
		return;
	if (json->data[json->len - 1] != '{')
		appendStringInfoChar(json, ',');
	escape_json(json, value);
	appendStringInfo(json, ":" INT64_FORMAT, count);
}

static void
append_facet(StringInfo json, const char *name, facet_hash *facet)
{
	facet_iterator iterator;
	FacetValue *entry;

	begin_facet(json, name);
	facet_start_iterate(facet, &iterator);
	while ((entry = facet_iterate(facet, &iterator)) != NULL)
		append_value(json, entry->value, entry->count);
	appendStringInfoChar(json, '}');
}

/* Appends a facet of an enumeration: label i has the cells whose number is i, divided so and modulo the labels. */
static void
append_cell_facet(StringInfo json, const char *name, const char *const *labels, int nlabels,
				  const int64 *cells, int divisor)
{
	begin_facet(json, name);
	for (int label = 0; label < nlabels; label++)
	{
		int64 count = 0;

		for (int i = 0; i < N_CELLS; i++)
			if (i / divisor % nlabels == label)
				count += cells[i];
		append_value(json, labels[label], count);
	}
	appendStringInfoChar(json, '}');
}

static Datum
render_facets(const Facets *facets)
{
	static const char *const booleans[] = {"false", "true"};
	StringInfoData json;
	int64 total = 0;

	for (int i = 0; i < N_CELLS; i++)
		total += facets->cells[i];
	initStringInfo(&json);
	appendStringInfo(&json, "{\"total\":" INT64_FORMAT, total);
	append_cell_facet(&json, "status", parameters[PARAMETER_STATUS].labels, N_BATCH_STATUSES,
					  facets->cells, 2 * N_QUEUE_PRIORITIES);
	append_cell_facet(&json, "open", booleans, lengthof(booleans), facets->cells,
					  N_QUEUE_PRIORITIES);
	append_facet(&json, "device_type", facets->devices);
	append_cell_facet(&json, "queue_priority", parameters[PARAMETER_QUEUE_PRIORITY].labels,
					  N_QUEUE_PRIORITIES, facets->cells, 1);
	append_facet(&json, "project_id", facets->projects);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* batches.batch_facets(… filters …) returns jsonb */
PG_FUNCTION_INFO_V1(batches_batch_facets);
Datum
batches_batch_facets(PG_FUNCTION_ARGS)
{
	Request request;
	Facets facets = {.context = CurrentMemoryContext};

	read_arguments(&request, fcinfo, LIMIT_OPTIONAL);
	restrict_to_viewer(&request);
	check_job_counts(&request);
	require_same_versions(&request);
	facets.devices = facet_create(CurrentMemoryContext, 16, NULL);
	facets.projects = facet_create(CurrentMemoryContext, 64, NULL);
	if (totals_may_answer(&request))
	{
		choose_cells(&request, facets.chosen);
		read_total_rows(&request, true, count_total_row, &facets);
	}
	if (facets.nrows == 0)
	{
		memset(facets.chosen, true, sizeof(facets.chosen));
		scan_sql_groups(&request, count_group, &facets);
	}
	return render_facets(&facets);
}
