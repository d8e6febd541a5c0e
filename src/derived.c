/*
 * derived.c
 *		Writing the derived tables: batch_job_count and batch_total.
 *
 * Rows are written below the executor, so that no rights, policies, triggers or settings of
 * the role that changes a batch or a job interfere. This is safe as a trigger only writes
 * tables in the extension's schema that belong to the owner of the trigger's own table.
 *
 * Rows are found with SnapshotSelf, which sees what is committed and our own changes, and
 * takes no predicate locks: serializable transactions do not fail for what their triggers
 * have read. An index scan with it may miss a row whose new version is written meanwhile;
 * where that matters, the row is looked for again with an MVCC snapshot.
 *
 * In a transaction with one snapshot for all statements, a row is changed only in the
 * version that this snapshot sees: else it would see what others have added.
 */
#include "postgres.h"
#include "compat.h"

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/tablecmds.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "batches.h"
#include "citus.h"
#include "derived.h"

/* The places of rows that the session has written, by a hash of their keys; newer ones overwrite older. */
#define N_WRITTEN_ROWS 256
/* One look-up in so many goes by the index, to find other rows of the key. */
#define MOST_RECALLS 16

typedef struct WrittenRow
{
	TransactionId transaction;
	Oid table;
	ItemPointerData tid;
} WrittenRow;

static WrittenRow written_rows[N_WRITTEN_ROWS];

/* Checks that a function was called as a trigger. */
void
check_trigger(FunctionCallInfo fcinfo, const char *function)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"%s.%s\" was not called as a trigger", BATCHES_SCHEMA,
							   function)));
}

/*
 * The same for what is to be fired after a statement, with its transition tables. Returns
 * these, which are null where the statement has none.
 */
void
check_statement_trigger(FunctionCallInfo fcinfo, const char *function, Tuplestorestate **old_rows,
						Tuplestorestate **new_rows)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TriggerEvent event;

	check_trigger(fcinfo, function);
	event = trigger->tg_event;
	*old_rows = TRIGGER_FIRED_BY_UPDATE(event) || TRIGGER_FIRED_BY_DELETE(event)
					? trigger->tg_oldtable
					: NULL;
	*new_rows = TRIGGER_FIRED_BY_UPDATE(event) || TRIGGER_FIRED_BY_INSERT(event)
					? trigger->tg_newtable
					: NULL;
	if (TRIGGER_FIRED_AFTER(event) && TRIGGER_FIRED_FOR_STATEMENT(event) &&
		(TRIGGER_FIRED_BY_INSERT(event) || TRIGGER_FIRED_BY_TRUNCATE(event) || *old_rows != NULL) &&
		(TRIGGER_FIRED_BY_DELETE(event) || TRIGGER_FIRED_BY_TRUNCATE(event) || *new_rows != NULL))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\" must be fired after a statement, with its transition tables",
					trigger->tg_trigger->tgname),
			 errhint("Use the triggers that %s.create_tables() makes.", BATCHES_SCHEMA)));
}

bool
has_transition_rows(Tuplestorestate *rows)
{
	return rows != NULL && tuplestore_tuple_count(rows) > 0;
}

/* Rewinds a transition table. Other triggers may read it, too: a read pointer of our own is used. */
void
begin_transition_rows(Tuplestorestate *rows)
{
	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);
}

/* A column that a row is counted by: it is not null. */
Datum
counted_value(TupleTableSlot *slot, AttrNumber number, const char *what)
{
	bool isnull;
	Datum value = slot_getattr(slot, number, &isnull);

	if (isnull)
		ereport(
			ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("null value in column \"%s\" of a %s",
					NameStr(TupleDescAttr(slot->tts_tupleDescriptor, number - 1)->attname), what),
			 errhint("What batches and jobs are counted by is not null.")));
	return value;
}

