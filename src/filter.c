/*
 * filter.c
 *		The request: reads parameters into one validated struct.
 *
 * The table of parameters is the one place that describes them; the SQL
 * functions declare the same names, the filters first.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "filter.h"

const Parameter parameters[N_PARAMETERS] = {
	[PARAMETER_ORDER_BY] = {"order_by", PARAMETER_TYPE_ORDER_BY},
	[PARAMETER_ORDER_BY_DIRECTION] = {"order_by_direction", PARAMETER_TYPE_DIRECTION},
	[PARAMETER_LIMIT] = {"limit", PARAMETER_TYPE_INTEGER},
	[PARAMETER_OFFSET] = {"offset", PARAMETER_TYPE_INTEGER},
	[PARAMETER_ID] = {"id", PARAMETER_TYPE_UUID_LIST, COMPARE_IN, COLUMN_ID},
	[PARAMETER_ID_STARTS_WITH] = {"id__starts_with", PARAMETER_TYPE_TEXT, COMPARE_STARTS_WITH,
								  COLUMN_ID},
	[PARAMETER_PROJECT_ID] = {"project_id", PARAMETER_TYPE_UUID_LIST, COMPARE_IN,
							  COLUMN_PROJECT_ID},
	[PARAMETER_USER_ID] = {"user_id", PARAMETER_TYPE_TEXT_LIST, COMPARE_IN, COLUMN_USER_ID},
	[PARAMETER_DEVICE_TYPE] = {"device_type", PARAMETER_TYPE_TEXT_LIST, COMPARE_IN,
							   COLUMN_DEVICE_TYPE},
	[PARAMETER_STATUS] = {"status", PARAMETER_TYPE_ENUM_LIST, COMPARE_IN, COLUMN_STATUS},
	[PARAMETER_COMPLETE] = {"complete", PARAMETER_TYPE_BOOLEAN, COMPARE_EQUAL, COLUMN_COMPLETE},
	[PARAMETER_OPEN] = {"open", PARAMETER_TYPE_BOOLEAN, COMPARE_EQUAL, COLUMN_OPEN},
	[PARAMETER_MIN_JOBS] = {"min_jobs", PARAMETER_TYPE_INTEGER, COMPARE_AT_LEAST,
							COLUMN_JOBS_COUNT},
	[PARAMETER_MAX_JOBS] = {"max_jobs", PARAMETER_TYPE_INTEGER, COMPARE_AT_MOST, COLUMN_JOBS_COUNT},
	[PARAMETER_START_DATE] = {"start_date", PARAMETER_TYPE_TIMESTAMP, COMPARE_AT_LEAST,
							  COLUMN_START_DATETIME},
	[PARAMETER_END_DATE] = {"end_date", PARAMETER_TYPE_TIMESTAMP, COMPARE_AT_MOST,
							COLUMN_END_DATETIME},
	[PARAMETER_QUEUE_PRIORITY] = {"queue_priority", PARAMETER_TYPE_ENUM_LIST, COMPARE_IN,
								  COLUMN_QUEUE_PRIORITY},
	[PARAMETER_TAG] = {"tag", PARAMETER_TYPE_TEXT, COMPARE_HAS, COLUMN_TAGS},
	[PARAMETER_CREATED_AFTER] = {"created_after", PARAMETER_TYPE_TIMESTAMP, COMPARE_AT_LEAST,
								 COLUMN_CREATED_AT},
	[PARAMETER_CREATED_BEFORE] = {"created_before", PARAMETER_TYPE_TIMESTAMP, COMPARE_AT_MOST,
								  COLUMN_CREATED_AT},
};

#define DEFAULT_ORDER_BY COLUMN_CREATED_AT
#define DEFAULT_DESCENDING true
#define DEFAULT_LIMIT 100
#define MAX_LIMIT 100

/* The columns that order_by can name, in the order in which they are listed. */
static const ColumnId order_columns[] = {
	COLUMN_CREATED_AT, COLUMN_UPDATED_AT,     COLUMN_START_DATETIME, COLUMN_END_DATETIME,
	COLUMN_ID,         COLUMN_STATUS,         COLUMN_OPEN,           COLUMN_COMPLETE,
	COLUMN_PRIORITY,   COLUMN_DEVICE_TYPE,    COLUMN_USER_ID,        COLUMN_PROJECT_ID,
	COLUMN_JOBS_COUNT, COLUMN_QUEUE_PRIORITY,
};

static ColumnId
read_order_by(const char *value)
{
	StringInfoData allowed;

	for (int i = 0; i < lengthof(order_columns); i++)
		if (strcmp(value, batch_columns[order_columns[i]].name) == 0)
			return order_columns[i];

	initStringInfo(&allowed);
	for (int i = 0; i < lengthof(order_columns); i++)
		appendStringInfo(&allowed, "%s%s", i == 0 ? "" : ", ",
						 batch_columns[order_columns[i]].name);
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for parameter \"%s\": \"%s\"",
						   parameters[PARAMETER_ORDER_BY].name, value),
					errhint("Allowed values: %s.", allowed.data)));
}

