/*
 * json.c
 *		Rows to document text, in one buffer. Runs no SQL.
 *
 * The text is in the database's encoding, as every json value is. All of them
 * keep ASCII bytes for ASCII characters, so escaping works byte by byte.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "json.h"

#define MAX_ESCAPE_LENGTH 6
#define USUAL_DOCUMENT_SIZE (64 * 1024)

static const char hex_digits[] = "0123456789abcdef";

/* Makes room for so many bytes and a terminator. */
static void
make_room(StringInfo buf, size_t length)
{
	if (length >= MaxAllocSize - buf->len)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the document of this page exceeds the maximum of %zu bytes", MaxAllocSize),
				 errhint("Ask for fewer batches: lower \"limit\".")));
	enlargeStringInfo(buf, (int) length);
}

/* Inlined, as a page is made of thousands of short pieces, most of constant length. */
static inline void
append_bytes(StringInfo buf, const char *bytes, size_t length)
{
	if (unlikely(length >= (size_t) (buf->maxlen - buf->len)))
		make_room(buf, length);
	memcpy(buf->data + buf->len, bytes, length);
	buf->len += (int) length;
	buf->data[buf->len] = '\0';
}

#define append_literal(buf, literal) append_bytes(buf, "" literal, sizeof(literal) - 1)

/* Writes how a character must be escaped, and returns the length of that. */
static int
escape_character(unsigned char c, char *escape)
{
	escape[0] = '\\';
	switch (c)
	{
		case '"':
		case '\\':
			escape[1] = c;
			return 2;
		case '\b':
			escape[1] = 'b';
			return 2;
		case '\f':
			escape[1] = 'f';
			return 2;
		case '\n':
			escape[1] = 'n';
			return 2;
		case '\r':
			escape[1] = 'r';
			return 2;
		case '\t':
			escape[1] = 't';
			return 2;
		default:
			memcpy(escape + 1, "u00", 3);
			escape[4] = hex_digits[c >> 4];
			escape[5] = hex_digits[c & 0xf];
			return MAX_ESCAPE_LENGTH;
	}
}

/* Appends a string's characters, escaped, without the quotes around them. */
void
append_escaped(StringInfo buf, const char *string, int length)
{
	int done = 0; /* how much is in the buffer */

	for (int i = 0; i < length; i++)
	{
		unsigned char c = string[i];

		if (unlikely(c < 0x20 || c == '"' || c == '\\'))
		{
			char escape[MAX_ESCAPE_LENGTH];
			int escape_length = escape_character(c, escape);

			append_bytes(buf, string + done, i - done);
			append_bytes(buf, escape, escape_length);
			done = i + 1;
		}
	}
	append_bytes(buf, string + done, length - done);
}

static void
append_string(StringInfo buf, const char *string, int length)
{
	append_literal(buf, "\"");
	append_escaped(buf, string, length);
	append_literal(buf, "\"");
}

static void
append_text(StringInfo buf, Datum value)
{
	text *string = DatumGetTextPP(value);

	append_string(buf, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
}

static void
append_text_array(StringInfo buf, Datum value)
{
	Datum *elements;
	bool *nulls;
	int count;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	append_literal(buf, "[");
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			append_literal(buf, ",");
		if (nulls[i])
			append_literal(buf, "null");
		else
			append_text(buf, elements[i]);
	}
	append_literal(buf, "]");
}

static void
append_integer(StringInfo buf, int64 value)
{
	char digits[MAXINT8LEN + 1];
	int length = pg_lltoa(value, digits);

	append_bytes(buf, digits, length);
}

static void
append_uuid(StringInfo buf, const pg_uuid_t *uuid)
{
	char string[2 * UUID_LEN + 6];
	char *p = string;

	*p++ = '"';
	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = hex_digits[uuid->data[i] >> 4];
		*p++ = hex_digits[uuid->data[i] & 0xf];
	}
	*p++ = '"';
	append_bytes(buf, string, p - string);
}

