/*
 * tag_walk.h
 *		Reading the batches with a tag by an index on the tags.
 */
#ifndef BATCHES_TAG_WALK_H
#define BATCHES_TAG_WALK_H

#include "walk.h"

typedef struct TagWalk TagWalk;

extern TagWalk *tag_walk_init(DirectTable *table, Condition *tag, Condition *conditions,
							  int nconditions);
extern int64 tag_walk_entry_work(const TagWalk *walk);
extern WalkResult tag_walk_next(TagWalk *walk, int64 work_limit);
extern TupleTableSlot *tag_walk_slot(const TagWalk *walk);
extern ItemPointer tag_walk_tid(TagWalk *walk);
extern void tag_walk_end(TagWalk *walk);

#endif /* BATCHES_TAG_WALK_H */
