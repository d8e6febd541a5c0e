/*
 * partition.h
 *		Tables that are partitioned by hash of the project.
 */
#ifndef BATCHES_PARTITION_H
#define BATCHES_PARTITION_H

#include "utils/rel.h"

#include "batches.h"

/* More are not read by indexes, nor written. */
#define MAX_PARTITIONS 256

/* Which partition, or shard, has which values of the column */
typedef struct Partitions
{
	int npartitions;
	const Oid *oids;
	const HashRange *hashes; /* of shards, in order; NULL: partitions */
	int nremainders;
	int *by_remainder; /* a partition, or -1 */
	FmgrInfo *hash;
	Oid *collation;
} Partitions;

extern Partitions *find_partitions(Relation table, const char *column, bool omit_detached);
extern Partitions *shards_as_partitions(const char *table);
extern int64 shard_hash(Datum project_id);
extern int find_hash(const HashRange *ranges, int nranges, int64 hash);
extern int partition_of(const Partitions *partitions, Datum value);
extern bool has_shape_of(Relation partition, Relation table);

#endif /* BATCHES_PARTITION_H */