/* Begins to sort what statements change by the batches' keys. */
Tuplesortstate *
begin_sort_by_batch(TupleDesc descriptor, AttrNumber project_id, AttrNumber batch_id)
{
	AttrNumber keys[] = {project_id, batch_id};
	Oid less = lookup_type_cache(UUIDOID, TYPECACHE_LT_OPR)->lt_opr;
	Oid operators[] = {less, less};
	Oid collations[] = {InvalidOid, InvalidOid};
	bool nulls_first[] = {false, false};

	return tuplesort_begin_heap(descriptor, lengthof(keys), keys, operators, collations,
								nulls_first, work_mem, NULL, TUPLESORT_NONE);
}

/*
 * The tables
 */

/* A partition's outermost parent, or the table itself. */
static Oid
outermost_table(Oid table)
{
	List *ancestors = get_rel_relispartition(table) ? get_partition_ancestors(table) : NIL;

	return ancestors == NIL ? table : llast_oid(ancestors);
}

/*
 * Whether a table was a partition and is none any more. It has the triggers of one, but nothing is
 * derived from its rows.
 */
bool
is_detached(Oid table, const char *name)
{
	Oid whole = get_relname_relid(name, get_namespace_oid(BATCHES_SCHEMA, false));

	return OidIsValid(whole) && get_rel_relkind(whole) == RELKIND_PARTITIONED_TABLE &&
		   outermost_table(table) != whole;
}

/* Whether a table, or any partition of it, has a row that somebody could see. */
static bool
table_has_rows(Oid table)
{
	ListCell *cell;
	bool has_rows = false;

	foreach (cell, find_all_inheritors(table, NoLock, NULL))
	{
		Relation relation = table_open(lfirst_oid(cell), AccessShareLock);

		if (RELKIND_HAS_TABLE_AM(relation->rd_rel->relkind))
			has_rows |= RelationGetNumberOfBlocks(relation) > 0;
		table_close(relation, AccessShareLock);
	}
	return has_rows;
}

/* Whether TRUNCATE, which has fired a trigger on one of its tables, has emptied another one, too. */
bool
is_truncated(Oid table)
{
	Relation relation;
	bool is_open;

	if (!CheckRelationOidLockedByMe(table, AccessExclusiveLock, false))
		return false;
	relation = table_open(table, NoLock);
	/* It keeps them open. So does a query that has them locked before: what has rows was not emptied. */
	is_open = relation->rd_refcnt > 1;
	table_close(relation, NoLock);
	return is_open && !table_has_rows(table);
}

/*
 * Whether it is here that the rows were which TRUNCATE has removed. It does not say which
 * they were: only that of a whole table can be counted.
 */
bool
has_truncated_rows(TriggerData *trigger)
{
	Oid table = RelationGetRelid(trigger->tg_relation);
	Oid whole = outermost_table(table);

	/* The shards have triggers of their own. */
	if (is_distributed(table))
		return false;
	if (whole == table)
		return true;
	if (!is_truncated(whole))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("partition \"%s\" cannot be truncated alone",
							   RelationGetRelationName(trigger->tg_relation)),
						errdetail("TRUNCATE does not say which rows it has removed."),
						errhint("DELETE its rows, or TRUNCATE all of %s.%s.", BATCHES_SCHEMA,
								get_rel_name(whole))));
	return false;
}

/* A trigger may only write tables of its own table's owner. */
static void
check_owner(Oid table, Oid other)
{
	if (table_owner(table) != table_owner(other))
		ereport(
			ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("tables \"%s\" and \"%s\" have different owners", get_rel_name(table),
					get_rel_name(other)),
			 get_rel_relispartition(table)
				 ? errhint("ALTER TABLE of the whole leaves its partitions behind: ALTER "
						   "TABLE %s OWNER TO %s, and so each of the others.",
						   quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
													  get_rel_name(table)),
						   quote_identifier(GetUserNameFromId(table_owner(other), false)))
				 : errhint("The tables that %s.create_tables() makes have one owner.",
						   BATCHES_SCHEMA)));
}

