/*
 * tag_walk.c
 *		The tuples that a GIN index has for tags.
 *
 * Such an index answers with a bitmap of all of them at once, so nothing can be
 * had of it in small steps. It intersects what it has for tags of which all are asked for,
 * and unites that for those of which any is. How many there may be is known from the statistics
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

/* A tag that one block in so many has is often asked for: its blocks are found by their numbers. */
#define DENSE_BLOCKS 32

/* Tuples of a page, where they were never counted */
#define UNKNOWN_DENSITY 20

/*
 * A block of the table, and which of the offsets are its own: up to where those of the next
 * block begin. The number is a place_page().
 */
typedef struct TaggedBlock
{
	uint64 number;
	uint32 start;
} TaggedBlock;

struct TagWalk
{
	DirectTable *table;
	DirectIndex *index;
	Snapshot snapshot;
	MemoryContext context; /* of the request */
	Qual *tags;
	int64 find_work; /* what finding them may take; 0: not asked for */

	/*
	 * What was found: the blocks in order, and their offsets, one block after the other. A
	 * block whose offsets the bitmap has lost, or that there is no memory for, has a single
	 * one, that is invalid.
	 */
	bool found;
	bool exact; /* else there are some that may not have the tag */
	int64 nblocks;
	int64 nlost; /* of these, those whose offsets are lost */
	int64 blocks_size;
	TaggedBlock *blocks;
	int64 noffsets;
	int64 offsets_size;
	OffsetNumber *offsets;
	/*
	 * For each block of the table the first of "blocks" that is not before it; NULL: it is
	 * searched for. Those of its parts follow each other.
	 */
	uint32 *places;
	BlockNumber *nplaces; /* of each part */
	int64 *first_places;

	int64 block; /* in "blocks" */
	int64 next;
	/* Of a block whose offsets are lost, all are returned: the last one that was, and the highest */
	OffsetNumber lost_offset;
	OffsetNumber last_offset;
};

/* The GIN index on the column of the tags, or NULL. */
static DirectIndex *
find_index(DirectTable *table, AttrNumber column)
{
	Oid family = get_opclass_family(GetDefaultOpClass(TEXTARRAYOID, GIN_AM_OID));
	ListCell *cell;

	/* With this setting, GIN may return a random subset. */
	if (GinFuzzySearchLimit > 0)
		return NULL;
	foreach (cell, table->others)
	{
		DirectIndex *candidate = lfirst(cell);
		Relation index = candidate->relation;

		if (index->rd_rel->relam == GIN_AM_OID && index->rd_index->indkey.values[0] == column &&
			index->rd_opfamily[0] == family &&
			(!OidIsValid(index->rd_indcollation[0]) ||
			 get_collation_isdeterministic(index->rd_indcollation[0])))
			return candidate;
	}
	return NULL;
}

/* Prepares a walk over what has the tags, in a request's memory, or returns NULL without an index for it. */
TagWalk *
tag_walk_init(DirectTable *table, Qual *tags, MemoryContext context)
{
	DirectIndex *index = find_index(table, tags->columns[table->source]);
	TagWalk *walk;

	if (index == NULL)
		return NULL;
	walk = palloc0(sizeof(TagWalk));
	walk->table = table;
	walk->index = index;
	walk->snapshot = GetActiveSnapshot();
	walk->context = context;
	walk->tags = tags;
	return walk;
}

Relation
tag_walk_index(const TagWalk *walk)
{
	return walk->index->relation;
}

/* How many tuples a page of the table has. */
static double
page_density(const TagWalk *walk)
{
	double ntuples = 0;
	double npages = 0;

	for (int i = 0; i < walk->table->nparts; i++)
	{
		const Form_pg_class class = walk->table->parts[i]->rd_rel;

		ntuples += Max(class->reltuples, 0);
		npages += class->relpages;
	}
	return ntuples > 0 && npages > 0 ? ntuples / npages : UNKNOWN_DENSITY;
}

/* What finding the tuples may take. */
int64
tag_walk_find_work(TagWalk *walk)
{
	if (walk->find_work == 0)
	{
		double ntuples = page_density(walk) * estimate_tag_share(walk->table, walk->tags) *
						 direct_blocks(walk->table);

		walk->find_work =
			walk->table->nparts * (walk->tags->nall + walk->tags->nany) * (int64) WORK_DESCENT +
			ntuples * WORK_TAGGED;
	}
	return walk->find_work;
}

