/*
 * read_shards.c
 *		Reads shards of distributed tables that are on one server, as the parts of a table.
 *
 * Anybody may call this. The rights are those of the calling role on the shards,
 * checked by the engines as on other tables; where row-level security would apply, it is
 * refused. Which batches an authenticated user sees is the business of who asks.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/tuplestore.h"

#include "batches.h"
#include "citus.h"
#include "direct.h"
#include "scan.h"
#include "shard_request.h"
#include "shard_row.h"

/* Rows are sent in pieces of about this length. */
#define CHUNK_LENGTH (64 * 1024)

/* Rows that may not be wanted are sent as a whole up to this length in all. */
#define MAX_WHOLE_LENGTH (1024 * 1024)

/* Where the rows go */
typedef struct ShardWriter
{
	ReturnSetInfo *result;
	RowFormat format;
	ColumnId order_by;
	StringInfoData chunk;
	int64 whole_rows; /* so many are sent as a whole; NO_LIMIT: all */
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
	bool whole = writer->whole_rows == NO_LIMIT ||
				 (writer->rows < writer->whole_rows && writer->length < MAX_WHOLE_LENGTH);

	pack_row(&writer->format, &writer->chunk, row, writer->order_by, whole);
	writer->length += writer->chunk.len - before;
	writer->rows++;
	if (writer->chunk.len >= CHUNK_LENGTH)
		put_chunk(writer);
}

/* Whether the role may read something of a shard: a request that reads nothing is checked nowhere else. */
static void
check_rights(Oid shard)
{
	Relation relation = table_open(shard, NoLock);

	if (!may_select(relation, NULL))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, RelationGetRelationName(relation));
	table_close(relation, NoLock);
}

static void
check_shards(const ShardSet *shards)
{
	for (int i = 0; i < shards->nshards; i++)
		check_rights(shards->oids[SHARDS_OF_BATCH][i]);
	for (int i = 0; i < N_SHARD_TABLES; i++)
		for (int j = 0; j < shards->nshards; j++)
			if (check_enable_rls(shards->oids[i][j], InvalidOid, false) == RLS_ENABLED)
				ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
								errmsg("row-level security applies to table \"%s\"",
									   get_rel_name(shards->oids[i][j])),
								errhint("Distributed tables have none.")));
}

/* The shards that are to be read. */
static const ShardSet *
require_shards(const ShardRequest *request)
{
	const ShardSet *shards = find_shards(request->shards, request->nshards);

	if (shards->nshards == 0 || shards->nshards != request->nshards)
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("%d of %d shards of \"%s.%s\" are not on this server",
							   request->nshards - shards->nshards, request->nshards, BATCHES_SCHEMA,
							   "batch"),
						errhint("They may have been moved or split just now: try again.")));
	return shards;
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

/* batches.read_shards(key uuid, request text) returns setof bytea */
PG_FUNCTION_INFO_V1(batches_read_shards);
Datum
batches_read_shards(PG_FUNCTION_ARGS)
{
	ShardWriter writer = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	const ShardSet *shards;
	const ShardSet *previous;
	ShardRequest request;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (writer.result->setDesc->natts != 1 ||
		TupleDescAttr(writer.result->setDesc, 0)->atttypid != BYTEAOID)
		fail_on_other_version(fcinfo->flinfo->fn_oid, "result");
	unpack_request(PG_GETARG_TEXT_PP(1), PG_GETARG_UUID_P(0), &request);
	shards = require_shards(&request);
	writer.format.context = CurrentMemoryContext;
	writer.order_by = request.request.order_by;
	writer.whole_rows = request.whole_rows;
	request.request.keys_only = request.whole_rows == 0;
	initStringInfo(&writer.chunk);
	previous = use_shards(shards);
	PG_TRY();
	{
		check_shards(shards);
		send_answer(&writer, &request.request, request.wants_rows);
	}
	PG_FINALLY();
	{
		(void) use_shards(previous);
	}
	PG_END_TRY();
	return (Datum) 0;
}