/* The table that the foreign key of the columns project_id and batch_id leads to, or InvalidOid. */
static Oid
find_referenced_table(Relation job)
{
	AttrNumber project_id = get_attnum(RelationGetRelid(job), "project_id");
	AttrNumber batch_id = get_attnum(RelationGetRelid(job), "batch_id");
	ListCell *cell;

	foreach (cell, RelationGetFKeyList(job))
	{
		ForeignKeyCacheInfo *key = lfirst(cell);

		if (key->nkeys == 2 && ((key->conkey[0] == project_id && key->conkey[1] == batch_id) ||
								(key->conkey[0] == batch_id && key->conkey[1] == project_id)))
			return key->confrelid;
	}
	return InvalidOid;
}

/*
 * The table of batches that a table of jobs references. It is not opened: TRUNCATE locks it
 * before the jobs, and this is called by who has a lock on the jobs. Of jobs in partitions,
 * each references a partition of the batches; none is locked to see that.
 */
Oid
referenced_batch(Relation job)
{
	Oid table = find_referenced_table(job);

	if (!OidIsValid(table) && job->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
		RelationGetRelid(job) == require_table("job"))
		table = require_table("batch");
	if (OidIsValid(table))
	{
		Oid batch = outermost_table(table);

		check_owner(RelationGetRelid(job), batch);
		return batch;
	}
	ereport(
		ERROR,
		(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
		 errmsg("table \"%s\" has no foreign key from (project_id, batch_id) to the batches",
				RelationGetRelationName(job)),
		 errhint("Use the triggers on the tables that %s.create_tables() makes.", BATCHES_SCHEMA)));
}

/* A derived table of a table of batches: in the schema of its outermost parent; of a shard, the shard beside it. */
Oid
derived_table_of(Oid batch, const char *name)
{
	Oid base = outermost_table(batch);
	Oid schema = get_rel_namespace(base);
	Oid table;

	if (schema != get_namespace_oid(BATCHES_SCHEMA, false))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("table \"%s\" is not in schema \"%s\"", get_rel_name(batch),
							   BATCHES_SCHEMA),
						errhint("Use the triggers on the tables that %s.create_tables() makes.",
								BATCHES_SCHEMA)));
	if (!find_shard_beside(base, name, &table))
		table = require_table(name);
	check_owner(batch, table);
	return table;
}

/* The index of a table whose first columns are the keys, whether they ascend or descend. */
static Relation
open_key_index(Relation relation, const char *const *keys, int nkeys)
{
	ListCell *cell;

	foreach (cell, RelationGetIndexList(relation))
	{
		Relation index = index_open(lfirst_oid(cell), RowExclusiveLock);
		bool fits = index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisvalid &&
					RelationGetIndexPredicate(index) == NIL &&
					IndexRelationGetNumberOfKeyAttributes(index) >= nkeys;

		for (int i = 0; i < nkeys && fits; i++)
			fits = index->rd_index->indkey.values[i] ==
				   get_attnum(RelationGetRelid(relation), keys[i]);
		if (fits)
			return index;
		index_close(index, RowExclusiveLock);
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
					errmsg("table \"%s.%s\" has no index on (%s, %s)", BATCHES_SCHEMA,
						   RelationGetRelationName(relation), keys[0], keys[1]),
					errhint("%s.create_tables() makes it: create it again.", BATCHES_SCHEMA)));
}

/* How many parts a derived table has. */
int
derived_nparts(const DerivedTable *table)
{
	return table->partitions == NULL ? 1 : table->partitions->npartitions;
}

static void
end_part_scan(DerivedPart *part)
{
	ExecClearTuple(part->found);
	if (part->scan != NULL)
		index_endscan(part->scan);
	part->scan = NULL;
}

