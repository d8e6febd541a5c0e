/*
 * tags.c
 *		What the tags of a batch can be.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"

#include "untrusted.h"

/* A binaryheap_comparator of texts, by their bytes */
static int
compare_tags(Datum a, Datum b, void *arg)
{
	text *x = DatumGetTextPP(a);
	text *y = DatumGetTextPP(b);
	int xlen = VARSIZE_ANY_EXHDR(x);
	int ylen = VARSIZE_ANY_EXHDR(y);
	int order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), Min(xlen, ylen));

	return order != 0 ? order : xlen - ylen;
}

/* batches.are_valid_tags(tags text[]) returns boolean */
PG_FUNCTION_INFO_V1(batches_are_valid_tags);
Datum
batches_are_valid_tags(PG_FUNCTION_ARGS)
{
	ArrayType *tags = PG_GETARG_ARRAYTYPE_P(0);
	Datum *elements;
	int count;

	if (ARR_NDIM(tags) > 1 || array_contains_nulls(tags))
		PG_RETURN_BOOL(false);

	deconstruct_array(tags, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	sort_list(elements, count, compare_tags, NULL);
	for (int i = 1; i < count; i++)
		if (compare_tags(elements[i - 1], elements[i], NULL) == 0)
			PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(true);
}
