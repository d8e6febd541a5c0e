/*
 * read_shard.c
 *		Reads a shard of distributed tables, where it is, as a server's own tables.
 *
 * Anybody may call this. The rights are those of the calling role on the shard's tables,
 * checked by the engines as on other tables; where row-level security would apply, it is
 * refused. Which batches an authenticated user sees is the business of who asks.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"

#include "batches.h"
#include "citus.h"
#include "cursor.h"
#include "scan.h"
#include "shard_row.h"

/* The arguments before the parameters of the request */
typedef enum ShardArgument
{
	ARGUMENT_SHARD,
	ARGUMENT_VERSION,
	ARGUMENT_FOR_VIEWER,
	ARGUMENT_WANTS_ROWS,
	ARGUMENT_WHOLE_ROWS,
	N_SHARD_ARGUMENTS
} ShardArgument;

/* Rows are sent in pieces of about this length. */
#define CHUNK_LENGTH (64 * 1024)

/* Rows that may not be wanted are sent as a whole up to this length in all. */
#define MAX_WHOLE_LENGTH (1024 * 1024)

/* Where a shard's rows go */
typedef struct ShardWriter
{
	ReturnSetInfo *result;
	RowFormat format;
	ColumnId order_by;
	StringInfoData chunk;
	int64 whole_rows; /* so many are sent as a whole; -1: all */
	int64 length;
	int64 rows;
} ShardWriter;

static void
begin_chunk(ShardWriter *writer, char kind)
{
	resetStringInfo(&writer->chunk);
	appendStringInfoSpaces(&writer->chunk, VARHDRSZ);
	appendStringInfoChar(&writer->chunk, kind);
}

static void
put_chunk(ShardWriter *writer)
{
	Datum values[1] = {PointerGetDatum(writer->chunk.data)};
	bool isnull[1] = {false};

	SET_VARSIZE(writer->chunk.data, writer->chunk.len);
	tuplestore_putvalues(writer->result->setResult, writer->result->setDesc, values, isnull);
	begin_chunk(writer, SHARD_ROWS);
}

/* A BatchRowCallback */
static void
send_row(const BatchRow *row, void *arg)
{
	ShardWriter *writer = arg;
	int before = writer->chunk.len;
	bool whole = writer->whole_rows < 0 ||
				 (writer->rows < writer->whole_rows && writer->length < MAX_WHOLE_LENGTH);

	pack_row(&writer->format, &writer->chunk, row, writer->order_by, whole);
	writer->length += writer->chunk.len - before;
	writer->rows++;
	if (writer->chunk.len >= CHUNK_LENGTH)
		put_chunk(writer);
}

static void
check_version(const char *asked)
{
	const char *version = node_version();

	if (strcmp(version, asked) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the servers have different versions of \"batches\""),
						errdetail("Here: %s. Where the query comes from: %s.", version, asked),
						errhint("Install the same on all servers, and there: ALTER EXTENSION "
								"batches UPDATE. Sessions that have begun before keep their "
								"library.")));
}

static void
check_row_security(const ShardTable *tables)
{
	for (const ShardTable *table = tables; table->table != NULL; table++)
		if (check_enable_rls(require_table(table->table), InvalidOid, false) == RLS_ENABLED)
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("row-level security applies to table \"%s\"", table->shard),
							errhint("Distributed tables have none.")));
}

/* Reads the request, of those of its projects that may be in the shard. Returns the shard's tables. */
static void
read_request(Request *request, FunctionCallInfo fcinfo, ShardTable *tables)
{
	FilterValue *projects = &request->filters[PARAMETER_PROJECT_ID];
	ArrayType *own = NULL;
	const char *reason = NULL;

	for (int i = 0; i < ARGUMENT_WHOLE_ROWS; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("argument %d must not be null", i + 1),
							errhint("Only the functions of \"batches\" call this one.")));
	check_version(text_to_cstring(PG_GETARG_TEXT_PP(ARGUMENT_VERSION)));
	read_arguments_behind(request, fcinfo, N_SHARD_ARGUMENTS, LIMIT_OPTIONAL);
	if (request->cursor != NULL)
		reason = read_cursor(request, CURSOR_FITS_ORDER);
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\"", parameters[PARAMETER_AFTER].name),
				 errdetail("Reason: %s.", reason),
				 errhint("Only the functions of \"batches\" call this one.")));
	request->is_for_viewer = PG_GETARG_BOOL(ARGUMENT_FOR_VIEWER);
	if (projects->given)
		own = DatumGetArrayTypeP(projects->value);
	if (!find_shard_tables(PG_GETARG_OID(ARGUMENT_SHARD), tables, &own))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("relation %u is not a shard of \"%s.%s\" with all tables beside it",
							   PG_GETARG_OID(ARGUMENT_SHARD), BATCHES_SCHEMA, SHARD_TABLE),
						errhint("Only the functions of \"batches\" call this one.")));
	if (projects->given)
		projects->value = PointerGetDatum(own);
}

/* Sends the page, if it is wanted, and the total, if that is. */
static void
send_answer(ShardWriter *writer, const Request *request, bool wants_rows)
{
	BatchScan *scan = scan_open(request, false);
	int64 total = -1;

	begin_chunk(writer, SHARD_ROWS);
	if (wants_rows)
		scan_page(scan, send_row, writer);
	if (!request->without_total)
		total = wants_rows ? scan_total(scan, writer->rows) : scan_count(scan);
	scan_end(scan);
	if (writer->chunk.len > VARHDRSZ + 1)
		put_chunk(writer);
	begin_chunk(writer, SHARD_TOTAL);
	pq_sendint64(&writer->chunk, total);
	put_chunk(writer);
}

/*
 * batches.read_shard(shard oid, version text, for_viewer boolean, wants_rows boolean,
 *					  whole_rows bigint, … filters …, order_by text, order_by_direction text,
 *					  "limit" bigint, "offset" bigint, after text, omit text[], total text)
 *		returns setof bytea
 */
PG_FUNCTION_INFO_V1(batches_read_shard);
Datum
batches_read_shard(PG_FUNCTION_ARGS)
{
	ShardWriter writer = {.result = (ReturnSetInfo *) fcinfo->resultinfo, .whole_rows = -1};
	ShardTable tables[N_SHARD_TABLES + 1];
	const ShardTable *previous;
	Request request;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_NARGS() < N_SHARD_ARGUMENTS || writer.result->setDesc->natts != 1 ||
		TupleDescAttr(writer.result->setDesc, 0)->atttypid != BYTEAOID)
		fail_on_other_version(fcinfo->flinfo->fn_oid, "result");
	read_request(&request, fcinfo, tables);
	writer.format.context = CurrentMemoryContext;
	writer.order_by = request.order_by;
	if (!PG_ARGISNULL(ARGUMENT_WHOLE_ROWS))
		writer.whole_rows = PG_GETARG_INT64(ARGUMENT_WHOLE_ROWS);
	request.keys_only = writer.whole_rows == 0;
	initStringInfo(&writer.chunk);
	previous = use_shard_tables(tables);
	PG_TRY();
	{
		check_row_security(tables);
		send_answer(&writer, &request, PG_GETARG_BOOL(ARGUMENT_WANTS_ROWS));
	}
	PG_FINALLY();
	{
		(void) use_shard_tables(previous);
	}
	PG_END_TRY();
	return (Datum) 0;
}