/*
 * A day of the calendar. Years outside 0000 to 9999 have a sign and six digits, as
 * ISO 8601 and ECMAScript extend them; the year before 0001 is 0000.
 */
static void
set_date(RenderedDate *date, int64 day)
{
	struct pg_tm tm;
	fsec_t fraction;
	char *p = date->text;

	if (timestamp2tm(day * USECS_PER_DAY, NULL, &tm, &fraction, NULL, NULL) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	if (tm.tm_year >= 0 && tm.tm_year <= 9999)
		p = pg_ultostr_zeropad(p, tm.tm_year, 4);
	else
	{
		*p++ = tm.tm_year < 0 ? '-' : '+';
		p = pg_ultostr_zeropad(p, abs(tm.tm_year), 6);
	}
	*p++ = '-';
	p = pg_ultostr_zeropad(p, tm.tm_mon, 2);
	*p++ = '-';
	p = pg_ultostr_zeropad(p, tm.tm_mday, 2);
	date->length = p - date->text;
	date->day = day;
}

/* A timestamp in UTC. Neighbours often have their date in common: it is kept. */
static void
append_timestamp(Document *document, TimestampTz timestamp)
{
	StringInfo buf = &document->buf;
	RenderedDate *date = &document->date;
	char string[MAXDATELEN];
	char *p = string;
	int64 day;
	int64 time;
	uint32 seconds;
	uint32 fraction;

	if (TIMESTAMP_NOT_FINITE(timestamp))
	{
		if (TIMESTAMP_IS_NOBEGIN(timestamp))
			append_literal(buf, "\"-infinity\"");
		else
			append_literal(buf, "\"infinity\"");
		return;
	}
	day = timestamp / USECS_PER_DAY;
	if (timestamp < day * USECS_PER_DAY)
		day--;
	if (date->length == 0 || date->day != day)
		set_date(date, day);
	time = timestamp - day * USECS_PER_DAY;
	seconds = time / USECS_PER_SEC;
	fraction = time % USECS_PER_SEC;

	*p++ = '"';
	memcpy(p, date->text, date->length);
	p += date->length;
	*p++ = 'T';
	p = pg_ultostr_zeropad(p, seconds / SECS_PER_HOUR, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, seconds / SECS_PER_MINUTE % MINS_PER_HOUR, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, seconds % SECS_PER_MINUTE, 2);
	if (fraction != 0)
	{
		*p++ = '.';
		p = pg_ultostr_zeropad(p, fraction, 6);
	}
	*p++ = 'Z';
	*p++ = '"';
	append_bytes(buf, string, p - string);
}

static void
append_enum(Document *document, Oid value)
{
	EnumLabel *entry = NULL;

	for (int i = 0; i < document->nlabels && entry == NULL; i++)
		if (document->labels[i].value == value)
			entry = &document->labels[i];
	if (entry == NULL)
	{
		HeapTuple tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(value));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for enum value %u", value);
		entry = &document->labels[document->nlabels % N_CACHED_LABELS];
		entry->value = value;
		entry->label = ((Form_pg_enum) GETSTRUCT(tuple))->enumlabel;
		ReleaseSysCache(tuple);
		if (document->nlabels < N_CACHED_LABELS)
			document->nlabels++;
	}
	append_string(&document->buf, NameStr(entry->label), strlen(NameStr(entry->label)));
}

static void
append_job_counts(StringInfo buf, const int64 *counts)
{
	const char *joiner = "{\"";

	for (int i = 0; i < N_JOB_STATUSES; i++)
	{
		if (counts[i] == 0)
			continue;
		append_bytes(buf, joiner, strlen(joiner));
		append_bytes(buf, job_status_labels[i], strlen(job_status_labels[i]));
		append_literal(buf, "\":");
		append_integer(buf, counts[i]);
		joiner = ",\"";
	}
	if (joiner[0] == '{')
		append_literal(buf, "{");
	append_literal(buf, "}");
}

