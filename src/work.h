/*
 * work.h
 *		The units of work: what reading costs, in entries of a leaf page passed over.
 */
#ifndef BATCHES_WORK_H
#define BATCHES_WORK_H

#define WORK_ENTRY 1
#define WORK_COUNTED 4  /* an entry whose batch's jobs are known from a map */
#define WORK_STEP 3     /* of an index scan, from one entry to the next */
#define WORK_TAGGED 4   /* adding an entry of an index on the tags to a bitmap */
#define WORK_TUPLE 5    /* fetching a tuple */
#define WORK_BLOCK 20   /* finding its page */
#define WORK_KEY 40     /* finding the next key of some that are in order */
#define WORK_JOIN 100   /* looking the other table's row up */
#define WORK_DESCENT 80 /* finding a place in an index */

/* More than any walk takes. The limits that are multiples of others stay below. */
#define NO_WORK_LIMIT (PG_INT64_MAX / 32)

#endif /* BATCHES_WORK_H */
