/*
 * scan_sql.h
 *		The engine that reads batches by generated SQL.
 */
#ifndef BATCHES_SCAN_SQL_H
#define BATCHES_SCAN_SQL_H

#include "plan.h"
#include "filter.h"

extern void append_not_in(StringInfo sql, const char *column, Datum list,
						  QueryParameters *query_parameters);
extern void append_in(StringInfo sql, const char *column, Datum list,
					  QueryParameters *query_parameters);
extern void scan_sql_page(const Request *request, BatchRowCallback callback, void *arg);
extern int64 scan_sql_count(const Request *request);
extern void scan_sql_groups(const Request *request, QueryRowCallback callback, void *arg);

#endif /* BATCHES_SCAN_SQL_H */
