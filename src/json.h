/*
 * json.h
 *		Rendering rows as the API's JSON document.
 */
#ifndef BATCHES_JSON_H
#define BATCHES_JSON_H

#include "lib/stringinfo.h"

#include "filter.h"

/* Enumerations have few labels: each is looked up once a document. */
typedef struct EnumLabel
{
	Oid value;
	NameData label;
} EnumLabel;

#define N_CACHED_LABELS 16

/* A day since 2000-01-01, and its text */
typedef struct RenderedDate
{
	int64 day;
	char text[16];
	int length; /* 0: none yet */
} RenderedDate;

/* A column's name with what goes before and behind it */
#define MAX_KEY_LENGTH 32

typedef struct Document
{
	StringInfoData buf; /* a text datum in the making */
	int64 rows;
	EnumLabel labels[N_CACHED_LABELS];
	int nlabels;
	RenderedDate date;
	char keys[N_COLUMNS][MAX_KEY_LENGTH];
	int key_lengths[N_COLUMNS];
} Document;

extern void append_escaped(StringInfo buf, const char *string, int length);
extern void begin_document(Document *document);
extern void add_row_to_document(const BatchRow *row, void *document);
extern text *end_document(Document *document, const Request *request, int64 total,
						  const char *next);

#endif /* BATCHES_JSON_H */