/* Opens a part, if that was not done yet, to find and write its rows. Only this one keeps pages pinned. */
void
derived_use_part(DerivedTable *table, int part)
{
	if (table->part != NULL && table->part != table->parts[part])
		end_part_scan(table->part);
	if (table->parts[part] == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(table->context);
		DerivedPart *opened = palloc0(sizeof(DerivedPart));

		opened->relation = table->partitions == NULL
							   ? table->relation
							   : table_open(table->partitions->oids[part], RowExclusiveLock);
		if (opened->relation->rd_rel->relkind != RELKIND_RELATION ||
			!has_shape_of(opened->relation, table->relation))
			ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
							errmsg("\"%s\" is not an ordinary table with the columns of \"%s.%s\"",
								   RelationGetRelationName(opened->relation), BATCHES_SCHEMA,
								   RelationGetRelationName(table->relation)),
							errhint("%s.create_tables() makes it.", BATCHES_SCHEMA)));
		opened->index = open_key_index(opened->relation, table->keys, table->nkeys);
		opened->result = makeNode(ResultRelInfo);
		InitResultRelInfo(opened->result, opened->relation, 1, NULL, 0);
		ExecOpenIndices(opened->result, false);
		opened->found = table_slot_create(opened->relation, NULL);
		table->parts[part] = opened;
		MemoryContextSwitchTo(previous);
	}
	table->part = table->parts[part];
	table->found = table->part->found;
}

/* Opens the part that has the rows of a key. */
static void
use_part_of(DerivedTable *table, const Datum *values)
{
	int part = 0;

	if (table->partitions != NULL)
	{
		/* By the first of the keys */
		part = partition_of(table->partitions, values[0]);
		if (part < 0)
			ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
							errmsg("no partition of table \"%s\" has project %s",
								   RelationGetRelationName(table->relation),
								   DatumGetCString(DirectFunctionCall1(uuid_out, values[0])))));
	}
	derived_use_part(table, part);
}

/* Opens a derived table, whose rows are found by some columns: the project first, if it is partitioned by that. */
DerivedTable *
derived_open(Oid batch, const char *name, const char *const *keys, int nkeys)
{
	DerivedTable *table = palloc0(sizeof(DerivedTable));

	Assert(nkeys == MAX_DERIVED_KEYS);
	table->context = CurrentMemoryContext;
	table->relation = table_open(derived_table_of(batch, name), RowExclusiveLock);
	table->partitions = find_partitions(table->relation, keys[0], false);
	if (table->relation->rd_rel->relkind != RELKIND_RELATION && table->partitions == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is not an ordinary table, nor partitioned by hash of \"%s\"",
						BATCHES_SCHEMA, name, keys[0]),
				 errhint("%s.create_tables() makes it.", BATCHES_SCHEMA)));
	table->nkeys = nkeys;
	table->keys = keys;
	table->estate = CreateExecutorState();
	table->parts = palloc0(sizeof(DerivedPart *) * Max(derived_nparts(table), 1));
	table->row = MakeSingleTupleTableSlot(RelationGetDescr(table->relation), &TTSOpsVirtual);
	if (table->partitions == NULL)
		derived_use_part(table, 0);
	return table;
}

void
derived_close(DerivedTable *table)
{
	for (int i = 0; i < derived_nparts(table); i++)
	{
		DerivedPart *part = table->parts[i];

		if (part == NULL)
			continue;
		end_part_scan(part);
		ExecDropSingleTupleTableSlot(part->found);
		ExecCloseIndices(part->result);
		index_close(part->index, NoLock);
		if (table->partitions != NULL)
			table_close(part->relation, NoLock);
	}
	ExecDropSingleTupleTableSlot(table->row);
	FreeExecutorState(table->estate);
	table_close(table->relation, NoLock);
	pfree(table);
}

/*
 * Finding rows
 */

/*
 * Whether nobody is changing the row found, or has locked it, as far as can be told without
 * trying. Who has locked it in a group may be gone.
 */
