/*
 * direct.c
 *		Which tables can be read without the executor, and their indexes.
 *
 * What reads below the executor has to do the executor's checks itself: the rights,
 * row-level security, and everything else that makes the rows of a table differ from the
 * tuples in its heap. Where these checks are not sure, they give a reason, and the caller
 * leaves the table to SQL.
 */
#include "postgres.h"
#include "compat.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/itemid.h"
#include "storage/bufmgr.h"
#include "access/itup.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "partitioning/partdesc.h"
#include "rewrite/rowsecurity.h"
#include "utils/acl.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "batches.h"
#include "citus.h"
#include "column.h"
#include "direct.h"

/* One for each table that create_tables() gives a policy */
#define MAX_KEPT_POLICIES 5

/* The objects that our policies refer to */
typedef struct PolicyObjects
{
	Oid table;
	Oid members;
	Oid user;
	AttrNumber project_column;
	AttrNumber member_project_column;
	AttrNumber member_user_column;
} PolicyObjects;

/* Which index of a partition is like one of the table */
typedef struct IndexPartKey
{
	Oid index;
	Oid partition;
} IndexPartKey;

typedef struct IndexPart
{
	IndexPartKey key;
	Oid part;
} IndexPart;

/* What a policy text means, as PostgreSQL stores it. */
typedef struct PolicyTree
{
	PolicyObjects objects;
	MemoryContext context;
	Node *tree;
} PolicyTree;

/* Drops the names that a table's columns had when an expression was stored. */
static bool
drop_column_names(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		((RangeTblEntry *) node)->eref->colnames = NIL;
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, drop_column_names, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, drop_column_names, context);
}

