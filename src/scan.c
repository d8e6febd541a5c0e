/*
 * scan.c
 *		Who sees which batches, and the way to the engine that reads them.
 *
 * scan_page() and scan_count() of one request read in the snapshot of the
 * calling statement, so a page and its total agree.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "batches.h"
#include "plan.h"
#include "scan.h"
#include "scan_sql.h"

static void
collect_project(TupleTableSlot *slot, void *arg)
{
	ArrayBuildState *projects = arg;
	bool isnull;
	Datum project = slot_getattr(slot, 1, &isnull);

	check_column_type("project_member", "project_id",
					  TupleDescAttr(slot->tts_tupleDescriptor, 0)->atttypid, UUIDOID);
	if (!isnull)
		accumArrayResult(projects, project, false, UUIDOID, projects->mcontext);
}

/* The projects of a user, in order. */
static ArrayType *
lookup_projects(const char *user_id)
{
	ArrayBuildState *projects = initArrayResult(UUIDOID, CurrentMemoryContext, false);
	QueryParameters query_parameters = {0};

	require_table("project_member");
	add_query_parameter(&query_parameters, TEXTOID, CStringGetTextDatum(user_id));
	run_query("select m.project_id from " BATCHES_SCHEMA ".project_member m"
			  " where m.user_id operator(pg_catalog.=) $1 order by m.project_id",
			  &query_parameters, collect_project, projects);
	return DatumGetArrayTypeP(makeArrayResult(projects, CurrentMemoryContext));
}

static int
compare_uuids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* The elements of a list that are in another one, which is in order. */
static ArrayType *
intersect_uuids(ArrayType *list, ArrayType *sorted)
{
	ArrayBuildState *result = initArrayResult(UUIDOID, CurrentMemoryContext, false);
	const char *wanted = ARR_DATA_PTR(list);
	int nwanted = ArrayGetNItems(ARR_NDIM(list), ARR_DIMS(list));
	int nsorted = ArrayGetNItems(ARR_NDIM(sorted), ARR_DIMS(sorted));

	for (int i = 0; i < nwanted; i++)
	{
		const char *uuid = wanted + i * UUID_LEN;

		if (bsearch(uuid, ARR_DATA_PTR(sorted), nsorted, UUID_LEN, compare_uuids) != NULL)
			accumArrayResult(result, PointerGetDatum(uuid), false, UUIDOID, CurrentMemoryContext);
	}
	return DatumGetArrayTypeP(makeArrayResult(result, CurrentMemoryContext));
}

/*
 * Makes a request ready to be read: when there is an authenticated user, it
 * reaches that user's projects only, whatever the role may see.
 */
void
scan_begin(Request *request)
{
	FilterValue *projects = &request->filters[PARAMETER_PROJECT_ID];
	const char *user_id = authenticated_user_id();

	require_table("batch");
	if (user_id != NULL)
	{
		ArrayType *visible = lookup_projects(user_id);

		if (projects->given)
			visible = intersect_uuids(DatumGetArrayTypeP(projects->value), visible);
		projects->given = true;
		projects->value = PointerGetDatum(visible);
	}
}

void
scan_page(const Request *request, BatchRowCallback callback, void *arg)
{
	scan_sql_page(request, callback, arg);
}

int64
scan_count(const Request *request)
{
	return scan_sql_count(request);
}
