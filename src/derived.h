/*
 * derived.h
 *		Writing the derived tables, whose rows only triggers keep.
 */
#ifndef BATCHES_DERIVED_H
#define BATCHES_DERIVED_H

#include "access/genam.h"
#include "commands/trigger.h"
#include "nodes/execnodes.h"
#include "utils/tuplesort.h"

#include "partition.h"

#define MAX_DERIVED_KEYS 2

typedef enum DerivedResult
{
	DERIVED_DONE,
	DERIVED_CHANGED, /* meanwhile: the row found is its latest version, and locked */
	DERIVED_GONE,    /* meanwhile */
} DerivedResult;

/* What has the rows of a derived table, open for writing: itself, or a partition */
typedef struct DerivedPart
{
	Relation relation;
	ResultRelInfo *result;
	Relation index;        /* by which rows are found */
	IndexScanDesc scan;    /* for its key, sees what is committed and our own changes; or NULL */
	TupleTableSlot *found; /* the last row found */
} DerivedPart;

/* A derived table, open for writing. The first of its keys is the project. */
typedef struct DerivedTable
{
	MemoryContext context;
	Relation relation;
	EState *estate;
	int nkeys;
	const char *const *keys;
	uint32 hash;            /* of the key that was looked for */
	Partitions *partitions; /* NULL: it is not partitioned */
	DerivedPart **parts;    /* by partition; NULL until a row of it is looked for or written */
	DerivedPart *part;      /* the one at hand */
	TupleTableSlot *found;  /* the last row found, of this */
	TupleTableSlot *row;    /* the one to be written */
} DerivedTable;

extern void check_trigger(FunctionCallInfo fcinfo, const char *function);
extern void check_statement_trigger(FunctionCallInfo fcinfo, const char *function,
									Tuplestorestate **old_rows, Tuplestorestate **new_rows);
extern bool is_detached(Oid table, const char *name);
extern bool is_truncated(Oid table);
extern bool has_truncated_rows(TriggerData *trigger);
extern bool has_transition_rows(Tuplestorestate *rows);
extern void begin_transition_rows(Tuplestorestate *rows);
extern Datum counted_value(TupleTableSlot *slot, AttrNumber number, const char *what);
extern Tuplesortstate *begin_sort_by_batch(TupleDesc descriptor, AttrNumber project_id,
										   AttrNumber batch_id);
extern Oid referenced_batch(Relation job);
extern Oid derived_table_of(Oid batch, const char *name);
extern DerivedTable *derived_open(Oid batch, const char *name, const char *const *keys, int nkeys);
extern void derived_seek(DerivedTable *table, const Datum *values, const bool *isnull);
extern bool derived_recall(DerivedTable *table, const Datum *values, const bool *isnull);
extern bool derived_next(DerivedTable *table);
extern bool derived_find(DerivedTable *table, const Datum *values);
extern bool derived_find_to_change(DerivedTable *table, const Datum *values);
extern bool derived_is_ours(DerivedTable *table);
extern bool derived_take(DerivedTable *table);
extern void derived_release(DerivedTable *table, const ItemPointerData *tid);
extern void derived_insert(DerivedTable *table);
extern int derived_nparts(const DerivedTable *table);
extern void derived_use_part(DerivedTable *table, int part);
extern void derived_require_change(DerivedTable *table);
extern DerivedResult derived_update(DerivedTable *table, const ItemPointerData *tid);
extern DerivedResult derived_delete(DerivedTable *table, const ItemPointerData *tid);
extern void derived_close(DerivedTable *table);
extern void derived_truncate(Oid batch);

#endif /* BATCHES_DERIVED_H */