/* The tree of a policy text. Analyzed once in a session, as long as what it names is the same. */
static Node *
policy_tree(Relation relation, const char *policy)
{
	static PolicyTree kept[MAX_KEPT_POLICIES];
	static int next = 0;
	Oid members = get_relname_relid("project_member", RelationGetNamespace(relation));
	PolicyTree *place = NULL;
	PolicyObjects objects;
	char *sql;
	Query *query;
	MemoryContext previous;

	memset(&objects, 0, sizeof(objects));
	objects.table = RelationGetRelid(relation);
	objects.members = members;
	objects.user = extension_function("current_user_id");
	objects.project_column = get_attnum(objects.table, "project_id");
	objects.member_project_column = get_attnum(members, "project_id");
	objects.member_user_column = get_attnum(members, "user_id");
	for (int i = 0; i < lengthof(kept) && place == NULL; i++)
		if (kept[i].objects.table == objects.table)
			place = &kept[i];
	if (place == NULL)
		place = &kept[next++ % lengthof(kept)];
	if (place->tree != NULL && memcmp(&place->objects, &objects, sizeof(objects)) == 0)
		return place->tree;

	sql = psprintf("select from " BATCHES_SCHEMA ".%s where %s", RelationGetRelationName(relation),
				   policy);
	query = parse_analyze_fixedparams(linitial_node(RawStmt, raw_parser(sql, RAW_PARSE_DEFAULT)),
									  sql, NULL, 0, NULL);
	drop_column_names(query->jointree->quals, NULL);

	place->tree = NULL;
	if (place->context == NULL)
		place->context =
			AllocSetContextCreate(TopMemoryContext, "batches policy", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(place->context);
	previous = MemoryContextSwitchTo(place->context);
	place->tree = copyObject(query->jointree->quals);
	MemoryContextSwitchTo(previous);
	place->objects = objects;
	return place->tree;
}

static bool
applies_to_user(const RowSecurityPolicy *policy)
{
	Oid *roles = (Oid *) ARR_DATA_PTR(policy->roles);
	int nroles = ARR_DIMS(policy->roles)[0];

	if (policy->polcmd != '*' && policy->polcmd != ACL_SELECT_CHR)
		return false;
	for (int i = 0; i < nroles; i++)
		if (roles[i] == ACL_ID_PUBLIC || has_privs_of_role(GetUserId(), roles[i]))
			return true;
	return false;
}

/* Whether the rows that the role may see are those that one policy lets it see. */
static bool
has_only_policy(Relation relation, const char *policy)
{
	bool permitted = false;
	ListCell *cell;

	foreach (cell, relation->rd_rsdesc->policies)
	{
		RowSecurityPolicy *present = lfirst(cell);
		Node *qual;

		if (!applies_to_user(present))
			continue;
		qual = (Node *) copyObject(present->qual);
		drop_column_names(qual, NULL);
		if (!equal(qual, policy_tree(relation, policy)))
			return false;
		permitted |= present->permissive;
	}
	return permitted;
}

/* NULL if the role sees all rows, or exactly those of the policy; otherwise why that is not certain. */
const char *
direct_policy_fallback_reason(Relation relation, const char *policy)
{
	if (check_enable_rls(RelationGetRelid(relation), InvalidOid, false) != RLS_ENABLED)
		return NULL;
	if (row_security_policy_hook_permissive != NULL || row_security_policy_hook_restrictive != NULL)
		return "an extension has policies of row-level security";
	if (!may_execute(extension_function("current_user_id")))
		return "the role may not execute what its row-level security asks";
	if (authenticated_user_id() == NULL)
		return "row-level security applies, and there is no authenticated user";
	if (!has_only_policy(relation, policy))
		return "it has policies of row-level security beyond its own";
	return NULL;
}

/* Why what is in a table, or a partition, cannot be read directly, or NULL. */
static const char *
find_heap_fallback_reason(Relation relation)
{
	if (relation->rd_rel->relkind != RELKIND_RELATION)
		return "it is not an ordinary table";
	if (relation->rd_tableam != GetHeapamTableAmRoutine())
		return "it is not a heap";
	if (has_subclass(RelationGetRelid(relation)))
		return "other tables inherit from it";
	if (!RelationIsPermanent(relation) && RecoveryInProgress())
		return "it is not available during recovery";
	return NULL;
}

/* Why a table cannot be read directly, its partitions as its parts if "in_parts", or NULL. */
static const char *
find_fallback_reason(Relation relation, const char *policy, bool in_parts)
{
	const char *reason;

	/* An extension may check or audit reads in this hook. */
	if (ExecutorCheckPerms_hook != NULL)
		return "an extension checks what the executor reads";
	if (is_distributed(RelationGetRelid(relation)))
		return IsolationUsesXactSnapshot() ? "its rows are distributed by Citus"
										   : "its rows are distributed by Citus; at this isolation "
											 "level a page and its total "
											 "may be of two moments";
	if (!in_parts || relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		reason = find_heap_fallback_reason(relation);
		if (reason != NULL)
			return reason;
	}
	/* With it, a tuple may be removed between being found and being fetched. */
	if (OldSnapshotThresholdActive())
		return "old_snapshot_threshold is set";
	return direct_policy_fallback_reason(relation, policy);
}

/* Whether a column of an index is ascending, nulls last, by the type's default order or by code point. */
static bool
is_ordered(Relation index, int column)
{
	Oid type = TupleDescAttr(RelationGetDescr(index), column)->atttypid;
	Oid collation = index->rd_indcollation[column];

	return index->rd_indoption[column] == 0 &&
		   index->rd_opfamily[column] ==
			   lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf &&
		   (!OidIsValid(collation) || collation == C_COLLATION_OID);
}

/* Whether a tuple of a catalog is older than all that the transaction's snapshots could see. */
static bool
precedes_snapshots(HeapTuple tuple)
{
	return TransactionIdPrecedes(HeapTupleHeaderGetXmin(tuple->t_data), TransactionXmin);
}

/* Whether an index has an entry for every tuple that the snapshot could see. */
static bool
is_complete(Relation index)
{
	return index->rd_index->indisvalid && RelationGetIndexPredicate(index) == NIL &&
		   (!index->rd_index->indcheckxmin || precedes_snapshots(index->rd_indextuple));
}

static int
entry_width(Relation index)
{
	const int usual_width = 16; /* of a type without a fixed length */
	int width = 0;

	for (int i = 0; i < RelationGetNumberOfAttributes(index); i++)
	{
		int16 length = TupleDescAttr(RelationGetDescr(index), i)->attlen;

		width += length > 0 ? length : usual_width;
	}
	return width;
}

/* Whether two indexes are defined alike, and the second one has an entry for every tuple. */
static bool
is_part_of_index(Relation index, HeapTuple part)
{
	static const AttrNumber vectors[] = {Anum_pg_index_indcollation, Anum_pg_index_indclass,
										 Anum_pg_index_indoption};
	Form_pg_index whole = index->rd_index;
	Form_pg_index own = (Form_pg_index) GETSTRUCT(part);

	if (own->indnatts != whole->indnatts || own->indnkeyatts != whole->indnkeyatts ||
		own->indisunique != whole->indisunique || !own->indisvalid ||
		(own->indcheckxmin && !precedes_snapshots(part)) ||
		memcmp(own->indkey.values, whole->indkey.values, sizeof(int16) * own->indnatts) != 0 ||
		!heap_attisnull(part, Anum_pg_index_indpred, NULL))
		return false;
	for (int i = 0; i < lengthof(vectors); i++)
	{
		bool isnull;
		struct varlena *a = (struct varlena *) DatumGetPointer(
			SysCacheGetAttr(INDEXRELID, index->rd_indextuple, vectors[i], &isnull));
		struct varlena *b = (struct varlena *) DatumGetPointer(
			SysCacheGetAttr(INDEXRELID, part, vectors[i], &isnull));

		if (VARSIZE_ANY(a) != VARSIZE_ANY(b) || memcmp(a, b, VARSIZE_ANY(a)) != 0)
			return false;
	}
	return true;
}

/*
 * Looks for the index of a partition that is like one of the table. Returns InvalidOid if there
 * is none, and whether it is the same for any snapshot.
 */
static Oid
look_for_part_of_index(Relation partition, Relation index, bool *is_for_all)
{
	List *oids = RelationGetIndexList(partition);
	ListCell *cell;

	foreach (cell, oids)
	{
		HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		bool fits;

		if (!HeapTupleIsValid(tuple))
			continue;
		fits = is_part_of_index(index, tuple);
		*is_for_all = !((Form_pg_index) GETSTRUCT(tuple))->indcheckxmin;
		ReleaseSysCache(tuple);
		if (fits)
			return lfirst_oid(cell);
	}
	return InvalidOid;
}

/* What was found, until the definition of anything changes. */
static HTAB *index_parts = NULL;

static void
forget_index_parts(Datum arg, Oid relation)
{
	if (index_parts != NULL)
		hash_destroy(index_parts);
	index_parts = NULL;
}

static void
make_index_parts(void)
{
	static bool is_registered = false;
	HASHCTL control = {.keysize = sizeof(IndexPartKey), .entrysize = sizeof(IndexPart)};

	if (!is_registered)
		CacheRegisterRelcacheCallback(forget_index_parts, (Datum) 0);
	is_registered = true;
	index_parts = hash_create("batches parts of indexes", 64, &control, HASH_ELEM | HASH_BLOBS);
}

/* The index of a partition, which is locked, that is like one of the table, or InvalidOid. */
static Oid
find_part_of_index(Relation partition, Relation index)
{
	IndexPartKey key = {RelationGetRelid(index), RelationGetRelid(partition)};
	IndexPart *known = index_parts == NULL ? NULL : hash_search(index_parts, &key, HASH_FIND, NULL);
	bool is_for_all = false;
	Oid part;

	if (known != NULL)
		return known->part;
	part = look_for_part_of_index(partition, index, &is_for_all);
	if (!OidIsValid(part) || !is_for_all)
		return part;
	if (index_parts == NULL)
		make_index_parts();
	known = hash_search(index_parts, &key, HASH_ENTER, NULL);
	known->part = part;
	return part;
}

/* Finds the index's parts, which are opened when they are read. Returns whether it has them all. */
static bool
find_index_parts(DirectTable *table, DirectIndex *index)
{
	index->parts = palloc0(sizeof(Relation) * table->nparts);
	if (table->partitions == NULL)
	{
		index->parts[0] = index->relation;
		return true;
	}
	index->part_oids = palloc(sizeof(Oid) * table->nparts);
	for (int i = 0; i < table->nparts; i++)
	{
		index->part_oids[i] = find_part_of_index(table->parts[i], index->relation);
		if (!OidIsValid(index->part_oids[i]))
			return false;
	}
	return true;
}

/* Adds an open index to the table's, if direct reading can use it. Returns whether it can. */
static bool
take_index(DirectTable *table, Relation relation)
{
	DirectIndex *index = &table->indexes[table->nindexes];

	memset(index, 0, sizeof(*index));
	index->relation = relation;
	if (!is_complete(relation) || !find_index_parts(table, index))
		return false;
	if (relation->rd_rel->relam != BTREE_AM_OID)
	{
		DirectIndex *other = palloc(sizeof(DirectIndex));

		*other = *index;
		table->others = lappend(table->others, other);
		return true;
	}
	index->columns = relation->rd_index->indkey.values;
	index->ncolumns = IndexRelationGetNumberOfAttributes(relation);
	index->nkeys = IndexRelationGetNumberOfKeyAttributes(relation);
	/* In partitions, ids are unique with their projects; hardly anybody gives one twice. */
	index->is_key = index->nkeys == 1 &&
					(relation->rd_index->indisunique ||
					 (table->partitions != NULL && index->columns[0] == table->columns[COLUMN_ID]));
	index->width = entry_width(relation);
	index->entries = -1;
	for (int i = 0; i < index->ncolumns; i++)
		if (index->columns[i] <= 0 || (i < index->nkeys && !is_ordered(relation, i)))
			return false;
	table->nindexes++;
	return true;
}

/*
 * The copy on this server of a table that is open, if Citus keeps such and row-level security
 * leaves the table alone; otherwise the table itself.
 */
static Relation
open_copy_of(Relation relation)
{
	Oid oid = RelationGetRelid(relation);
	Oid copy_oid;
	Relation copy;

	if (!is_distributed(oid) || check_enable_rls(oid, InvalidOid, false) == RLS_ENABLED)
		return relation;
	copy_oid = find_local_copy(oid);
	copy = OidIsValid(copy_oid) ? try_table_open(copy_oid, AccessShareLock) : NULL;
	if (copy == NULL)
		return relation;
	table_close(relation, NoLock);
	return copy;
}

/*
 * Opens a table to be read directly in the active snapshot, or returns NULL and
 * the reason. The policy is the one that row-level security may have: reading
 * the authenticated user's rows only is then left to the caller. A table in partitions is
 * opened only for a caller who reads it "in_parts", by direct_open_parts().
 */
DirectTable *
direct_open(const char *name, const char *policy, bool in_parts, const char **reason)
{
	Partitions *shards = shards_as_partitions(name);
	Relation relation;
	DirectTable *table;

	/* Opened by name, as a query does: the name may pass to another table before the lock is had. */
	relation = shards != NULL
				   ? table_open(shards->oids[0], AccessShareLock)
				   : table_openrv(makeRangeVar(BATCHES_SCHEMA, pstrdup(name), -1), AccessShareLock);
	/* No trigger changes this one unseen. */
	if (strcmp(name, "project_member") == 0)
		relation = open_copy_of(relation);
	*reason = find_fallback_reason(relation, policy, in_parts);
	if (*reason == NULL && shards != NULL && shards->npartitions > MAX_PARTITIONS)
		*reason = "there are too many shards";
	if (*reason != NULL)
	{
		table_close(relation, NoLock);
		return NULL;
	}
	table = palloc0(sizeof(*table));
	table->relation = relation;
	if (shards != NULL && shards->npartitions > 1)
		table->partitions = shards;
	else if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		table->partitions = find_partitions(relation, "project_id", true);
	else
	{
		table->nparts = 1;
		table->parts = palloc(sizeof(Relation));
		table->parts[0] = relation;
	}
	if (table->nparts == 0 && table->partitions == NULL)
	{
		*reason = RelationGetPartitionDesc(relation, true)->nparts > MAX_PARTITIONS
					  ? "it has too many partitions"
					  : "it is partitioned by another key than a hash of the project";
		table_close(relation, NoLock);
		return NULL;
	}
	table->hides_statistics =
		check_enable_rls(RelationGetRelid(relation), InvalidOid, false) == RLS_ENABLED;
	return table;
}

/* The part that has the rows of a project; -1 if none that was opened has. */
int
direct_part(const DirectTable *table, Datum project_id)
{
	int partition;

	if (table->partitions == NULL)
		return 0;
	partition = partition_of(table->partitions, project_id);
	return partition < 0 ? -1 : table->part_numbers[partition];
}

/* About how many blocks a table has. */
double
direct_blocks(const DirectTable *table)
{
	double blocks = 0;

	if (table->partitions == NULL)
		return RelationGetNumberOfBlocks(table->relation);
	for (int i = 0; i < table->nparts; i++)
		blocks += table->nblocks[i];
	return blocks;
}

/* Whether the same partition, by its number, has a project in either table. */
static bool
has_partitions_of(const Partitions *a, const Partitions *b)
{
	return a->hashes == NULL && b->hashes == NULL && a->npartitions == b->npartitions &&
		   a->nremainders == b->nremainders && a->hash->fn_oid == b->hash->fn_oid &&
		   (a->nremainders == 0 ||
			memcmp(a->by_remainder, b->by_remainder, sizeof(int) * a->nremainders) == 0);
}

/* Finds which partitions can have rows of the projects asked for, and numbers them as parts. */
static void
number_parts(DirectTable *table)
{
	const Partitions *partitions = table->partitions;
	int nasked = table->nasked_projects;
	int nparts = 0;

	table->part_numbers = palloc(sizeof(int) * partitions->npartitions);
	for (int i = 0; i < partitions->npartitions; i++)
		table->part_numbers[i] = nasked < 0 ? 0 : -1;
	table->projects = palloc_extended(sizeof(PartProject) * Max(nasked, 1), MCXT_ALLOC_HUGE);
	table->has_projects_apart = true;
	for (int i = 0; i < nasked; i++)
	{
		int partition = partition_of(partitions, table->asked_projects[i]);

		if (partition < 0)
			continue;
		table->has_projects_apart &= table->part_numbers[partition] < 0;
		table->part_numbers[partition] = 0;
		table->projects[table->nprojects].value = i;
		table->projects[table->nprojects++].part = partition;
	}
	for (int i = 0; i < partitions->npartitions; i++)
		if (table->part_numbers[i] >= 0)
			table->part_numbers[i] = nparts++;
	for (int i = 0; i < table->nprojects; i++)
		table->projects[i].part = table->part_numbers[table->projects[i].part];
}

/* The same, as another table has found them for the same projects. */
static void
take_part_numbers(DirectTable *table, const DirectTable *other)
{
	table->part_numbers = other->part_numbers;
	table->nprojects = other->nprojects;
	table->projects = other->projects;
	table->has_projects_apart = other->has_projects_apart;
}

/*
 * Opens the partitions of a table that can have rows of some projects; all of them for a
 * negative number of projects. Another table may have been asked for the same before, or is
 * NULL. Returns why one of them cannot be read, or NULL.
 */
const char *
direct_open_parts(DirectTable *table, const DirectTable *other, const Datum *projects,
				  int nprojects)
{
	const Partitions *partitions = table->partitions;

	if (partitions == NULL)
		return NULL;
	table->asked_projects = projects;
	table->nasked_projects = nprojects;
	if (other != NULL && other->part_numbers != NULL && other->asked_projects == projects &&
		other->nasked_projects == nprojects && has_partitions_of(partitions, other->partitions))
		take_part_numbers(table, other);
	else
		number_parts(table);
	table->parts = palloc(sizeof(Relation) * partitions->npartitions);
	table->nblocks = palloc(sizeof(BlockNumber) * partitions->npartitions);
	for (int i = 0; i < partitions->npartitions; i++)
	{
		Relation relation;
		const char *reason;

		if (table->part_numbers[i] < 0)
			continue;
		relation = relation_open(partitions->oids[i], AccessShareLock);
		reason = find_heap_fallback_reason(relation);
		if (reason == NULL && !has_shape_of(relation, table->relation))
			reason = "its columns are in another order";
		if (reason != NULL)
		{
			reason =
				psprintf("part \"%s\" is another: %s", RelationGetRelationName(relation), reason);
			relation_close(relation, NoLock);
			return reason;
		}
		table->nblocks[table->nparts] = RelationGetNumberOfBlocks(relation);
		table->parts[table->nparts++] = relation;
	}
	direct_hide_statistics(table);
	return NULL;
}

/* Opens those of a table's indexes that can serve; all of them without a filter. */
void
direct_open_indexes(DirectTable *table, IndexFilter filter, void *arg)
{
	List *oids = RelationGetIndexList(table->relation);
	ListCell *cell;

	table->indexes = palloc(sizeof(DirectIndex) * (list_length(oids) + 1));
	foreach (cell, oids)
	{
		Oid oid = lfirst_oid(cell);
		Relation index;

		if (filter != NULL)
		{
			/* An index that cannot serve is not even locked. */
			HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(oid));
			bool serves;
			Form_pg_index form;

			if (!HeapTupleIsValid(tuple))
				continue;
			form = (Form_pg_index) GETSTRUCT(tuple);
			serves = filter(form->indkey.values, form->indnatts, form->indnkeyatts, arg);
			ReleaseSysCache(tuple);
			if (!serves)
				continue;
		}
		index = index_open(oid, AccessShareLock);
		if (!take_index(table, index))
			index_close(index, NoLock);
	}
	direct_hide_statistics(table);
}