static bool
is_free(DerivedTable *table)
{
	bool should_free;
	HeapTuple tuple = ExecFetchSlotHeapTuple(table->found, false, &should_free);

	return (tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0;
}

/* Whether the transaction's snapshot, if it has one for all statements, sees the row found. */
static bool
may_change(DerivedTable *table)
{
	return !IsolationUsesXactSnapshot() ||
		   table_tuple_satisfies_snapshot(table->part->relation, table->found,
										  GetTransactionSnapshot());
}

/*
 * Takes the row found for itself, to change it without waiting, or returns false if
 * somebody else has it. The lock is that for which those queue who wait for a row: it
 * leaves no trace in the row, and is released when that is changed.
 */
bool
derived_take(DerivedTable *table)
{
	ItemPointerData tid = table->found->tts_tid;

	if (!is_free(table) || !may_change(table) || !try_lock_tuple(table->part->relation, &tid))
		return false;
	/* It may have been changed before it was locked. */
	if (table_tuple_fetch_row_version(table->part->relation, &tid, SnapshotSelf, table->found) &&
		is_free(table))
		return true;
	derived_release(table, &tid);
	return false;
}

/* Releases a row that was taken. */
void
derived_release(DerivedTable *table, const ItemPointerData *tid)
{
	ItemPointerData taken = *tid;

	UnlockTuple(table->part->relation, &taken, ExclusiveLock);
}

static void
fail_to_serialize(void)
{
	ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					errmsg("could not serialize access due to concurrent update"),
					errhint("The transaction might succeed if retried.")));
}

/* The same for a row that has to be changed: an error if that is not possible. */
void
derived_require_change(DerivedTable *table)
{
	if (!may_change(table))
		fail_to_serialize();
}

static void
seek(DerivedTable *table, IndexScanDesc scan, const Datum *values, const bool *isnull)
{
	ScanKeyData keys[MAX_DERIVED_KEYS];

	for (int i = 0; i < table->nkeys; i++)
	{
		Oid type = table->part->index->rd_opcintype[i];
		Oid equals = get_opfamily_member(table->part->index->rd_opfamily[i], type, type,
										 BTEqualStrategyNumber);

		if (isnull != NULL && isnull[i])
			ScanKeyEntryInitialize(&keys[i], SK_ISNULL | SK_SEARCHNULL, i + 1, InvalidStrategy,
								   InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
		else
			ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, type,
								   table->part->index->rd_indcollation[i], get_opcode(equals),
								   values[i]);
	}
	index_rescan(scan, keys, table->nkeys, NULL, 0);
}

static uint32
hash_key(DerivedTable *table, const Datum *values, const bool *isnull)
{
	uint32 hash = RelationGetRelid(table->part->relation);

	for (int i = 0; i < table->nkeys; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table->part->index), i);

		if (isnull == NULL || !isnull[i])
			hash = hash_combine(
				hash, datum_image_hash(values[i], attribute->attbyval, attribute->attlen));
	}
	return hash;
}

/* Begins to look for the rows of a key. */
void
derived_seek(DerivedTable *table, const Datum *values, const bool *isnull)
{
	use_part_of(table, values);
	table->hash = hash_key(table, values, isnull);
	if (table->part->scan == NULL)
	{
		MemoryContext previous = MemoryContextSwitchTo(table->context);

		table->part->scan = begin_index_scan(table->part->relation, table->part->index,
											 SnapshotSelf, table->nkeys, READ_WRITE);
		MemoryContextSwitchTo(previous);
	}
	seek(table, table->part->scan, values, isnull);
}

/* Whether this transaction has written the row found. */
bool
derived_is_ours(DerivedTable *table)
{
	bool isnull;

	return TransactionIdIsCurrentTransactionId(DatumGetTransactionId(
		slot_getsysattr(table->found, MinTransactionIdAttributeNumber, &isnull)));
}

/* Remembers where the row of the key was written. */
static void
remember_row(DerivedTable *table)
{
	WrittenRow *written = &written_rows[table->hash % N_WRITTEN_ROWS];

	written->transaction = GetTopTransactionId();
	written->table = RelationGetRelid(table->part->relation);
	written->tid = table->row->tts_tid;
}

/* Whether the row found has a key. */
static bool
has_key(DerivedTable *table, const Datum *values, const bool *isnull)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(table->part->index), i);
		bool found_isnull;
		Datum found = slot_getattr(table->found, table->part->index->rd_index->indkey.values[i],
								   &found_isnull);

		if (found_isnull != (isnull != NULL && isnull[i]) ||
			(!found_isnull &&
			 !datum_image_eq(found, values[i], attribute->attbyval, attribute->attlen)))
			return false;
	}
	return true;
}

