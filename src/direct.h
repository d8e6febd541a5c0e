/*
 * direct.h
 *		Tables that are read without the executor.
 */
#ifndef BATCHES_DIRECT_H
#define BATCHES_DIRECT_H

#include "nodes/bitmapset.h"
#include "utils/rel.h"

#include "batches.h"
#include "partition.h"

/* Which rows row-level security lets a member see; create_tables() makes these policies. */
#define BATCH_POLICY                                                                               \
	"project_id operator(pg_catalog.=) any (array(select m.project_id from " BATCHES_SCHEMA        \
	".project_member m where m.user_id operator(pg_catalog.=) (select " BATCHES_SCHEMA             \
	".current_user_id())))"
#define PROJECT_MEMBER_POLICY                                                                      \
	"user_id operator(pg_catalog.=) (select " BATCHES_SCHEMA ".current_user_id())"

/*
 * A B-tree index on columns, whole and in ascending order; or an index of another kind, of
 * which no more is said. Of a partitioned table, each partition has its own.
 */
typedef struct DirectIndex
{
	Relation relation;
	Oid *part_oids;  /* by part */
	Relation *parts; /* those that were read: open */
	int nkeys;
	int ncolumns;         /* with the included ones */
	const int16 *columns; /* of the table; the first is columns[0] */
	bool is_key;          /* its first column is unique by itself, or as good as that */
	int width;            /* about how many bytes an entry has */
	double entries;       /* about how many there are; negative: not asked for */
} DirectIndex;

/* The tables that batches are read from; other tables are read as the first one. */
typedef enum Source
{
	SOURCE_BATCH,
	SOURCE_JOB_COUNT,
	N_SOURCES
} Source;

/* A project of those asked for: which one, and the part that has its rows */
typedef struct PartProject
{
	int value;
	int part;
} PartProject;

/*
 * A table that can be read without the executor. Its rows are in its parts: itself, or those
 * of its partitions that are asked for.
 */
typedef struct DirectTable
{
	Relation relation;
	int nparts;
	Relation *parts;
	Partitions *partitions; /* NULL: it is not partitioned */
	int *part_numbers;      /* of the partitions; -1: not asked for. Another table may share them */
	BlockNumber *nblocks;   /* of the parts, when they were opened */
	const Datum *asked_projects; /* or NULL: all */
	int nasked_projects;         /* -1: all */
	int nprojects;               /* those of them that can have rows */
	PartProject *projects;       /* another table may share them */
	bool has_projects_apart;     /* no part has two of them */
	Source source;
	const AttrNumber *columns; /* by ColumnId, where the table has them */
	int nindexes;
	DirectIndex *indexes;
	List *others;          /* indexes of other kinds */
	bool hides_statistics; /* row-level security applies: what is read is not counted */
} DirectTable;

/* Of a table with more parts, only the one being read keeps pages pinned. */
#define MOST_PINNED_PARTS 32

static inline bool
keeps_parts_pinned(const DirectTable *table)
{
	return table->nparts <= MOST_PINNED_PARTS;
}

/* Whether an index with these columns, of which the first ones are its keys, can serve. */
typedef bool (*IndexFilter)(const int16 *columns, int ncolumns, int nkeys, void *arg);

extern const char *direct_policy_fallback_reason(Relation relation, const char *policy);
extern DirectTable *direct_open(const char *name, const char *policy, bool in_parts,
								const char **reason);
extern const char *direct_open_parts(DirectTable *table, const DirectTable *other,
									 const Datum *projects, int nprojects);
extern int direct_part(const DirectTable *table, Datum project_id);
extern Relation direct_index_part(const DirectTable *table, DirectIndex *index, int part);
extern double direct_blocks(const DirectTable *table);
extern void direct_open_indexes(DirectTable *table, IndexFilter filter, void *arg);
extern void direct_hide_statistics(const DirectTable *table);
extern DirectIndex *direct_key(DirectTable *table, AttrNumber first, AttrNumber second);
extern void direct_close(DirectTable *table);
extern bool may_select(Relation relation, Bitmapset *columns);
extern bool direct_may_select(const DirectTable *table, Bitmapset *columns);
extern int direct_position(const DirectIndex *index, AttrNumber column);
extern double direct_entries(const DirectTable *table, DirectIndex *index);
extern bool direct_is_not_null(DirectTable *table, AttrNumber column);
extern AttrNumber direct_column(DirectTable *table, const char *name, Oid type);

#endif /* BATCHES_DIRECT_H */
