/*
 * citus.h
 *		What Citus has made of a table.
 */
#ifndef BATCHES_CITUS_H
#define BATCHES_CITUS_H

#include "utils/array.h"
#include "utils/uuid.h"

#include "batches.h"

/* The table with a row in each shard */
#define SHARD_TABLE "batch_shard"

/* How shards are read: by a call for each server */
typedef struct ShardRoute
{
	int ncalls;
	pg_uuid_t *calls; /* keys of "batch_shard": the calls are made where their rows are */
	int nshards;
	int64 *shards; /* their numbers */
	int *call_of;  /* which call reads a shard */
} ShardRoute;

extern bool is_distributed(Oid table);
extern bool find_shard_beside(Oid table, const char *name, Oid *beside);
extern ShardRoute *route_to_shards(ArrayType *projects);
extern const ShardSet *find_shards(const int64 *numbers, int count);
extern void use_single_sessions(void);
extern Oid find_local_copy(Oid table);
extern const char *node_version(void);

#endif /* BATCHES_CITUS_H */
