/*
 * http.c
 *		The endpoint in one call: a query string in, status, headers and body out.
 *
 * What a request says never raises an error: it is a 200, a 304, a 401 or a 422. Text
 * that the database cannot hold matches nothing.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "batches.h"
#include "cursor.h"
#include "etag.h"
#include "json.h"
#include "list.h"
#include "query.h"
#include "scan.h"

/* What a request may ask for. What a refused one costs follows from these. */
#define MAX_QUERY_LENGTH (256 * 1024)
#define MAX_LIST_LENGTH 10000
#define MAX_ERRORS 1000

#define UNPROCESSABLE_BEGIN                                                                        \
	"{\"status\":\"fail\",\"message\":\"Unprocessable Entity\",\"code\":\"422\","                  \
	"\"data\":{\"description\":["
#define UNPROCESSABLE_END "]}}"

/* What a query string gives for one parameter; for a scalar the last one. */
typedef struct GivenTexts
{
	QueryText *texts; /* of a list, at most as many as it may have */
	int count;
	int capacity;
} GivenTexts;

/* The errors of a request */
typedef struct Errors
{
	StringInfoData json; /* the body, behind the room for a text's header */
	int count;
} Errors;

/* How an error is worded, as pydantic v2 does. */
typedef struct ErrorWords
{
	const char *type;
	const char *message; /* up to the detail, if there is one */
	const char *detail;  /* its key in "ctx", or NULL */
} ErrorWords;

static const ErrorWords error_words[] = {
	[QUERY_LITERAL_ERROR] = {"literal_error", "Input should be ", "expected"},
	[QUERY_ENUM] = {"enum", "Input should be ", "expected"},
	[QUERY_INT_PARSING] = {"int_parsing", "Input should be a valid integer, unable to parse string "
										  "as an integer"},
	[QUERY_INT_PARSING_SIZE] = {"int_parsing_size", "Unable to parse input string as an integer, "
													"exceeded maximum size"},
	[QUERY_GREATER_THAN] = {"greater_than", "Input should be greater than ", "gt"},
	[QUERY_GREATER_THAN_EQUAL] = {"greater_than_equal", "Input should be greater than or equal to ",
								  "ge"},
	[QUERY_LESS_THAN] = {"less_than", "Input should be less than ", "lt"},
	[QUERY_BOOL_PARSING] = {"bool_parsing", "Input should be a valid boolean, unable to interpret "
											"input"},
	[QUERY_UUID_PARSING] = {"uuid_parsing", "Input should be a valid UUID, ", "error"},
	[QUERY_DATETIME_PARSING] = {"datetime_parsing", "Input should be a valid datetime, ", "error"},
	[QUERY_DATETIME_FROM_DATE_PARSING] = {"datetime_from_date_parsing",
										  "Input should be a valid datetime or date, ", "error"},
	[QUERY_VALUE_ERROR] = {"value_error", "Value error, ", "error"},
};

/*
 * Converts text between encodings. False if that is not possible. SQL_ASCII says
 * nothing of its bytes: they stay what they are.
 */
static bool
convert_text(const char *text, size_t length, int from, int to, char **converted,
			 int *converted_length)
{
	Oid conversion;

	if (from == to || from == PG_SQL_ASCII || to == PG_SQL_ASCII)
	{
		*converted = unconstify(char *, text);
		*converted_length = (int) length;
		return true;
	}
	conversion = FindDefaultConversionProc(from, to);
	if (!OidIsValid(conversion) || length >= MaxAllocSize / MAX_CONVERSION_GROWTH)
		return false;
	*converted = palloc(length * MAX_CONVERSION_GROWTH + 1);
	if (pg_do_encoding_conversion_buf(conversion, from, to, (unsigned char *) text, (int) length,
									  (unsigned char *) *converted,
									  (int) (length * MAX_CONVERSION_GROWTH + 1),
									  true) < (int) length)
		return false;
	*converted_length = (int) strlen(*converted);
	return true;
}

/*
 * The detail of an error as JSON: a number, or a string without its quotes, as
 * both the message and the context have it.
 */
static char *
error_detail(const Parameter *parameter, QueryError error, const QueryValue *value)
{
	StringInfoData detail;

	switch (error)
	{
		case QUERY_LITERAL_ERROR:
		case QUERY_ENUM:
			initStringInfo(&detail);
			for (int i = 0; parameter->labels[i] != NULL; i++)
				appendStringInfo(&detail, "%s'%s'",
								 i == 0                             ? ""
								 : parameter->labels[i + 1] == NULL ? " or "
																	: ", ",
								 parameter->labels[i]);
			return detail.data;
		case QUERY_GREATER_THAN:
		case QUERY_GREATER_THAN_EQUAL:
			return psprintf(INT64_FORMAT, (int64) parameter->lower.value);
		case QUERY_LESS_THAN:
			return psprintf(INT64_FORMAT, (int64) parameter->upper.value);
		default:
			return unconstify(char *, value->reason);
	}
}

