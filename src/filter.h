/*
 * filter.h
 *		A request for batches: the parameters, and what they mean once validated.
 */
#ifndef BATCHES_FILTER_H
#define BATCHES_FILTER_H

#include "fmgr.h"
#include "utils/uuid.h"

#include "row.h"

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
} ParameterId;

#define N_PARAMETERS (PARAMETER_CREATED_BEFORE + 1)
#define FIRST_FILTER PARAMETER_ID
#define N_FILTERS (N_PARAMETERS - FIRST_FILTER)

typedef enum ParameterType
{
	PARAMETER_TYPE_ORDER_BY,
	PARAMETER_TYPE_DIRECTION,
	PARAMETER_TYPE_INTEGER,
	PARAMETER_TYPE_BOOLEAN,
	PARAMETER_TYPE_TEXT,
	PARAMETER_TYPE_TIMESTAMP,
	/* lists from here on */
	PARAMETER_TYPE_UUID_LIST,
	PARAMETER_TYPE_TEXT_LIST,
	PARAMETER_TYPE_ENUM_LIST,
} ParameterType;

/* How a filter compares its column with its value. */
typedef enum Comparison
{
	COMPARE_NONE, /* not a filter */
	COMPARE_EQUAL,
	COMPARE_AT_LEAST,
	COMPARE_AT_MOST,
	COMPARE_IN,          /* the column is in the list */
	COMPARE_HAS,         /* the column's array has the value */
	COMPARE_STARTS_WITH, /* the uuid's text form has the prefix */
} Comparison;

typedef struct Parameter
{
	const char *name;
	ParameterType type;
	Comparison comparison;
	ColumnId column;
} Parameter;

extern const Parameter parameters[N_PARAMETERS];

#define NO_LIMIT (-1)

typedef struct FilterValue
{
	bool given;
	Datum value; /* a list is a one-type array without nulls */
} FilterValue;

/* A validated request. */
typedef struct Request
{
	ColumnId order_by;
	bool descending;
	int64 limit; /* or NO_LIMIT */
	int64 offset;
	/* By ParameterId. A list that is given and empty matches nothing. */
	FilterValue filters[N_PARAMETERS];
	/* What id__starts_with means, when given: both ends inclusive. */
	pg_uuid_t first_id;
	pg_uuid_t last_id;
} Request;

/* What a function allows for the page size. */
typedef enum LimitRule
{
	LIMIT_OPTIONAL, /* 1 or more; null is no limit */
	LIMIT_PAGE,     /* 1 to 100; null is the default */
} LimitRule;

extern void read_arguments(Request *request, FunctionCallInfo fcinfo, LimitRule limit_rule);

#endif /* BATCHES_FILTER_H */
