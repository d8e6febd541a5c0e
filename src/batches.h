/*
 * batches.h
 *		What the whole extension shares: its objects by name, the authenticated user.
 */
#ifndef BATCHES_H
#define BATCHES_H

#include "access/tupdesc.h"

#define BATCHES_SCHEMA "batches"
#define JOB_COUNT_TABLE "batch_job_count"
#define TOTAL_TABLE "batch_total"

/* Tables whose shards may be read in their place */
typedef enum ShardTable
{
	SHARDS_OF_BATCH,
	SHARDS_OF_JOB_COUNT,
	SHARDS_OF_TOTAL,
	N_SHARD_TABLES
} ShardTable;

/* A part of the hash values */
typedef struct HashRange
{
	int64 first;
	int64 last;
} HashRange;

/* Shards, in the order of their parts of the hash values of the projects: one of each table for each part */
typedef struct ShardSet
{
	int nshards;
	HashRange *hashes;
	Oid *oids[N_SHARD_TABLES];
} ShardSet;

/* batches.c */
extern const char *const shard_tables[N_SHARD_TABLES];
extern const ShardSet *use_shards(const ShardSet *shards);
extern const ShardSet *used_shards(const char *table, const Oid **oids);
extern const char *table_expression(const char *table);
extern Oid extension_type(const char *name);
extern Oid extension_function(const char *name);
extern void fail_on_other_version(Oid function, const char *what);
extern void check_result_types(Oid function, TupleDesc descriptor, const Oid *types, int ntypes);
extern Oid require_table(const char *name);
extern Oid table_owner(Oid table);
extern void check_column_type(const char *table, const char *column, Oid actual, Oid expected);
extern AttrNumber require_column(TupleDesc descriptor, const char *table, const char *name,
								 Oid type);
extern int find_enum_index(Oid value, const char *const *labels, int nlabels, Oid *known);
extern int enum_index(Oid value, const char *const *labels, int nlabels, Oid *known);

/* user.c */
extern void define_user_settings(void);
extern const char *authenticated_user_id(void);
extern void require_user(void);

#endif /* BATCHES_H */