/* Calls a function for an index and those of its parts that are open. */
static void
for_each_index_part(const DirectTable *table, const DirectIndex *index, void (*act)(Relation))
{
	act(index->relation);
	for (int i = 0; i < table->nparts && table->partitions != NULL; i++)
		if (index->parts[i] != NULL)
			act(index->parts[i]);
}

/* Calls a function for the table, its parts and its open indexes. */
static void
for_each_relation(const DirectTable *table, void (*act)(Relation))
{
	ListCell *cell;

	for (int i = 0; i < table->nindexes; i++)
		for_each_index_part(table, &table->indexes[i], act);
	foreach (cell, table->others)
		for_each_index_part(table, lfirst(cell), act);
	for (int i = 0; i < table->nparts && table->partitions != NULL; i++)
		act(table->parts[i]);
	act(table->relation);
}

static void
hide_statistics(Relation relation)
{
	pgstat_unlink_relation(relation);
	relation->pgstat_enabled = false;
}

/*
 * Below row-level security rows are read that the role does not see, and every role can read
 * what the server's statistics count: then nothing is counted until the table is closed, or
 * opened once more.
 */
void
direct_hide_statistics(const DirectTable *table)
{
	if (table->hides_statistics)
		for_each_relation(table, hide_statistics);
}

/* Opens a part of an index. */
Relation
direct_index_part(const DirectTable *table, DirectIndex *index, int part)
{
	if (index->parts[part] == NULL)
	{
		index->parts[part] = index_open(index->part_oids[part], AccessShareLock);
		if (table->hides_statistics)
			hide_statistics(index->parts[part]);
	}
	return index->parts[part];
}

