/*
 * citus.h
 *		What Citus has made of a table.
 */
#ifndef BATCHES_CITUS_H
#define BATCHES_CITUS_H

#include "utils/array.h"

#include "batches.h"

/* The table with a row in each shard */
#define SHARD_TABLE "batch_shard"

/* Tables that are read of a shard */
#define N_SHARD_TABLES 3

extern bool is_distributed(Oid table);
extern bool find_shard_beside(Oid table, const char *name, Oid *beside);
extern ArrayType *shard_keys(ArrayType *projects, bool *complete);
extern bool find_shard_tables(Oid table, ShardTable *tables, ArrayType **projects);
extern const char *node_version(void);

#endif /* BATCHES_CITUS_H */