static void
init_key(const TagWalk *walk, ScanKey key, Oid operator_oid, Datum *tags, int ntags)
{
	ArrayType *list = construct_array(tags, ntags, TEXTOID, -1, false, TYPALIGN_INT);

	ScanKeyEntryInitialize(
		key, 0, 1, get_op_opfamily_strategy(operator_oid, walk->index->relation->rd_opfamily[0]),
		ANYARRAYOID, walk->index->relation->rd_indcollation[0], get_opcode(operator_oid),
		PointerGetDatum(list));
}

/* Half of the memory is for the bitmap, which loses offsets rather than take more, half for what is kept of it. */
static TIDBitmap *
read_index(TagWalk *walk, int part)
{
	const Qual *tags = walk->tags;
	ScanKeyData keys[2];
	int nkeys = 0;
	IndexScanDesc scan;
	TIDBitmap *bitmap = tbm_create(budget_left(walk->context) / 2, NULL);

	if (tags->nall > 0)
		init_key(walk, &keys[nkeys++], OID_ARRAY_CONTAINS_OP, tags->all, tags->nall);
	if (tags->nany > 0)
		init_key(walk, &keys[nkeys++], OID_ARRAY_OVERLAP_OP, tags->any, tags->nany);
	scan =
		begin_bitmap_scan(direct_index_part(walk->table, walk->index, part), walk->snapshot, nkeys);
	index_rescan(scan, keys, nkeys, NULL, 0);
	index_getbitmap(scan, bitmap);
	index_endscan(scan);
	return bitmap;
}

/* Makes an array larger, if there is memory for that. */
static bool
grow(TagWalk *walk, void **array, int64 *size, int64 wanted, Size element)
{
	int64 larger = Max(*size * 2, wanted);

	if (!fits_budget(walk->context, element * *size, element * larger))
		return false;
	*array = *array == NULL ? palloc_extended(element * larger, MCXT_ALLOC_HUGE)
							: repalloc_huge(*array, element * larger);
	*size = larger;
	return true;
}

static bool
has_room_for_blocks(TagWalk *walk, int64 wanted)
{
	return wanted <= walk->blocks_size ||
		   grow(walk, (void **) &walk->blocks, &walk->blocks_size, wanted, sizeof(*walk->blocks));
}

static bool
has_room_for_offsets(TagWalk *walk, int64 wanted)
{
	return wanted <= walk->offsets_size ||
		   (wanted <= PG_UINT32_MAX && grow(walk, (void **) &walk->offsets, &walk->offsets_size,
											wanted, sizeof(*walk->offsets)));
}

/* Keeps what a part's bitmap has. Returns false if there is no memory for it. */
static bool
keep_bitmap(TagWalk *walk, int part, BitmapIterator *iterator)
{
	OffsetNumber offsets[MAX_BITMAP_OFFSETS];
	BlockNumber block;
	int noffsets;
	bool recheck;

	while (next_bitmap_page(iterator, &block, offsets, &noffsets, &recheck))
	{
		CHECK_FOR_INTERRUPTS();
		walk->exact &= !recheck;
		if (noffsets < 0 || !has_room_for_offsets(walk, walk->noffsets + noffsets))
		{
			walk->exact = false;
			walk->nlost++;
			offsets[0] = InvalidOffsetNumber;
			noffsets = 1;
		}
		/* One more block for the end */
		if (!has_room_for_offsets(walk, walk->noffsets + noffsets) ||
			!has_room_for_blocks(walk, walk->nblocks + 2))
			return false;
		walk->blocks[walk->nblocks].number = place_page(make_place(part, block, 0));
		walk->blocks[walk->nblocks++].start = walk->noffsets;
		memcpy(walk->offsets + walk->noffsets, offsets, sizeof(OffsetNumber) * noffsets);
		walk->noffsets += noffsets;
	}
	if (!has_room_for_blocks(walk, 1))
		return false;
	walk->blocks[walk->nblocks].start = walk->noffsets;
	return true;
}

static void
forget_bitmap(TagWalk *walk)
{
	if (walk->blocks != NULL)
		pfree(walk->blocks);
	if (walk->offsets != NULL)
		pfree(walk->offsets);
	walk->blocks = NULL;
	walk->offsets = NULL;
	walk->nblocks = walk->nlost = walk->noffsets = walk->blocks_size = walk->offsets_size = 0;
}

