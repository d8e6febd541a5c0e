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

/* Since 18, index scans can count what they do for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define begin_index_scan(table, index, snapshot, nkeys)                                            \
	index_beginscan(table, index, snapshot, NULL, nkeys, 0)
#define begin_bitmap_scan(index, snapshot, nkeys)                                                  \
	index_beginscan_bitmap(index, snapshot, NULL, nkeys)
#else
#define begin_index_scan(table, index, snapshot, nkeys)                                            \
	index_beginscan(table, index, snapshot, nkeys, 0)
#define begin_bitmap_scan(index, snapshot, nkeys) index_beginscan_bitmap(index, snapshot, nkeys)
#endif

/* Until 16, what a snapshot sees can be removed when it is too old. */
#if PG_VERSION_NUM >= 170000
#define OldSnapshotThresholdActive() false
#endif

/* Since 16, a descent in a B-tree is told the table; until 16, the snapshot. */
#if PG_VERSION_NUM >= 170000
#define find_leaf(index, key, buffer, snapshot) _bt_search(index, NULL, key, buffer, BT_READ)
#elif PG_VERSION_NUM >= 160000
#define find_leaf(index, key, buffer, snapshot)                                                    \
	_bt_search(index, NULL, key, buffer, BT_READ, snapshot)
#else
#define find_leaf(index, key, buffer, snapshot) _bt_search(index, key, buffer, BT_READ, snapshot)
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

/* Since 16, an update says which indexes it concerns, and TRUNCATE may run as the tables' owner. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes UpdatedIndexes;
#define ALL_INDEXES TU_All
#define updates_indexes(updated) ((updated) != TU_None)
#define insert_into_indexes(result, slot, estate, updated)                                         \
	ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL,                           \
						  (updated) == TU_Summarizing)
#define truncate_tables(relations, oids, logged)                                                   \
	ExecuteTruncateGuts(relations, oids, logged, DROP_RESTRICT, false, false)
#else
typedef bool UpdatedIndexes;
#define ALL_INDEXES true
#define updates_indexes(updated) (updated)
#define insert_into_indexes(result, slot, estate, updated)                                         \
	ExecInsertIndexTuples(result, slot, estate, false, false, NULL, NIL)
#define truncate_tables(relations, oids, logged)                                                   \
	ExecuteTruncateGuts(relations, oids, logged, DROP_RESTRICT, false)
#endif

#endif /* BATCHES_COMPAT_H */
