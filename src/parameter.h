/*
 * parameter.h
 *		The parameters of a request. Plain C: a fuzzer uses it outside the server.
 */
#ifndef BATCHES_PARAMETER_H
#define BATCHES_PARAMETER_H

#include <stdbool.h>
#include <stdint.h>

#include "column.h"

/* The parameters, in the order in which errors are reported. */
typedef enum ParameterId
{
	PARAMETER_ORDER_BY,
	PARAMETER_ORDER_BY_DIRECTION,
	PARAMETER_LIMIT,
	PARAMETER_OFFSET,
	PARAMETER_ID,
	PARAMETER_ID_STARTS_WITH,
	PARAMETER_PROJECT_ID,
	PARAMETER_USER_ID,
	PARAMETER_DEVICE_TYPE,
	PARAMETER_STATUS,
	PARAMETER_COMPLETE,
	PARAMETER_OPEN,
	PARAMETER_MIN_JOBS,
	PARAMETER_MAX_JOBS,
	PARAMETER_START_DATE,
	PARAMETER_END_DATE,
	PARAMETER_QUEUE_PRIORITY,
	PARAMETER_TAG,
	PARAMETER_CREATED_AFTER,
	PARAMETER_CREATED_BEFORE,
	PARAMETER_PARENT_ID,
	PARAMETER_UPDATED_AFTER,
	PARAMETER_UPDATED_BEFORE,
	PARAMETER_TAGS_ANY,
	PARAMETER_TAGS_ALL,
	PARAMETER_EXCLUDE_STATUS,
	PARAMETER_EXCLUDE_DEVICE_TYPE,
	PARAMETER_AFTER,
	PARAMETER_TOTAL,
	PARAMETER_OMIT,
	PARAMETER_LAST_ID,
	N_PARAMETERS,
	FIRST_FILTER = PARAMETER_ID,
	LAST_FILTER = PARAMETER_EXCLUDE_DEVICE_TYPE,
	N_FILTERS = LAST_FILTER - FIRST_FILTER + 1,
} ParameterId;

/* How many labels the enumerations have */
#define N_BATCH_STATUSES 8
#define N_QUEUE_PRIORITIES 5

typedef enum ParameterType
{
	PARAMETER_TYPE_LITERAL, /* one of the labels */
	PARAMETER_TYPE_ENUM,    /* the same, as a value of an SQL enumeration */
	PARAMETER_TYPE_INTEGER,
	PARAMETER_TYPE_BOOLEAN,
	PARAMETER_TYPE_TEXT,
	PARAMETER_TYPE_TIMESTAMP,
	PARAMETER_TYPE_UUID,
} ParameterType;

/* How a filter compares its column with its value. */
typedef enum Comparison
{
	COMPARE_NONE, /* not a filter */
	COMPARE_EQUAL,
	COMPARE_AT_LEAST,
	COMPARE_AT_MOST,
	COMPARE_IN,          /* the column is in the list */
	COMPARE_NOT_IN,      /* it is not */
	COMPARE_HAS,         /* the column's array has the value */
	COMPARE_HAS_ANY,     /* it has one of the list */
	COMPARE_HAS_ALL,     /* it has all of the list */
	COMPARE_STARTS_WITH, /* the uuid's text form has the prefix */
} Comparison;

/* Who can give a parameter. */
typedef enum ParameterScope
{
	SCOPE_ENDPOINT, /* query strings and SQL */
	SCOPE_EXTENDED, /* SQL, and query strings where more than the endpoint is asked for */
	SCOPE_SQL,
} ParameterScope;

typedef struct Bound
{
	bool given;
	bool inclusive;
	int64_t value;
} Bound;

typedef struct Parameter
{
	const char *name;
	ParameterType type;
	bool is_list;
	Comparison comparison;
	ColumnId column;
	bool is_cell; /* a filter that "batch_total" can answer */
	ParameterScope scope;
	/* what an enumeration or a literal can be: its labels in order, then NULL */
	const char *const *labels;
	const char *enum_type; /* the SQL enumeration */
	Bound lower;           /* what an integer can be */
	Bound upper;
} Parameter;

extern const Parameter parameters[N_PARAMETERS];

#endif /* BATCHES_PARAMETER_H */
