/*
 * estimate.h
 *		How many rows may meet a condition, by the statistics.
 */
#ifndef BATCHES_ESTIMATE_H
#define BATCHES_ESTIMATE_H

#include "condition.h"
#include "direct.h"

extern double estimate_tag_share(DirectTable *table, const Condition *tag);
extern double estimate_share(DirectTable *table, Condition *condition);

#endif /* BATCHES_ESTIMATE_H */
