/*
 * condition.h
 *		What a filter asks of a table's column.
 */
#ifndef BATCHES_CONDITION_H
#define BATCHES_CONDITION_H

#include "access/attnum.h"
#include "executor/tuptable.h"
#include "utils/sortsupport.h"

#include "direct.h"

/* All that is given must hold; it never does of a null. */
typedef struct Condition
{
	AttrNumber columns[N_SOURCES]; /* of each table that has it */
	Oid type;
	bool byval;
	SortSupportData order; /* ascending, text by code point */
	bool has_list;
	int nvalues; /* of the list, in order and without duplicates */
	Datum *values;
	int nasked;                /* of the list, before there is a set */
	struct uuid_set_hash *set; /* the same values, or NULL */
	bool has_lower;            /* both ends inclusive */
	bool has_upper;
	Datum lower;
	Datum upper;
	bool has_element; /* of the column's text array */
	Datum element;
} Condition;

extern void init_condition(Condition *condition, Oid type);
extern void restrict_to_list(Condition *condition, Datum *values, int nvalues);
extern void restrict_to_lower(Condition *condition, Datum lower);
extern void restrict_to_upper(Condition *condition, Datum upper);
extern void restrict_to_element(Condition *condition, Datum element);
extern bool normalize_condition(Condition *condition);
extern int compare_values(Condition *condition, Datum a, Datum b);
extern bool condition_holds(Condition *condition, Datum value, bool isnull);
extern bool conditions_hold(Condition **conditions, int nconditions, Source source,
							TupleTableSlot *slot, MemoryContext context);
extern void prepare_order(SortSupport order, Oid type, bool descending);

#endif /* BATCHES_CONDITION_H */
