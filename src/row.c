/*
 * row.c
 *		The table of the listing's columns.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "batches.h"
#include "row.h"

const Column batch_columns[N_COLUMNS] = {
	[COLUMN_ID] = {"id", COLUMN_TYPE_UUID},
	[COLUMN_PARENT_ID] = {"parent_id", COLUMN_TYPE_UUID},
	[COLUMN_STATUS] = {"status", COLUMN_TYPE_BATCH_STATUS},
	[COLUMN_COMPLETE] = {"complete", COLUMN_TYPE_BOOLEAN},
	[COLUMN_OPEN] = {"open", COLUMN_TYPE_BOOLEAN},
	[COLUMN_PRIORITY] = {"priority", COLUMN_TYPE_INTEGER},
	[COLUMN_DEVICE_TYPE] = {"device_type", COLUMN_TYPE_TEXT},
	[COLUMN_USER_ID] = {"user_id", COLUMN_TYPE_TEXT},
	[COLUMN_PROJECT_ID] = {"project_id", COLUMN_TYPE_UUID},
	[COLUMN_CREATED_AT] = {"created_at", COLUMN_TYPE_TIMESTAMP},
	[COLUMN_UPDATED_AT] = {"updated_at", COLUMN_TYPE_TIMESTAMP},
	[COLUMN_JOBS_COUNT] = {"jobs_count", COLUMN_TYPE_INTEGER, .is_job_count = true},
	[COLUMN_JOBS_COUNT_PER_STATUS] = {"jobs_count_per_status", COLUMN_TYPE_JOB_COUNTS,
									  .is_job_count = true},
	[COLUMN_TAGS] = {"tags", COLUMN_TYPE_TEXT_ARRAY},
	[COLUMN_CONFIGURATION] = {"configuration", COLUMN_TYPE_JSONB},
	[COLUMN_BACKEND_CONFIGURATION] = {"backend_configuration", COLUMN_TYPE_TEXT},
	[COLUMN_WEBHOOK] = {"webhook", COLUMN_TYPE_TEXT},
	[COLUMN_START_DATETIME] = {"start_datetime", COLUMN_TYPE_TIMESTAMP},
	[COLUMN_END_DATETIME] = {"end_datetime", COLUMN_TYPE_TIMESTAMP},
	[COLUMN_QUEUE_PRIORITY] = {"queue_priority", COLUMN_TYPE_QUEUE_PRIORITY},
};

/* A column by its name, or N_COLUMNS. */
ColumnId
find_column(const char *name)
{
	int column = 0;

	while (column < N_COLUMNS && strcmp(batch_columns[column].name, name) != 0)
		column++;
	return column;
}

/* The SQL type of a column's Datum. */
Oid
column_type_oid(ColumnType type)
{
	switch (type)
	{
		case COLUMN_TYPE_UUID:
			return UUIDOID;
		case COLUMN_TYPE_BATCH_STATUS:
			return extension_type("batch_status");
		case COLUMN_TYPE_QUEUE_PRIORITY:
			return extension_type("queue_priority");
		case COLUMN_TYPE_BOOLEAN:
			return BOOLOID;
		case COLUMN_TYPE_INTEGER:
		case COLUMN_TYPE_JOB_COUNTS: /* each of them */
			return INT4OID;
		case COLUMN_TYPE_TEXT:
			return TEXTOID;
		case COLUMN_TYPE_TEXT_ARRAY:
			return TEXTARRAYOID;
		case COLUMN_TYPE_TIMESTAMP:
			return TIMESTAMPTZOID;
		case COLUMN_TYPE_JSONB:
			return JSONBOID;
	}
	elog(ERROR, "unrecognized column type: %d", (int) type);
}

/* How an error names a batch, which may have no id */
const char *
batch_text(const pg_uuid_t *id)
{
	return id == NULL ? "without an id"
					  : DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

/* The counts of a batch were changed while no trigger kept them. */
void
fail_on_wrong_counts(const pg_uuid_t *id)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("the job counts of batch %s in \"%s.%s\" are wrong", batch_text(id),
						   BATCHES_SCHEMA, JOB_COUNT_TABLE),
					errhint("They were changed, or jobs were, while no trigger kept them. The "
							"owner of the tables mends them: SELECT %s.repair_counts().",
							BATCHES_SCHEMA)));
}

/* No page shows a negative count. A statement that a trigger runs may have left one, if it met wrong counts. */
void
require_valid_counts(const BatchRow *row)
{
	for (int i = 0; i < N_JOB_STATUSES; i++)
		if (row->job_counts[i] < 0)
			fail_on_wrong_counts(row->isnull[COLUMN_ID] ? NULL
														: DatumGetUUIDP(row->values[COLUMN_ID]));
}

/* A row of "batch_job_count" has no batch that the role may see. */
void
fail_on_missing_batch(const pg_uuid_t *id)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_DATA_CORRUPTED),
		 errmsg("there are job counts of batch %s, which does not exist", batch_text(id)),
		 errhint("If it was deleted while no trigger kept the counts, the owner of the tables "
				 "mends them: SELECT %s.repair_counts(). If %s.batch has policies of row-level "
				 "security beyond those that %s.create_tables() makes, %s.batch_job_count needs "
				 "the same.",
				 BATCHES_SCHEMA, BATCHES_SCHEMA, BATCHES_SCHEMA, BATCHES_SCHEMA)));
}

/* A batch has no row in "batch_job_count" that the role may see. */
void
fail_on_missing_counts(const pg_uuid_t *id)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_DATA_CORRUPTED), errmsg("batch %s has no job counts", batch_text(id)),
		 errhint("If they were lost while no trigger kept them, the owner of the tables mends "
				 "them: SELECT %s.repair_counts(). If %s.batch has policies of row-level "
				 "security beyond those that %s.create_tables() makes, %s.batch_job_count needs "
				 "the same.",
				 BATCHES_SCHEMA, BATCHES_SCHEMA, BATCHES_SCHEMA, BATCHES_SCHEMA)));
}
