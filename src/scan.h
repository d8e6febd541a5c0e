/*
 * scan.h
 *		Reading batches: the one interface to the engines.
 */
#ifndef BATCHES_SCAN_H
#define BATCHES_SCAN_H

#include "filter.h"

typedef struct BatchScan BatchScan;

extern void define_scan_settings(void);
extern void restrict_to_viewer(Request *request);
extern BatchScan *scan_begin(Request *request);
extern void scan_page(BatchScan *scan, BatchRowCallback callback, void *arg);
extern int64 scan_count(BatchScan *scan);
extern void scan_end(BatchScan *scan);

#endif /* BATCHES_SCAN_H */
