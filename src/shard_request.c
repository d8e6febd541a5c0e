/*
 * shard_request.c
 *		What a server is asked about its shards, as text.
 *
 * The text is base64 of
 *
 *		the version of who asks, with a zero byte behind it
 *		whether the request is for the viewer and whether rows are wanted, a byte each
 *		how many rows are wanted as a whole, 8 bytes
 *		the number of shards, 4 bytes, and for each the key by which its server is asked, 16
 *		bytes, and its own number, 8 bytes
 *		for each parameter that is given its number, a byte, and its value
 *
 * A list is the number of its values, 4 bytes, and the values. Text is its length, 4 bytes, and
 * its bytes, in the encoding that all nodes have in common. Numbers are in network order.
 *
 * Arguments of SQL would take longer than reading what they ask for: each of a thousand
 * projects is written, parsed and planned several times on the way.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "batches.h"
#include "cursor.h"
#include "shard_request.h"

/*
 * Packing
 */

static void
pack_bytes(StringInfo buf, const char *bytes, int length)
{
	pq_sendint32(buf, length);
	appendBinaryStringInfo(buf, bytes, length);
}

/* A label of an enumeration goes as text: its OID is another one on each server. */
static void
pack_value(StringInfo buf, ParameterType type, Datum value)
{
	switch (type)
	{
		case PARAMETER_TYPE_UUID:
			appendBinaryStringInfo(buf, (const char *) DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case PARAMETER_TYPE_BOOLEAN:
			pq_sendbyte(buf, DatumGetBool(value));
			break;
		case PARAMETER_TYPE_INTEGER:
		case PARAMETER_TYPE_TIMESTAMP:
			pq_sendint64(buf, DatumGetInt64(value));
			break;
		case PARAMETER_TYPE_ENUM:
		{
			const char *label = DatumGetCString(DirectFunctionCall1(enum_out, value));

			pack_bytes(buf, label, strlen(label));
			break;
		}
		default:
		{
			text *string = DatumGetTextPP(value);

			pack_bytes(buf, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
			break;
		}
	}
}

static void
pack_list(StringInfo buf, ParameterType type, ArrayType *list)
{
	ArrayIterator iterator = array_create_iterator(list, 0, NULL);
	Datum value;
	bool isnull;

	pq_sendint32(buf, ArrayGetNItems(ARR_NDIM(list), ARR_DIMS(list)));
	while (array_iterate(iterator, &value, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		pack_value(buf, type, value);
	}
	array_free_iterator(iterator);
}

/* The text with which all ids of the range begin, and no others. */
static void
pack_id_prefix(StringInfo buf, const Request *request)
{
	const char *first =
		DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&request->first_id)));
	const char *last =
		DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&request->last_id)));
	int length = 0;

	while (first[length] != '\0' && first[length] == last[length])
		length++;
	pack_bytes(buf, first, length);
}

static void
pack_filter(StringInfo buf, const Request *request, ParameterId id)
{
	const Parameter *parameter = &parameters[id];
	Datum value = request->filters[id].value;

	pq_sendbyte(buf, id);
	if (parameter->comparison == COMPARE_STARTS_WITH)
		pack_id_prefix(buf, request);
	else if (parameter->is_list)
		pack_list(buf, parameter->type, DatumGetArrayTypeP(value));
	else
		pack_value(buf, parameter->type, value);
}

static void
pack_label(StringInfo buf, ParameterId id, const char *label)
{
	pq_sendbyte(buf, id);
	pack_bytes(buf, label, strlen(label));
}

static void
pack_number(StringInfo buf, ParameterId id, int64 number)
{
	pq_sendbyte(buf, id);
	pq_sendint64(buf, number);
}

static void
pack_omitted(StringInfo buf, const Request *request)
{
	int count = 0;

	for (int column = 0; column < N_COLUMNS; column++)
		count += request->omits[column];
	if (count == 0)
		return;
	pq_sendbyte(buf, PARAMETER_OMIT);
	pq_sendint32(buf, count);
	for (int column = 0; column < N_COLUMNS; column++)
		if (request->omits[column])
			pack_bytes(buf, batch_columns[column].name, strlen(batch_columns[column].name));
}

/* A request to servers, about the shards that each of them has. */
text *
pack_request(const Request *request, bool wants_rows, int64 whole_rows, const ShardRoute *route)
{
	const char *version = node_version();
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoSpaces(&buf, VARHDRSZ);
	appendBinaryStringInfo(&buf, version, strlen(version) + 1);
	pq_sendbyte(&buf, request->is_for_viewer);
	pq_sendbyte(&buf, wants_rows);
	pq_sendint64(&buf, whole_rows);
	pq_sendint32(&buf, route->nshards);
	for (int i = 0; i < route->nshards; i++)
	{
		appendBinaryStringInfo(&buf, (const char *) route->calls[route->call_of[i]].data, UUID_LEN);
		pq_sendint64(&buf, route->shards[i]);
	}
	for (int id = FIRST_FILTER; id <= LAST_FILTER; id++)
		if (request->filters[id].given)
			pack_filter(&buf, request, id);
	pack_label(&buf, PARAMETER_ORDER_BY, batch_columns[request->order_by].name);
	pack_label(&buf, PARAMETER_ORDER_BY_DIRECTION, request->descending ? "DESC" : "ASC");
	pack_label(&buf, PARAMETER_TOTAL, request->without_total ? "none" : "exact");
	if (request->limit != NO_LIMIT)
		pack_number(&buf, PARAMETER_LIMIT, request->limit);
	if (request->offset > 0)
		pack_number(&buf, PARAMETER_OFFSET, request->offset);
	if (request->after != NULL)
	{
		pq_sendbyte(&buf, PARAMETER_AFTER);
		pack_value(&buf, PARAMETER_TYPE_TEXT, PointerGetDatum(request->cursor));
	}
	pack_omitted(&buf, request);
	SET_VARSIZE(buf.data, buf.len);
	return DatumGetTextPP(DirectFunctionCall2(binary_encode, PointerGetDatum(buf.data),
											  CStringGetTextDatum("base64")));
}

