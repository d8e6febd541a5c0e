/*
 * compat.h
 *		Every difference between the supported versions of PostgreSQL.
 *
 * Include it after postgres.h and before any other header.
 */
#ifndef BATCHES_COMPAT_H
#define BATCHES_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "batches needs PostgreSQL 15 or later"
#endif

/* Since 18, a module says its name and version. */
#if PG_VERSION_NUM >= 180000
#define MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "batches", .version = BATCHES_VERSION)
#else
#define MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* Since 19, a tuple descriptor is made in two steps. */
#if PG_VERSION_NUM < 190000
#define TupleDescFinalize(descriptor) ((void) 0)
#endif

/* Since 16, the VARDATA() family lives in a header of its own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Since 16, the actions of the JSON parser return whether to go on. */
#if PG_VERSION_NUM >= 160000
#define JSON_ACTION_RESULT JsonParseErrorType
#define JSON_ACTION_DONE JSON_SUCCESS
#else
#define JSON_ACTION_RESULT void
#define JSON_ACTION_DONE
#endif

/* Since 17, there is a function for a table that is not open. */
#if PG_VERSION_NUM < 170000
#include "miscadmin.h"
#include "storage/lock.h"

static inline bool
CheckRelationOidLockedByMe(Oid table, LOCKMODE mode, bool orstronger)
{
	LOCKTAG tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
	for (LOCKMODE held = mode; held <= (orstronger ? MaxLockMode : mode); held++)
		if (LockHeldByMe(&tag, held))
			return true;
	return false;
}
#endif

/* Since 17, the caller may provide the lexer's memory. */
#if PG_VERSION_NUM >= 170000
#define make_json_lex_context(json, length, encoding)                                              \
	makeJsonLexContextCstringLen(NULL, json, length, encoding, true)
#else
#define make_json_lex_context(json, length, encoding)                                              \
	makeJsonLexContextCstringLen(json, length, encoding, true)
#endif

/* Since 18, a column can be generated when it is read, and NOT NULL can be not valid. */
#if PG_VERSION_NUM >= 180000
#define is_virtual(attribute) ((attribute)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#define is_valid_not_null(descriptor, i)                                                           \
	(TupleDescCompactAttr(descriptor, i)->attnullability == ATTNULLABLE_VALID)
#else
#define is_virtual(attribute) false
#define is_valid_not_null(descriptor, i) (TupleDescAttr(descriptor, i)->attnotnull)
#endif

/*
 * Since 18, index scans can count what they do for EXPLAIN. Since 19, scans are told
 * whether the query leaves the table as it is: then they may set its visibility map.
 */
#if PG_VERSION_NUM >= 190000
#define READ_ONLY SO_HINT_REL_READ_ONLY
#define READ_WRITE SO_NONE
#define begin_index_scan(table, index, snapshot, nkeys, flags)                                     \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0, flags)
#define begin_fetch(table, flags) table_index_fetch_begin(table, flags)
#define begin_table_scan(table, snapshot, flags) table_beginscan(table, snapshot, 0, NULL, flags)
#else
#define READ_ONLY 0
#define READ_WRITE 0
#if PG_VERSION_NUM >= 180000
#define begin_index_scan(table, index, snapshot, nkeys, flags)                                     \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0)
#else
#define begin_index_scan(table, index, snapshot, nkeys, flags)                                     \
	index_beginscan(table, index, snapshot, nkeys, 0)
#endif
#define begin_fetch(table, flags) table_index_fetch_begin(table)
#define begin_table_scan(table, snapshot, flags) table_beginscan(table, snapshot, 0, NULL)
#endif

#if PG_VERSION_NUM >= 180000
#define begin_bitmap_scan(index, snapshot, nkeys)                                                  \
	index_beginscan_bitmap(index, snapshot, NULL, nkeys)
#else
#define begin_bitmap_scan(index, snapshot, nkeys) index_beginscan_bitmap(index, snapshot, nkeys)
#endif

/* Until 16, what a snapshot sees can be removed when it is too old. */
#if PG_VERSION_NUM >= 170000
#define OldSnapshotThresholdActive() false
#endif

/*
 * A descent in a B-tree to a leaf page. 16 and later take the table, 15 and 16 the
 * snapshot; up to 18, it always returns the pages that it came by.
 */
#if PG_VERSION_NUM >= 190000
#define find_leaf(index, key, buffer, snapshot)                                                    \
	((void) _bt_search(index, NULL, key, buffer, BT_READ, false))
#elif PG_VERSION_NUM >= 170000
#define find_leaf(index, key, buffer, snapshot)                                                    \
	_bt_freestack(_bt_search(index, NULL, key, buffer, BT_READ))
#elif PG_VERSION_NUM >= 160000
#define find_leaf(index, key, buffer, snapshot)                                                    \
	_bt_freestack(_bt_search(index, NULL, key, buffer, BT_READ, snapshot))
#else
#define find_leaf(index, key, buffer, snapshot)                                                    \
	_bt_freestack(_bt_search(index, key, buffer, BT_READ, snapshot))
#endif

/* Since 16, one function asks for the rights on objects of any kind, and one for their owner. */
#if PG_VERSION_NUM >= 160000
#define may_execute(function)                                                                      \
	(object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK)
