/*
 * shard_row.c
 *		Rows that a server sends of its shards.
 *
 * A row is the length of what follows, project and id, the value in the order column, and all
 * columns if the row is sent as a whole. A value is its length, -1 for null, and its bytes,
 * numbers in network order. Text is in the encoding that all nodes have in common.
 */
#include "postgres.h"
#include "compat.h"

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "shard_row.h"

#define NULL_LENGTH (-1)

/* Begins what its length goes before. Returns where that is. */
static int
begin_length(StringInfo buf)
{
	pq_sendint32(buf, 0);
	return buf->len;
}

static void
end_length(StringInfo buf, int start)
{
	uint32 length = pg_hton32(buf->len - start);

	memcpy(buf->data + start - sizeof(length), &length, sizeof(length));
}

static void
pack_text(RowFormat *format, StringInfo buf, ColumnId column, Datum value)
{
	FmgrInfo *output = &format->output[column];
	char *text;

	if (!OidIsValid(output->fn_oid))
	{
		Oid function;
		bool is_varlena;

		getTypeOutputInfo(column_type_oid(batch_columns[column].type), &function, &is_varlena);
		fmgr_info_cxt(function, output, format->context);
	}
	text = OutputFunctionCall(output, value);
	pq_sendbytes(buf, text, strlen(text));
}

static void
pack_value(RowFormat *format, StringInfo buf, ColumnId column, Datum value, bool isnull)
{
	int start;

	if (isnull)
	{
		pq_sendint32(buf, NULL_LENGTH);
		return;
	}
	start = begin_length(buf);
	switch (batch_columns[column].type)
	{
		case COLUMN_TYPE_UUID:
			pq_sendbytes(buf, (const char *) DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case COLUMN_TYPE_BOOLEAN:
			pq_sendbyte(buf, DatumGetBool(value));
			break;
		case COLUMN_TYPE_INTEGER:
			pq_sendint32(buf, DatumGetInt32(value));
			break;
		case COLUMN_TYPE_TIMESTAMP:
			pq_sendint64(buf, DatumGetTimestampTz(value));
			break;
		case COLUMN_TYPE_TEXT:
		{
			text *string = DatumGetTextPP(value);

			pq_sendbytes(buf, VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
			break;
		}
		default:
			pack_text(format, buf, column, value);
			break;
	}
	end_length(buf, start);
}

static void
pack_job_counts(StringInfo buf, const BatchRow *row)
{
	int start = begin_length(buf);

	for (int i = 0; i < N_JOB_STATUSES; i++)
		pq_sendint64(buf, row->job_counts[i]);
	end_length(buf, start);
}

/* Adds a row. */
void
pack_row(RowFormat *format, StringInfo buf, const BatchRow *row, ColumnId order_by, bool whole)
{
	int start = begin_length(buf);

	if (row->isnull[COLUMN_PROJECT_ID] || row->isnull[COLUMN_ID])
		elog(ERROR, "a batch has no key");
	pq_sendbytes(buf, (const char *) DatumGetUUIDP(row->values[COLUMN_PROJECT_ID])->data, UUID_LEN);
	pq_sendbytes(buf, (const char *) DatumGetUUIDP(row->values[COLUMN_ID])->data, UUID_LEN);
	pack_value(format, buf, order_by, row->values[order_by], row->isnull[order_by]);
	for (int column = 0; column < N_COLUMNS && whole; column++)
	{
		if (batch_columns[column].type == COLUMN_TYPE_JOB_COUNTS && !row->isnull[column])
			pack_job_counts(buf, row);
		else
			pack_value(format, buf, column, row->values[column], row->isnull[column]);
	}
	end_length(buf, start);
}

/* Takes so many bytes off a buffer. */
static StringInfoData
take_bytes(StringInfo buf, int length)
{
	StringInfoData taken = {.data = unconstify(char *, pq_getmsgbytes(buf, length))};

	taken.len = length;
	taken.maxlen = length;
	return taken;
}

static Datum
unpack_text(RowFormat *format, StringInfo bytes, ColumnId column)
{
	FmgrInfo *input = &format->input[column];

	if (!OidIsValid(input->fn_oid))
	{
		Oid function;

		getTypeInputInfo(column_type_oid(batch_columns[column].type), &function,
						 &format->parameters[column]);
		fmgr_info_cxt(function, input, format->context);
	}
	return InputFunctionCall(input, pnstrdup(bytes->data, bytes->len), format->parameters[column],
							 -1);
}

static Datum
unpack_value(RowFormat *format, StringInfo buf, ColumnId column, bool *isnull)
{
	int length = (int) pq_getmsgint(buf, sizeof(int32));
	StringInfoData bytes;

	*isnull = length == NULL_LENGTH;
	if (*isnull)
		return (Datum) 0;
	bytes = take_bytes(buf, length);
	switch (batch_columns[column].type)
	{
		case COLUMN_TYPE_UUID:
			return PointerGetDatum(pq_getmsgbytes(&bytes, UUID_LEN));
		case COLUMN_TYPE_BOOLEAN:
			return BoolGetDatum(pq_getmsgbyte(&bytes) != 0);
		case COLUMN_TYPE_INTEGER:
			return Int32GetDatum((int32) pq_getmsgint(&bytes, sizeof(int32)));
		case COLUMN_TYPE_TIMESTAMP:
			return TimestampTzGetDatum(pq_getmsgint64(&bytes));
		case COLUMN_TYPE_TEXT:
			return PointerGetDatum(cstring_to_text_with_len(bytes.data, bytes.len));
		default:
			return unpack_text(format, &bytes, column);
	}
}

/* Takes the next row off a buffer. Returns false if there is none. */
bool
unpack_row(RowFormat *format, StringInfo buf, ColumnId order_by, ShardRow *row)
{
	StringInfoData bytes;

	if (buf->cursor == buf->len)
		return false;
	bytes = take_bytes(buf, (int) pq_getmsgint(buf, sizeof(int32)));
	memcpy(row->project_id.data, pq_getmsgbytes(&bytes, UUID_LEN), UUID_LEN);
	memcpy(row->id.data, pq_getmsgbytes(&bytes, UUID_LEN), UUID_LEN);
	row->key = unpack_value(format, &bytes, order_by, &row->isnull);
	row->columns = take_bytes(&bytes, bytes.len - bytes.cursor);
	return true;
}

/* The columns of a row that was sent as a whole. */
void
unpack_columns(RowFormat *format, const ShardRow *packed, BatchRow *row)
{
	StringInfoData columns = packed->columns;

	for (int column = 0; column < N_COLUMNS; column++)
	{
		if (batch_columns[column].type == COLUMN_TYPE_JOB_COUNTS)
		{
			int length = (int) pq_getmsgint(&columns, sizeof(int32));

			row->isnull[column] = length == NULL_LENGTH;
			for (int i = 0; i < N_JOB_STATUSES && !row->isnull[column]; i++)
				row->job_counts[i] = pq_getmsgint64(&columns);
		}
		else
			row->values[column] = unpack_value(format, &columns, column, &row->isnull[column]);
	}
}
