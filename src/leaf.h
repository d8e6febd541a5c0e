/*
 * leaf.h
 *		Reading the leaf pages of a B-tree index, one after the other.
 */
#ifndef BATCHES_LEAF_H
#define BATCHES_LEAF_H

#include "access/itup.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct LeafReader LeafReader;

extern LeafReader *leaf_begin(Relation index, Snapshot snapshot);
extern void leaf_seek(LeafReader *reader, const Datum *from, const bool *isnull, int nfrom);
extern void leaf_advance(LeafReader *reader, const Datum *from, const bool *isnull, int nfrom);
extern IndexTuple leaf_next(LeafReader *reader, ItemPointer tid);
extern IndexTuple leaf_last(LeafReader *reader);
extern int64 leaf_page(const LeafReader *reader);
extern void leaf_leave(LeafReader *reader);
extern void leaf_end(LeafReader *reader);

#endif /* BATCHES_LEAF_H */
