/*
 * shard_request.h
 *		What a server is asked about its shards.
 */
#ifndef BATCHES_SHARD_REQUEST_H
#define BATCHES_SHARD_REQUEST_H

#include "citus.h"
#include "filter.h"

typedef struct ShardRequest
{
	Request request;
	bool wants_rows;  /* and not the total alone */
	int64 whole_rows; /* so many of them as a whole; NO_LIMIT: all */
	int nshards;      /* which shards, by their numbers */
	int64 *shards;
} ShardRequest;

extern text *pack_request(const Request *request, bool wants_rows, int64 whole_rows,
						  const ShardRoute *route);
extern void unpack_request(text *packed, const pg_uuid_t *key, ShardRequest *shard_request);

#endif /* BATCHES_SHARD_REQUEST_H */
