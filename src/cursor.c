/*
 * cursor.c
 *		Cursors: the place behind which the next page of a listing begins, as text.
 *
 * A cursor is base64url, without padding, of
 *
 *		its version, the order column and the direction, a byte each
 *		a digest of the filters, 8 bytes
 *		the id of the page's last batch, 16 bytes
 *		whether that has a null in the order column, a byte
 *		its value there, if it is not null: 1, 4, 8 or 16 bytes, or text
 *		a checksum of all that, 4 bytes
 *
 * numbers in network order. Anybody can make one, and it grants nothing: it only says where
 * in the order of the rows that the user sees a page begins.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "common/hashfn.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "cursor.h"

#define CURSOR_VERSION 1
#define CURSOR_HEAD_LENGTH (3 + sizeof(uint64) + UUID_LEN + 1)
/* No index would take a value that makes such a long one, however well it is compressed. */
#define MAX_CURSOR_LENGTH (1024 * 1024)

/*
 * The digest of the filters
 */

/* The hash of a value of such a type, the same for equal values. */
static uint64
hash_value(Datum value, int16 length, bool byval, uint64 seed)
{
	if (byval)
		return hash_bytes_extended((const unsigned char *) &value, sizeof(value), seed);
	if (length == -1)
	{
		struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

		return hash_bytes_extended((const unsigned char *) VARDATA_ANY(bytes),
								   VARSIZE_ANY_EXHDR(bytes), seed);
	}
	return hash_bytes_extended((const unsigned char *) DatumGetPointer(value), length, seed);
}

/* A list's hash, whatever the order of its elements is. That of an enumeration is its labels': OIDs are others on each server. */
static uint64
hash_list(ArrayType *list, uint64 seed)
{
	ArrayIterator iterator = array_create_iterator(list, 0, NULL);
	uint64 sum = 0;
	Datum value;
	bool isnull;
	bool is_enum = type_is_enum(ARR_ELEMTYPE(list));
	int16 length;
	bool byval;

	get_typlenbyval(is_enum ? TEXTOID : ARR_ELEMTYPE(list), &length, &byval);
	while (array_iterate(iterator, &value, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_enum)
			value = CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(enum_out, value)));
		sum += hash_value(value, length, byval, seed);
	}
	array_free_iterator(iterator);
	return sum;
}

static uint64
digest_filters(const Request *request)
{
	uint64 digest = 0;

	for (int id = FIRST_FILTER; id <= LAST_FILTER; id++)
	{
		const Parameter *parameter = &parameters[id];
		const FilterValue *filter = &request->filters[id];
		uint64 hash;

		if (!filter->given)
			continue;
		if (parameter->comparison == COMPARE_STARTS_WITH)
			hash = hash_value(UUIDPGetDatum(&request->first_id), UUID_LEN, false, id) +
				   hash_value(UUIDPGetDatum(&request->last_id), UUID_LEN, false, ~(uint64) id);
		else if (parameter->is_list)
			hash = hash_list(DatumGetArrayTypeP(filter->value), id);
		else
		{
			int16 length;
			bool byval;

			get_typlenbyval(parameter_type_oid(parameter), &length, &byval);
			hash = hash_value(filter->value, length, byval, id);
		}
		digest = hash_combine64(digest, hash_combine64(id, hash));
	}
	return digest;
}

/*
 * The value in the order column
 */

