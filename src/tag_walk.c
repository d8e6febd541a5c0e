/*
 * tag_walk.c
 *		The tuples that a GIN index has for a tag.
 *
 * Such an index answers with a bitmap of all of them at once, so nothing can be
 * had of it in small steps. How many there may be is known from the statistics
 * of the tags: one that they do not list is at most as frequent as the rarest that they do.
 *
 * Once found, they can be fetched one after the other, and a walk over another index
 * can ask of its entries whether they are among them. A row that the snapshot sees
 * has its entries in all indexes for the same tuple, from before the snapshot was
 * taken, and that tuple's place is not used again as long as the snapshot is.
 */
#include "postgres.h"
#include "compat.h"

#include "access/genam.h"
#include "access/gin.h"
#include "access/skey.h"
#include "catalog/pg_am.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "budget.h"
#include "estimate.h"
#include "tag_walk.h"
#include "work.h"

/* Setting up so many blocks for their tuples takes as long as passing over an index entry. */
#define BLOCKS_PER_ENTRY 32

/* Tuples of a page, where they were never counted */
#define UNKNOWN_DENSITY 20

struct TagWalk
{
	DirectTable *table;
	Relation index;
	Snapshot snapshot;
	MemoryContext context; /* of the request */
	Qual *tag;
	int64 find_work; /* what finding them may take; 0: not asked for */

	/*
	 * What was found: the offsets of all blocks, one block after the other. A block whose
	 * offsets the bitmap has lost has a single one, that is invalid.
	 */
	bool found;
	bool exact; /* else there are some that may not have the tag */
	BlockNumber nblocks;
	BlockNumber nfilled; /* blocks that have some */
	BlockNumber nlost;   /* of these, those whose offsets are lost */
	uint32 *starts;      /* where the offsets of a block begin; one more for the end */
	OffsetNumber *offsets;

	BlockNumber block;
	int64 next;
	/* Of a block whose offsets are lost, all are returned: the last one that was, and the highest */
	OffsetNumber lost_offset;
	OffsetNumber last_offset;
};

/* The GIN index on the column of the tags, or NULL. */
static Relation
find_index(DirectTable *table, AttrNumber column)
{
	Oid family = get_opclass_family(GetDefaultOpClass(TEXTARRAYOID, GIN_AM_OID));
	ListCell *cell;

	/* With this setting, GIN may return a random subset. */
	if (GinFuzzySearchLimit > 0)
		return NULL;
	foreach (cell, table->others)
	{
		Relation index = lfirst(cell);

		if (index->rd_rel->relam == GIN_AM_OID && index->rd_index->indkey.values[0] == column &&
			index->rd_opfamily[0] == family &&
			(!OidIsValid(index->rd_indcollation[0]) ||
			 get_collation_isdeterministic(index->rd_indcollation[0])))
			return index;
	}
	return NULL;
}

/* Prepares a walk over what has a tag, in a request's memory, or returns NULL without an index for it. */
TagWalk *
tag_walk_init(DirectTable *table, Qual *tag, MemoryContext context)
{
	Relation index = find_index(table, tag->columns[table->source]);
	TagWalk *walk;

	if (index == NULL)
		return NULL;
	walk = palloc0(sizeof(TagWalk));
	walk->table = table;
	walk->index = index;
	walk->snapshot = GetActiveSnapshot();
	walk->context = context;
	walk->tag = tag;
	return walk;
}

Relation
tag_walk_index(const TagWalk *walk)
{
	return walk->index;
}

/* How many tuples a page of the table has. */
static double
page_density(const TagWalk *walk)
{
	const Form_pg_class class = walk->table->relation->rd_rel;

	if (class->reltuples > 0 && class->relpages > 0)
		return class->reltuples / class->relpages;
	return UNKNOWN_DENSITY;
}

/* What finding the tuples may take. */
int64
tag_walk_find_work(TagWalk *walk)
{
	if (walk->find_work == 0)
	{
		BlockNumber nblocks = RelationGetNumberOfBlocks(walk->table->relation);
		double ntuples = page_density(walk) * estimate_tag_share(walk->table, walk->tag) * nblocks;

		walk->find_work = WORK_DESCENT + ntuples * WORK_TAGGED + nblocks / BLOCKS_PER_ENTRY;
	}
	return walk->find_work;
}

/* Half of the memory is for the bitmap, which loses offsets rather than take more, half for what is kept of it. */
static TIDBitmap *
read_index(TagWalk *walk)
{
	Oid operator_oid = OID_ARRAY_CONTAINS_OP;
	ArrayType *wanted = construct_array(&walk->tag->element, 1, TEXTOID, -1, false, TYPALIGN_INT);
	IndexScanDesc scan = begin_bitmap_scan(walk->index, walk->snapshot, 1);
	TIDBitmap *bitmap = tbm_create(budget_left(walk->context) / 2, NULL);
	ScanKeyData key;

	ScanKeyEntryInitialize(&key, 0, 1,
						   get_op_opfamily_strategy(operator_oid, walk->index->rd_opfamily[0]),
						   ANYARRAYOID, walk->index->rd_indcollation[0], get_opcode(operator_oid),
						   PointerGetDatum(wanted));
	index_rescan(scan, &key, 1, NULL, 0);
	index_getbitmap(scan, bitmap);
	index_endscan(scan);
	return bitmap;
}

