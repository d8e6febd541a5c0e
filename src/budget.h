/*
 * budget.h
 *		The memory of a request.
 */
#ifndef BATCHES_BUDGET_H
#define BATCHES_BUDGET_H

extern Size budget_left(MemoryContext context);
extern bool fits_budget(MemoryContext context, Size present, Size wanted);

#endif /* BATCHES_BUDGET_H */
