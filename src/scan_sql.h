/*
 * scan_sql.h
 *		The engine that reads batches by generated SQL.
 */
#ifndef BATCHES_SCAN_SQL_H
#define BATCHES_SCAN_SQL_H

#include "scan.h"

extern void scan_sql_page(const Request *request, BatchRowCallback callback, void *arg);
extern int64 scan_sql_count(const Request *request);

#endif /* BATCHES_SCAN_SQL_H */
