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
#include "rewrite/rowsecurity.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "batches.h"
#include "citus.h"
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

/* Why a table cannot be read directly, or NULL. */
static const char *
find_fallback_reason(Relation relation, const char *policy)
{
	/* An extension may check or audit reads in this hook. */
	if (ExecutorCheckPerms_hook != NULL)
		return "an extension checks what the executor reads";
	if (is_distributed(RelationGetRelid(relation)))
		return IsolationUsesXactSnapshot() ? "its rows are distributed by Citus"
										   : "its rows are distributed by Citus; at this isolation "
											 "level a page and its total "
											 "may be of two moments";
	if (relation->rd_rel->relkind != RELKIND_RELATION)
		return "it is not an ordinary table";
	if (relation->rd_tableam != GetHeapamTableAmRoutine())
		return "it is not a heap";
	if (has_subclass(RelationGetRelid(relation)))
		return "other tables inherit from it";
	if (!RelationIsPermanent(relation) && RecoveryInProgress())
		return "it is not available during recovery";
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

/* Adds an open index to the table's, if direct reading can use it. Returns whether it can. */
static bool
take_index(DirectTable *table, Relation relation)
{
	DirectIndex *index = &table->indexes[table->nindexes];

	if (!is_complete(relation))
		return false;
	if (relation->rd_rel->relam != BTREE_AM_OID)
	{
		table->others = lappend(table->others, relation);
		return true;
	}
	index->relation = relation;
	index->columns = relation->rd_index->indkey.values;
	index->ncolumns = IndexRelationGetNumberOfAttributes(relation);
	index->nkeys = IndexRelationGetNumberOfKeyAttributes(relation);
	index->is_key = relation->rd_index->indisunique && index->nkeys == 1;
	index->width = entry_width(relation);
	index->entries = -1;
	for (int i = 0; i < index->ncolumns; i++)
		if (index->columns[i] <= 0 || (i < index->nkeys && !is_ordered(relation, i)))
			return false;
	table->nindexes++;
	return true;
}

/*
 * Opens a table to be read directly in the active snapshot, or returns NULL and
 * the reason. The policy is the one that row-level security may have: reading
 * the authenticated user's rows only is then left to the caller.
 */
DirectTable *
direct_open(const char *name, const char *policy, const char **reason)
{
	Relation relation;
	DirectTable *table;

	/* Opened by name, as a query does: the name may pass to another table before the lock is had. */
	relation =
		table_openrv(makeRangeVar(BATCHES_SCHEMA, pstrdup(table_name(name)), -1), AccessShareLock);
	*reason = find_fallback_reason(relation, policy);
	if (*reason != NULL)
	{
		table_close(relation, NoLock);
		return NULL;
	}
	table = palloc0(sizeof(*table));
	table->relation = relation;
	table->hides_statistics =
		check_enable_rls(RelationGetRelid(relation), InvalidOid, false) == RLS_ENABLED;
	return table;
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

/* Calls a function for the table and each of its open indexes. */
static void
for_each_relation(const DirectTable *table, void (*act)(Relation))
{
	ListCell *cell;

	for (int i = 0; i < table->nindexes; i++)
		act(table->indexes[i].relation);
	foreach (cell, table->others)
		act(lfirst(cell));
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
direct_may_select(Relation relation, Bitmapset *columns)
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

/*
 * About how many entries an index has: its present size by the density of when it was last
 * counted, or by entries of the usual width. The first page has none.
 */
double
direct_entries(DirectIndex *index)
{
	const Form_pg_class class = index->relation->rd_rel;

	if (index->entries < 0)
	{
		double density =
			(double) BLCKSZ / (index->width + sizeof(IndexTupleData) + sizeof(ItemIdData));

		if (class->reltuples > 0 && class->relpages > 1)
			density = class->reltuples / (class->relpages - 1);
		index->entries = (RelationGetNumberOfBlocks(index->relation) - 1) * density;
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

/*
 * Whether no row that the snapshot sees has a null in a column. The snapshot may be older
 * than the column's NOT NULL.
 */
bool
direct_is_not_null(DirectTable *table, AttrNumber column)
{
	HeapTuple attribute;
	bool is_old;

	if (!is_valid_not_null(RelationGetDescr(table->relation), column - 1))
		return false;
	attribute = SearchSysCache2(ATTNUM, ObjectIdGetDatum(RelationGetRelid(table->relation)),
								Int16GetDatum(column));
	if (!HeapTupleIsValid(attribute))
		return false;
	is_old = precedes_snapshots(attribute);
	ReleaseSysCache(attribute);
	return is_old;
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
