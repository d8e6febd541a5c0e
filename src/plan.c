/*
 * plan.c
 *		The session's kept plans, found by statement text and parameter types.
 *
 * Keeping a plan is safe: PostgreSQL checks rights each time that a plan runs, and
 * replans when row-level security depends on the role, or after DDL. It replans from the
 * text, so every name in the text must be schema-qualified. The number of kept plans is
 * bounded; the least recently used one is dropped.
 *
 * A generic plan is as good as the table's size when it was made: one made while
 * "batch" was empty would scan it as a whole for each row of a bulk load. So a
 * plan goes, too, when the table has grown or shrunk to a multiple.
 */
#include "postgres.h"
#include "compat.h"

#include "access/table.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "storage/bufmgr.h"
#include "tcop/dest.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "batches.h"
#include "citus.h"
#include "plan.h"

#define MAX_KEPT_PLANS 64

typedef struct KeptPlan
{
	char *sql;   /* NULL: a free place */
	uint32 hash; /* of sql */
	int nparameters;
	Oid types[MAX_QUERY_PARAMETERS];
	SPIPlanPtr plan;
	BlockNumber table_size; /* of "batch" when it was prepared */
	uint64 last_use;
	int running; /* a plan in use must not be freed */
} KeptPlan;

static KeptPlan kept_plans[MAX_KEPT_PLANS];
static uint64 use_counter = 0;

/* Hands each row of a query to a callback, in a context of its own. */
typedef struct CallbackReceiver
{
	DestReceiver pub;
	QueryRowCallback callback;
	void *arg;
	MemoryContext row_context;
} CallbackReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	CallbackReceiver *receiver = (CallbackReceiver *) self;
	MemoryContext previous = MemoryContextSwitchTo(receiver->row_context);

	CHECK_FOR_INTERRUPTS();
	receiver->callback(slot, receiver->arg);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(receiver->row_context);
	return true;
}

static void
receive_start(DestReceiver *self, int operation, TupleDesc typeinfo)
{
}

static void
receive_end(DestReceiver *self)
{
}

/* Adds a parameter and returns its number, for "$n". */
int
add_query_parameter(QueryParameters *parameters, Oid type, Datum value)
{
	if (parameters->count >= MAX_QUERY_PARAMETERS)
		elog(ERROR, "too many parameters in a statement");
	parameters->types[parameters->count] = type;
	parameters->values[parameters->count] = value;
	return ++parameters->count;
}

/* The size of "batch", or of the first of the shards that are read; of what stands in for it without storage, 0. */
static BlockNumber
current_table_size(void)
{
	Relation batch = table_open(require_table("batch"), AccessShareLock);
	BlockNumber size = 0;

	if (RELKIND_HAS_TABLE_AM(batch->rd_rel->relkind))
		size = RelationGetNumberOfBlocks(batch);
	table_close(batch, AccessShareLock);
	return size;
}

/* Whether a size is about the same as the one a plan was prepared for. */
static bool
is_near(BlockNumber size, BlockNumber planned)
{
	/* Up to this size, any plan is good. */
	const uint64 slack = 16;

	return size <= 2 * (uint64) planned + slack && planned <= 2 * (uint64) size + slack;
}

static bool
is_plan_for(const KeptPlan *kept, uint32 hash, const char *sql, const QueryParameters *parameters)
{
	return kept->sql != NULL && kept->hash == hash && kept->nparameters == parameters->count &&
		   memcmp(kept->types, parameters->types, sizeof(Oid) * parameters->count) == 0 &&
		   strcmp(kept->sql, sql) == 0;
}

/* Frees a place for another plan. If freeing the plan fails, the place stays free. */
static void
forget_plan(KeptPlan *kept)
{
	char *sql = kept->sql;

	kept->sql = NULL;
	kept->last_use = 0;
	if (sql != NULL)
	{
		pfree(sql);
		SPI_freeplan(kept->plan);
	}
}

