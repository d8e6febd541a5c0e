/*
 * estimate.c
 *		What share of a table's rows may meet a qual, by what ANALYZE found.
 *
 * These numbers only shift the turns of competing paths, where wrong ones cost time within
 * a constant factor, and tell the planner how many rows to expect.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_statistic.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "estimate.h"

/* The share of the rows that have a tag, without statistics */
#define DEFAULT_TAG_SHARE 0.1

static HeapTuple
find_statistics(DirectTable *table, const Qual *qual)
{
	return SearchSysCache3(STATRELATTINH, RelationGetRelid(table->relation),
						   Int16GetDatum(qual->columns[table->source]), BoolGetDatum(false));
}

/*
 * The share of the rows that have all tags and one of those that are asked for, at most: a tag
 * that is not listed is not more frequent than the rarest that is.
 */
double
estimate_tag_share(DirectTable *table, Qual *tags)
{
	double rarest = DEFAULT_TAG_SHARE;
	double all = 1;
	double any = 0;
	int nall = tags->nall; /* that are not listed */
	int nany = tags->nany;
	HeapTuple statistics = find_statistics(table, tags);
	AttStatsSlot slot;

	if (HeapTupleIsValid(statistics))
	{
		if (get_attstatsslot(&slot, statistics, STATISTIC_KIND_MCELEM, InvalidOid,
							 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
		{
			/* Behind the frequencies of the elements are the least and the largest one. */
			if (slot.nnumbers > slot.nvalues)
				rarest = slot.numbers[slot.nvalues];
			for (int i = 0; i < slot.nvalues; i++)
			{
				if (find_value(tags, tags->all, tags->nall, slot.values[i]) != NULL)
				{
					all = Min(all, slot.numbers[i]);
					nall--;
				}
				if (find_value(tags, tags->any, tags->nany, slot.values[i]) != NULL)
				{
					any += slot.numbers[i];
					nany--;
				}
			}
			free_attstatsslot(&slot);
		}
		ReleaseSysCache(statistics);
	}
	if (nall > 0)
		all = Min(all, rarest);
	any += nany * rarest;
	return tags->nany > 0 ? Min(all, any) : all;
}

static double
null_share(HeapTuple statistics)
{
	return ((Form_pg_statistic) GETSTRUCT(statistics))->stanullfrac;
}

/* The share of the rows that have one of the values of a list: of those that are common, and, by guess, of the others. */
static double
list_share(DirectTable *table, Qual *list, HeapTuple statistics, double *guessed)
{
	double share = 0;
	double rest = 1 - null_share(statistics); /* the share of the values that are not common */
	double distinct;                          /* how many of these there are */
	int others = list->nvalues;               /* how many of these the list has */
	AttStatsSlot slot;

	distinct = ((Form_pg_statistic) GETSTRUCT(statistics))->stadistinct;
	if (distinct < 0)
		distinct *= -Max(table->relation->rd_rel->reltuples, 1);
	if (get_attstatsslot(&slot, statistics, STATISTIC_KIND_MCV, InvalidOid,
						 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
	{
		for (int i = 0; i < slot.nvalues; i++)
		{
			rest -= slot.numbers[i];
			if (qual_holds(list, slot.values[i], false))
			{
				share += slot.numbers[i];
				others--;
			}
		}
		distinct -= slot.nvalues;
		free_attstatsslot(&slot);
	}
	*guessed = Max(rest, 0) * others / Max(distinct, Max(others, 1));
	return share;
}

/* The share of the rows within bounds: of the common values, and of the histogram's parts. */
static double
bounds_share(Qual *bounds, HeapTuple statistics)
{
	double share = 0;
	double rest = 1 - null_share(statistics); /* the share of the values that are not common */
	AttStatsSlot slot;

	if (get_attstatsslot(&slot, statistics, STATISTIC_KIND_MCV, InvalidOid,
						 ATTSTATSSLOT_VALUES | ATTSTATSSLOT_NUMBERS))
	{
		for (int i = 0; i < slot.nvalues; i++)
		{
			rest -= slot.numbers[i];
			if (qual_holds(bounds, slot.values[i], false))
				share += slot.numbers[i];
		}
		free_attstatsslot(&slot);
	}
	if (get_attstatsslot(&slot, statistics, STATISTIC_KIND_HISTOGRAM, InvalidOid,
						 ATTSTATSSLOT_VALUES))
	{
		double ends = 0.5;

		for (int i = 0; i < slot.nvalues; i++)
			ends += qual_holds(bounds, slot.values[i], false);
		share += Max(rest, 0) * ends / slot.nvalues;
		free_attstatsslot(&slot);
	}
	return share;
}

/* The share of the rows that meet a qual; of one on a list or a range, 1 without statistics. */
double
estimate_share(DirectTable *table, Qual *qual)
{
	HeapTuple statistics;
	double guessed = 0;
	double share;

	if (qual->on_elements)
		return estimate_tag_share(table, qual);
	statistics = find_statistics(table, qual);
	if (!HeapTupleIsValid(statistics))
		return 1;
	share = qual->has_list ? list_share(table, qual, statistics, &guessed)
						   : bounds_share(qual, statistics);
	ReleaseSysCache(statistics);
	return Min(share + guessed, 1);
}

/* The share of the rows that have one of the common values of a list: no guess is in it. */
double
estimate_common_share(DirectTable *table, Qual *list)
{
	HeapTuple statistics = find_statistics(table, list);
	double guessed;
	double share;

	if (!HeapTupleIsValid(statistics))
		return 0;
	share = list_share(table, list, statistics, &guessed);
	ReleaseSysCache(statistics);
	return share;
}
