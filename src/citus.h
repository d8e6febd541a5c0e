/*
 * citus.h
 *		What Citus has made of a table.
 */
#ifndef BATCHES_CITUS_H
#define BATCHES_CITUS_H

extern bool is_distributed(Oid table);
extern bool find_shard_beside(Oid table, const char *name, Oid *beside);

#endif /* BATCHES_CITUS_H */
