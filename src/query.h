/*
 * query.h
 *		Query strings: their pairs, and what a parameter's text means. Plain C.
 */
#ifndef BATCHES_QUERY_H
#define BATCHES_QUERY_H

#include <stddef.h>

#include "parameter.h"

/* Decoded text: UTF-8 without a zero byte, not terminated. */
typedef struct QueryText
{
	const char *data;
	size_t length;
	bool storable; /* what was sent is text: UTF-8 without a zero byte */
} QueryText;

/* Where in a query string the next pair begins. */
typedef struct QueryCursor
{
	const char *next;
	const char *end;
	char *buffer; /* where decoded text goes next */
} QueryCursor;

/* What the buffer of a cursor needs for a query string. */
#define QUERY_BUFFER_SIZE(length) (4 * (size_t) (length) + 1)

typedef enum QueryError
{
	QUERY_OK,
	QUERY_LITERAL_ERROR,
	QUERY_ENUM,
	QUERY_INT_PARSING,
	QUERY_INT_PARSING_SIZE,
	QUERY_GREATER_THAN,
	QUERY_GREATER_THAN_EQUAL,
	QUERY_LESS_THAN,
	QUERY_BOOL_PARSING,
	QUERY_UUID_PARSING,
	QUERY_DATETIME_PARSING,
	QUERY_DATETIME_FROM_DATE_PARSING,
	QUERY_VALUE_ERROR, /* found by who knows the other parameters, too */
} QueryError;

/* A parameter's value as read from text. */
typedef struct QueryValue
{
	const char *reason; /* of an error, where its type does not tell all */
	union
	{
		int label;       /* its index */
		int64_t integer; /* the nearest one to what was said */
		bool boolean;
		uint8_t uuid[16];
		int64_t microseconds; /* since 1970, UTC */
	} as;
} QueryValue;

extern int hex_digit(char c);
extern void begin_query(QueryCursor *cursor, const char *query, size_t length, char *buffer);
extern bool next_query_pair(QueryCursor *cursor, QueryText *name, QueryText *value);
extern const Parameter *parameter_named(QueryText name, bool extended);
extern QueryError read_query_value(const Parameter *parameter, QueryText text, QueryValue *value);

#endif /* BATCHES_QUERY_H */
