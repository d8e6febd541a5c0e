/*
 * job_counts.h
 *		How many jobs a batch has, by its key.
 */
#ifndef BATCHES_JOB_COUNTS_H
#define BATCHES_JOB_COUNTS_H

#include "utils/uuid.h"

#include "fetch.h"

typedef struct JobCounts JobCounts;

extern JobCounts *job_counts_begin(DirectTable *table, DirectIndex *key, AttrNumber size_class,
								   Snapshot snapshot);
extern int32 job_counts_of(JobCounts *counts, const pg_uuid_t *project_id, const pg_uuid_t *id,
						   int64 passed, int64 *work);
extern void job_counts_end(JobCounts *counts);

#endif /* BATCHES_JOB_COUNTS_H */