/*
 * Appends what was sent, with a question mark for a character that the database lacks:
 * an escape would be valid JSON, but PostgreSQL's operators fail on it.
 */
static void
append_input(StringInfo buf, QueryText text)
{
	const char *end = text.data + text.length;
	char *converted;
	int length;

	if (convert_text(text.data, text.length, PG_UTF8, GetDatabaseEncoding(), &converted, &length))
	{
		append_escaped(buf, converted, length);
		return;
	}
	for (const char *p = text.data; p < end; p += pg_utf_mblen((const unsigned char *) p))
	{
		if (convert_text(p, pg_utf_mblen((const unsigned char *) p), PG_UTF8, GetDatabaseEncoding(),
						 &converted, &length))
			append_escaped(buf, converted, length);
		else
			appendStringInfoChar(buf, '?');
	}
}

/* Begins another error, of which is said what and where. Returns false if there are enough of them. */
static bool
begin_error(Errors *errors, const char *type, const char *parameter)
{
	if (errors->count++ >= MAX_ERRORS)
		return false;
	if (errors->count > 1)
		appendStringInfoChar(&errors->json, ',');
	appendStringInfo(&errors->json, "{\"type\":\"%s\",\"loc\":[\"query\"", type);
	if (parameter != NULL)
		appendStringInfo(&errors->json, ",\"%s\"", parameter);
	return true;
}

/* The query string is too long: the one error of the request. */
static void
append_length_error(Errors *errors)
{
	if (begin_error(errors, "string_too_long", NULL))
		appendStringInfo(&errors->json,
						 "],\"msg\":\"String should have at most %d characters\",\"input\":null,"
						 "\"ctx\":{\"max_length\":%d}}",
						 MAX_QUERY_LENGTH, MAX_QUERY_LENGTH);
}

/* A list has too many values: the one error of its parameter. */
static void
append_list_error(Errors *errors, const Parameter *parameter, int length)
{
	if (begin_error(errors, "too_long", parameter->name))
		appendStringInfo(
			&errors->json,
			"],\"msg\":\"List should have at most %d items after validation, not "
			"%d\",\"input\":null,"
			"\"ctx\":{\"field_type\":\"List\",\"max_length\":%d,\"actual_length\":%d}}",
			MAX_LIST_LENGTH, length, MAX_LIST_LENGTH, length);
}

/* Appends an error of a parameter, or of the element of a list. */
static void
append_error(Errors *errors, const Parameter *parameter, int element, QueryText text,
			 QueryError error, const QueryValue *value)
{
	StringInfo buf = &errors->json;
	const ErrorWords *words = &error_words[error];
	const char *detail;
	bool is_number = error == QUERY_GREATER_THAN || error == QUERY_GREATER_THAN_EQUAL ||
					 error == QUERY_LESS_THAN;

	if (!begin_error(errors, words->type, parameter->name))
		return;
	detail = words->detail != NULL ? error_detail(parameter, error, value) : "";
	if (parameter->is_list)
		appendStringInfo(buf, ",%d", element);
	appendStringInfo(buf, "],\"msg\":\"%s%s\",\"input\":\"", words->message, detail);
	append_input(buf, text);
	appendStringInfoChar(buf, '"');
	if (words->detail != NULL)
		appendStringInfo(buf, is_number ? ",\"ctx\":{\"%s\":%s}" : ",\"ctx\":{\"%s\":\"%s\"}",
						 words->detail, detail);
	appendStringInfoChar(buf, '}');
}

static void
add_text(GivenTexts *given, QueryText text)
{
	if (given->count == given->capacity)
	{
		int capacity = Max(1, 2 * given->capacity);
		Size size = sizeof(QueryText) * capacity;

		given->texts = given->texts == NULL ? palloc(size) : repalloc(given->texts, size);
		given->capacity = capacity;
	}
	given->texts[given->count] = text;
}

/*
 * Collects the texts of the parameters that a query string gives, of the endpoint or of
 * more, in a buffer of QUERY_BUFFER_SIZE.
 */
static void
collect_texts(const char *query, int length, bool extended, char *buffer, GivenTexts *given)
{
	QueryCursor cursor;
	QueryText name;
	QueryText value;

	begin_query(&cursor, query, length, buffer);
	while (next_query_pair(&cursor, &name, &value))
	{
		const Parameter *parameter = parameter_named(name, extended);
		GivenTexts *texts;

		CHECK_FOR_INTERRUPTS();
		if (parameter == NULL)
			continue;
		texts = &given[parameter - parameters];
		if (!parameter->is_list)
			texts->count = 0;
		/* Of a list that is too long, the length is all that matters. */
		if (texts->count < MAX_LIST_LENGTH)
			add_text(texts, value);
		texts->count++;
	}
}

