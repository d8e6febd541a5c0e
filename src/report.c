/*
 * report.c
 *		How requests were read: one of them, and those of the session by number.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"

#include "batches.h"
#include "report.h"

/* Requests of this session that have been read for one reason by one engine */
typedef struct Tally
{
	const char *engine;
	const char *fallback_reason; /* NULL: by index */
	int64 requests;
} Tally;

/* The reasons are few, but some name a column. */
#define MAX_TALLIES 64

static Tally tallies[MAX_TALLIES];
static int ntallies = 0;

/* What has read. */
const char *
report_engine(const ScanReport *report)
{
	if (report->fallback_reason == NULL)
		return "index";
	return report->by_shards && !report->page_by_sql ? "shards" : "sql";
}

/* Whether the role may know how much there is that it does not see. */
bool
sees_all_rows(void)
{
	return check_enable_rls(require_table("batch"), InvalidOid, true) != RLS_ENABLED;
}

/* Adds what a path did. */
void
report_path(ScanReport *report, bool for_page, const char *kind, const char *index, int64 nranges,
			int64 work, const char *outcome)
{
	PathReport *path;

	if (!report->lists_paths)
		return;
	path = palloc(sizeof(PathReport));
	path->name = nranges > 1
					 ? psprintf("%s of " INT64_FORMAT " key ranges of %s", kind, nranges, index)
					 : psprintf("%s of %s", kind, index);
	path->for_page = for_page;
	path->work = work;
	path->outcome = outcome;
	report->paths = lappend(report->paths, path);
}

/* The path that the page, or the count, was read by; NULL if it was by none. */
const PathReport *
report_winner(const ScanReport *report, bool for_page)
{
	ListCell *cell;

	foreach (cell, report->paths)
	{
		const PathReport *path = lfirst(cell);

		if (path->for_page == for_page && strcmp(path->outcome, OUTCOME_WON) == 0)
			return path;
	}
	return NULL;
}

/* The work of all paths. */
int64
report_work(const ScanReport *report)
{
	int64 work = 0;
	ListCell *cell;

	foreach (cell, report->paths)
		work += ((const PathReport *) lfirst(cell))->work;
	return work;
}

/* Logs at DEBUG1 how the request was read, and adds it to the session's tallies. */
void
report_done(const ScanReport *report)
{
	const char *reason = report->fallback_reason;
	const PathReport *path = report_winner(report, true);
	const char *total = report->lists_paths ? report->total_source : NULL;
	int i = 0;

	if (path == NULL)
		path = report_winner(report, false);
	if (message_level_is_interesting(DEBUG1))
		ereport(DEBUG1,
				(errmsg_internal("batches read by %s%s%s%s%s%s%s", report_engine(report),
								 reason == NULL ? "" : ": ", reason == NULL ? "" : reason,
								 path == NULL ? "" : ": ", path == NULL ? "" : path->name,
								 total == NULL ? "" : ", total: ", total == NULL ? "" : total)));

	while (i < ntallies && (tallies[i].engine != report_engine(report) ||
							(reason != NULL && strcmp(reason, tallies[i].fallback_reason) != 0)))
		i++;
	if (i == MAX_TALLIES)
		i--;
	if (i == ntallies)
	{
		if (reason != NULL)
			tallies[i].fallback_reason = MemoryContextStrdup(TopMemoryContext, reason);
		tallies[i].engine = report_engine(report);
		ntallies++;
	}
	tallies[i].requests++;
}

/* batches.engine_requests(out engine text, out reason text, out requests bigint) returns setof record */
PG_FUNCTION_INFO_V1(batches_engine_requests);
Datum
batches_engine_requests(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TEXTOID, TEXTOID, INT8OID};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	check_result_types(fcinfo->flinfo->fn_oid, result->setDesc, types, lengthof(types));
	/* They may be of others who have used the session. */
	if (!sees_all_rows())
		return (Datum) 0;
	for (int i = 0; i < ntallies; i++)
	{
		const char *reason = tallies[i].fallback_reason;
		Datum values[] = {CStringGetTextDatum(tallies[i].engine), (Datum) 0,
						  Int64GetDatum(tallies[i].requests)};
		bool isnull[] = {false, reason == NULL, false};

		if (reason != NULL)
			values[1] = CStringGetTextDatum(reason);
		tuplestore_putvalues(result->setResult, result->setDesc, values, isnull);
	}
	return (Datum) 0;
}
