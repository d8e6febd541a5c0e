/*
 * scan_shards.h
 *		Reading batches where their shards are.
 */
#ifndef BATCHES_SCAN_SHARDS_H
#define BATCHES_SCAN_SHARDS_H

#include "filter.h"

typedef struct ShardScan ShardScan;

extern ShardScan *shard_scan_begin(const Request *request);
extern void require_same_versions(const Request *request);
extern bool shard_scan_may_page(const ShardScan *scan);
extern void shard_scan_page(ShardScan *scan, BatchRowCallback callback, void *arg, int64 *total);
extern int64 shard_scan_count(ShardScan *scan);

#endif /* BATCHES_SCAN_SHARDS_H */