static void
send_key(StringInfo buf, ColumnType type, Datum key)
{
	switch (type)
	{
		case COLUMN_TYPE_UUID:
			pq_sendbytes(buf, (const char *) DatumGetUUIDP(key)->data, UUID_LEN);
			break;
		case COLUMN_TYPE_BATCH_STATUS:
		case COLUMN_TYPE_QUEUE_PRIORITY:
		{
			const char *label = DatumGetCString(DirectFunctionCall1(enum_out, key));

			pq_sendbytes(buf, label, strlen(label));
			break;
		}
		case COLUMN_TYPE_BOOLEAN:
			pq_sendbyte(buf, DatumGetBool(key));
			break;
		case COLUMN_TYPE_INTEGER:
			pq_sendint32(buf, DatumGetInt32(key));
			break;
		case COLUMN_TYPE_TIMESTAMP:
			pq_sendint64(buf, DatumGetTimestampTz(key));
			break;
		case COLUMN_TYPE_TEXT:
		{
			text *value = DatumGetTextPP(key);

			pq_sendbytes(buf, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
			break;
		}
		default:
			elog(ERROR, "unexpected type of an order: %d", (int) type);
	}
}

/* Reads the value that is the rest of a buffer. Returns false if no batch of the id can have it. */
static bool
receive_key(StringInfo buf, ColumnId order_by, const pg_uuid_t *id, Datum *key)
{
	ColumnType type = batch_columns[order_by].type;
	int length = buf->len - buf->cursor;
	const char *bytes = pq_getmsgbytes(buf, length);

	buf->cursor -= length;
	switch (type)
	{
		case COLUMN_TYPE_UUID:
			*key = PointerGetDatum(bytes);
			return length == UUID_LEN &&
				   (order_by != COLUMN_ID || memcmp(bytes, id->data, UUID_LEN) == 0);
		case COLUMN_TYPE_BATCH_STATUS:
		case COLUMN_TYPE_QUEUE_PRIORITY:
		{
			Oid value = InvalidOid;

			if (length < NAMEDATALEN && memchr(bytes, '\0', length) == NULL)
				value = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
										ObjectIdGetDatum(column_type_oid(type)),
										CStringGetDatum(pnstrdup(bytes, length)));
			*key = ObjectIdGetDatum(value);
			return OidIsValid(value);
		}
		case COLUMN_TYPE_BOOLEAN:
			*key = BoolGetDatum(length == 1 && bytes[0] != 0);
			return length == 1 && (bytes[0] == 0 || bytes[0] == 1);
		case COLUMN_TYPE_INTEGER:
			if (length != sizeof(int32))
				return false;
			*key = Int32GetDatum((int32) pq_getmsgint(buf, sizeof(int32)));
			return order_by != COLUMN_JOBS_COUNT || DatumGetInt32(*key) >= 0;
		case COLUMN_TYPE_TIMESTAMP:
		{
			TimestampTz timestamp;

			if (length != sizeof(int64))
				return false;
			timestamp = pq_getmsgint64(buf);
			*key = TimestampTzGetDatum(timestamp);
			return TIMESTAMP_NOT_FINITE(timestamp) || IS_VALID_TIMESTAMP(timestamp);
		}
		case COLUMN_TYPE_TEXT:
			*key = PointerGetDatum(cstring_to_text_with_len(bytes, length));
			return pg_verify_mbstr(GetDatabaseEncoding(), bytes, length, true);
		default:
			return false;
	}
}

/*
 * The text
 */

static pg_crc32c
checksum(const char *bytes, int length)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, bytes, length);
	FIN_CRC32C(crc);
	return crc;
}

/* Turns some characters into others, in place. */
static void
swap_characters(char *text, const char *from, const char *to)
{
	for (char *c = text; *c != '\0'; c++)
	{
		const char *found = strchr(from, *c);

		if (found != NULL)
			*c = to[found - from];
	}
}

/* The bytes of a cursor without their checksum. Returns false if it has none. */
static bool
decode_cursor(const char *cursor, int length, StringInfo bytes)
{
	char *base64;
	int padded = TYPEALIGN(4, length);
	pg_crc32c crc;

	if (length > MAX_CURSOR_LENGTH || memchr(cursor, '\0', length) != NULL)
		return false;
	base64 = palloc(padded + 1);
	memcpy(base64, cursor, length);
	base64[length] = '\0';
	if (strpbrk(base64, "+/=") != NULL)
		return false;
	swap_characters(base64, "-_", "+/");
	memset(base64 + length, '=', padded - length);
	base64[padded] = '\0';
	initStringInfo(bytes);
	enlargeStringInfo(bytes, pg_b64_dec_len(padded));
	bytes->len = pg_b64_decode(base64, padded, (void *) bytes->data, pg_b64_dec_len(padded)) -
				 (int) sizeof(crc);
	if (bytes->len < (int) CURSOR_HEAD_LENGTH)
		return false;
	bytes->cursor = bytes->len;
	bytes->len += sizeof(crc);
	crc = pq_getmsgint(bytes, sizeof(crc));
	bytes->cursor = 0;
	bytes->len -= sizeof(crc);
	return crc == checksum(bytes->data, bytes->len);
}

