/*
 * read_totals.h
 *		Counting batches by "batch_total".
 */
#ifndef BATCHES_READ_TOTALS_H
#define BATCHES_READ_TOTALS_H

#include "utils/array.h"

#include "filter.h"
#include "plan.h"
#include "total.h"

extern bool totals_may_answer(const Request *request);
extern bool count_by_totals(const Request *request, bool by_index, int64 *count);
extern bool count_projects(Datum *projects, int nprojects, int64 *count);
extern ArrayType *total_row_cells(TupleTableSlot *slot);
extern void read_total_rows(const Request *request, bool by_device, QueryRowCallback callback,
							void *arg);
extern void choose_cells(const Request *request, bool *chosen);

#endif /* BATCHES_READ_TOTALS_H */
