/*
 * cursor.h
 *		Cursors: the place behind which the next page of a listing begins, as text.
 */
#ifndef BATCHES_CURSOR_H
#define BATCHES_CURSOR_H

#include "filter.h"

/* What read_cursor() says of text that is none */
#define NOT_A_CURSOR "not a cursor"

/* What a cursor is asked for: each more than the one before */
typedef enum CursorFit
{
	CURSOR_IS_VALID,
	CURSOR_FITS_ORDER,
	CURSOR_FITS_REQUEST, /* it is of the same filters, too */
} CursorFit;

extern const char *read_cursor(Request *request, CursorFit fit);
extern void require_cursor(Request *request);
extern char *write_cursor(const Request *request, const BatchRow *row);

#endif /* BATCHES_CURSOR_H */