static char *
encode_cursor(StringInfo bytes)
{
	int size;
	char *cursor;
	int length;

	pq_sendint32(bytes, checksum(bytes->data, bytes->len));
	size = pg_b64_enc_len(bytes->len);
	cursor = palloc(size + 1);
	length = pg_b64_encode((void *) bytes->data, bytes->len, cursor, size);
	Assert(length >= 0);
	while (length > 0 && cursor[length - 1] == '=')
		length--;
	cursor[length] = '\0';
	swap_characters(cursor, "+/", "-_");
	return cursor;
}

/*
 * Lets the page begin behind the place that the request's cursor says, at the first row if it
 * is empty. Returns NULL, or what is wrong with the cursor.
 */
const char *
read_cursor(Request *request, CursorFit fit)
{
	const text *cursor = request->cursor;
	Place *place = palloc0(sizeof(Place));
	StringInfoData bytes;
	ColumnId order_by;
	bool descending;
	uint64 digest;

	if (request->has_offset)
		return "a cursor and an offset exclude each other";
	request->filters_digest = digest_filters(request);
	if (VARSIZE_ANY_EXHDR(cursor) == 0)
		return NULL;

	if (!decode_cursor(VARDATA_ANY(cursor), VARSIZE_ANY_EXHDR(cursor), &bytes) ||
		pq_getmsgbyte(&bytes) != CURSOR_VERSION)
		return NOT_A_CURSOR;
	order_by = pq_getmsgbyte(&bytes);
	descending = pq_getmsgbyte(&bytes) != 0;
	digest = pq_getmsgint64(&bytes);
	memcpy(place->id.data, pq_getmsgbytes(&bytes, UUID_LEN), UUID_LEN);
	place->isnull = pq_getmsgbyte(&bytes) != 0;
	if (order_by >= N_COLUMNS ||
		(place->isnull ? bytes.cursor != bytes.len
					   : !receive_key(&bytes, order_by, &place->id, &place->key)))
		return NOT_A_CURSOR;
	if (fit >= CURSOR_FITS_ORDER &&
		(order_by != request->order_by || descending != request->descending))
		return "the cursor is of another order";
	if (fit >= CURSOR_FITS_REQUEST && digest != request->filters_digest)
		return "the cursor is of other filters";
	request->after = place;
	return NULL;
}

/* The same, with an error for a cursor that is wrong. Without one there is nothing to do. */
void
require_cursor(Request *request)
{
	const char *reason = request->cursor == NULL ? NULL : read_cursor(request, CURSOR_FITS_REQUEST);

	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for parameter \"%s\": \"%s\"",
						parameters[PARAMETER_AFTER].name, text_to_cstring(request->cursor)),
				 errdetail("Reason: %s.", reason),
				 errhint("Give what \"next\" of the last page says, with the same filters and "
						 "order and without an offset; for the first page an empty text.")));
}

/* The cursor behind a row of a request's page. */
char *
write_cursor(const Request *request, const BatchRow *row)
{
	ColumnId order_by = request->order_by;
	StringInfoData bytes;

	initStringInfo(&bytes);
	pq_sendbyte(&bytes, CURSOR_VERSION);
	pq_sendbyte(&bytes, order_by);
	pq_sendbyte(&bytes, request->descending);
	pq_sendint64(&bytes, request->filters_digest);
	pq_sendbytes(&bytes, (const char *) DatumGetUUIDP(row->values[COLUMN_ID])->data, UUID_LEN);
	pq_sendbyte(&bytes, row->isnull[order_by]);
	if (!row->isnull[order_by])
		send_key(&bytes, batch_columns[order_by].type, row->values[order_by]);
	return encode_cursor(&bytes);
}
