/*
 * plan.h
 *		SQL text run through plans that are kept for the session.
 */
#ifndef BATCHES_PLAN_H
#define BATCHES_PLAN_H

#include "executor/tuptable.h"

#define MAX_QUERY_PARAMETERS 32

/* The values of $1, $2, … of a statement; none is null. */
typedef struct QueryParameters
{
	int count;
	Oid types[MAX_QUERY_PARAMETERS];
	Datum values[MAX_QUERY_PARAMETERS];
} QueryParameters;

/* Gets one row. What it allocates is gone when it returns. */
typedef void (*QueryRowCallback)(TupleTableSlot *slot, void *arg);

extern int add_query_parameter(QueryParameters *parameters, Oid type, Datum value);
extern void run_query(const char *sql, const QueryParameters *parameters, QueryRowCallback callback,
					  void *arg);
extern void run_fresh_query(const char *sql, const QueryParameters *parameters,
							QueryRowCallback callback, void *arg);

#endif /* BATCHES_PLAN_H */
