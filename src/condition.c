/*
 * condition.c
 *		Conditions on a table's columns, and how values compare.
 *
 * Values compare by the default operators of their types, text by code point.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "parser/parse_oper.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "condition.h"

/* In so few, a search takes no longer than a look-up. */
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
#define SH_HASH_KEY(table, key) hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(table, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Prepares the comparison of a type's values; a null is larger than any of them. */
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
init_condition(Condition *condition, Oid type)
{
	memset(condition, 0, sizeof(*condition));
	condition->type = type;
	condition->byval = get_typbyval(type);
	if (type != TEXTARRAYOID)
		prepare_order(&condition->order, type, false);
}

int
compare_values(Condition *condition, Datum a, Datum b)
{
	return ApplySortComparator(a, false, b, false, &condition->order);
}

static int
compare_values_arg(const void *a, const void *b, void *condition)
{
	return compare_values(condition, *(const Datum *) a, *(const Datum *) b);
}

/* Whether a value is in the condition's list. */
static bool
is_listed(Condition *condition, Datum value)
{
	/* Enumerations and booleans have few values, and are equal when their datums are. */
	if (condition->byval)
	{
		for (int i = 0; i < condition->nvalues; i++)
			if (condition->values[i] == value)
				return true;
		return false;
	}
	return bsearch_arg(&value, condition->values, condition->nvalues, sizeof(Datum),
					   compare_values_arg, condition) != NULL;
}

/* Takes over the values. */
void
restrict_to_list(Condition *condition, Datum *values, int nvalues)
{
	int n = 0;

	qsort_arg(values, nvalues, sizeof(Datum), compare_values_arg, condition);
	for (int i = 0; i < nvalues; i++)
	{
		if (n > 0 && compare_values(condition, values[n - 1], values[i]) == 0)
			continue;
		if (!condition->has_list || is_listed(condition, values[i]))
			values[n++] = values[i];
	}
	condition->has_list = true;
	condition->values = values;
	condition->nvalues = n;
}

void
restrict_to_lower(Condition *condition, Datum lower)
{
	if (!condition->has_lower || compare_values(condition, lower, condition->lower) > 0)
		condition->lower = lower;
	condition->has_lower = true;
}

void
restrict_to_upper(Condition *condition, Datum upper)
{
	if (!condition->has_upper || compare_values(condition, upper, condition->upper) < 0)
		condition->upper = upper;
	condition->has_upper = true;
}

void
restrict_to_element(Condition *condition, Datum element)
{
	condition->has_element = true;
	condition->element = element;
}

static bool
is_between(Condition *condition, Datum value)
{
	return !(condition->has_lower && compare_values(condition, value, condition->lower) < 0) &&
		   !(condition->has_upper && compare_values(condition, value, condition->upper) > 0);
}

/* Makes a condition with a list one of nothing else; returns whether any value can meet it. */
bool
normalize_condition(Condition *condition)
{
	int n = 0;

	if (!condition->has_list)
		return !(condition->has_lower && condition->has_upper &&
				 compare_values(condition, condition->lower, condition->upper) > 0);

	for (int i = 0; i < condition->nvalues; i++)
		if (is_between(condition, condition->values[i]))
			condition->values[n++] = condition->values[i];
	condition->nvalues = n;
	condition->has_lower = false;
	condition->has_upper = false;
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
 * Whether a value is in the condition's list, once that is complete. Much may be asked
 * of it: after as many times as it has values, uuids are looked up in a set.
 */
static bool
is_member(Condition *condition, Datum value)
{
	if (condition->type != UUIDOID || condition->nvalues < FEW_VALUES)
		return is_listed(condition, value);
	if (condition->set == NULL)
	{
		bool found;

		if (condition->nasked++ < condition->nvalues)
			return is_listed(condition, value);
		condition->set = uuid_set_create(condition->order.ssup_cxt, condition->nvalues, NULL);
		for (int i = 0; i < condition->nvalues; i++)
			uuid_set_insert(condition->set, *DatumGetUUIDP(condition->values[i]), &found);
	}
	return uuid_set_lookup(condition->set, *DatumGetUUIDP(value)) != NULL;
}

/* May leave memory behind in the current context. */
bool
condition_holds(Condition *condition, Datum value, bool isnull)
{
	if (isnull)
		return false;
	if (condition->has_element)
		return has_element(value, condition->element);
	if (condition->has_list)
		return is_member(condition, value);
	return is_between(condition, value);
}

/* Whether a table's row meets all of several conditions. The context is for what that takes. */
bool
conditions_hold(Condition **conditions, int nconditions, Source source, TupleTableSlot *slot,
				MemoryContext context)
{
	MemoryContext previous = MemoryContextSwitchTo(context);
	bool holds = true;

	for (int i = 0; i < nconditions && holds; i++)
	{
		bool isnull;
		Datum value = slot_getattr(slot, conditions[i]->columns[source], &isnull);

		holds = condition_holds(conditions[i], value, isnull);
	}
	MemoryContextSwitchTo(previous);
	MemoryContextReset(context);
	return holds;
}
