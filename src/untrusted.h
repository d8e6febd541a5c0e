/*
 * untrusted.h
 *		Sorting and hashing what a request, or a row, may choose to make that slow.
 */
#ifndef BATCHES_UNTRUSTED_H
#define BATCHES_UNTRUSTED_H

#include "lib/binaryheap.h"

extern void sort_list(Datum *values, int nvalues, binaryheap_comparator compare, void *arg);
extern uint32 hash_untrusted(const void *bytes, Size length);

#endif /* BATCHES_UNTRUSTED_H */
