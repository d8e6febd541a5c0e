/*
 * leaf.c
 *		Reads the entries of a B-tree index in ascending order, a page at a time.
 *
 * An index scan prepares every entry for a caller who may go back, stop, or mark it dead,
 * which is most of the cost of counting by one. Here a page is copied while it is locked,
 * and entries are read from the copy. It is right for the reasons that index scans are:
 * the page stays pinned while its entries are in use, so vacuum cannot remove an entry and
 * let its tuple's place be used again; a page only splits to the right, so the copy's right
 * link leads to what follows the copy; a deleted page is passed over by its own right link.
 */
#include "postgres.h"
#include "compat.h"

#include "access/nbtree.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"

#include "leaf.h"

/* Where so many places were found on a page, the next one behind it is looked for on the page to its right. */
#define DENSE_PLACES 2

struct LeafReader
{
	Relation index;
	Snapshot snapshot;
	BTScanInsert key;
	bool sees_dead; /* entries that are marked dead are read, too */
	Buffer buffer;  /* pinned, not locked */
	int64 page;     /* how many were read */
	int nplaces;    /* found on this one */
	BlockNumber next_block;
	OffsetNumber offset;
	OffsetNumber last_offset;
	int posting; /* of the entry's tuples, the next one */
	PGAlignedBlock copy;
};

LeafReader *
leaf_begin(Relation index, Snapshot snapshot)
{
	LeafReader *reader = palloc(sizeof(LeafReader));

	reader->index = index;
	reader->snapshot = snapshot;
	reader->key = _bt_mkscankey(index, NULL);
	_bt_metaversion(index, &reader->key->heapkeyspace, &reader->key->allequalimage);
	/* On a replica, a snapshot may see tuples whose entries the primary has marked dead. */
	reader->sees_dead = TransactionStartedDuringRecovery();
	reader->buffer = InvalidBuffer;
	reader->page = 0;
	reader->next_block = P_NONE;
	return reader;
}

/* Unpins the page. Its entries can still be read, but may be removed from the index. */
void
leaf_leave(LeafReader *reader)
{
	if (BufferIsValid(reader->buffer))
		ReleaseBuffer(reader->buffer);
	reader->buffer = InvalidBuffer;
}

/* Copies a page that is pinned and locked, and unlocks it. Returns whether it is in use. */
static bool
take_page(LeafReader *reader, Buffer buffer)
{
	Page page = BufferGetPage(buffer);
	BTPageOpaque opaque = BTPageGetOpaque(page);
	bool in_use = !P_IGNORE(opaque);

	reader->next_block = opaque->btpo_next;
	if (in_use)
	{
		LocationIndex lower = ((PageHeader) page)->pd_lower;
		LocationIndex upper = ((PageHeader) page)->pd_upper;

		PredicateLockPage(reader->index, BufferGetBlockNumber(buffer), reader->snapshot);
		/* The space between the item pointers and the items is free. */
		memcpy(reader->copy.data, page, lower);
		memcpy(reader->copy.data + upper, page + upper, BLCKSZ - upper);
		reader->offset = P_FIRSTDATAKEY(opaque);
		reader->last_offset = PageGetMaxOffsetNumber(page);
		reader->posting = 0;
		reader->page++;
		reader->nplaces = 0;
	}
	reader->buffer = buffer;
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	return in_use;
}

/*
 * Goes on to the page to the right. Returns false if there is none. A page's space is
 * used again only when no scan can still hold a link to it.
 */
static bool
next_page(LeafReader *reader)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		leaf_leave(reader);
		if (reader->next_block == P_NONE)
			return false;
	} while (!take_page(reader, _bt_getbuf(reader->index, reader->next_block, BT_READ)));
	return true;
}

/* Goes down to the leaf page that has the place of the key. Returns false if there is none. */
static bool
descend(LeafReader *reader)
{
	Buffer buffer;

	leaf_leave(reader);
	find_leaf(reader->index, reader->key, &buffer, reader->snapshot);
	if (!BufferIsValid(buffer))
	{
		/* The index never had an entry: there is no page to lock for SERIALIZABLE. */
		PredicateLockRelation(reader->index, reader->snapshot);
		find_leaf(reader->index, reader->key, &buffer, reader->snapshot);
	}
	reader->next_block = P_NONE;
	reader->offset = FirstOffsetNumber;
	reader->last_offset = InvalidOffsetNumber;
	return BufferIsValid(buffer) && (take_page(reader, buffer) || next_page(reader));
}

/*
 * Whether the page at hand has the place of the key: behind its first entry, and not behind
 * its last. An entry equal to the first may be on the page to the left.
 */
