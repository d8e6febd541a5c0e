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

/* Since 16, the actions of the JSON parser return whether to go on. */
#if PG_VERSION_NUM >= 160000
#define JSON_ACTION_RESULT JsonParseErrorType
#define JSON_ACTION_DONE JSON_SUCCESS
#else
#define JSON_ACTION_RESULT void
#define JSON_ACTION_DONE
#endif

/* Since 17, the caller may provide the lexer's memory. */
#if PG_VERSION_NUM >= 170000
#define make_json_lex_context(json, length, encoding)                                              \
	makeJsonLexContextCstringLen(NULL, json, length, encoding, true)
#else
#define make_json_lex_context(json, length, encoding)                                              \
	makeJsonLexContextCstringLen(json, length, encoding, true)
#endif

#endif /* BATCHES_COMPAT_H */
