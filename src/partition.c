/*
 * partition.c
 *		Which partition, or which shard, has the rows of a project.
 *
 * The bounds and the hash function of partitions are PostgreSQL's own, as its descriptor of the
 * table has them. Shards have parts of the values of the hash function of the type.
 */
#include "postgres.h"
#include "compat.h"

#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"

#include "partition.h"

/*
 * The partitions of a table, or NULL if it is not partitioned by hash of a column alone, or
 * has too many. Those that are being detached are left out where the active snapshot does not
 * see them any more.
 */
Partitions *
find_partitions(Relation table, const char *column, bool omit_detached)
{
	PartitionKey key;
	PartitionDesc descriptor;
	Partitions *partitions;

	if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return NULL;
	key = RelationGetPartitionKey(table);
	if (key->strategy != PARTITION_STRATEGY_HASH || key->partnatts != 1 ||
		key->partattrs[0] != get_attnum(RelationGetRelid(table), column))
		return NULL;
	descriptor = RelationGetPartitionDesc(table, omit_detached);
	if (descriptor->nparts > MAX_PARTITIONS)
		return NULL;
	partitions = palloc0(sizeof(Partitions));
	partitions->hash = key->partsupfunc;
	partitions->collation = key->partcollation;
	partitions->npartitions = descriptor->nparts;
	if (descriptor->nparts == 0)
		return partitions;
	/* The descriptor may be another one after the next lock. */
	partitions->oids = memcpy(palloc(sizeof(Oid) * descriptor->nparts), descriptor->oids,
							  sizeof(Oid) * descriptor->nparts);
	partitions->nremainders = descriptor->boundinfo->nindexes;
	partitions->by_remainder = palloc(sizeof(int) * partitions->nremainders);
	memcpy(partitions->by_remainder, descriptor->boundinfo->indexes,
		   sizeof(int) * partitions->nremainders);
	return partitions;
}

/* The shards that are read in place of a table, or NULL. */
Partitions *
shards_as_partitions(const char *table)
{
	const Oid *oids;
	const ShardSet *shards = used_shards(table, &oids);
	Partitions *partitions;

	if (shards == NULL)
		return NULL;
	partitions = palloc0(sizeof(Partitions));
	partitions->npartitions = shards->nshards;
	partitions->oids = oids;
	partitions->hashes = shards->hashes;
	return partitions;
}

/* The hash value by which a project is in a shard. */
int64
shard_hash(Datum project_id)
{
	return DatumGetInt32(DirectFunctionCall1(uuid_hash, project_id));
}

/* The range, of some that are in order, that has a hash value, or -1. */
int
find_hash(const HashRange *ranges, int nranges, int64 hash)
{
	int low = 0;
	int high = nranges;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (ranges[middle].last < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low < nranges && ranges[low].first <= hash ? low : -1;
}

/* The partition that has a value, or -1. */
int
partition_of(const Partitions *partitions, Datum value)
{
	bool isnull = false;

	if (partitions->hashes != NULL)
		return find_hash(partitions->hashes, partitions->npartitions, shard_hash(value));
	if (partitions->nremainders == 0)
		return -1;
	return partitions
		->by_remainder[compute_partition_hash_value(1, partitions->hash, partitions->collation,
													&value, &isnull) %
					   partitions->nremainders];
}

/* Whether the rows of a partition have the columns of the table, at the same numbers. */
bool
has_shape_of(Relation partition, Relation table)
{
	TupleDesc own = RelationGetDescr(partition);
	TupleDesc whole = RelationGetDescr(table);

	if (own->natts != whole->natts)
		return false;
	for (int i = 0; i < own->natts; i++)
	{
		Form_pg_attribute a = TupleDescAttr(own, i);
		Form_pg_attribute b = TupleDescAttr(whole, i);

		if (a->attisdropped != b->attisdropped ||
			(!a->attisdropped &&
			 (a->atttypid != b->atttypid || strcmp(NameStr(a->attname), NameStr(b->attname)) != 0)))
			return false;
	}
	return true;
}
