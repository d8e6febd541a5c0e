/*
 * batches.h
 *		What the whole extension shares: its schema and the authenticated user.
 */
#ifndef BATCHES_H
#define BATCHES_H

#define BATCHES_SCHEMA "batches"

/* batches.c */
extern const char *authenticated_user_id(void);
extern Oid extension_type(const char *name);
extern Oid require_table(const char *name);

#endif /* BATCHES_H */
