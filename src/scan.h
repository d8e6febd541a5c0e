/*
 * scan.h
 *		Reading batches: the one interface to the engines.
 */
#ifndef BATCHES_SCAN_H
#define BATCHES_SCAN_H

#include "filter.h"
#include "report.h"

typedef struct BatchScan BatchScan;

extern void define_scan_settings(void);
extern void restrict_to_viewer(Request *request);
extern void check_job_counts(const Request *request);
extern BatchScan *scan_begin(Request *request, bool lists_paths);
extern BatchScan *scan_open(const Request *request, bool lists_paths);
extern void scan_page(BatchScan *scan, BatchRowCallback callback, void *arg);
extern int64 scan_count(BatchScan *scan);
extern bool scan_has_page(BatchScan *scan);
extern int64 scan_total(BatchScan *scan, int64 nrows);
extern double scan_estimate(Request *request);
extern const ScanReport *scan_report(const BatchScan *scan);
extern void scan_end(BatchScan *scan);

#endif /* BATCHES_SCAN_H */
