/*
 * filter.c
 *		The request: parameters become one validated struct.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_enum.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "batches.h"
#include "filter.h"
#include "query.h"

#define DEFAULT_ORDER_BY COLUMN_CREATED_AT
#define DEFAULT_DESCENDING true
#define DEFAULT_LIMIT 100

/* No parameter that is a list has more labels. */
#define MAX_LISTED_LABELS Max(N_BATCH_STATUSES, N_QUEUE_PRIORITIES)

/* Which of a parameter's labels a value is, or -1. */
static int
find_label(const Parameter *parameter, const char *value, int length)
{
	for (int i = 0; parameter->labels[i] != NULL; i++)
		if (strlen(parameter->labels[i]) == length &&
			memcmp(value, parameter->labels[i], length) == 0)
			return i;
	return -1;
}

/* The same of a value that must be one. */
static int
read_label(const Parameter *parameter, const char *value, int length)
{
	int label = find_label(parameter, value, length);
	StringInfoData allowed;

	if (label >= 0)
		return label;
	initStringInfo(&allowed);
	for (int i = 0; parameter->labels[i] != NULL; i++)
		appendStringInfo(&allowed, "%s%s", i == 0 ? "" : ", ", parameter->labels[i]);
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for parameter \"%s\": \"%s\"", parameter->name,
						   pnstrdup(value, length)),
					errhint("Allowed values: %s.", allowed.data)));
}

static int64
read_limit(const Parameter *parameter, int64 value, LimitRule rule)
{
	long long smallest = parameter->lower.value + 1;
	long long largest = parameter->upper.value - 1;

	if (value < smallest || (rule == LIMIT_PAGE && value > largest))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE),
				 errmsg("value %lld for parameter \"%s\" is out of range", (long long) value,
						parameter->name),
				 rule == LIMIT_PAGE
					 ? errhint("Allowed values: %lld to %lld.", smallest, largest)
					 : errhint("Allowed values: %lld or more, or null for no limit.", smallest)));
	return value;
}

static int64
read_offset(const Parameter *parameter, int64 value)
{
	if (value < parameter->lower.value)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE),
				 errmsg("value %lld for parameter \"%s\" is out of range", (long long) value,
						parameter->name),
				 errhint("Allowed values: %lld or more.", (long long) parameter->lower.value)));
	return value;
}

/* Which of a parameter's labels a list has. */
static void
read_labels(const Parameter *parameter, ArrayType *list, bool *given)
{
	ArrayIterator iterator = array_create_iterator(list, 0, NULL);
	Datum value;
	bool isnull;

	while (array_iterate(iterator, &value, &isnull))
	{
		text *label = DatumGetTextPP(value);

		CHECK_FOR_INTERRUPTS();
		given[read_label(parameter, VARDATA_ANY(label), VARSIZE_ANY_EXHDR(label))] = true;
	}
	array_free_iterator(iterator);
}

/* The value of an enumeration that has one of its labels. */
static Datum
enum_value(const Parameter *parameter, int label)
{
	return ObjectIdGetDatum(GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
											ObjectIdGetDatum(extension_type(parameter->enum_type)),
											CStringGetDatum(parameter->labels[label])));
}

/* A list filter on an enumeration, for the values that have some labels */
static FilterValue
labels_filter(const Parameter *parameter, const bool *given)
{
	Datum values[MAX_LISTED_LABELS];
	int count = 0;

	for (int i = 0; parameter->labels[i] != NULL; i++)
		if (given[i])
			values[count++] = enum_value(parameter, i);
	return (FilterValue){
		.given = true,
		.value = PointerGetDatum(construct_array(
			values, count, extension_type(parameter->enum_type), sizeof(Oid), true, TYPALIGN_INT)),
	};
}

/* A list; an empty one says nothing. */
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

/* Whether an array of an enumeration has a value. */
static bool
has_value(ArrayType *array, Datum value)
{
	const Oid *values = (const Oid *) ARR_DATA_PTR(array);

	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i++)
		if (values[i] == DatumGetObjectId(value))
			return true;
	return false;
}

/* Statuses that a batch is not to have leave the others to the filter on the status. */
static void
exclude_statuses(Request *request, const Parameter *parameter, const bool *excluded)
{
	FilterValue *filter = &request->filters[PARAMETER_STATUS];
	bool allowed[N_BATCH_STATUSES];
	ArrayType *statuses = filter->given ? DatumGetArrayTypeP(filter->value) : NULL;

	for (int i = 0; i < N_BATCH_STATUSES; i++)
		allowed[i] =
			!excluded[i] && (statuses == NULL || has_value(statuses, enum_value(parameter, i)));
	*filter = labels_filter(parameter, allowed);
}

