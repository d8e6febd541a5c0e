/*
 * keep.h
 *		Adding to the rows of the derived tables.
 */
#ifndef BATCHES_KEEP_H
#define BATCHES_KEEP_H

#include "utils/uuid.h"

#include "counts.h"
#include "derived.h"
#include "total.h"

/* The columns of "batch_job_count" */
typedef struct JobCountColumns
{
	AttrNumber project_id;
	AttrNumber batch_id;
	AttrNumber jobs_count;
	AttrNumber size_class;
	AttrNumber by_status[N_JOB_STATUSES];
} JobCountColumns;

/* "batch_job_count", open for writing */
typedef struct JobCountTable
{
	Oid batch;
	Oid job; /* whose changes are counted, or InvalidOid */
	DerivedTable *rows;
	JobCountColumns columns;
} JobCountTable;

/* What is to be added to the jobs of a batch, by status */
typedef struct JobCountChange
{
	pg_uuid_t project_id;
	pg_uuid_t batch_id;
	int64 deltas[N_JOB_STATUSES];
} JobCountChange;

/* count_jobs.c */
extern void open_job_counts(JobCountTable *table, Oid batch, Oid job);
extern void close_job_counts(JobCountTable *table);
extern bool add_job_counts(JobCountTable *table, const JobCountChange *change, bool may_be_missing);
extern void insert_job_counts(JobCountTable *table, const pg_uuid_t *project_id,
							  const pg_uuid_t *batch_id);
extern bool remove_job_counts(JobCountTable *table, const pg_uuid_t *project_id,
							  const pg_uuid_t *batch_id, bool with_jobs);

/* count_batches.c */
extern DerivedTable *open_totals(Oid batch);
extern void add_to_total(DerivedTable *totals, const pg_uuid_t *project_id, text *device_type,
						 const int64 *deltas);

#endif /* BATCHES_KEEP_H */