/* The kept plan for a statement, prepared if need be. SPI is connected. */
static KeptPlan *
find_plan(const char *sql, const QueryParameters *parameters)
{
	uint32 hash = hash_bytes((const unsigned char *) sql, strlen(sql));
	BlockNumber size = current_table_size();
	KeptPlan *place = NULL;
	SPIPlanPtr plan;
	char *kept_sql;

	for (int i = 0; i < MAX_KEPT_PLANS; i++)
	{
		KeptPlan *kept = &kept_plans[i];

		if (is_plan_for(kept, hash, sql, parameters))
		{
			if (is_near(size, kept->table_size) || kept->running > 0)
				return kept;
			place = kept;
			break;
		}
		if (kept->running == 0 && (place == NULL || kept->last_use < place->last_use))
			place = kept;
	}
	if (place == NULL)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the functions of \"batches\" are nested too deeply"),
						errhint("Do not call them from row-level security policies or triggers on "
								"their own tables.")));
	forget_plan(place);

	plan = SPI_prepare_cursor(sql, parameters->count, (Oid *) parameters->types,
							  CURSOR_OPT_PARALLEL_OK);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	kept_sql = MemoryContextStrdup(TopMemoryContext, sql);
	SPI_keepplan(plan);

	place->hash = hash;
	place->nparameters = parameters->count;
	memcpy(place->types, parameters->types, sizeof(Oid) * parameters->count);
	place->table_size = size;
	place->plan = plan;
	place->sql = kept_sql;
	return place;
}

static void
execute(KeptPlan *kept, const SPIExecuteOptions *options)
{
	kept->last_use = ++use_counter;
	kept->running++;
	PG_TRY();
	{
		int result = SPI_execute_plan_extended(kept->plan, options);

		if (result < 0)
			elog(ERROR, "SPI_execute_plan_extended failed: %s", SPI_result_code_string(result));
	}
	PG_FINALLY();
	{
		kept->running--;
	}
	PG_END_TRY();
}

static void
run(const char *sql, const QueryParameters *parameters, bool read_only, DestReceiver *dest)
{
	SPIExecuteOptions options = {0};

	int nest_level = NewGUCNestLevel();

	/* Citus sends dates as text, which a worker reads by its own DateStyle: all read ISO. */
	if (DateStyle != USE_ISO_DATES && is_distributed(require_table("batch")))
		(void) set_config_option("datestyle", "ISO", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	SPI_connect();
	/* Without parameters pass none: some executor hooks cannot take an empty list. */
	if (parameters->count > 0)
		options.params = makeParamList(parameters->count);
	for (int i = 0; i < parameters->count; i++)
	{
		ParamExternData *parameter = &options.params->params[i];

		parameter->value = parameters->values[i];
		parameter->isnull = false;
		parameter->pflags = PARAM_FLAG_CONST;
		parameter->ptype = parameters->types[i];
	}
	options.read_only = read_only;
	options.dest = dest;
	execute(find_plan(sql, parameters), &options);
	SPI_finish();
	AtEOXact_GUC(true, nest_level);
}

static void
run_with_callback(const char *sql, const QueryParameters *parameters, bool read_only,
				  QueryRowCallback callback, void *arg)
{
	CallbackReceiver receiver = {
		.pub =
			{
				.receiveSlot = receive_row,
				.rStartup = receive_start,
				.rShutdown = receive_end,
				.rDestroy = receive_end,
				.mydest = DestTuplestore,
			},
		.callback = callback,
		.arg = arg,
		.row_context =
			AllocSetContextCreate(CurrentMemoryContext, "batches row", ALLOCSET_DEFAULT_SIZES),
	};

	run(sql, parameters, read_only, &receiver.pub);
	MemoryContextDelete(receiver.row_context);
}

/*
 * Runs a query in the snapshot of the calling statement, so that several
 * queries of one call see the same rows, and calls back for each row.
 */
void
run_query(const char *sql, const QueryParameters *parameters, QueryRowCallback callback, void *arg)
{
	int nest_level = NewGUCNestLevel();

	use_single_sessions();
	run_with_callback(sql, parameters, true, callback, arg);
	AtEOXact_GUC(true, nest_level);
}

/* The same in a snapshot of its own. The callback may change what the query reads. */
void
run_fresh_query(const char *sql, const QueryParameters *parameters, QueryRowCallback callback,
				void *arg)
{
	run_with_callback(sql, parameters, false, callback, arg);
}