static bool
read_descending(const char *value)
{
	if (strcmp(value, "ASC") == 0)
		return false;
	if (strcmp(value, "DESC") == 0)
		return true;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for parameter \"%s\": \"%s\"",
						   parameters[PARAMETER_ORDER_BY_DIRECTION].name, value),
					errhint("Allowed values: ASC, DESC.")));
}

static int64
read_limit(int64 value, LimitRule rule)
{
	if (value < 1 || (rule == LIMIT_PAGE && value > MAX_LIMIT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE),
				 errmsg("value %lld for parameter \"%s\" is out of range", (long long) value,
						parameters[PARAMETER_LIMIT].name),
				 rule == LIMIT_PAGE ? errhint("Allowed values: 1 to %d.", MAX_LIMIT)
									: errhint("Allowed values: 1 or more, or null for no limit.")));
	return value;
}

static int64
read_offset(int64 value)
{
	if (value < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE),
						errmsg("value %lld for parameter \"%s\" is out of range", (long long) value,
							   parameters[PARAMETER_OFFSET].name),
						errhint("Allowed values: 0 or more.")));
	return value;
}

/* A list filter; an empty list filters nothing. */
static FilterValue
read_list(const Parameter *parameter, Datum value)
{
	ArrayType *list = DatumGetArrayTypeP(value);
	FilterValue filter = {0};

	if (array_contains_nulls(list))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("null value in the list of parameter \"%s\"", parameter->name),
				 errhint("Leave null out of the list; an empty list or no list filters nothing.")));
	filter.given = ArrayGetNItems(ARR_NDIM(list), ARR_DIMS(list)) > 0;
	filter.value = PointerGetDatum(list);
	return filter;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * The range of uuids whose text form begins with a prefix. Where there is none,
 * the range is empty: it begins after its end.
 */
static void
read_id_prefix(const char *prefix, int length, pg_uuid_t *first, pg_uuid_t *last)
{
	int digits = 0;

	memset(first, 0x00, sizeof(*first));
	memset(last, 0xff, sizeof(*last));
	for (int i = 0; i < length; i++)
	{
		bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
		int digit = hex_digit(prefix[i]);
		int shift = digits % 2 == 0 ? 4 : 0;

		if (hyphen && prefix[i] == '-')
			continue;
		if (hyphen || digit < 0 || digits == 2 * UUID_LEN)
		{
			memset(first, 0xff, sizeof(*first));
			memset(last, 0x00, sizeof(*last));
			return;
		}
		first->data[digits / 2] |= digit << shift;
		last->data[digits / 2] &= ~((0xf ^ digit) << shift);
		digits++;
	}
}

/* Reads one parameter that is not null. */
static void
read_parameter(Request *request, ParameterId id, Datum value, LimitRule limit_rule)
{
	const Parameter *parameter = &parameters[id];
	FilterValue *filter = &request->filters[id];

	switch (parameter->type)
	{
		case PARAMETER_TYPE_ORDER_BY:
			request->order_by = read_order_by(TextDatumGetCString(value));
			break;
		case PARAMETER_TYPE_DIRECTION:
			request->descending = read_descending(TextDatumGetCString(value));
			break;
		case PARAMETER_TYPE_UUID_LIST:
		case PARAMETER_TYPE_TEXT_LIST:
		case PARAMETER_TYPE_ENUM_LIST:
			*filter = read_list(parameter, value);
			break;
		case PARAMETER_TYPE_INTEGER:
		case PARAMETER_TYPE_BOOLEAN:
		case PARAMETER_TYPE_TEXT:
		case PARAMETER_TYPE_TIMESTAMP:
			if (id == PARAMETER_LIMIT)
				request->limit = read_limit(DatumGetInt64(value), limit_rule);
			else if (id == PARAMETER_OFFSET)
				request->offset = read_offset(DatumGetInt64(value));
			else
			{
				filter->given = true;
				filter->value = value;
				if (parameter->comparison == COMPARE_STARTS_WITH)
				{
					text *prefix = DatumGetTextPP(value);

					read_id_prefix(VARDATA_ANY(prefix), VARSIZE_ANY_EXHDR(prefix),
								   &request->first_id, &request->last_id);
				}
			}
			break;
	}
}

/* Reads the arguments of an SQL function: the filters, then order and page. */
void
read_arguments(Request *request, FunctionCallInfo fcinfo, LimitRule limit_rule)
{
	memset(request, 0, sizeof(*request));
	request->order_by = DEFAULT_ORDER_BY;
	request->descending = DEFAULT_DESCENDING;
	request->limit = limit_rule == LIMIT_PAGE ? DEFAULT_LIMIT : NO_LIMIT;

	for (int id = 0; id < N_PARAMETERS; id++)
	{
		int argument = id < FIRST_FILTER ? N_FILTERS + id : id - FIRST_FILTER;

		if (argument < PG_NARGS() && !PG_ARGISNULL(argument))
			read_parameter(request, id, PG_GETARG_DATUM(argument), limit_rule);
	}
}
