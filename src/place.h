/*
 * place.h
 *		Where a tuple is: a part of a table, a block and an offset.
 */
#ifndef BATCHES_PLACE_H
#define BATCHES_PLACE_H

#include "storage/itemptr.h"

/* In the order of places */
typedef uint64 RowPlace;

static inline RowPlace
make_place(int part, BlockNumber block, OffsetNumber offset)
{
	return (RowPlace) part << 48 | (RowPlace) block << 16 | offset;
}

static inline RowPlace
place_of(int part, const ItemPointerData *tid)
{
	return make_place(part, ItemPointerGetBlockNumberNoCheck(tid),
					  ItemPointerGetOffsetNumberNoCheck(tid));
}

static inline int
place_part(RowPlace place)
{
	return (int) (place >> 48);
}

/* The block, as one of a part */
static inline uint64
place_page(RowPlace place)
{
	return place >> 16;
}

static inline BlockNumber
place_block(RowPlace place)
{
	return (BlockNumber) (place >> 16);
}

static inline OffsetNumber
place_offset(RowPlace place)
{
	return (OffsetNumber) place;
}

#endif /* BATCHES_PLACE_H */