/* The open index whose first two columns are these, or NULL. */
DirectIndex *
direct_key(DirectTable *table, AttrNumber first, AttrNumber second)
{
	for (int i = 0; i < table->nindexes; i++)
		if (table->indexes[i].nkeys >= 2 && table->indexes[i].columns[0] == first &&
			table->indexes[i].columns[1] == second)
			return &table->indexes[i];
	return NULL;
}

static void
close_relation(Relation relation)
{
	relation_close(relation, NoLock);
}

/* The locks stay until the transaction ends, as those of a query. */
void
direct_close(DirectTable *table)
{
	if (table->hides_statistics)
		for_each_relation(table, pgstat_init_relation);
	for_each_relation(table, close_relation);
}

/* Whether the role may select some columns, by its rights on the table or on each of them. */
bool
may_select(Relation relation, Bitmapset *columns)
{
	Oid relid = RelationGetRelid(relation);
	Oid role = GetUserId();
	int column = -1;

	if (pg_class_aclcheck(relid, role, ACL_SELECT) == ACLCHECK_OK)
		return true;
	if (bms_is_empty(columns))
		return pg_attribute_aclcheck_all(relid, role, ACL_SELECT, ACLMASK_ANY) == ACLCHECK_OK;
	while ((column = bms_next_member(columns, column)) >= 0)
		if (pg_attribute_aclcheck(relid, column, role, ACL_SELECT) != ACLCHECK_OK)
			return false;
	return true;
}

