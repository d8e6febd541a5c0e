/*
 * counts.h
 *		The statuses of jobs, and counts by status.
 */
#ifndef BATCHES_COUNTS_H
#define BATCHES_COUNTS_H

#include "utils/jsonb.h"

#define N_JOB_STATUSES 6

/* A status, and the column of "batch" that counts the jobs which have it. */
typedef struct JobStatus
{
	const char *label;
	const char *column;
} JobStatus;

/* In the order of the enumeration and of the document. */
extern const JobStatus job_statuses[N_JOB_STATUSES];

extern Jsonb *jobs_count_per_status_jsonb(const int64 *counts);

#endif /* BATCHES_COUNTS_H */
