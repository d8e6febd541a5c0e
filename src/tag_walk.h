/*
 * tag_walk.h
 *		Reading the batches with a tag by an index on the tags.
 */
#ifndef BATCHES_TAG_WALK_H
#define BATCHES_TAG_WALK_H

#include "place.h"
#include "qual.h"

typedef struct TagWalk TagWalk;

extern TagWalk *tag_walk_init(DirectTable *table, Qual *tags, MemoryContext context);
extern Relation tag_walk_index(const TagWalk *walk);
extern int64 tag_walk_find_work(TagWalk *walk);
extern bool tag_walk_find(TagWalk *walk);
extern bool tag_walk_has_found(const TagWalk *walk);
extern bool tag_walk_is_exact(const TagWalk *walk);
extern bool tag_walk_has(const TagWalk *walk, RowPlace place);
extern int64 tag_walk_count(const TagWalk *walk);
extern int64 tag_walk_blocks(const TagWalk *walk);
extern void tag_walk_rewind(TagWalk *walk);
extern bool tag_walk_next(TagWalk *walk, RowPlace *place);

#endif /* BATCHES_TAG_WALK_H */
