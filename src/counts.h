/*
 * counts.h
 *		The statuses of jobs, and counts by status.
 */
#ifndef BATCHES_COUNTS_H
#define BATCHES_COUNTS_H

#include "utils/jsonb.h"

#define N_JOB_STATUSES 6
#define JOBS_COUNT_COLUMN "jobs_count"
#define SIZE_CLASS_COLUMN "size_class"

/* From this number of jobs on, several numbers have the same size class. */
#define EXACT_SIZE_CLASSES 128

/* In the order of the enumeration and of the document; the columns are those of "batch_job_count". */
extern const char *const job_status_labels[N_JOB_STATUSES];
extern const char *const job_status_columns[N_JOB_STATUSES];

extern int16 size_class(int32 jobs_count);
extern Jsonb *jobs_count_per_status_jsonb(const int64 *counts);

#endif /* BATCHES_COUNTS_H */
