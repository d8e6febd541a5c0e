/*
 * budget.c
 *		The memory of a request: work_mem for all its paths together.
 */
#include "postgres.h"
#include "compat.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "budget.h"

/* One part in so many an array may always have, so that no path starves beside a large one. */
#define LEAST_SHARE 16

/* What a request's memory context may still grow by; never less than an array's least share. */
Size
budget_left(MemoryContext context)
{
	Size budget = work_mem * (Size) 1024;
	Size used = MemoryContextMemAllocated(context, true);

	return Max(used < budget ? budget - used : 0, budget / LEAST_SHARE);
}

/*
 * Whether something in a request's memory context may grow from its present size to the
 * one that is wanted.
 */
bool
fits_budget(MemoryContext context, Size present, Size wanted)
{
	Size budget = work_mem * (Size) 1024;

	return wanted <= budget / LEAST_SHARE ||
		   MemoryContextMemAllocated(context, true) - present + wanted <= budget;
}
