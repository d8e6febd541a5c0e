/*
 * scan.c
 *		Who sees which batches, and which engine reads them.
 *
 * The index engine reads whatever it can read exactly as the executor would; SQL reads
 * everything else. The setting batches.scan chooses an engine by hand. scan_page() and
 * scan_count() of one request use the snapshot of the calling statement, so a page and its
 * total agree.
 */
#include "postgres.h"
#include "compat.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "batches.h"
#include "citus.h"
#include "plan.h"
#include "read_totals.h"
#include "scan.h"
#include "direct_scan.h"
#include "scan_shards.h"
#include "scan_sql.h"

typedef enum ScanEngine
{
	ENGINE_AUTO,
	ENGINE_SQL,
	ENGINE_INDEX,
} ScanEngine;

static int engine = ENGINE_AUTO;

/* From this offset on, a page may be behind the end: the total, which tells, costs less than the page. */
#define FAR_OFFSET 10000

struct BatchScan
{
	const Request *request;
	DirectScan *direct; /* by index */
	ShardScan *shards;  /* or on the shards of distributed tables; NULL, both: SQL reads */
	int64 total;        /* -1: not counted yet */
	ScanReport report;
};

void
define_scan_settings(void)
{
	static const struct config_enum_entry engines[] = {
		{"auto", ENGINE_AUTO, false},
		{"sql", ENGINE_SQL, false},
		{"index", ENGINE_INDEX, false},
		{NULL, 0, false},
	};

	DefineCustomEnumVariable(
		"batches.scan", "How batches are read.",
		"auto reads by index where the answer is the same as by SQL, and by SQL elsewhere.",
		&engine, ENGINE_AUTO, engines, PGC_USERSET, 0, NULL, NULL, NULL);
}

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
	ArrayBuildState *projects;
	QueryParameters query_parameters = {0};

	require_table("project_member");
	if (engine != ENGINE_SQL)
	{
		ArrayType *found = direct_scan_projects(user_id);

		if (found != NULL)
			return found;
	}
	projects = initArrayResult(UUIDOID, CurrentMemoryContext, false);
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

		CHECK_FOR_INTERRUPTS();
		if (bsearch(uuid, ARR_DATA_PTR(sorted), nsorted, UUID_LEN, compare_uuids) != NULL)
			accumArrayResult(result, PointerGetDatum(uuid), false, UUIDOID, CurrentMemoryContext);
	}
	return DatumGetArrayTypeP(makeArrayResult(result, CurrentMemoryContext));
}

/* Lets SQL read a request. With batches.scan = index, that is an error, which names the reason. */
static void
leave_to_sql(BatchScan *scan, const char *reason)
{
	if (engine == ENGINE_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" cannot be read by its indexes", BATCHES_SCHEMA, "batch"),
				 errdetail_internal("Reason: %s.", reason),
				 errhint("Set batches.scan to auto: SQL then reads what indexes cannot.")));
	scan->report.fallback_reason = reason;
}

static void
restrict_to_projects(Request *request, ArrayType *visible)
{
	FilterValue *projects = &request->filters[PARAMETER_PROJECT_ID];

	if (projects->given)
		visible = intersect_uuids(DatumGetArrayTypeP(projects->value), visible);
	projects->given = true;
	projects->value = PointerGetDatum(visible);
	request->is_for_viewer = true;
}

/*
 * Restricts a request to what its user may see: when there is an authenticated user, to
 * that user's projects, whatever the role may see.
 */
void
restrict_to_viewer(Request *request)
{
	const char *user_id = authenticated_user_id();

	require_table("batch");
	if (user_id != NULL)
		restrict_to_projects(request, lookup_projects(user_id));
}

/* A QueryRowCallback: a batch, where there are no job counts at all */
static void
fail_on_batch(TupleTableSlot *slot, void *arg)
{
	bool isnull;

	Datum id = slot_getattr(slot, 1, &isnull);

	fail_on_missing_counts(isnull ? NULL : DatumGetUUIDP(id));
}