/* A value as a datum. False if the database cannot hold it. */
static bool
make_datum(const Parameter *parameter, QueryText text, const QueryValue *value, Datum *datum)
{
	switch (parameter->type)
	{
		case PARAMETER_TYPE_LITERAL:
		case PARAMETER_TYPE_ENUM:
			*datum = CStringGetTextDatum(parameter->labels[value->as.label]);
			return true;
		case PARAMETER_TYPE_INTEGER:
			*datum = Int64GetDatum(value->as.integer);
			return true;
		case PARAMETER_TYPE_BOOLEAN:
			*datum = BoolGetDatum(value->as.boolean);
			return true;
		case PARAMETER_TYPE_TIMESTAMP:
			*datum = TimestampTzGetDatum(value->as.microseconds -
										 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
			return true;
		case PARAMETER_TYPE_UUID:
		{
			pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));

			memcpy(uuid->data, value->as.uuid, UUID_LEN);
			*datum = UUIDPGetDatum(uuid);
			return true;
		}
		case PARAMETER_TYPE_TEXT:
		{
			char *converted;
			int length;

			if (!text.storable || !convert_text(text.data, text.length, PG_UTF8,
												GetDatabaseEncoding(), &converted, &length))
				return false;
			*datum = PointerGetDatum(cstring_to_text_with_len(converted, length));
			return true;
		}
	}
	elog(ERROR, "unrecognized parameter type: %d", (int) parameter->type);
}

static Datum
make_list(const Parameter *parameter, Datum *elements, int count)
{
	switch (parameter->type)
	{
		case PARAMETER_TYPE_UUID:
			return PointerGetDatum(
				construct_array(elements, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
		case PARAMETER_TYPE_TEXT:
		case PARAMETER_TYPE_LITERAL:
		case PARAMETER_TYPE_ENUM:
			return PointerGetDatum(
				construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
		default:
			elog(ERROR, "unexpected type of a list: %d", (int) parameter->type);
	}
}

/* Reads the cursor, behind the parameters that it has to fit, or appends its error. */
static void
read_after(Request *request, QueryText sent, const Datum *value, Errors *errors)
{
	QueryValue error = {.reason = NOT_A_CURSOR};

	if (value != NULL)
	{
		request->cursor = DatumGetTextPP(*value);
		error.reason =
			read_cursor(request, errors->count == 0 ? CURSOR_FITS_REQUEST : CURSOR_IS_VALID);
	}
	if (error.reason != NULL)
		append_error(errors, &parameters[PARAMETER_AFTER], 0, sent, QUERY_VALUE_ERROR, &error);
}

/* Whether no batch can match, as the database cannot hold some of the values that were sent. */
static bool
lacks_match(const Parameter *parameter, int held, int sent)
{
	switch (parameter->comparison)
	{
		case COMPARE_HAS_ALL:
			return held < sent;
		case COMPARE_NOT_IN:
			return false;
		default:
			return held == 0;
	}
}

/* Reads one parameter into the request, or appends its errors. */
static void
read_parameter(Request *request, ParameterId id, const GivenTexts *given, Errors *errors)
{
	const Parameter *parameter = &parameters[id];
	Datum *elements;
	MemoryContext error_context;
	int count = 0;
	bool valid = true;

	if (given->count > MAX_LIST_LENGTH)
	{
		append_list_error(errors, parameter, given->count);
		return;
	}
	elements = palloc(sizeof(Datum) * given->count);
	error_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches error", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < given->count; i++)
	{
		QueryText text = given->texts[i];
		QueryValue value;
		QueryError error = read_query_value(parameter, text, &value);

		CHECK_FOR_INTERRUPTS();
		if (error != QUERY_OK)
		{
			MemoryContext previous = MemoryContextSwitchTo(error_context);

			append_error(errors, parameter, i, text, error, &value);
			MemoryContextSwitchTo(previous);
			MemoryContextReset(error_context);
			valid = false;
		}
		else if (valid && make_datum(parameter, text, &value, &elements[count]))
			count++;
	}
	MemoryContextDelete(error_context);
	if (!valid)
		return;
	if (id == PARAMETER_AFTER)
		read_after(request, given->texts[0], count > 0 ? elements : NULL, errors);
	else if (lacks_match(parameter, count, given->count))
		match_nothing(request);
	else if (count > 0)
		set_parameter(request, id,
					  parameter->is_list ? make_list(parameter, elements, count) : elements[0],
					  LIMIT_PAGE);
}

/* The body is freed, or NULL. */
static Datum
make_response(FunctionCallInfo fcinfo, int status, const char *headers, text *body)
{
	static const Oid types[] = {INT4OID, JSONOID, JSONOID};
	TupleDesc descriptor;
	Datum values[lengthof(types)];
	bool isnull[lengthof(types)] = {false, false, body == NULL};
	Datum response;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("function returning record called in context that cannot accept type record")));
	check_result_types(fcinfo->flinfo->fn_oid, descriptor, types, lengthof(types));
	values[0] = Int32GetDatum(status);
	values[1] = CStringGetTextDatum(headers);
	values[2] = PointerGetDatum(body);
	response = HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, isnull));
	if (body != NULL)
		pfree(body);
	return response;
}