/*
 * Finds the row of a key at the place where this session has last written it, or at a newer
 * version that this one leads to. An index scan would pass over every old version of the
 * row, which remain as long as this transaction, or an older snapshot. Now and then, a row
 * that others may change is looked for by the index all the same, to meet other rows of its key.
 */
bool
derived_recall(DerivedTable *table, const Datum *values, const bool *isnull)
{
	static uint32 nrecalls = 0;
	const WrittenRow *written;
	ItemPointerData tid;
	TableScanDesc scan;

	use_part_of(table, values);
	table->hash = hash_key(table, values, isnull);
	written = &written_rows[table->hash % N_WRITTEN_ROWS];
	tid = written->tid;
	if (written->table != RelationGetRelid(table->part->relation) ||
		ItemPointerGetBlockNumber(&tid) >= RelationGetNumberOfBlocks(table->part->relation))
		return false;
	if (written->transaction != GetTopTransactionIdIfAny() && ++nrecalls % MOST_RECALLS == 0)
		return false;
	/* The place may have another row by now, after a rollback to a savepoint or TRUNCATE. */
	if (!table_tuple_fetch_row_version(table->part->relation, &tid, SnapshotSelf, table->found))
	{
		scan = table_beginscan_tid(table->part->relation, SnapshotSelf);
		table_tuple_get_latest_tid(scan, &tid);
		table_endscan(scan);
		if (!table_tuple_fetch_row_version(table->part->relation, &tid, SnapshotSelf, table->found))
			return false;
	}
	return has_key(table, values, isnull);
}

/* Goes on to the next row of the key; returns whether there is one. */
bool
derived_next(DerivedTable *table)
{
	/* What the scan allocates lives as long as it does. */
	MemoryContext previous = MemoryContextSwitchTo(table->context);
	bool found = index_getnext_slot(table->part->scan, ForwardScanDirection, table->found);

	MemoryContextSwitchTo(previous);
	CHECK_FOR_INTERRUPTS();
	return found;
}

/* Finds the row of a key that has one at most; returns whether there is one. */
bool
derived_find(DerivedTable *table, const Datum *values)
{
	if (derived_recall(table, values, NULL))
		return true;
	derived_seek(table, values, NULL);
	return derived_next(table);
}

/*
 * The same, to change a row that others may be changing: it may be moved to a place that
 * the scan has passed. An MVCC snapshot finds one version of it.
 */