/* Whether a partition has no row, as far as its size tells. One that somebody has locked may have some. */
static bool
is_empty_partition(Oid oid)
{
	Relation partition;
	bool is_empty;

	if (!ConditionalLockRelationOid(oid, AccessShareLock))
		return false;
	partition = try_relation_open(oid, NoLock);
	if (partition == NULL)
		return true;
	is_empty = RELKIND_HAS_TABLE_AM(partition->rd_rel->relkind) &&
			   RelationGetNumberOfBlocks(partition) == 0;
	relation_close(partition, AccessShareLock);
	return is_empty;
}

/* The same of a table, or of all its partitions. */
static bool
is_empty(Oid oid)
{
	Relation table = table_open(oid, AccessShareLock);
	bool is_empty;

	if (table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		PartitionDesc partitions = RelationGetPartitionDesc(table, true);

		is_empty = true;
		for (int i = 0; i < partitions->nparts && is_empty; i++)
			is_empty = is_empty_partition(partitions->oids[i]);
	}
	else
		is_empty = RELKIND_HAS_TABLE_AM(table->rd_rel->relkind) &&
				   RelationGetNumberOfBlocks(table) == 0 && !is_distributed(oid);
	table_close(table, NoLock);
	return is_empty;
}

/*
 * No job counts at all are a fault, unless there is no batch: where batches were copied
 * without them, a filter on them would find nothing and not say why.
 */
void
check_job_counts(const Request *request)
{
	QueryParameters no_parameters = {0};
	const ShardSet *shards;
	const Oid *tables;

	if (!uses_job_counts(request))
		return;
	/* Locks are had in this order everywhere. */
	table_close(table_open(require_table("batch"), AccessShareLock), NoLock);
	shards = used_shards(JOB_COUNT_TABLE, &tables);
	if (shards == NULL && !is_empty(require_table(JOB_COUNT_TABLE)))
		return;
	for (int i = 0; shards != NULL && i < shards->nshards; i++)
		if (!is_empty(tables[i]))
			return;
	run_query(psprintf("select b.id from %s b limit 1", table_expression("batch")), &no_parameters,
			  fail_on_batch, NULL);
}

/* Begins to read what a request asks for, and to list the paths for its report. */
BatchScan *
scan_begin(Request *request, bool lists_paths)
{
	restrict_to_viewer(request);
	return scan_open(request, lists_paths);
}

/* The same of a request that is restricted to what its user may see. */
BatchScan *
scan_open(const Request *request, bool lists_paths)
{
	BatchScan *scan = palloc0(sizeof(BatchScan));
	const char *reason = "batches.scan is sql";

	check_job_counts(request);
	scan->request = request;
	scan->total = -1;
	scan->report.lists_paths =
		(lists_paths || message_level_is_interesting(DEBUG1)) && sees_all_rows();
	if (engine != ENGINE_SQL)
		scan->direct = direct_scan_begin(request, &scan->report, &reason);
	if (scan->direct == NULL)
		leave_to_sql(scan, reason);
	if (scan->direct == NULL && is_distributed(require_table("batch")))
		scan->shards = shard_scan_begin(request);
	return scan;
}

/* Reads the page. */
void
scan_page(BatchScan *scan, BatchRowCallback callback, void *arg)
{
	if (scan->direct != NULL)
	{
		const char *reason = direct_scan_page_fallback_reason(scan->direct);

		if (reason == NULL && !direct_scan_may_page(scan->direct))
			/* Whatever engine was asked for, SQL says which rights are missing. */
			scan->report.fallback_reason = "the role lacks rights on columns";
		else
		{
			if (reason == NULL && scan->total >= 0)
				direct_scan_turn(scan->direct, scan->total);
			if (reason == NULL)
				reason = direct_scan_page(scan->direct, callback, arg);
			if (reason == NULL)
				return;
			leave_to_sql(scan, reason);
		}
	}
	if (scan->shards == NULL || engine == ENGINE_SQL || !shard_scan_may_page(scan->shards))
	{
		require_same_versions(scan->request);
		scan->report.page_by_sql = true;
		scan_sql_page(scan->request, callback, arg);
		return;
	}
	scan->report.by_shards = true;
	shard_scan_page(scan->shards, callback, arg, &scan->total);
	if (scan->total >= 0)
		scan->report.total_source = "shards";
}

