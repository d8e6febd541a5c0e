/*
 * compat.h
 *		Every difference between the supported versions of PostgreSQL.
 *
 * Include it after postgres.h and before any other header.
 */
#ifndef BATCHES_COMPAT_H
#define BATCHES_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "batches needs PostgreSQL 15 or later"
#endif

/* Since 16, the VARDATA() family lives in a header of its own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#endif /* BATCHES_COMPAT_H */
