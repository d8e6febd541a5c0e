/*
 * etag.h
 *		Entity tags, as RFC 9110 has them. Plain C: a fuzzer uses it outside the server.
 */
#ifndef BATCHES_ETAG_H
#define BATCHES_ETAG_H

#include <stdbool.h>
#include <stddef.h>

/* W/, and 32 digits in quotes */
#define ETAG_LENGTH 36

extern void make_etag(char *etag, const char *body, size_t length);
extern bool etag_is_listed(const char *etag, const char *header, size_t length);

#endif /* BATCHES_ETAG_H */
