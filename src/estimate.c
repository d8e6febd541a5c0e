/*
 * estimate.c
 *		What share of a table's rows may meet a condition, by what ANALYZE found.
 *
 * Nothing is decided by these numbers alone: they say which way to a result is given
 * the first chance.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_statistic.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "estimate.h"

/* What share of the rows is taken to have a tag when there are no statistics. */
#define DEFAULT_TAG_SHARE 0.001

static HeapTuple
find_statistics(DirectTable *table, const Condition *condition)
{
	return SearchSysCache3(STATRELATTINH, RelationGetRelid(table->relation),
						   Int16GetDatum(condition->column), BoolGetDatum(false));
}

/* The share of the rows that have a tag, at most: one that is not common is rarer than those. */
double
estimate_tag_share(DirectTable *table, const Condition *tag)
{
	text *wanted = DatumGetTextPP(tag->element);
	double share = DEFAULT_TAG_SHARE;
	HeapTuple statistics = find_statistics(table, tag);
	AttStatsSlot slot;

	if (!HeapTupleIsValid(statistics))
		return share;
	if (get_attstatsslot(&slot, statistics, STATISTIC_KIND_MCELEM, InvalidOid,
						 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
	{
		/* Behind the frequencies of the elements are the least and the largest one. */
		if (slot.nnumbers > slot.nvalues)
			share = slot.numbers[slot.nvalues];
		for (int i = 0; i < slot.nvalues; i++)
		{
			text *common = DatumGetTextPP(slot.values[i]);

			if (VARSIZE_ANY_EXHDR(common) == VARSIZE_ANY_EXHDR(wanted) &&
				memcmp(VARDATA_ANY(common), VARDATA_ANY(wanted), VARSIZE_ANY_EXHDR(wanted)) == 0)
				share = slot.numbers[i];
		}
		free_attstatsslot(&slot);
	}
	ReleaseSysCache(statistics);
	return share;
}

/* The share of the rows that have one of the values of a list; 1 without statistics. */
double
estimate_list_share(DirectTable *table, Condition *list)
{
	double share = 0;
	double rest = 1;            /* the share of the values that are not common */
	double distinct;            /* how many of these there are */
	int others = list->nvalues; /* how many of these the list has */
	HeapTuple statistics = find_statistics(table, list);
	AttStatsSlot slot;

	if (!HeapTupleIsValid(statistics))
		return 1;
	distinct = ((Form_pg_statistic) GETSTRUCT(statistics))->stadistinct;
	if (distinct < 0)
		distinct *= -Max(table->relation->rd_rel->reltuples, 1);
	if (get_attstatsslot(&slot, statistics, STATISTIC_KIND_MCV, InvalidOid,
						 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
	{
		for (int i = 0; i < slot.nvalues; i++)
		{
			rest -= slot.numbers[i];
			if (condition_holds(list, slot.values[i], false))
			{
				share += slot.numbers[i];
				others--;
			}
		}
		distinct -= slot.nvalues;
		free_attstatsslot(&slot);
	}
	ReleaseSysCache(statistics);
	return Min(share + Max(rest, 0) * others / Max(distinct, Max(others, 1)), 1);
}
