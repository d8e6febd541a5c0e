/*
 * scan.h
 *		Reading batches: the one interface to the engines.
 */
#ifndef BATCHES_SCAN_H
#define BATCHES_SCAN_H

#include "filter.h"

/* Gets one row of a page, in order. What it allocates is gone when it returns. */
typedef void (*BatchRowCallback)(const BatchRow *row, void *arg);

typedef struct Scan Scan;

extern void define_scan_settings(void);
extern void restrict_to_viewer(Request *request);
extern Scan *scan_begin(Request *request);
extern void scan_page(Scan *scan, BatchRowCallback callback, void *arg);
extern int64 scan_count(Scan *scan);
extern void scan_end(Scan *scan);

#endif /* BATCHES_SCAN_H */
