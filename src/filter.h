/*
 * filter.h
 *		A request for batches: the parameters, and what they mean once validated.
 */
#ifndef BATCHES_FILTER_H
#define BATCHES_FILTER_H

#include "fmgr.h"
#include "utils/uuid.h"

#include "parameter.h"
#include "row.h"

#define NO_LIMIT (-1)

typedef struct FilterValue
{
	bool given;
	Datum value; /* a list is a one-type array without nulls */
} FilterValue;

/* A place in the order of a listing: that of a row that has, or had, this key and id */
typedef struct Place
{
	Datum key; /* in the order column */
	bool isnull;
	pg_uuid_t id;
} Place;

/* A validated request. */
typedef struct Request
{
	ColumnId order_by;
	bool descending;
	int64 limit; /* or NO_LIMIT */
	int64 offset;
	bool has_offset;    /* it was given */
	const text *cursor; /* by which it is paged, instead of the offset; or NULL */
	/* What the cursor means, once it is read */
	uint64 filters_digest;
	const Place *after; /* the page begins behind it; NULL: at the first row */
	bool without_total; /* which is not asked for */
	bool omits[N_COLUMNS];
	const pg_uuid_t *last_of_page; /* the batch whose cursor is asked for; or NULL */
	bool keys_only;     /* of the rows nothing is wanted but project, id, and what orders them */
	bool is_for_viewer; /* restricted to what the authenticated user sees */
	/* By ParameterId. A list that is given and empty matches nothing. */
	FilterValue filters[LAST_FILTER + 1];
	/* What id__starts_with means, when given: both ends inclusive. */
	pg_uuid_t first_id;
	pg_uuid_t last_id;
} Request;

/* What a function allows for the page size. */
typedef enum LimitRule
{
	LIMIT_OPTIONAL, /* 1 or more; null is no limit */
	LIMIT_PAGE,     /* 1 to 100; null is the default */
} LimitRule;

extern Oid parameter_type_oid(const Parameter *parameter);
extern Oid given_type_oid(const Parameter *parameter);
extern void init_request(Request *request, LimitRule limit_rule);
extern void set_parameter(Request *request, ParameterId id, Datum value, LimitRule limit_rule);
extern bool is_valid_value(ParameterId id, Datum value);
extern void match_nothing(Request *request);
extern bool filters_job_counts(const Request *request);
extern bool uses_job_counts(const Request *request);
extern void bind_arguments(Oid function, int nargs, ParameterId *ids);
extern void read_arguments(Request *request, FunctionCallInfo fcinfo, LimitRule limit_rule);

#endif /* BATCHES_FILTER_H */
