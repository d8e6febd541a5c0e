/*
 * job_counts.h
 *		How many jobs a batch has, by its key.
 */
#ifndef BATCHES_JOB_COUNTS_H
#define BATCHES_JOB_COUNTS_H

#include "index_walk.h"

extern bool job_counts_filter(IndexWalk *walk, DirectTable *table, DirectIndex *key,
							  AttrNumber size_class, Qual *quals, int nquals);
extern int32 job_counts_last(const IndexWalk *walk);
extern int32 job_counts_of(IndexWalk *walk, const pg_uuid_t *project_id, const pg_uuid_t *id);

#endif /* BATCHES_JOB_COUNTS_H */
