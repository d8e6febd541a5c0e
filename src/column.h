/*
 * column.h
 *		The columns of the listing, in the document's order. Plain C.
 */
#ifndef BATCHES_COLUMN_H
#define BATCHES_COLUMN_H

#include <stdbool.h>

typedef enum ColumnId
{
	COLUMN_ID,
	COLUMN_PARENT_ID,
	COLUMN_STATUS,
	COLUMN_COMPLETE,
	COLUMN_OPEN,
	COLUMN_PRIORITY,
	COLUMN_DEVICE_TYPE,
	COLUMN_USER_ID,
	COLUMN_PROJECT_ID,
	COLUMN_CREATED_AT,
	COLUMN_UPDATED_AT,
	COLUMN_JOBS_COUNT,
	COLUMN_JOBS_COUNT_PER_STATUS,
	COLUMN_TAGS,
	COLUMN_CONFIGURATION,
	COLUMN_BACKEND_CONFIGURATION,
	COLUMN_WEBHOOK,
	COLUMN_START_DATETIME,
	COLUMN_END_DATETIME,
	COLUMN_QUEUE_PRIORITY,
	N_COLUMNS,
} ColumnId;

typedef enum ColumnType
{
	COLUMN_TYPE_UUID,
	COLUMN_TYPE_BATCH_STATUS,
	COLUMN_TYPE_QUEUE_PRIORITY,
	COLUMN_TYPE_BOOLEAN,
	COLUMN_TYPE_INTEGER,
	COLUMN_TYPE_TEXT,
	COLUMN_TYPE_TEXT_ARRAY,
	COLUMN_TYPE_TIMESTAMP,
	COLUMN_TYPE_JSONB,
	COLUMN_TYPE_JOB_COUNTS,
} ColumnType;

typedef struct Column
{
	const char *name; /* in the document and in list_batches() */
	ColumnType type;
	bool is_job_count; /* of "batch_job_count"; else of "batch" */
} Column;

extern const Column batch_columns[N_COLUMNS];

#endif /* BATCHES_COLUMN_H */