/*
 * A page, or a 304 where If-None-Match has its tag. That one says the tag alone: what else
 * a 200 would say is of its body, and the client has it.
 */
static Datum
make_page_response(FunctionCallInfo fcinfo, const char *content_range, text *document,
				   const text *if_none_match)
{
	StringInfoData tag;

	initStringInfo(&tag);
	if (if_none_match != NULL)
	{
		char etag[ETAG_LENGTH + 1];

		make_etag(etag, VARDATA(document), VARSIZE(document) - VARHDRSZ);
		appendStringInfoString(&tag, "\"ETag\":");
		escape_json(&tag, etag);
		if (etag_is_listed(etag, VARDATA_ANY(if_none_match), VARSIZE_ANY_EXHDR(if_none_match)))
			return make_response(fcinfo, 304, psprintf("{%s}", tag.data), NULL);
	}
	return make_response(fcinfo, 200,
						 psprintf("{\"Access-Control-Expose-Headers\":\"Content-Range\","
								  "\"Content-Range\":\"%s\"%s%s}",
								  content_range, tag.len > 0 ? "," : "", tag.data),
						 document);
}

/*
 * batches.http_get_all_batches(query_string text, extended boolean, if_none_match text,
 *								out status integer, out headers json, out body json)
 */
PG_FUNCTION_INFO_V1(batches_http_get_all_batches);
Datum
batches_http_get_all_batches(PG_FUNCTION_ARGS)
{
	GivenTexts given[N_PARAMETERS] = {0};
	Request request;
	Errors errors = {.count = 0};
	char *buffer = NULL;
	char *content_range;
	text *document;
	int64 total;
	int64 rows;

	if (authenticated_user_id() == NULL)
		return make_response(
			fcinfo, 401, "{\"WWW-Authenticate\":\"Bearer\"}",
			cstring_to_text("{\"status\":\"fail\",\"message\":\"Unauthorized\",\"code\":\"401\","
							"\"data\":{\"description\":\"There is no authenticated user.\"}}"));

	initStringInfo(&errors.json);
	appendStringInfoSpaces(&errors.json, VARHDRSZ);
	appendStringInfoString(&errors.json, UNPROCESSABLE_BEGIN);
	if (!PG_ARGISNULL(0))
	{
		bool extended = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
		text *query = PG_GETARG_TEXT_PP(0);
		char *converted;
		int length;

		if (!convert_text(VARDATA_ANY(query), VARSIZE_ANY_EXHDR(query), GetDatabaseEncoding(),
						  PG_UTF8, &converted, &length))
		{
			converted = VARDATA_ANY(query);
			length = VARSIZE_ANY_EXHDR(query);
		}
		if (length > MAX_QUERY_LENGTH)
			append_length_error(&errors);
		else
		{
			buffer = palloc(QUERY_BUFFER_SIZE(length));
			collect_texts(converted, length, extended, buffer, given);
		}
	}
	init_request(&request, LIMIT_PAGE);
	for (int id = 0; id < N_PARAMETERS; id++)
		if (given[id].count > 0)
			read_parameter(&request, id, &given[id], &errors);
	if (errors.count > 0)
	{
		appendStringInfoString(&errors.json, UNPROCESSABLE_END);
		SET_VARSIZE(errors.json.data, errors.json.len);
		/* The answer is copied more than once from here on. */
		if (buffer != NULL)
			pfree(buffer);
		return make_response(fcinfo, 422, "{}", (text *) errors.json.data);
	}

	document = render_document(&request, &total, &rows);
	content_range = psprintf(
		"%s/%s",
		/* Behind a cursor nobody knows how many there are before. */
		rows == 0 || request.cursor != NULL
			? "*"
			: psprintf(INT64_FORMAT "-" INT64_FORMAT, request.offset + 1, request.offset + rows),
		request.without_total ? "*" : psprintf(INT64_FORMAT, total));
	return make_page_response(fcinfo, content_range, document,
							  PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
}