/* Sets a parameter that is a list. */
static void
set_list(Request *request, ParameterId id, Datum value)
{
	const Parameter *parameter = &parameters[id];
	FilterValue list = read_list(parameter, value);
	bool given[MAX_LISTED_LABELS] = {0};

	if (!list.given)
		return;
	if (parameter->labels != NULL)
		read_labels(parameter, DatumGetArrayTypeP(list.value), given);
	if (id == PARAMETER_OMIT)
	{
		for (int i = 0; parameter->labels[i] != NULL; i++)
			if (given[i])
				request->omits[find_column(parameter->labels[i])] = true;
	}
	else if (id == PARAMETER_EXCLUDE_STATUS)
		exclude_statuses(request, parameter, given);
	else if (parameter->type == PARAMETER_TYPE_ENUM)
		request->filters[id] = labels_filter(parameter, given);
	else
		request->filters[id] = list;
}

/*
 * Makes a request match no batch: the range of its ids is empty. To be called when
 * id__starts_with has been set, which has the same range.
 */
void
match_nothing(Request *request)
{
	request->filters[PARAMETER_ID_STARTS_WITH].given = true;
	memset(&request->first_id, 0xff, sizeof(request->first_id));
	memset(&request->last_id, 0x00, sizeof(request->last_id));
}

/*
 * The range of uuids whose text form begins with a prefix; where there is none,
 * the request matches nothing.
 */
static void
read_id_prefix(Request *request, const char *prefix, int length)
{
	pg_uuid_t *first = &request->first_id;
	pg_uuid_t *last = &request->last_id;
	int digits = 0;

	request->filters[PARAMETER_ID_STARTS_WITH].given = true;
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
			match_nothing(request);
			return;
		}
		first->data[digits / 2] |= digit << shift;
		last->data[digits / 2] &= ~((0xf ^ digit) << shift);
		digits++;
	}
}

/* Sets one parameter, in the order of the parameters; the value is not null. */
void
set_parameter(Request *request, ParameterId id, Datum value, LimitRule limit_rule)
{
	const Parameter *parameter = &parameters[id];

	switch (id)
	{
		case PARAMETER_ORDER_BY:
		case PARAMETER_ORDER_BY_DIRECTION:
		{
			text *given = DatumGetTextPP(value);
			const char *label =
				parameter
					->labels[read_label(parameter, VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given))];

			if (id == PARAMETER_ORDER_BY)
				request->order_by = find_column(label);
			else
				request->descending = strcmp(label, "DESC") == 0;
			break;
		}
		case PARAMETER_LIMIT:
			request->limit = read_limit(parameter, DatumGetInt64(value), limit_rule);
			break;
		case PARAMETER_OFFSET:
			request->offset = read_offset(parameter, DatumGetInt64(value));
			request->has_offset = true;
			break;
		case PARAMETER_AFTER:
			request->cursor = DatumGetTextPP(value);
			break;
		case PARAMETER_LAST_ID:
			request->last_of_page = DatumGetUUIDP(value);
			break;
		case PARAMETER_TOTAL:
		{
			text *given = DatumGetTextPP(value);

			request->without_total =
				read_label(parameter, VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given)) != 0;
			break;
		}
		case PARAMETER_ID_STARTS_WITH:
		{
			text *prefix = DatumGetTextPP(value);

			read_id_prefix(request, VARDATA_ANY(prefix), VARSIZE_ANY_EXHDR(prefix));
			break;
		}
		default:
			if (parameter->is_list)
				set_list(request, id, value);
			else
				request->filters[id] = (FilterValue){.given = true, .value = value};
			break;
	}
}

