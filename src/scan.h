/*
 * scan.h
 *		Reading batches: the one interface to the engine.
 */
#ifndef BATCHES_SCAN_H
#define BATCHES_SCAN_H

#include "filter.h"

/* Gets one row of a page, in order. What it allocates is gone when it returns. */
typedef void (*BatchRowCallback)(const BatchRow *row, void *arg);

extern void scan_begin(Request *request);
extern void scan_page(const Request *request, BatchRowCallback callback, void *arg);
extern int64 scan_count(const Request *request);

#endif /* BATCHES_SCAN_H */