static void
append_value(Document *document, ColumnType type, const BatchRow *row, Datum value)
{
	StringInfo buf = &document->buf;

	switch (type)
	{
		case COLUMN_TYPE_UUID:
			append_uuid(buf, DatumGetUUIDP(value));
			break;
		case COLUMN_TYPE_BATCH_STATUS:
		case COLUMN_TYPE_QUEUE_PRIORITY:
			append_enum(document, DatumGetObjectId(value));
			break;
		case COLUMN_TYPE_BOOLEAN:
			if (DatumGetBool(value))
				append_literal(buf, "true");
			else
				append_literal(buf, "false");
			break;
		case COLUMN_TYPE_INTEGER:
			append_integer(buf, DatumGetInt32(value));
			break;
		case COLUMN_TYPE_TEXT:
			append_text(buf, value);
			break;
		case COLUMN_TYPE_TEXT_ARRAY:
			append_text_array(buf, value);
			break;
		case COLUMN_TYPE_TIMESTAMP:
			append_timestamp(document, DatumGetTimestampTz(value));
			break;
		case COLUMN_TYPE_JSONB:
		{
			Jsonb *jsonb = DatumGetJsonbP(value);

			(void) JsonbToCString(buf, &jsonb->root, VARSIZE(jsonb));
			break;
		}
		case COLUMN_TYPE_JOB_COUNTS:
			append_job_counts(buf, row->job_counts);
			break;
	}
}

void
begin_document(Document *document)
{
	static const char no_header_yet[VARHDRSZ] = {0};

	document->rows = 0;
	document->nlabels = 0;
	document->date.length = 0;
	for (int i = 0; i < N_COLUMNS; i++)
		document->key_lengths[i] =
			snprintf(document->keys[i], MAX_KEY_LENGTH, ",\"%s\":", batch_columns[i].name);
	initStringInfo(&document->buf);
	make_room(&document->buf, USUAL_DOCUMENT_SIZE);
	append_bytes(&document->buf, no_header_yet, VARHDRSZ);
	append_literal(&document->buf,
				   "{\"status\":\"success\",\"message\":\"OK.\",\"code\":\"200\",\"data\":[");
}

/* A BatchRowCallback. A key whose value is null is left out. */
void
add_row_to_document(const BatchRow *row, void *arg)
{
	Document *document = arg;
	StringInfo buf = &document->buf;
	bool first = true;

	if (document->rows++ > 0)
		append_literal(buf, ",{");
	else
		append_literal(buf, "{");
	for (int i = 0; i < N_COLUMNS; i++)
	{
		if (row->isnull[i])
			continue;
		append_bytes(buf, document->keys[i] + first, document->key_lengths[i] - first);
		append_value(document, batch_columns[i].type, row, row->values[i]);
		first = false;
	}
	append_literal(buf, "}");
}

/* Closes the document, with the cursor of the next page if there is one, and returns it as a datum. */
text *
end_document(Document *document, const Request *request, int64 total, const char *next)
{
	StringInfo buf = &document->buf;

	append_literal(buf, "],\"pagination\":{\"total\":");
	if (request->without_total)
		append_literal(buf, "null");
	else
		append_integer(buf, total);
	if (request->cursor != NULL)
	{
		append_literal(buf, ",\"next\":");
		if (next == NULL)
			append_literal(buf, "null");
		else
			append_string(buf, next, strlen(next));
	}
	else
	{
		append_literal(buf, ",\"start\":");
		append_integer(buf, request->offset);
		append_literal(buf, ",\"end\":");
		append_integer(buf, request->offset + document->rows);
	}
	append_literal(buf, "}}");

	/* SQL_ASCII does not say which encoding its bytes have; JSON has to be UTF-8. */
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		(void) pg_verify_mbstr(PG_UTF8, buf->data + VARHDRSZ, buf->len - VARHDRSZ, false);
	SET_VARSIZE(buf->data, buf->len);
	return (text *) buf->data;
}
