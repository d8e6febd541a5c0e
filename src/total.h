/*
 * total.h
 *		The cells of "batch_total": batches by status, open and queue priority.
 */
#ifndef BATCHES_TOTAL_H
#define BATCHES_TOTAL_H

#include "utils/array.h"

#include "parameter.h"

/* Their order is that of the array's elements. */
#define N_CELLS (N_BATCH_STATUSES * 2 * N_QUEUE_PRIORITIES)

/* Where the OIDs of the labels are kept */
typedef struct CellLabels
{
	Oid statuses[N_BATCH_STATUSES];
	Oid queue_priorities[N_QUEUE_PRIORITIES];
} CellLabels;

extern int cell_index(Oid status, bool open, Oid queue_priority, CellLabels *known);
extern void fail_on_wrong_totals(void);
extern void add_cells(int64 *cells, ArrayType *array);
extern ArrayType *make_cells(const int64 *cells);

#endif /* BATCHES_TOTAL_H */
