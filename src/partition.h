/*
 * partition.h
 *		Tables that are partitioned by hash of the project.
 */
#ifndef BATCHES_PARTITION_H
#define BATCHES_PARTITION_H

#include "utils/rel.h"

/* More are not read by indexes, nor written. */
#define MAX_PARTITIONS 256

/* Which partition has which values of the column */
typedef struct Partitions
{
	int npartitions;
	Oid *oids;
	int nremainders;
	int *by_remainder; /* a partition, or -1 */
	FmgrInfo *hash;
	Oid *collation;
} Partitions;

extern Partitions *find_partitions(Relation table, const char *column, bool omit_detached);
extern int partition_of(const Partitions *partitions, Datum value);
extern bool has_shape_of(Relation partition, Relation table);

#endif /* BATCHES_PARTITION_H */
