/*
 * adversary.c
 *		Lists that are made to be slow, and what they cost: for the test of untrusted.c.
 *
 * The adversary of a sort decides how values compare only when it is asked, so that each
 * comparison tells as little as can be: all values are above those that are decided, and
 * of two such the second one, which is the pivot when a quicksort asks, becomes the least
 * of them. (The idea is from M. D. McIlroy, "A Killer Adversary for Quicksort", 1999.)
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

/* The code under test itself: a library's functions are not for another library. */
#include "../../src/untrusted.c"

PG_MODULE_MAGIC;

typedef struct Adversary
{
	int *ranks; /* of the values; those that are not decided have the highest one */
	int undecided;
	int ndecided;
	int64 steps;
	int64 cancel_at; /* the step at which the query is canceled, or 0 */
} Adversary;

/* Of the last query that was canceled */
static int64 steps_behind_cancel = -1;

static int
compare_by_adversary(Adversary *adversary, int x, int y)
{
	int *ranks = adversary->ranks;

	adversary->steps++;
	if (adversary->cancel_at > 0 && adversary->steps >= adversary->cancel_at)
	{
		steps_behind_cancel = adversary->steps - adversary->cancel_at;
		QueryCancelPending = true;
		InterruptPending = true;
	}
	if (ranks[x] == adversary->undecided && ranks[y] == adversary->undecided)
		ranks[y] = adversary->ndecided++;
	return ranks[x] < ranks[y] ? -1 : ranks[x] > ranks[y];
}

static int
compare_datums(Datum x, Datum y, void *arg)
{
	return compare_by_adversary(arg, DatumGetInt32(x), DatumGetInt32(y));
}

static int
compare_ints(const void *x, const void *y, void *arg)
{
	return compare_by_adversary(arg, *(const int *) x, *(const int *) y);
}

static void
begin_adversary(Adversary *adversary, int nvalues)
{
	memset(adversary, 0, sizeof(*adversary));
	adversary->ranks = palloc(sizeof(int) * nvalues);
	adversary->undecided = nvalues;
	for (int i = 0; i < nvalues; i++)
		adversary->ranks[i] = nvalues;
}

/* killer_order(n integer) returns integer[]: ranks in an order that PostgreSQL's quicksort is slow for */
PG_FUNCTION_INFO_V1(killer_order);
Datum
killer_order(PG_FUNCTION_ARGS)
{
	int n = PG_GETARG_INT32(0);
	int *values = palloc(sizeof(int) * n);
	Datum *ranks = palloc(sizeof(Datum) * n);
	Adversary adversary;

	begin_adversary(&adversary, n);
	for (int i = 0; i < n; i++)
		values[i] = i;
	qsort_arg(values, n, sizeof(int), compare_ints, &adversary);
	for (int i = 0; i < n; i++)
		ranks[i] = Int32GetDatum(adversary.ranks[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(ranks, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/*
 * sort_steps(n integer, cancel_at bigint) returns bigint: how many comparisons sort_list()
 * makes against the adversary, who cancels the query at one of them, unless that is 0
 */
PG_FUNCTION_INFO_V1(sort_steps);
Datum
sort_steps(PG_FUNCTION_ARGS)
{
	int n = PG_GETARG_INT32(0);
	Datum *values = palloc(sizeof(Datum) * n);
	Adversary adversary;

	begin_adversary(&adversary, n);
	adversary.cancel_at = PG_GETARG_INT64(1);
	for (int i = 0; i < n; i++)
		values[i] = Int32GetDatum(i);
	sort_list(values, n, compare_datums, &adversary);
	for (int i = 1; i < n; i++)
		if (adversary.ranks[DatumGetInt32(values[i - 1])] >
			adversary.ranks[DatumGetInt32(values[i])])
			elog(ERROR, "values %d and %d are not in order", i - 1, i);
	PG_RETURN_INT64(adversary.steps);
}

/* steps_behind_cancel() returns bigint: how many comparisons the last canceled query still made */
PG_FUNCTION_INFO_V1(steps_behind_cancel_sql);
Datum
steps_behind_cancel_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(steps_behind_cancel);
}

/* untrusted_hash(id uuid) returns bigint */
PG_FUNCTION_INFO_V1(untrusted_hash);
Datum
untrusted_hash(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(hash_untrusted(PG_GETARG_UUID_P(0), UUID_LEN));
}

/*
 * colliding_uuid(n integer) returns uuid: one of many that hash_bytes() has one hash for.
 * Its last step is reversed from that hash and any two words beside it, the step before
 * from any last word of the key: what comes out are the key's first three words.
 */
PG_FUNCTION_INFO_V1(colliding_uuid);
Datum
colliding_uuid(PG_FUNCTION_ARGS)
{
	const uint32 initial = 0x9e3779b9 + UUID_LEN + 3923095;
	const uint32 last_word = 0;
	uint32 a = PG_GETARG_INT32(0);
	uint32 b = 0;
	uint32 c = 0; /* the hash */
	pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
	uint32 words[4];

	c += pg_rotate_left32(b, 24);
	c ^= b;
	b += pg_rotate_left32(a, 14);
	b ^= a;
	a += pg_rotate_left32(c, 4);
	a ^= c;
	c += pg_rotate_left32(b, 16);
	c ^= b;
	b += pg_rotate_left32(a, 25);
	b ^= a;
	a += pg_rotate_left32(c, 11);
	a ^= c;
	c += pg_rotate_left32(b, 14);
	c ^= b;
	a -= last_word;

	b -= a;
	c ^= pg_rotate_left32(b, 4);
	c += b;
	a -= c;
	b ^= pg_rotate_left32(a, 19);
	b += a;
	c -= b;
	a ^= pg_rotate_left32(c, 16);
	a += c;
	b -= a;
	c ^= pg_rotate_left32(b, 8);
	c += b;
	a -= c;
	b ^= pg_rotate_left32(a, 6);
	b += a;
	c -= b;
	a ^= pg_rotate_left32(c, 4);
	a += c;
	words[0] = a - initial;
	words[1] = b - initial;
	words[2] = c - initial;
	words[3] = last_word;
	memcpy(uuid->data, words, UUID_LEN);
	PG_RETURN_UUID_P(uuid);
}
