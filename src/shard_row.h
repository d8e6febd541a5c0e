/*
 * shard_row.h
 *		Rows that a server sends of its shards.
 */
#ifndef BATCHES_SHARD_ROW_H
#define BATCHES_SHARD_ROW_H

#include "lib/stringinfo.h"

#include "row.h"

/* The first byte of a piece of what is sent: rows, or the total, which comes last. */
#define SHARD_ROWS 'R'
#define SHARD_TOTAL 'T'

/* A row that was sent, as far as ordering it takes */
typedef struct ShardRow
{
	pg_uuid_t project_id;
	pg_uuid_t id;
	Datum key; /* in the order column */
	bool isnull;
	StringInfoData columns; /* all of them; empty if they were not sent */
} ShardRow;

/* Functions of types, as far as they were asked for */
typedef struct RowFormat
{
	MemoryContext context;
	FmgrInfo output[N_COLUMNS];
	FmgrInfo input[N_COLUMNS];
	Oid parameters[N_COLUMNS]; /* of input */
} RowFormat;

extern void pack_row(RowFormat *format, StringInfo buf, const BatchRow *row, ColumnId order_by,
					 bool whole);
extern bool unpack_row(RowFormat *format, StringInfo buf, ColumnId order_by, ShardRow *row);
extern void unpack_columns(RowFormat *format, const ShardRow *packed, BatchRow *row);

#endif /* BATCHES_SHARD_ROW_H */