/* The same of what is read. Of partitions, the rights on the table count, as everywhere. */
bool
direct_may_select(const DirectTable *table, Bitmapset *columns)
{
	if (!may_select(table->relation, columns))
		return false;
	for (int i = 0; i < table->nparts && table->partitions != NULL; i++)
		if (table->partitions->hashes != NULL && !may_select(table->parts[i], columns))
			return false;
	return true;
}

/*
 * About how many entries an index has: its present size by the density of when it was last
 * counted, or by entries of the usual width. The first page has none. Of a partitioned table,
 * the tuples of its parts are taken, whose indexes need not be open.
 */
double
direct_entries(const DirectTable *table, DirectIndex *index)
{
	if (index->entries >= 0)
		return index->entries;
	index->entries = 0;
	for (int i = 0; i < table->nparts; i++)
	{
		bool by_table = table->partitions != NULL;
		const Form_pg_class class = (by_table ? table->parts[i] : index->relation)->rd_rel;
		BlockNumber nblocks =
			by_table ? table->nblocks[i] : RelationGetNumberOfBlocks(index->relation);
		int others = by_table ? 0 : 1;
		double density =
			(double) BLCKSZ / (index->width + sizeof(IndexTupleData) + sizeof(ItemIdData));

		if (class->reltuples > 0 && class->relpages > others)
			density = class->reltuples / (class->relpages - others);
		index->entries += (nblocks - others) * density;
	}
	return index->entries;
}

