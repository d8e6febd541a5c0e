/*
 * untrusted.c
 *		Sorting and hashing what a request, or a row, may choose to make that slow.
 *
 * PostgreSQL's quicksort is quadratic for values in an order that is made for it, and a
 * hash table is for keys that are chosen to have one hash.
 */
#include "postgres.h"
#include "compat.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "untrusted.h"

typedef struct Order
{
	binaryheap_comparator compare;
	void *arg;
} Order;

/* A binaryheap_comparator: a heap cannot be canceled but here. */
static int
compare_untrusted(Datum a, Datum b, void *arg)
{
	const Order *order = arg;

	CHECK_FOR_INTERRUPTS();
	return order->compare(a, b, order->arg);
}

/* Sorts a list in ascending order, in n log n steps whatever its order is. */
void
sort_list(Datum *values, int nvalues, binaryheap_comparator compare, void *arg)
{
	Order order = {compare, arg};
	int nsorted = Min(nvalues, 1);
	binaryheap *heap;

	while (nsorted < nvalues &&
		   compare_untrusted(values[nsorted - 1], values[nsorted], &order) <= 0)
		nsorted++;
	if (nsorted == nvalues)
		return;
	heap = binaryheap_allocate(nvalues, compare_untrusted, &order);
	for (int i = 0; i < nvalues; i++)
		binaryheap_add_unordered(heap, values[i]);
	binaryheap_build(heap);
	/* The first one is the largest. */
	for (int i = nvalues - 1; i >= 0; i--)
		values[i] = binaryheap_remove_first(heap);
	binaryheap_free(heap);
}

/* A hash that nobody can foretell. */
uint32
hash_untrusted(const void *bytes, Size length)
{
	static uint64 seed = 0;

	while (seed == 0)
		if (!pg_strong_random(&seed, sizeof(seed)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	return (uint32) hash_bytes_extended(bytes, (int) length, seed);
}
