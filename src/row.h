/*
 * row.h
 *		A row of the listing: its columns, in the document's order.
 */
#ifndef BATCHES_ROW_H
#define BATCHES_ROW_H

#include "utils/uuid.h"

#include "column.h"
#include "counts.h"

typedef struct BatchRow
{
	/* By ColumnId; jobs_count_per_status is in job_counts instead. */
	Datum values[N_COLUMNS];
	bool isnull[N_COLUMNS];
	int64 job_counts[N_JOB_STATUSES];
} BatchRow;

/* Gets one row of a page, in order. What it allocates is gone when it returns. */
typedef void (*BatchRowCallback)(const BatchRow *row, void *arg);

extern ColumnId find_column(const char *name);
extern Oid column_type_oid(ColumnType type);
extern const char *batch_text(const pg_uuid_t *id);
extern void fail_on_wrong_counts(const pg_uuid_t *id);
extern void require_valid_counts(const BatchRow *row);
extern void fail_on_missing_batch(const pg_uuid_t *id);
extern void fail_on_missing_counts(const pg_uuid_t *id);

#endif /* BATCHES_ROW_H */