/* Makes "places", if the tag is on many blocks and there is memory for it. */
static void
place_blocks(TagWalk *walk)
{
	int nparts = walk->table->nparts;
	int64 nblocks = direct_blocks(walk->table);
	int64 i = 0;
	int64 n = 0;

	if (walk->nblocks < nblocks / DENSE_BLOCKS ||
		!fits_budget(walk->context, 0, sizeof(*walk->places) * (Size) nblocks))
		return;
	walk->places = palloc_extended(sizeof(*walk->places) * (Size) nblocks, MCXT_ALLOC_HUGE);
	walk->nplaces = palloc(sizeof(*walk->nplaces) * nparts);
	walk->first_places = palloc(sizeof(*walk->first_places) * nparts);
	for (int part = 0; part < nparts; part++)
	{
		walk->first_places[part] = n;
		/* It may have grown meanwhile. */
		walk->nplaces[part] = Min(RelationGetNumberOfBlocks(walk->table->parts[part]), nblocks - n);
		for (BlockNumber block = 0; block < walk->nplaces[part]; block++)
		{
			CHECK_FOR_INTERRUPTS();
			while (i < walk->nblocks &&
				   walk->blocks[i].number < place_page(make_place(part, block, 0)))
				i++;
			walk->places[n++] = i;
		}
	}
}

/* The first of the blocks found that is not before a block of the table */
static int64
find_block(const TagWalk *walk, RowPlace place)
{
	uint64 number = place_page(place);
	int part = place_part(place);
	int64 low = 0;
	int64 high = walk->nblocks;

	if (walk->places != NULL && place_block(place) < walk->nplaces[part])
		return walk->places[walk->first_places[part] + place_block(place)];
	while (low < high)
	{
		int64 middle = (low + high) / 2;

		if (walk->blocks[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Finds the tuples. What is added to the table later, the snapshot does not see. Returns
 * false if there is no memory for them.
 */
bool
tag_walk_find(TagWalk *walk)
{
	walk->found = true;
	walk->exact = true;
	for (int part = 0; part < walk->table->nparts && walk->found; part++)
	{
		TIDBitmap *bitmap = read_index(walk, part);
		BitmapIterator *iterator = begin_bitmap(bitmap);

		walk->found = keep_bitmap(walk, part, iterator);
		end_bitmap(iterator);
		tbm_free(bitmap);
	}
	if (walk->found)
		place_blocks(walk);
	else
		forget_bitmap(walk);
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
tag_walk_has(const TagWalk *walk, RowPlace place)
{
	int64 block = find_block(walk, place);

	if (block == walk->nblocks || walk->blocks[block].number != place_page(place))
		return false;
	for (uint32 i = walk->blocks[block].start; i < walk->blocks[block + 1].start; i++)
		if (walk->offsets[i] == place_offset(place))
			return true;
	return false;
}

/* How many were found; of a block whose offsets are lost, about how many it has. */
int64
tag_walk_count(const TagWalk *walk)
{
	return walk->noffsets - walk->nlost + (int64) (walk->nlost * page_density(walk));
}

/* On how many blocks they are. */
int64
tag_walk_blocks(const TagWalk *walk)
{
	return walk->nblocks;
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
find_last_offset(const TagWalk *walk, RowPlace place)
{
	Buffer buffer = ReadBuffer(walk->table->parts[place_part(place)], place_block(place));
	OffsetNumber last;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	last = PageGetMaxOffsetNumber(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return last;
}

/* Where the next tuple is; false behind the last one. */
bool
tag_walk_next(TagWalk *walk, RowPlace *place)
{
	while (walk->lost_offset == walk->last_offset)
	{
		OffsetNumber offset;

		CHECK_FOR_INTERRUPTS();
		if (walk->next == walk->noffsets)
			return false;
		while (walk->blocks[walk->block + 1].start <= walk->next)
			walk->block++;
		offset = walk->offsets[walk->next++];
		*place = walk->blocks[walk->block].number << 16 | offset;
		if (offset != InvalidOffsetNumber)
			return true;
		walk->lost_offset = 0;
		walk->last_offset = find_last_offset(walk, *place);
	}
	*place = walk->blocks[walk->block].number << 16 | ++walk->lost_offset;
	return true;
}