/* Where an index has a column of the table, from 1; 0 if it does not. */
int
direct_position(const DirectIndex *index, AttrNumber column)
{
	for (int i = 0; i < index->ncolumns; i++)
		if (index->columns[i] == column)
			return i + 1;
	return 0;
}

static bool
is_not_null_in(Relation relation, AttrNumber column)
{
	HeapTuple attribute;
	bool is_old;

	if (!is_valid_not_null(RelationGetDescr(relation), column - 1))
		return false;
	attribute = SearchSysCache2(ATTNUM, ObjectIdGetDatum(RelationGetRelid(relation)),
								Int16GetDatum(column));
	if (!HeapTupleIsValid(attribute))
		return false;
	is_old = precedes_snapshots(attribute);
	ReleaseSysCache(attribute);
	return is_old;
}

/*
 * Whether no row that the snapshot sees has a null in a column. The snapshot may be older
 * than the column's NOT NULL.
 */
bool
direct_is_not_null(DirectTable *table, AttrNumber column)
{
	if (!is_not_null_in(table->relation, column))
		return false;
	for (int i = 0; i < table->nparts && table->partitions != NULL; i++)
		if (!is_not_null_in(table->parts[i], column))
			return false;
	return true;
}

/*
 * The number of a column that has a type and is stored, or 0. Its collation must be
 * deterministic: texts are compared by their bytes.
 */
AttrNumber
direct_column(DirectTable *table, const char *name, Oid type)
{
	TupleDesc descriptor = RelationGetDescr(table->relation);

	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), name) != 0)
			continue;
		if (attribute->atttypid != type || is_virtual(attribute) ||
			(OidIsValid(attribute->attcollation) &&
			 !get_collation_isdeterministic(attribute->attcollation)))
			return InvalidAttrNumber;
		return attribute->attnum;
	}
	return InvalidAttrNumber;
}