/*
 * Unpacking: anybody can have made it.
 */

static Datum
unpack_value(StringInfo buf, ParameterType type)
{
	switch (type)
	{
		case PARAMETER_TYPE_UUID:
		{
			pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));

			pq_copymsgbytes(buf, (char *) uuid->data, UUID_LEN);
			return UUIDPGetDatum(uuid);
		}
		case PARAMETER_TYPE_BOOLEAN:
			return BoolGetDatum(pq_getmsgbyte(buf) != 0);
		case PARAMETER_TYPE_INTEGER:
		case PARAMETER_TYPE_TIMESTAMP:
			return Int64GetDatum(pq_getmsgint64(buf));
		default:
		{
			int length = (int) pq_getmsgint(buf, sizeof(int32));
			const char *bytes = pq_getmsgbytes(buf, length);

			(void) pg_verifymbstr(bytes, length, false);
			return PointerGetDatum(cstring_to_text_with_len(bytes, length));
		}
	}
}

static Datum
unpack_list(StringInfo buf, const Parameter *parameter)
{
	Oid type = given_type_oid(parameter);
	ArrayBuildState *list = initArrayResult(type, CurrentMemoryContext, false);
	int count = (int) pq_getmsgint(buf, sizeof(int32));

	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) accumArrayResult(list, unpack_value(buf, parameter->type), false, type,
								CurrentMemoryContext);
	}
	return makeArrayResult(list, CurrentMemoryContext);
}

static void
check_version(const char *asked)
{
	const char *version = node_version();

	(void) pg_verifymbstr(asked, strlen(asked), false);
	if (strcmp(version, asked) != 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the servers have different versions of \"batches\""),
						errdetail("Here: %s. Where the query comes from: %s.", version, asked),
						errhint("Install the same on all servers, and there: ALTER EXTENSION "
								"batches UPDATE. Sessions that have begun before keep their "
								"library.")));
}

/* The shards whose server is asked by a key. */
static void
unpack_shards(StringInfo buf, const pg_uuid_t *key, ShardRequest *shard_request)
{
	int count = (int) pq_getmsgint(buf, sizeof(int32));

	shard_request->nshards = 0;
	shard_request->shards = NULL;
	for (int i = 0; i < count; i++)
	{
		const char *asked_by = pq_getmsgbytes(buf, UUID_LEN);
		int64 number = pq_getmsgint64(buf);

		CHECK_FOR_INTERRUPTS();
		if (memcmp(asked_by, key, UUID_LEN) != 0)
			continue;
		if (shard_request->shards == NULL)
			shard_request->shards = palloc_array(int64, (buf->len - buf->cursor) / UUID_LEN + 1);
		shard_request->shards[shard_request->nshards++] = number;
	}
}

/* Reads what the server is asked that has the row of a key. */
void
unpack_request(text *packed, const pg_uuid_t *key, ShardRequest *shard_request)
{
	Request *request = &shard_request->request;
	bytea *bytes = DatumGetByteaPP(
		DirectFunctionCall2(binary_decode, PointerGetDatum(packed), CStringGetTextDatum("base64")));
	StringInfoData buf;
	const char *reason;
	bool is_for_viewer;

	/* With the zero byte behind it that the functions rely on */
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	check_version(pq_getmsgrawstring(&buf));
	is_for_viewer = pq_getmsgbyte(&buf) != 0;
	shard_request->wants_rows = pq_getmsgbyte(&buf) != 0;
	shard_request->whole_rows = pq_getmsgint64(&buf);
	unpack_shards(&buf, key, shard_request);
	init_request(request, LIMIT_OPTIONAL);
	request->is_for_viewer = is_for_viewer;
	while (buf.cursor < buf.len)
	{
		int id = pq_getmsgbyte(&buf);

		if (id >= N_PARAMETERS)
			ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
							errmsg("there is no parameter of number %d", id),
							errhint("Only the functions of \"batches\" call this one.")));
		set_parameter(request, id,
					  parameters[id].is_list ? unpack_list(&buf, &parameters[id])
											 : unpack_value(&buf, parameters[id].type),
					  LIMIT_OPTIONAL);
	}
	reason = request->cursor == NULL ? NULL : read_cursor(request, CURSOR_FITS_ORDER);
	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\"", parameters[PARAMETER_AFTER].name),
				 errdetail("Reason: %s.", reason),
				 errhint("Only the functions of \"batches\" call this one.")));
}
