/*
 * parameter.c
 *		The table of parameters: the one place that describes them.
 *
 * The SQL functions declare arguments of these names; the endpoint reads the same
 * names from a query string. Plain C, as its header.
 */
#include <stddef.h>

#include "parameter.h"

static const char *const order_by_labels[] = {
	"created_at", "updated_at", "start_datetime", "end_datetime",   "id",
	"status",     "open",       "complete",       "priority",       "device_type",
	"user_id",    "project_id", "jobs_count",     "queue_priority", NULL,
};

static const char *const direction_labels[] = {"ASC", "DESC", NULL};

static const char *const batch_status_labels[N_BATCH_STATUSES + 1] = {
	"PENDING", "RUNNING", "DONE", "CANCELED", "CANCELING", "TIMED_OUT", "ERROR", "PAUSED", NULL,
};

static const char *const queue_priority_labels[N_QUEUE_PRIORITIES + 1] = {
	"CRITICAL", "HIGH", "MEDIUM", "LOW", "FREE", NULL,
};

static const char *const total_labels[] = {"exact", "none", NULL};

/* Keys of the document that a page can do without */
static const char *const omit_labels[] = {
	"configuration", "backend_configuration", "webhook", "tags", "jobs_count_per_status", NULL,
};

const Parameter parameters[N_PARAMETERS] = {
	[PARAMETER_ORDER_BY] =
		{
			.name = "order_by",
			.type = PARAMETER_TYPE_LITERAL,
			.labels = order_by_labels,
		},
	[PARAMETER_ORDER_BY_DIRECTION] =
		{
			.name = "order_by_direction",
			.type = PARAMETER_TYPE_LITERAL,
			.labels = direction_labels,
		},
	[PARAMETER_LIMIT] =
		{
			.name = "limit",
			.type = PARAMETER_TYPE_INTEGER,
			.lower = {.given = true, .value = 0},
			.upper = {.given = true, .value = 101},
		},
	[PARAMETER_OFFSET] =
		{
			.name = "offset",
			.type = PARAMETER_TYPE_INTEGER,
			.lower = {.given = true, .inclusive = true, .value = 0},
		},
	[PARAMETER_ID] =
		{
			.name = "id",
			.type = PARAMETER_TYPE_UUID,
			.is_list = true,
			.comparison = COMPARE_IN,
			.column = COLUMN_ID,
		},
	[PARAMETER_ID_STARTS_WITH] =
		{
			.name = "id__starts_with",
			.type = PARAMETER_TYPE_TEXT,
			.comparison = COMPARE_STARTS_WITH,
			.column = COLUMN_ID,
		},
	[PARAMETER_PROJECT_ID] =
		{
			.name = "project_id",
			.type = PARAMETER_TYPE_UUID,
			.is_list = true,
			.comparison = COMPARE_IN,
			.column = COLUMN_PROJECT_ID,
			.is_cell = true,
		},
	[PARAMETER_USER_ID] =
		{
			.name = "user_id",
			.type = PARAMETER_TYPE_TEXT,
			.is_list = true,
			.comparison = COMPARE_IN,
			.column = COLUMN_USER_ID,
		},
	[PARAMETER_DEVICE_TYPE] =
		{
			.name = "device_type",
			.type = PARAMETER_TYPE_TEXT,
			.is_list = true,
			.comparison = COMPARE_IN,
			.column = COLUMN_DEVICE_TYPE,
			.is_cell = true,
		},
	[PARAMETER_STATUS] =
		{
			.name = "status",
			.type = PARAMETER_TYPE_ENUM,
			.is_list = true,
			.comparison = COMPARE_IN,
			.column = COLUMN_STATUS,
			.is_cell = true,
			.labels = batch_status_labels,
			.enum_type = "batch_status",
		},
	[PARAMETER_COMPLETE] =
		{
			.name = "complete",
			.type = PARAMETER_TYPE_BOOLEAN,
			.comparison = COMPARE_EQUAL,
			.column = COLUMN_COMPLETE,
			.is_cell = true,
		},
	[PARAMETER_OPEN] =
		{
			.name = "open",
			.type = PARAMETER_TYPE_BOOLEAN,
			.comparison = COMPARE_EQUAL,
			.column = COLUMN_OPEN,
			.is_cell = true,
		},
	[PARAMETER_MIN_JOBS] =
		{
			.name = "min_jobs",
			.type = PARAMETER_TYPE_INTEGER,
			.comparison = COMPARE_AT_LEAST,
			.column = COLUMN_JOBS_COUNT,
		},
	[PARAMETER_MAX_JOBS] =
		{
			.name = "max_jobs",
			.type = PARAMETER_TYPE_INTEGER,
			.comparison = COMPARE_AT_MOST,
			.column = COLUMN_JOBS_COUNT,
		},
	[PARAMETER_START_DATE] =
		{
			.name = "start_date",
			.type = PARAMETER_TYPE_TIMESTAMP,
			.comparison = COMPARE_AT_LEAST,
			.column = COLUMN_START_DATETIME,
		},
	[PARAMETER_END_DATE] =
		{
			.name = "end_date",
			.type = PARAMETER_TYPE_TIMESTAMP,
			.comparison = COMPARE_AT_MOST,
			.column = COLUMN_END_DATETIME,
		},
	[PARAMETER_QUEUE_PRIORITY] =
		{
			.name = "queue_priority",
			.type = PARAMETER_TYPE_ENUM,
			.is_list = true,
			.comparison = COMPARE_IN,
			.column = COLUMN_QUEUE_PRIORITY,
			.is_cell = true,
			.labels = queue_priority_labels,
			.enum_type = "queue_priority",
		},
	[PARAMETER_TAG] =
		{
			.name = "tag",
			.type = PARAMETER_TYPE_TEXT,
			.comparison = COMPARE_HAS,
			.column = COLUMN_TAGS,
		},
	[PARAMETER_CREATED_AFTER] =
		{
			.name = "created_after",
			.type = PARAMETER_TYPE_TIMESTAMP,
			.comparison = COMPARE_AT_LEAST,
			.column = COLUMN_CREATED_AT,
			.scope = SCOPE_SQL,
		},
	[PARAMETER_CREATED_BEFORE] =
		{
			.name = "created_before",
			.type = PARAMETER_TYPE_TIMESTAMP,
			.comparison = COMPARE_AT_MOST,
			.column = COLUMN_CREATED_AT,
			.scope = SCOPE_SQL,
		},
	[PARAMETER_PARENT_ID] =
		{
			.name = "parent_id",
			.type = PARAMETER_TYPE_UUID,
			.is_list = true,
			.comparison = COMPARE_IN,
			.column = COLUMN_PARENT_ID,
			.scope = SCOPE_EXTENDED,
		},
	[PARAMETER_UPDATED_AFTER] =
		{
			.name = "updated_after",
			.type = PARAMETER_TYPE_TIMESTAMP,
			.comparison = COMPARE_AT_LEAST,
			.column = COLUMN_UPDATED_AT,
			.scope = SCOPE_EXTENDED,
		},
	[PARAMETER_UPDATED_BEFORE] =
		{
			.name = "updated_before",
			.type = PARAMETER_TYPE_TIMESTAMP,
			.comparison = COMPARE_AT_MOST,
			.column = COLUMN_UPDATED_AT,
			.scope = SCOPE_EXTENDED,
		},
	[PARAMETER_TAGS_ANY] =
		{
			.name = "tags_any",
			.type = PARAMETER_TYPE_TEXT,
			.is_list = true,
			.comparison = COMPARE_HAS_ANY,
			.column = COLUMN_TAGS,
			.scope = SCOPE_EXTENDED,
		},
	[PARAMETER_TAGS_ALL] =
		{
			.name = "tags_all",
			.type = PARAMETER_TYPE_TEXT,
			.is_list = true,
			.comparison = COMPARE_HAS_ALL,
			.column = COLUMN_TAGS,
			.scope = SCOPE_EXTENDED,
		},
	[PARAMETER_EXCLUDE_STATUS] =
		{
			.name = "exclude_status",
			.type = PARAMETER_TYPE_ENUM,
			.is_list = true,
			.comparison = COMPARE_NOT_IN,
			.column = COLUMN_STATUS,
			.is_cell = true,
			.scope = SCOPE_EXTENDED,
			.labels = batch_status_labels,
			.enum_type = "batch_status",
		},
	[PARAMETER_EXCLUDE_DEVICE_TYPE] =
		{
			.name = "exclude_device_type",
			.type = PARAMETER_TYPE_TEXT,
			.is_list = true,
			.comparison = COMPARE_NOT_IN,
			.column = COLUMN_DEVICE_TYPE,
			.is_cell = true,
			.scope = SCOPE_EXTENDED,
		},
	[PARAMETER_AFTER] =
		{
			.name = "after",
			.type = PARAMETER_TYPE_TEXT,
			.scope = SCOPE_EXTENDED,
		},
	[PARAMETER_TOTAL] =
		{
			.name = "total",
			.type = PARAMETER_TYPE_LITERAL,
			.scope = SCOPE_EXTENDED,
			.labels = total_labels,
		},
	[PARAMETER_OMIT] =
		{
			.name = "omit",
			.type = PARAMETER_TYPE_LITERAL,
			.is_list = true,
			.scope = SCOPE_EXTENDED,
			.labels = omit_labels,
		},
	[PARAMETER_LAST_ID] =
		{
			.name = "last_id",
			.type = PARAMETER_TYPE_UUID,
			.scope = SCOPE_SQL,
		},
};
