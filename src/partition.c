/*
 * partition.c
 *		Which partition has the rows of a project.
 *
 * The bounds and the hash function are PostgreSQL's own, as its descriptor of the table has
 * them.
 */
#include "postgres.h"
#include "compat.h"

#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
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
	partitions->oids = palloc(sizeof(Oid) * descriptor->nparts);
	memcpy(partitions->oids, descriptor->oids, sizeof(Oid) * descriptor->nparts);
	partitions->nremainders = descriptor->boundinfo->nindexes;
	partitions->by_remainder = palloc(sizeof(int) * partitions->nremainders);
	memcpy(partitions->by_remainder, descriptor->boundinfo->indexes,
		   sizeof(int) * partitions->nremainders);
	return partitions;
}

/* The partition that has a value, or -1. */
int
partition_of(const Partitions *partitions, Datum value)
{
	bool isnull = false;

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
