/*
 * qual.h
 *		What a filter asks of a table's column.
 */
#ifndef BATCHES_QUAL_H
#define BATCHES_QUAL_H

#include "access/attnum.h"
#include "executor/tuptable.h"
#include "utils/sortsupport.h"

#include "direct.h"

/* What a column's value must meet: all parts that are given. A null meets no qual. */
typedef struct Qual
{
	AttrNumber columns[N_SOURCES]; /* of each table that has it */
	Oid type;
	bool byval;
	SortSupportData order; /* ascending, text by code point */
	bool has_list;
	int nvalues; /* of the list, in order and without duplicates */
	Datum *values;
	int nasked; /* look-ups in the list; after as many as it has values, a set is made */
	struct uuid_set_hash *set; /* the same values, or NULL */
	bool has_lower;            /* both ends inclusive */
	bool has_upper;
	Datum lower;
	Datum upper;
	int nexcluded; /* values that it is not, in order */
	Datum *excluded;
	/* Of a column that is a text array: it has all of these, and one of those; in order */
	bool on_elements;
	int nall;
	Datum *all;
	int nany; /* 0: anything */
	Datum *any;
} Qual;

extern void init_qual(Qual *qual, Oid type);
extern void restrict_to_array(Qual *qual, Datum array);
extern Datum *sorted_list(Datum list, int *count);
extern void restrict_to_list(Qual *qual, Datum *values, int nvalues);
extern void restrict_to_lower(Qual *qual, Datum lower);
extern void restrict_to_upper(Qual *qual, Datum upper);
extern void exclude_array(Qual *qual, Datum array);
extern void restrict_to_all(Qual *qual, Datum array);
extern void restrict_to_any(Qual *qual, Datum array);
extern bool normalize_qual(Qual *qual);
extern int compare_values(Qual *qual, Datum a, Datum b);
extern Datum *find_value(Qual *qual, Datum *values, int nvalues, Datum value);
extern bool qual_holds(Qual *qual, Datum value, bool isnull);
extern bool quals_hold(Qual **quals, int nquals, Source source, TupleTableSlot *slot,
					   MemoryContext context);
extern void prepare_order(SortSupport order, Oid type, bool descending);

#endif /* BATCHES_QUAL_H */