bool
derived_find_to_change(DerivedTable *table, const Datum *values)
{
	IndexScanDesc scan;
	Snapshot snapshot;
	bool found;

	if (derived_find(table, values))
	{
		derived_require_change(table);
		return true;
	}
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = begin_index_scan(table->part->relation, table->part->index, snapshot, table->nkeys,
							READ_WRITE);
	seek(table, scan, values, NULL);
	found = index_getnext_slot(scan, ForwardScanDirection, table->found);
	if (found)
		derived_require_change(table);
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Writing rows
 */

static void
insert_index_entries(DerivedTable *table, UpdatedIndexes updated)
{
	list_free(insert_into_indexes(table->part->result, table->row, table->estate, updated));
	ResetPerTupleExprContext(table->estate);
}

/* Inserts the row, whose key was looked for last. */
void
derived_insert(DerivedTable *table)
{
	ExecMaterializeSlot(table->row);
	table->row->tts_tableOid = RelationGetRelid(table->part->relation);
	table_tuple_insert(table->part->relation, table->row, GetCurrentCommandId(true), 0, NULL);
	insert_index_entries(table, ALL_INDEXES);
	remember_row(table);
}

/*
 * The result of changing a row. If another transaction has changed it, its latest version
 * is found and locked.
 */
static DerivedResult
conclude(DerivedTable *table, const ItemPointerData *tid, TM_Result result)
{
	ItemPointerData latest = *tid;
	TM_FailureData failure;

	if (result == TM_Ok)
		return DERIVED_DONE;
	if (result == TM_SelfModified)
		elog(ERROR, "row of table \"%s\" was changed by the same command",
			 RelationGetRelationName(table->part->relation));
	if (IsolationUsesXactSnapshot())
		fail_to_serialize();
	result = table_tuple_lock(table->part->relation, &latest, GetActiveSnapshot(), table->found,
							  GetCurrentCommandId(true), LockTupleExclusive, LockWaitBlock,
							  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	return result == TM_Ok ? DERIVED_CHANGED : DERIVED_GONE;
}

/* Replaces a row. */
DerivedResult
derived_update(DerivedTable *table, const ItemPointerData *tid)
{
	ItemPointerData old = *tid;
	TM_FailureData failure;
	TM_Result result;
	LockTupleMode mode;
	UpdatedIndexes updated;

	ExecMaterializeSlot(table->row);
	table->row->tts_tableOid = RelationGetRelid(table->part->relation);
	result = update_tuple(table->part->relation, &old, table->row, GetActiveSnapshot(), &failure,
						  &mode, &updated);
	if (result == TM_Ok)
	{
		if (updates_indexes(updated))
			insert_index_entries(table, updated);
		remember_row(table);
	}
	return conclude(table, tid, result);
}

/* Deletes a row. */
DerivedResult
derived_delete(DerivedTable *table, const ItemPointerData *tid)
{
	ItemPointerData old = *tid;
	TM_FailureData failure;

	return conclude(table, tid,
					delete_tuple(table->part->relation, &old, GetActiveSnapshot(), &failure));
}

/*
 * Protecting rows
 */

/* Empties the derived tables of a table of batches, when that was truncated. */
void
derived_truncate(Oid batch)
{
	static const char *const names[] = {"batch_job_count", "batch_total"};
	List *relations = NIL;
	List *oids = NIL;
	List *logged = NIL;
	ListCell *cell;

	for (int i = 0; i < lengthof(names); i++)
	{
		Oid table = derived_table_of(batch, names[i]);

		LockRelationOid(table, AccessExclusiveLock);
		foreach (cell, find_all_inheritors(table, AccessExclusiveLock, NULL))
		{
			Relation relation = table_open(lfirst_oid(cell), NoLock);

			CheckTableNotInUse(relation, "TRUNCATE");
			relations = lappend(relations, relation);
			oids = lappend_oid(oids, lfirst_oid(cell));
			if (RelationIsLogicallyLogged(relation))
				logged = lappend_oid(logged, lfirst_oid(cell));
		}
	}
	truncate_tables(relations, oids, logged);
	foreach (cell, relations)
		table_close(lfirst(cell), NoLock);
}

/* batches.protect_counts() returns trigger */
PG_FUNCTION_INFO_V1(batches_protect_counts);
Datum
batches_protect_counts(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *table;

	check_trigger(fcinfo, "protect_counts");
	table = RelationGetRelationName(trigger->tg_relation);
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
	{
		/* The rows that a restore inserts were made by the triggers on its batches and jobs. */
		if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
			return PointerGetDatum(NULL);
	}
	else if (TRIGGER_FIRED_AFTER(trigger->tg_event) && TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		Oid batch;

		if (!find_shard_beside(RelationGetRelid(trigger->tg_relation), "batch", &batch))
			batch = get_relname_relid("batch", RelationGetNamespace(trigger->tg_relation));
		if (!OidIsValid(batch) || !table_has_rows(batch) ||
			(strcmp(table, TOTAL_TABLE) != 0 &&
			 is_detached(RelationGetRelid(trigger->tg_relation), JOB_COUNT_TABLE)))
			return PointerGetDatum(NULL);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" must be fired before each row, or after TRUNCATE",
						trigger->tg_trigger->tgname),
				 errhint("Use the triggers that %s.create_tables() makes.", BATCHES_SCHEMA)));
	ereport(ERROR, (errcode(ERRCODE_GENERATED_ALWAYS),
					errmsg("table \"%s\" cannot be changed directly", table),
					errhint("Change the rows of %s.batch and %s.job: their triggers keep \"%s\". "
							"If it is wrong, its owner mends it: SELECT %s.repair_counts().",
							BATCHES_SCHEMA, BATCHES_SCHEMA, table, BATCHES_SCHEMA)));
}
