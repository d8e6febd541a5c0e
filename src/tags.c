/*
 * tags.c
 *		What the tags of a batch can be.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"

static int
compare_texts(const void *a, const void *b)
{
	text *x = *(text *const *) a;
	text *y = *(text *const *) b;
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
	text **texts;
	int count;

	if (ARR_NDIM(tags) > 1 || array_contains_nulls(tags))
		PG_RETURN_BOOL(false);

	deconstruct_array(tags, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	texts = palloc(sizeof(text *) * (count + 1));
	for (int i = 0; i < count; i++)
		texts[i] = DatumGetTextPP(elements[i]);
	qsort(texts, count, sizeof(text *), compare_texts);
	for (int i = 1; i < count; i++)
		if (compare_texts(&texts[i - 1], &texts[i]) == 0)
			PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(true);
}
