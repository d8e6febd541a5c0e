/*
 * direct_scan.h
 *		The engine that reads batches by indexes.
 */
#ifndef BATCHES_DIRECT_SCAN_H
#define BATCHES_DIRECT_SCAN_H

#include "utils/array.h"

#include "filter.h"
#include "report.h"

typedef struct DirectScan DirectScan;

extern DirectScan *direct_scan_begin(const Request *request, ScanReport *report,
									 const char **reason);
extern const char *direct_scan_page_fallback_reason(DirectScan *scan);
extern bool direct_scan_may_page(DirectScan *scan);
extern bool direct_scan_may_count(DirectScan *scan);
extern void direct_scan_turn(DirectScan *scan, int64 total);
extern const char *direct_scan_page(DirectScan *scan, BatchRowCallback callback, void *arg);
extern bool direct_scan_knows_count(DirectScan *scan, int64 *count);
extern int64 direct_scan_count(DirectScan *scan);
extern void direct_scan_end(DirectScan *scan);
extern double direct_scan_estimate(const Request *request, bool sees_all);
extern ArrayType *direct_scan_projects(const char *user_id);

#endif /* BATCHES_DIRECT_SCAN_H */
