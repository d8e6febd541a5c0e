/*
 * qual.c
 *		Quals on a table's columns, and how values compare.
 *
 * Values compare by the default operators of their types, text by code point.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_oper.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "qual.h"
#include "untrusted.h"

/* Below this length, searching the sorted list is as fast as a hash set. */
#define FEW_VALUES 4

typedef struct UuidEntry
{
	pg_uuid_t uuid;
	char status;
} UuidEntry;

#define SH_PREFIX uuid_set
#define SH_ELEMENT_TYPE UuidEntry
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY uuid
#define SH_HASH_KEY(table, key) hash_untrusted(&(key), UUID_LEN)
#define SH_EQUAL(table, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Prepares comparing values of a type. Nulls sort as larger than any value. */
void
prepare_order(SortSupport order, Oid type, bool descending)
{
	Oid less;
	Oid greater;

	get_sort_group_operators(type, true, false, true, &less, NULL, &greater, NULL);
	memset(order, 0, sizeof(*order));
	order->ssup_cxt = CurrentMemoryContext;
	order->ssup_collation = C_COLLATION_OID;
	order->ssup_nulls_first = descending;
	PrepareSortSupportFromOrderingOp(descending ? greater : less, order);
}

void
init_qual(Qual *qual, Oid type)
{
	memset(qual, 0, sizeof(*qual));
	qual->type = type;
	qual->byval = get_typbyval(type);
	if (type != TEXTARRAYOID)
		prepare_order(&qual->order, type, false);
}

int
compare_values(Qual *qual, Datum a, Datum b)
{
	return ApplySortComparator(a, false, b, false, &qual->order);
}

/* A binaryheap_comparator */
static int
compare_in_heap(Datum a, Datum b, void *qual)
{
	return compare_values(qual, a, b);
}

static int
compare_values_arg(const void *a, const void *b, void *qual)
{
	return compare_values(qual, *(const Datum *) a, *(const Datum *) b);
}

/* Whether a value is in the qual's list. */
static bool
is_listed(Qual *qual, Datum value)
{
	/* Enumerations and booleans have few values, and are equal when their datums are. */
	if (qual->byval)
	{
		for (int i = 0; i < qual->nvalues; i++)
			if (qual->values[i] == value)
				return true;
		return false;
	}
	return bsearch_arg(&value, qual->values, qual->nvalues, sizeof(Datum), compare_values_arg,
					   qual) != NULL;
}

/* Adds the condition that the value is in a list. The array of values becomes the qual's. */
void
restrict_to_list(Qual *qual, Datum *values, int nvalues)
{
	int n = 0;

	sort_list(values, nvalues, compare_in_heap, qual);
	for (int i = 0; i < nvalues; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (n > 0 && compare_values(qual, values[n - 1], values[i]) == 0)
			continue;
		if (!qual->has_list || is_listed(qual, values[i]))
			values[n++] = values[i];
	}
	qual->has_list = true;
	qual->values = values;
	qual->nvalues = n;
}

/* The same by the elements of an array. */
void
restrict_to_array(Qual *qual, Datum array)
{
	ArrayType *list = DatumGetArrayTypeP(array);
	Datum *values;
	int nvalues;
	int16 length;
	bool byval;
	char align;

	get_typlenbyvalalign(ARR_ELEMTYPE(list), &length, &byval, &align);
	deconstruct_array(list, ARR_ELEMTYPE(list), length, byval, align, &values, NULL, &nvalues);
	restrict_to_list(qual, values, nvalues);
}

/* The elements of a list in order, each once. */
Datum *
sorted_list(Datum list, int *count)
{
	Qual qual;

	init_qual(&qual, ARR_ELEMTYPE(DatumGetArrayTypeP(list)));
	restrict_to_array(&qual, list);
	*count = qual.nvalues;
	return qual.values;
}

void
restrict_to_lower(Qual *qual, Datum lower)
{
	if (!qual->has_lower || compare_values(qual, lower, qual->lower) > 0)
		qual->lower = lower;
	qual->has_lower = true;
}

void
restrict_to_upper(Qual *qual, Datum upper)
{
	if (!qual->has_upper || compare_values(qual, upper, qual->upper) < 0)
		qual->upper = upper;
	qual->has_upper = true;
}

void
restrict_to_element(Qual *qual, Datum element)
{
	qual->has_element = true;
	qual->element = element;
}

static bool
is_between(Qual *qual, Datum value)
{
	return !(qual->has_lower && compare_values(qual, value, qual->lower) < 0) &&
		   !(qual->has_upper && compare_values(qual, value, qual->upper) > 0);
}

/*
 * Sorts a qual's list and removes from it what the qual's bounds exclude, so that the list
 * alone says what matches. Returns whether any value can meet the qual.
 */
bool
normalize_qual(Qual *qual)
{
	int n = 0;

	if (!qual->has_list)
		return !(qual->has_lower && qual->has_upper &&
				 compare_values(qual, qual->lower, qual->upper) > 0);

	for (int i = 0; i < qual->nvalues; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_between(qual, qual->values[i]))
			qual->values[n++] = qual->values[i];
	}
	qual->nvalues = n;
	qual->has_lower = false;
	qual->has_upper = false;
	return n > 0;
}

static bool
has_element(Datum array, Datum element)
{
	text *wanted = DatumGetTextPP(element);
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		text *present = (text *) DatumGetPointer(elements[i]);

		if (!nulls[i] && VARSIZE_ANY_EXHDR(present) == VARSIZE_ANY_EXHDR(wanted) &&
			memcmp(VARDATA_ANY(present), VARDATA_ANY(wanted), VARSIZE_ANY_EXHDR(wanted)) == 0)
			return true;
	}
	return false;
}

/*
 * Whether a value is in the qual's list, once that is complete. Much may be asked
 * of it: after as many times as it has values, uuids are looked up in a set.
 */
static bool
is_member(Qual *qual, Datum value)
{
	if (qual->type != UUIDOID || qual->nvalues < FEW_VALUES)
		return is_listed(qual, value);
	if (qual->set == NULL)
	{
		bool found;

		if (qual->nasked++ < qual->nvalues)
			return is_listed(qual, value);
		qual->set = uuid_set_create(qual->order.ssup_cxt, qual->nvalues, NULL);
		for (int i = 0; i < qual->nvalues; i++)
		{
			CHECK_FOR_INTERRUPTS();
			uuid_set_insert(qual->set, *DatumGetUUIDP(qual->values[i]), &found);
		}
	}
	return uuid_set_lookup(qual->set, *DatumGetUUIDP(value)) != NULL;
}

/* Comparing may leave memory behind in the current context. */
bool
qual_holds(Qual *qual, Datum value, bool isnull)
{
	if (isnull)
		return false;
	if (qual->has_element)
		return has_element(value, qual->element);
	if (qual->has_list)
		return is_member(qual, value);
	return is_between(qual, value);
}

/* Whether a table's row meets all quals. Memory is taken from the context, which is reset. */
bool
quals_hold(Qual **quals, int nquals, Source source, TupleTableSlot *slot, MemoryContext context)
{
	MemoryContext previous = MemoryContextSwitchTo(context);
	bool holds = true;

	for (int i = 0; i < nquals && holds; i++)
	{
		bool isnull;
		Datum value = slot_getattr(slot, quals[i]->columns[source], &isnull);

		holds = qual_holds(quals[i], value, isnull);
	}
	MemoryContextSwitchTo(previous);
	MemoryContextReset(context);
	return holds;
}