#define is_owner(table) object_ownercheck(RelationRelationId, table, GetUserId())
#else
#define is_owner(table) pg_class_ownercheck(table, GetUserId())
#define may_execute(function) (pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK)
#endif

/*
 * The pages of a bitmap, one by one, each with the offsets of its tuples, or with -1 of
 * them when the bitmap has lost them. Since 18, the pages and their offsets are asked for
 * one after the other.
 */
#include "access/htup_details.h"
#include "nodes/tidbitmap.h"

#define MAX_BITMAP_OFFSETS MaxHeapTuplesPerPage

#if PG_VERSION_NUM >= 180000
typedef TBMPrivateIterator BitmapIterator;
#define begin_bitmap(bitmap) tbm_begin_private_iterate(bitmap)
#define end_bitmap(iterator) tbm_end_private_iterate(iterator)
#else
typedef TBMIterator BitmapIterator;
#define begin_bitmap(bitmap) tbm_begin_iterate(bitmap)
#define end_bitmap(iterator) tbm_end_iterate(iterator)
#endif

static inline bool
next_bitmap_page(BitmapIterator *iterator, BlockNumber *block, OffsetNumber *offsets, int *noffsets,
				 bool *recheck)
{
#if PG_VERSION_NUM >= 180000
	TBMIterateResult page;

	if (!tbm_private_iterate(iterator, &page))
		return false;
	*block = page.blockno;
	*recheck = page.recheck;
	*noffsets = page.lossy ? -1 : tbm_extract_page_tuple(&page, offsets, MAX_BITMAP_OFFSETS);
#else
	TBMIterateResult *page = tbm_iterate(iterator);

	if (page == NULL)
		return false;
	*block = page->blockno;
	*recheck = page->recheck;
	*noffsets = page->ntuples;
	for (int i = 0; i < page->ntuples; i++)
		offsets[i] = page->offsets[i];
#endif
	return true;
}

#include "access/tableam.h"

/*
 * Since 16, an update says which indexes it concerns, and TRUNCATE may run as the tables'
 * owner. Since 19, what writes takes options.
 */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes UpdatedIndexes;
#define ALL_INDEXES TU_All
#define updates_indexes(updated) ((updated) != TU_None)
#define truncate_tables(relations, oids, logged)                                                   \
	ExecuteTruncateGuts(relations, oids, logged, DROP_RESTRICT, false, false)
#else
typedef bool UpdatedIndexes;
#define ALL_INDEXES true
#define updates_indexes(updated) (updated)
#define truncate_tables(relations, oids, logged)                                                   \
	ExecuteTruncateGuts(relations, oids, logged, DROP_RESTRICT, false)
#endif

#if PG_VERSION_NUM >= 190000
#define insert_into_indexes(result, slot, estate, updated)                                         \
	ExecInsertIndexTuples(result, estate, (updated) == TU_Summarizing ? EIIT_ONLY_SUMMARIZING : 0, \
						  slot, NIL, NULL)
#define update_tuple(table, tid, slot, snapshot, failure, mode, updated)                           \
	table_tuple_update(table, tid, slot, GetCurrentCommandId(true), 0, snapshot, InvalidSnapshot,  \
					   true, failure, mode, updated)
#define delete_tuple(table, tid, snapshot, failure)                                                \
	table_tuple_delete(table, tid, GetCurrentCommandId(true), 0, snapshot, InvalidSnapshot, true,  \
					   failure)
#else
#if PG_VERSION_NUM >= 160000
#define insert_into_indexes(result, slot, estate, updated)                                         \
	ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL,                           \
						  (updated) == TU_Summarizing)
#else
#define insert_into_indexes(result, slot, estate, updated)                                         \
	ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL)
#endif
#define update_tuple(table, tid, slot, snapshot, failure, mode, updated)                           \
	table_tuple_update(table, tid, slot, GetCurrentCommandId(true), snapshot, InvalidSnapshot,     \
					   true, failure, mode, updated)
#define delete_tuple(table, tid, snapshot, failure)                                                \
	table_tuple_delete(table, tid, GetCurrentCommandId(true), snapshot, InvalidSnapshot, true,     \
					   failure, false)
#endif

/* Since 18, a lock that is not had can be logged. */
#include "storage/lmgr.h"

#if PG_VERSION_NUM >= 180000
#define try_lock_tuple(table, tid) ConditionalLockTuple(table, tid, ExclusiveLock, false)
#else
#define try_lock_tuple(table, tid) ConditionalLockTuple(table, tid, ExclusiveLock)
#endif

/* Since 19, a jsonb in the making has its result with it. */
#include "utils/jsonb.h"

#if PG_VERSION_NUM >= 190000
typedef JsonbInState JsonbInMaking;
#define push_jsonb(state, token, value) pushJsonbValue(state, token, value)
#else
typedef struct JsonbInMaking
{
	JsonbParseState *parseState;
	JsonbValue *result;
} JsonbInMaking;
#define push_jsonb(state, token, value)                                                            \
	((state)->result = pushJsonbValue(&(state)->parseState, token, value))
#endif

#endif /* BATCHES_COMPAT_H */