/* Makes room for more offsets, if there is memory for them. */
static bool
grow_offsets(TagWalk *walk, int64 *size, int64 wanted)
{
	int64 larger = Max(*size * 2, wanted);

	if (wanted > PG_UINT32_MAX ||
		!fits_budget(walk->context, sizeof(OffsetNumber) * *size, sizeof(OffsetNumber) * larger))
		return false;
	walk->offsets = repalloc_huge(walk->offsets, sizeof(OffsetNumber) * larger);
	*size = larger;
	return true;
}

/* Keeps what a bitmap has. Returns false if there is no memory for it. */
static bool
keep_bitmap(TagWalk *walk, BitmapIterator *iterator)
{
	OffsetNumber offsets[MAX_BITMAP_OFFSETS];
	int64 size = MAX_BITMAP_OFFSETS;
	int64 n = 0;
	BlockNumber filled = 0; /* blocks whose beginning is known */
	BlockNumber block;
	int noffsets;
	bool recheck;

	walk->exact = true;
	walk->nfilled = 0;
	walk->nlost = 0;
	walk->offsets = palloc(sizeof(OffsetNumber) * size);
	while (next_bitmap_page(iterator, &block, offsets, &noffsets, &recheck))
	{
		CHECK_FOR_INTERRUPTS();
		if (block >= walk->nblocks)
			continue;
		walk->exact &= !recheck;
		if (noffsets < 0)
		{
			walk->exact = false;
			walk->nlost++;
			offsets[0] = InvalidOffsetNumber;
			noffsets = 1;
		}
		while (filled <= block)
		{
			CHECK_FOR_INTERRUPTS();
			walk->starts[filled++] = n;
		}
		if (n + noffsets > size && !grow_offsets(walk, &size, n + noffsets))
			return false;
		walk->nfilled++;
		memcpy(walk->offsets + n, offsets, sizeof(OffsetNumber) * noffsets);
		n += noffsets;
	}
	while (filled <= walk->nblocks)
		walk->starts[filled++] = n;
	return true;
}

/*
 * Finds the tuples. What is added to the table later, the snapshot does not see. Returns
 * false if there is no memory for them.
 */
bool
tag_walk_find(TagWalk *walk)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(walk->table->relation);
	Size size = sizeof(*walk->starts) * (nblocks + (Size) 1);
	TIDBitmap *bitmap;
	BitmapIterator *iterator;

	if (!fits_budget(walk->context, 0, size))
		return false;
	walk->nblocks = nblocks;
	walk->starts = palloc_extended(size, MCXT_ALLOC_HUGE);
	bitmap = read_index(walk);
	iterator = begin_bitmap(bitmap);
	walk->found = keep_bitmap(walk, iterator);
	end_bitmap(iterator);
	tbm_free(bitmap);
	if (!walk->found)
	{
		pfree(walk->starts);
		pfree(walk->offsets);
	}
	return walk->found;
}

bool
tag_walk_has_found(const TagWalk *walk)
{
	return walk->found;
}

/* Whether the tuples found are exactly those with the tag. */
bool
tag_walk_is_exact(const TagWalk *walk)
{
	return walk->exact;
}

/* Whether a tuple is among those found. */
bool
tag_walk_has(const TagWalk *walk, ItemPointer tid)
{
	BlockNumber block = ItemPointerGetBlockNumber(tid);

	if (block >= walk->nblocks)
		return false;
	for (uint32 i = walk->starts[block]; i < walk->starts[block + 1]; i++)
		if (walk->offsets[i] == ItemPointerGetOffsetNumber(tid))
			return true;
	return false;
}

/* How many were found; of a block whose offsets are lost, about how many it has. */
int64
tag_walk_count(const TagWalk *walk)
{
	return (int64) walk->starts[walk->nblocks] - walk->nlost +
		   (int64) (walk->nlost * page_density(walk));
}

/* On how many blocks they are. */
BlockNumber
tag_walk_blocks(const TagWalk *walk)
{
	return walk->nfilled;
}

void
tag_walk_rewind(TagWalk *walk)
{
	walk->block = 0;
	walk->next = 0;
	walk->lost_offset = 0;
	walk->last_offset = 0;
}

/* The last offset that a block has. */
static OffsetNumber
find_last_offset(const TagWalk *walk, BlockNumber block)
{
	Buffer buffer = ReadBuffer(walk->table->relation, block);
	OffsetNumber last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return last;
}

/* Where the next tuple is; false behind the last one. */
bool
tag_walk_next(TagWalk *walk, ItemPointer tid)
{
	while (walk->lost_offset == walk->last_offset)
	{
		OffsetNumber offset;

		CHECK_FOR_INTERRUPTS();
		if (walk->next == walk->starts[walk->nblocks])
			return false;
		while (walk->starts[walk->block + 1] <= walk->next)
			walk->block++;
		offset = walk->offsets[walk->next++];
		if (offset != InvalidOffsetNumber)
		{
			ItemPointerSet(tid, walk->block, offset);
			return true;
		}
		walk->lost_offset = 0;
		walk->last_offset = find_last_offset(walk, walk->block);
	}
	ItemPointerSet(tid, walk->block, ++walk->lost_offset);
	return true;
}
