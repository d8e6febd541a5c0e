/*
 * report.h
 *		How a request was read.
 */
#ifndef BATCHES_REPORT_H
#define BATCHES_REPORT_H

#include "nodes/pg_list.h"

/* What one path did, of those that competed for a page or for a count */
typedef struct PathReport
{
	char *name;
	bool for_page;
	int64 work;
	const char *outcome;
} PathReport;

typedef struct ScanReport
{
	const char *fallback_reason; /* why this server's indexes are not read, or NULL */
	bool by_shards;              /* but those of shards */
	bool page_by_sql;            /* but the page was left to SQL, whoever counted */
	const char *total_source;    /* or NULL, if none was asked for */
	bool lists_paths;            /* asked for */
	List *paths;                 /* of PathReport */
} ScanReport;

extern const char *report_engine(const ScanReport *report);
extern bool sees_all_rows(void);
extern void report_path(ScanReport *report, bool for_page, const char *kind, const char *index,
						int64 nranges, int64 work, const char *outcome);
extern const PathReport *report_winner(const ScanReport *report, bool for_page);
extern int64 report_work(const ScanReport *report);
extern void report_done(const ScanReport *report);

/* Of a path that has finished first */
#define OUTCOME_WON "won"

#endif /* BATCHES_REPORT_H */