static bool
is_valid_list(const Parameter *parameter, ArrayType *list)
{
	ArrayIterator iterator = array_create_iterator(list, 0, NULL);
	bool valid = true;
	Datum value;
	bool isnull;

	while (valid && array_iterate(iterator, &value, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		valid = !isnull;
		if (valid && parameter->type == PARAMETER_TYPE_ENUM)
		{
			text *label = DatumGetTextPP(value);

			valid = find_label(parameter, VARDATA_ANY(label), VARSIZE_ANY_EXHDR(label)) >= 0;
		}
	}
	array_free_iterator(iterator);
	return valid;
}

/* Whether set_parameter() takes a value for a filter, "limit" or "offset", with LIMIT_OPTIONAL. */
bool
is_valid_value(ParameterId id, Datum value)
{
	const Parameter *parameter = &parameters[id];

	switch (id)
	{
		case PARAMETER_LIMIT:
			return DatumGetInt64(value) > parameter->lower.value;
		case PARAMETER_OFFSET:
			return DatumGetInt64(value) >= parameter->lower.value;
		default:
			return !parameter->is_list || is_valid_list(parameter, DatumGetArrayTypeP(value));
	}
}

void
init_request(Request *request, LimitRule limit_rule)
{
	memset(request, 0, sizeof(*request));
	request->order_by = DEFAULT_ORDER_BY;
	request->descending = DEFAULT_DESCENDING;
	request->limit = limit_rule == LIMIT_PAGE ? DEFAULT_LIMIT : NO_LIMIT;
}

/* The SQL type of a parameter's value, or of one element of a list. */
Oid
parameter_type_oid(const Parameter *parameter)
{
	switch (parameter->type)
	{
		case PARAMETER_TYPE_LITERAL:
		case PARAMETER_TYPE_TEXT:
			return TEXTOID;
		case PARAMETER_TYPE_ENUM:
			return extension_type(parameter->enum_type);
		case PARAMETER_TYPE_INTEGER:
			return INT8OID;
		case PARAMETER_TYPE_BOOLEAN:
			return BOOLOID;
		case PARAMETER_TYPE_TIMESTAMP:
			return TIMESTAMPTZOID;
		case PARAMETER_TYPE_UUID:
			return UUIDOID;
	}
	elog(ERROR, "unrecognized parameter type: %d", (int) parameter->type);
}

/*
 * The same as it is given: labels of an enumeration as text, so that an error can name the
 * parameter.
 */
Oid
given_type_oid(const Parameter *parameter)
{
	return parameter->type == PARAMETER_TYPE_ENUM ? TEXTOID : parameter_type_oid(parameter);
}

/* Which parameter an argument is, which must have its type. */
static ParameterId
bind_argument(Oid function, const char *name, Oid type)
{
	for (int id = 0; id < N_PARAMETERS; id++)
	{
		Oid expected;

		if (strcmp(parameters[id].name, name) != 0)
			continue;
		expected = given_type_oid(&parameters[id]);
		if (parameters[id].is_list)
			expected = get_array_type(expected);
		if (type != expected)
			break;
		return id;
	}
	fail_on_other_version(function, psprintf("argument \"%s\" %s", name, format_type_be(type)));
	return N_PARAMETERS; /* not reached */
}

/*
 * Which parameters the arguments of an SQL function are, by their names:
 * it may have been declared by another version of the extension than the library is of.
 */
void
bind_arguments(Oid function, int nargs, ParameterId *ids)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid *types;
	char **names;
	char *modes;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	/* Columns of a result come behind the arguments. */
	(void) get_func_arg_info(tuple, &types, &names, &modes);
	ReleaseSysCache(tuple);
	for (int i = 0; i < nargs; i++)
		ids[i] = bind_argument(function, names == NULL ? "" : names[i], types[i]);
}

/* The same of the calling function. Looked up once for each place that calls it. */
static const ParameterId *
bound_arguments(FunctionCallInfo fcinfo)
{
	FmgrInfo *function = fcinfo->flinfo;
	ParameterId *ids = function->fn_extra;

	if (ids != NULL)
		return ids;
	ids = MemoryContextAlloc(function->fn_mcxt, sizeof(ParameterId) * (PG_NARGS() + 1));
	bind_arguments(function->fn_oid, PG_NARGS(), ids);
	function->fn_extra = ids;
	return ids;
}

/* Reads the arguments of an SQL function. Errors are reported in the order of the parameters. */
void
read_arguments(Request *request, FunctionCallInfo fcinfo, LimitRule limit_rule)
{
	const ParameterId *ids = bound_arguments(fcinfo);
	int arguments[N_PARAMETERS];

	memset(arguments, -1, sizeof(arguments));
	for (int i = 0; i < PG_NARGS(); i++)
		if (!PG_ARGISNULL(i))
			arguments[ids[i]] = i;
	init_request(request, limit_rule);
	for (int id = 0; id < N_PARAMETERS; id++)
		if (arguments[id] >= 0)
			set_parameter(request, id, PG_GETARG_DATUM(arguments[id]), limit_rule);
}

/* Whether a filter that is given is on the job counts. */
bool
filters_job_counts(const Request *request)
{
	for (int id = FIRST_FILTER; id <= LAST_FILTER; id++)
		if (request->filters[id].given && batch_columns[parameters[id].column].is_job_count)
			return true;
	return false;
}

/* The same, or the order is. */
bool
uses_job_counts(const Request *request)
{
	return filters_job_counts(request) || batch_columns[request->order_by].is_job_count;
}