static bool
is_at_hand(LeafReader *reader)
{
	Page page = reader->copy.data;

	return BufferIsValid(reader->buffer) && reader->offset <= reader->last_offset &&
		   _bt_compare(reader->index, reader->key, page, reader->last_offset) <= 0 &&
		   _bt_compare(reader->index, reader->key, page, P_FIRSTDATAKEY(BTPageGetOpaque(page))) > 0;
}

static void
set_key(LeafReader *reader, const Datum *from, const bool *isnull, int nfrom)
{
	for (int i = 0; i < nfrom; i++)
	{
		reader->key->scankeys[i].sk_argument = from[i];
		reader->key->scankeys[i].sk_flags &= ~SK_ISNULL;
		if (isnull != NULL && isnull[i])
			reader->key->scankeys[i].sk_flags |= SK_ISNULL;
	}
	reader->key->keysz = nfrom;
}

/*
 * Goes to the first entry of the page that is not before the key. Those before low are; the
 * one at high, if there is one, is not.
 */
static void
search_page(LeafReader *reader, OffsetNumber low, OffsetNumber high)
{
	while (low < high)
	{
		OffsetNumber middle = low + (high - low) / 2;

		if (_bt_compare(reader->index, reader->key, reader->copy.data, middle) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low != reader->offset)
		reader->posting = 0;
	reader->offset = low;
	reader->nplaces++;
}

/*
 * Goes to the first entry that is not before some values of the index's first columns, of
 * which some may be null.
 */
void
leaf_seek(LeafReader *reader, const Datum *from, const bool *isnull, int nfrom)
{
	pgstat_count_index_scan(reader->index);
	set_key(reader, from, isnull, nfrom);
	reader->posting = 0;
	if (is_at_hand(reader) || descend(reader))
		search_page(reader, P_FIRSTDATAKEY(BTPageGetOpaque(reader->copy.data)),
					reader->last_offset + 1);
}

/*
 * The same on the page at hand, from where the reader stands; returns false if the place is
 * behind the page. The steps double, so that a place near by is soon reached.
 */
static bool
advance_on_page(LeafReader *reader)
{
	OffsetNumber low = reader->offset;
	OffsetNumber high = low;

	if (!BufferIsValid(reader->buffer) || low > reader->last_offset)
		return false;
	for (int step = 1; _bt_compare(reader->index, reader->key, reader->copy.data, high) > 0;
		 step *= 2)
	{
		if (high == reader->last_offset)
			return false;
		low = high + 1;
		high = Min(high + step, reader->last_offset);
	}
	search_page(reader, low, high);
	return true;
}

/* As leaf_seek(), for a place that is not before the one where the reader stands. */
void
leaf_advance(LeafReader *reader, const Datum *from, const bool *isnull, int nfrom)
{
	set_key(reader, from, isnull, nfrom);
	if (advance_on_page(reader) ||
		(BufferIsValid(reader->buffer) && reader->nplaces >= DENSE_PLACES && next_page(reader) &&
		 advance_on_page(reader)))
		return;
	leaf_seek(reader, from, isnull, nfrom);
}

/* The next entry and where its tuple is, or NULL behind the last one. */
IndexTuple
leaf_next(LeafReader *reader, ItemPointer tid)
{
	for (;;)
	{
		ItemId item;
		IndexTuple entry;

		if (reader->offset > reader->last_offset)
		{
			if (!next_page(reader))
				return NULL;
			continue;
		}
		item = PageGetItemId(reader->copy.data, reader->offset);
		if (ItemIdIsDead(item) && !reader->sees_dead)
		{
			reader->offset++;
			continue;
		}
		pgstat_count_index_tuples(reader->index, 1);
		entry = (IndexTuple) PageGetItem(reader->copy.data, item);
		if (!BTreeTupleIsPosting(entry))
		{
			*tid = entry->t_tid;
			reader->offset++;
			return entry;
		}
		*tid = *BTreeTupleGetPostingN(entry, reader->posting);
		if (++reader->posting == BTreeTupleGetNPosting(entry))
		{
			reader->posting = 0;
			reader->offset++;
		}
		return entry;
	}
}

/* The last entry of the page that the last entry came from. */
IndexTuple
leaf_last(LeafReader *reader)
{
	Page page = reader->copy.data;

	return (IndexTuple) PageGetItem(page, PageGetItemId(page, reader->last_offset));
}

/* Which of the pages read the last entry came from. */
int64
leaf_page(const LeafReader *reader)
{
	return reader->page;
}

void
leaf_end(LeafReader *reader)
{
	leaf_leave(reader);
	pfree(reader->key);
	pfree(reader);
}
