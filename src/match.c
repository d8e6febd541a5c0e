/*
 * match.c
 *		Rows that match a request, as far as ordering them takes.
 */
#include "postgres.h"
#include "compat.h"

#include "miscadmin.h"
#include "utils/datum.h"

#include "match.h"

/* For how many matches there is memory, but for the keys of some types. */
int64
most_matches(void)
{
	return work_mem * INT64CONST(1024) / sizeof(Match);
}

/* For how many tuples there is memory to keep where they are. */
int64
most_tids(void)
{
	return work_mem * INT64CONST(1024) / sizeof(ItemPointerData);
}

int
compare_matches(IndexScan *scan, const Match *a, const Match *b)
{
	int order = ApplySortComparator(a->key, a->isnull, b->key, b->isnull, &scan->key_order);

	if (order != 0)
		return order;
	return ApplySortComparator(UUIDPGetDatum(&a->id), false, UUIDPGetDatum(&b->id), false,
							   &scan->id_order);
}

/* The keys of "complete" are those of "open", turned round. */
void
set_match(IndexScan *scan, Match *match, Datum key, bool isnull, Datum id, ItemPointer tid)
{
	match->key = key;
	match->isnull = isnull;
	if (scan->request->order_by == COLUMN_COMPLETE && !isnull)
		match->key = BoolGetDatum(!DatumGetBool(key));
	match->id = *DatumGetUUIDP(id);
	match->tid = *tid;
}

/* Gives a match a key of its own. */
void
keep_key(IndexScan *scan, Match *match)
{
	if (!match->isnull)
		match->key = datumCopy(match->key, scan->key_byval, scan->key_length);
}

void
free_key(IndexScan *scan, Match *match)
{
	if (!match->isnull && !scan->key_byval)
		pfree(DatumGetPointer(match->key));
}
