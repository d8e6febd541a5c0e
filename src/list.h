/*
 * list.h
 *		The document of a request.
 */
#ifndef BATCHES_LIST_H
#define BATCHES_LIST_H

#include "filter.h"

extern text *render_document(Request *request, int64 *total, int64 *rows);

#endif /* BATCHES_LIST_H */
