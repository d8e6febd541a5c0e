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

#include "column.h"
#include "estimate.h"

/* The share of the rows that have a tag, without statistics */
#define DEFAULT_TAG_SHARE 0.1

/* In the place of a part: all of them, together */
#define ALL_PARTS (-1)

static Relation
part_relation(const DirectTable *table, int part)
{
	return part == ALL_PARTS ? table->relation : table->parts[part];
}

static HeapTuple
find_statistics(const DirectTable *table, int part, const Qual *qual)
{
	return SearchSysCache3(STATRELATTINH, RelationGetRelid(part_relation(table, part)),
						   Int16GetDatum(qual->columns[table->source]),
						   BoolGetDatum(part == ALL_PARTS));
}

/* Whether all partitions are read, and ANALYZE has been told to look at them together. */
static bool
has_common_statistics(const DirectTable *table, const Qual *qual)
{
	HeapTuple statistics;

	if (table->partitions == NULL || table->nparts < table->partitions->npartitions)
		return false;
	statistics = find_statistics(table, ALL_PARTS, qual);
	if (!HeapTupleIsValid(statistics))
		return false;
	ReleaseSysCache(statistics);
	return true;
}

/* The share of a table's rows, by those of its parts. */
static double
add_shares(DirectTable *table, Qual *qual, double (*share)(const DirectTable *, int, Qual *))
{
	double rows = 0;
	double sum = 0;

	if (table->nparts == 1)
		return share(table, 0, qual);
	if (has_common_statistics(table, qual))
		return share(table, ALL_PARTS, qual);
	for (int i = 0; i < table->nparts; i++)
	{
		double tuples = Max(table->parts[i]->rd_rel->reltuples, 1);

		rows += tuples;
		sum += tuples * share(table, i, qual);
	}
	return sum / Max(rows, 1);
}

/*
 * The share of a part's rows that have all tags and one of those that are asked for, at most: a
 * tag that is not listed is not more frequent than the rarest that is.
 */
static double
tag_share(const DirectTable *table, int part, Qual *tags)
{
	double rarest = DEFAULT_TAG_SHARE;
	double all = 1;
	double any = 0;
	int nall = tags->nall; /* that are not listed */
	int nany = tags->nany;
	HeapTuple statistics = find_statistics(table, part, tags);
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

/* The same of a table's. */
double
estimate_tag_share(DirectTable *table, Qual *tags)
{
	return add_shares(table, tags, tag_share);
}

static double
null_share(HeapTuple statistics)
{
	return ((Form_pg_statistic) GETSTRUCT(statistics))->stanullfrac;
}

/* The share of the rows that have one of the values of a list: of those that are common, and, by guess, of the others. */
static double
list_share(const DirectTable *table, int part, Qual *list, HeapTuple statistics, double *guessed)
{
	double share = 0;
	double rest = 1 - null_share(statistics); /* the share of the values that are not common */
	double distinct;                          /* how many of these there are */
	double others = list->nvalues;            /* how many of these the list has */
	AttStatsSlot slot;

	distinct = ((Form_pg_statistic) GETSTRUCT(statistics))->stadistinct;
	if (distinct < 0)
		distinct *= -Max(part_relation(table, part)->rd_rel->reltuples, 1);
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
	/* A project is in one part. */
	if (part != ALL_PARTS && list->columns[table->source] == table->columns[COLUMN_PROJECT_ID])
		others /= table->nparts;
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

/* The share of a part's rows that meet a qual; of one on a list or a range, 1 without statistics. */
static double
qual_share(const DirectTable *table, int part, Qual *qual)
{
	HeapTuple statistics;
	double guessed = 0;
	double share;

	if (qual->on_elements)
		return tag_share(table, part, qual);
	statistics = find_statistics(table, part, qual);
	if (!HeapTupleIsValid(statistics))
		return 1;
	share = qual->has_list ? list_share(table, part, qual, statistics, &guessed)
						   : bounds_share(qual, statistics);
	ReleaseSysCache(statistics);
	return Min(share + guessed, 1);
}

/* The same of a table's. */
double
estimate_share(DirectTable *table, Qual *qual)
{
	return add_shares(table, qual, qual_share);
}

/* The share of a part's rows that have one of the common values of a list: no guess is in it. */
static double
common_share(const DirectTable *table, int part, Qual *list)
{
	HeapTuple statistics = find_statistics(table, part, list);
	double guessed;
	double share;

	if (!HeapTupleIsValid(statistics))
		return 0;
	share = list_share(table, part, list, statistics, &guessed);
	ReleaseSysCache(statistics);
	return share;
}

/* The same of a table's. */
double
estimate_common_share(DirectTable *table, Qual *list)
{
	return add_shares(table, list, common_share);
}