/* Counts: the page may have shown how many there are, totals may tell, an index is read, SQL counts. */
static int64
count_matches(BatchScan *scan)
{
	bool may_count = scan->direct != NULL && direct_scan_may_count(scan->direct);
	int64 count;

	if (scan->shards != NULL && engine != ENGINE_SQL)
	{
		scan->report.by_shards = true;
		scan->report.total_source = "shards";
		return shard_scan_count(scan->shards);
	}
	if (scan->direct == NULL)
		require_same_versions(scan->request);
	if (may_count && direct_scan_knows_count(scan->direct, &count))
	{
		scan->report.total_source = "page";
		return count;
	}
	if (totals_may_answer(scan->request) &&
		count_by_totals(scan->request, engine != ENGINE_SQL, &count))
	{
		scan->report.total_source = TOTAL_TABLE;
		return count;
	}
	if (may_count)
	{
		scan->report.total_source = "index";
		return direct_scan_count(scan->direct);
	}
	scan->report.total_source = "sql";
	return scan_sql_count(scan->request);
}

/* Counts all rows that match, once. What costs least comes first. */
int64
scan_count(BatchScan *scan)
{
	if (scan->total < 0)
		scan->total = count_matches(scan);
	return scan->total;
}

/*
 * Whether a page whose total is asked for, too, may have rows. If it is far behind, they are
 * counted before: nothing is read to find that the page is behind the end. Where SQL reads the
 * page, it says what rights are missing even then.
 */
bool
scan_has_page(BatchScan *scan)
{
	bool counts_before = scan->request->offset >= FAR_OFFSET && !scan->request->without_total &&
						 scan->direct != NULL &&
						 direct_scan_page_fallback_reason(scan->direct) == NULL &&
						 direct_scan_may_page(scan->direct);

	return !counts_before || scan->request->offset < scan_count(scan);
}

/*
 * The total after a page of so many rows. A page that is shorter than its limit is the last
 * one, so it tells the total by itself.
 */
int64
scan_total(BatchScan *scan, int64 nrows)
{
	const Request *request = scan->request;
	bool is_last = request->limit == NO_LIMIT || nrows < request->limit;

	if (scan->total >= 0 || !is_last || request->after != NULL ||
		(nrows == 0 && request->offset > 0))
		return scan_count(scan);
	scan->report.total_source = "page";
	return request->offset + nrows;
}

/*
 * About how many batches a request matches, or -1 where that cannot be told. For the planner:
 * tables that are not there are no error yet.
 */
double
scan_estimate(Request *request)
{
	static const char *const tables[] = {"batch", JOB_COUNT_TABLE, "project_member"};
	const char *user_id = authenticated_user_id();

	for (int i = 0; i < lengthof(tables); i++)
		if (!OidIsValid(get_relname_relid(tables[i], get_namespace_oid(BATCHES_SCHEMA, true))))
			return -1;
	if (!ActiveSnapshotSet())
		return -1;
	if (user_id != NULL)
	{
		ArrayType *projects = direct_scan_projects(user_id);

		if (projects == NULL)
			return -1;
		restrict_to_projects(request, projects);
	}
	return direct_scan_estimate(request, sees_all_rows());
}

const ScanReport *
scan_report(const BatchScan *scan)
{
	return &scan->report;
}

void
scan_end(BatchScan *scan)
{
	report_done(&scan->report);
	if (scan->direct != NULL)
		direct_scan_end(scan->direct);
}
