/*
 * scan_index.h
 *		The engine that reads batches by indexes.
 */
#ifndef BATCHES_SCAN_INDEX_H
#define BATCHES_SCAN_INDEX_H

#include "utils/array.h"

#include "scan.h"

typedef struct IndexScan IndexScan;

extern IndexScan *scan_index_begin(const Request *request, const char **obstacle);
extern bool scan_index_may_page(IndexScan *scan, const char **obstacle);
extern bool scan_index_may_count(IndexScan *scan);
extern bool scan_index_page(IndexScan *scan, BatchRowCallback callback, void *arg);
extern bool scan_index_knows_count(IndexScan *scan, int64 *count);
extern int64 scan_index_count(IndexScan *scan);
extern void scan_index_end(IndexScan *scan);
extern ArrayType *scan_index_projects(const char *user_id);

#endif /* BATCHES_SCAN_INDEX_H */
