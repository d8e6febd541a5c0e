/*
 * cursor.h
 *		Cursors: the place behind which the next page of a listing begins, as text.
 */
#ifndef BATCHES_CURSOR_H
#define BATCHES_CURSOR_H

#include "filter.h"

/* What read_cursor() says of text that is none */
#define NOT_A_CURSOR "not a cursor"

extern const char *read_cursor(Request *request, bool must_fit);
extern void require_cursor(Request *request);
extern char *write_cursor(const Request *request, const BatchRow *row);

#endif /* BATCHES_CURSOR_H */
