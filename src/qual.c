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
	qual->on_elements = type == TEXTARRAYOID;
	prepare_order(&qual->order, qual->on_elements ? TEXTOID : type, false);
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

/* Where a value is in a list that is in order, or NULL. */
Datum *
find_value(Qual *qual, Datum *values, int nvalues, Datum value)
{
	/* Enumerations and booleans have few values, and are equal when their datums are. */
	if (qual->byval)
	{
		for (int i = 0; i < nvalues; i++)
			if (values[i] == value)
				return &values[i];
		return NULL;
	}
	return bsearch_arg(&value, values, nvalues, sizeof(Datum), compare_values_arg, qual);
}

/* Whether a value is in the qual's list. */
static bool
is_listed(Qual *qual, Datum value)
{
	return find_value(qual, qual->values, qual->nvalues, value) != NULL;
}

/* Puts a list in order, and leaves each value in it once. Returns how many are left. */
static int
order_list(Qual *qual, Datum *values, int nvalues)
{
	int n = 0;

	sort_list(values, nvalues, compare_in_heap, qual);
	for (int i = 0; i < nvalues; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (n == 0 || compare_values(qual, values[n - 1], values[i]) != 0)
			values[n++] = values[i];
	}
	return n;
}

/* Adds the condition that the value is in a list. The array of values becomes the qual's. */
void
restrict_to_list(Qual *qual, Datum *values, int nvalues)
{
	int n = 0;

	nvalues = order_list(qual, values, nvalues);
	for (int i = 0; i < nvalues; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!qual->has_list || is_listed(qual, values[i]))
			values[n++] = values[i];
	}
	qual->has_list = true;
	qual->values = values;
	qual->nvalues = n;
}

/* The elements of a list. */
static Datum *
list_values(Datum list, int *count)
{
	ArrayType *array = DatumGetArrayTypeP(list);
	Datum *values;
	int16 length;
	bool byval;
	char align;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &length, &byval, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), length, byval, align, &values, NULL, count);
	return values;
}

/* The same by the elements of an array. */
void
restrict_to_array(Qual *qual, Datum array)
{
	int nvalues;
	Datum *values = list_values(array, &nvalues);

	restrict_to_list(qual, values, nvalues);
}

/* The elements of a list in order, each once. */
Datum *
sorted_list(Datum list, int *count)
{
	Datum *values = list_values(list, count);
	Qual qual;

	init_qual(&qual, ARR_ELEMTYPE(DatumGetArrayTypeP(list)));
	*count = order_list(&qual, values, *count);
	return values;
}

/* Adds the condition that the value is none of an array. */
void
exclude_array(Qual *qual, Datum array)
{
	qual->excluded = sorted_list(array, &qual->nexcluded);
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

/* Adds the condition that the column's array has all of an array. */
void
restrict_to_all(Qual *qual, Datum array)
{
	int n;
	Datum *all = list_values(array, &n);

	if (qual->nall > 0)
	{
		all = repalloc(all, sizeof(Datum) * (n + qual->nall));
		memcpy(all + n, qual->all, sizeof(Datum) * qual->nall);
	}
	qual->all = all;
	qual->nall = order_list(qual, all, n + qual->nall);
}

/* Adds the condition that it has one of an array. */
void
restrict_to_any(Qual *qual, Datum array)
{
	qual->any = sorted_list(array, &qual->nany);
}

static bool
is_between(Qual *qual, Datum value)
{
	return !(qual->has_lower && compare_values(qual, value, qual->lower) < 0) &&
		   !(qual->has_upper && compare_values(qual, value, qual->upper) > 0);
}

static bool
is_excluded(Qual *qual, Datum value)
{
	return qual->nexcluded > 0 && find_value(qual, qual->excluded, qual->nexcluded, value) != NULL;
}

/*
 * Removes from a qual's list what its other conditions exclude, so that the list alone says
 * what matches. Returns whether any value can meet the qual.
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
		if (is_between(qual, qual->values[i]) && !is_excluded(qual, qual->values[i]))
			qual->values[n++] = qual->values[i];
	}
	qual->nvalues = n;
	qual->has_lower = false;
	qual->has_upper = false;
	qual->nexcluded = 0;
	return n > 0;
}

/* Whether an array has all elements and one of those that are asked for. */
static bool
has_elements(Qual *qual, Datum array)
{
	bool *found = palloc0(qual->nall + 1); /* which of all */
	int nfound = 0;
	bool any = qual->nany == 0;
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	for (int i = 0; i < count && (nfound < qual->nall || !any); i++)
	{
		Datum *place;

		if (nulls[i])
			continue;
		place = find_value(qual, qual->all, qual->nall, elements[i]);
		if (place != NULL && !found[place - qual->all])
		{
			found[place - qual->all] = true;
			nfound++;
		}
		any = any || find_value(qual, qual->any, qual->nany, elements[i]) != NULL;
	}
	return nfound == qual->nall && any;
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
	if (qual->on_elements)
		return has_elements(qual, value);
	if (qual->has_list)
		return is_member(qual, value);
	return is_between(qual, value) && !is_excluded(qual, value);
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
