/*
 * estimate.h
 *		How many rows may meet a qual, by the statistics.
 */
#ifndef BATCHES_ESTIMATE_H
#define BATCHES_ESTIMATE_H

#include "qual.h"
#include "direct.h"

extern double estimate_tag_share(DirectTable *table, Qual *tags);
extern double estimate_share(DirectTable *table, Qual *qual);
extern double estimate_common_share(DirectTable *table, Qual *list);

#endif /* BATCHES_ESTIMATE_H */
