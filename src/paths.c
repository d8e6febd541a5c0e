/*
 * paths.c
 *		Finds the paths to the rows of a request, and lets them compete.
 *
 * A page comes from a merge or from a collection. A merge reads an index, or key ranges of
 * one, in the order of the page, and stops when the page is full. A collection reads all
 * index entries that one filter has, and sorts them; if it has to fetch tuples, it leaves
 * out those that another complete collection has not found. Which is faster depends on
 * how many rows the other filters leave, and no estimate of that can be relied on. So the
 * paths take turns, each round twice as long as the one before, and the first path to
 * finish wins. What is known of a path (what it has found so far, the size of its index,
 * the statistics) decides how far it may go ahead of the others, within a constant factor:
 * so a request costs at most a constant multiple of its best path's work.
 *
 * A count is a competition of collections that keep no rows.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "estimate.h"
#include "paths.h"
#include "read_totals.h"

/* The work of a path's first turn. */
#define FIRST_TURN 250
/* The turn that is long enough to pay for reading the statistics before it. */
#define ESTIMATING_TURN (FIRST_TURN * 8)
/*
 * A path goes on to its end without pausing if its work left fits in one turn, or in
 * PATIENCE turns if no other path has less left.
 */
#define PATIENCE 4
/* A merge is close to its end when its work left is at most so many turns. */
#define NEAR_END 16
/* A merge of fewer key ranges than this is tried before a merge of a whole index. */
#define FEW_RANGES 16
/*
 * Paths by the projects of a viewer have the first turns for themselves where a request
 * names what other tenants may have, too: up to the first limit in any case, and up to the
 * last if the viewer sees few rows. To that comes what finding so many projects takes.
 */
#define SIZING_TURN (FIRST_TURN * 4)
#define LAST_OWN_TURN (FIRST_TURN * 256)
#define FEW_OWN_ROWS 2000
#define FIRST_OWN_PROJECTS 16
#define WORK_OWN_PROJECT (4 * PATIENCE * WORK_DESCENT)

/* Whether a path by a walk is better than one by another that reads the same rows. */
static bool
is_better(const IndexWalk *walk, const IndexWalk *other)
{
	if (walk->needs_heap != other->needs_heap)
		return other->needs_heap;
	if (walk->nheap_quals != other->nheap_quals)
		return walk->nheap_quals < other->nheap_quals;
	return walk->index->width < other->index->width;
}

/* Whether a path by one table has to have something of the other one. */
static bool
needs_other_table(const DirectScan *scan, Source source, bool for_page)
{
	bool needs = for_page && scan->columns[source][scan->request->order_by] == InvalidAttrNumber;

	for (int i = 0; i < scan->nquals; i++)
		needs |= scan->quals[i].columns[source] == InvalidAttrNumber;
	return needs;
}

/*
 * Prepares a walk over an index of one of the tables, joined with the other one if that
 * has something that is asked for.
 */
static void
prepare_walk(DirectScan *scan, IndexWalk *walk, Source source, DirectIndex *index, Qual *list,
			 ScanDirection direction, bool for_page)
{
	ColumnId order_by = scan->request->order_by;

	index_walk_init(walk, scan->tables[source], index, scan->quals, scan->nquals, list, direction);
	if (for_page)
	{
		if (scan->columns[source][order_by] != InvalidAttrNumber)
			index_walk_need_column(walk, scan->columns[source][order_by]);
		index_walk_need_column(walk, scan->columns[source][COLUMN_ID]);
	}
	if (needs_other_table(scan, source, for_page) && !filter_by_jobs(scan, walk))
		index_walk_join(walk, new_join(scan, source));
}

/* The tables whose indexes are paths to the rows of a request */
static int
count_sources(const DirectScan *scan)
{
	return scan->uses_job_counts ? N_SOURCES : 1;
}

/* Makes a collection fetch batches and check all quals. */
static void
collect_from_batches(Collection *collection)
{
	DirectScan *scan = collection->scan;
	KeyJoin *join = NULL;

	collection->quals = palloc(sizeof(Qual *) * (scan->nquals + 1));
	for (int i = 0; i < scan->nquals; i++)
		if (scan->quals[i].columns[SOURCE_BATCH] != InvalidAttrNumber)
			collection->quals[collection->nquals++] = &scan->quals[i];
	/* The index has checked the number of jobs already: it is fetched only to sort by it. */
	if (needs_other_table(scan, SOURCE_BATCH, collection->keeps) &&
		(collection->key == NULL || scan->request->order_by == COLUMN_JOBS_COUNT))
		join = new_join(scan, SOURCE_BATCH);
	fetch_init(&collection->fetch, scan->tables[SOURCE_BATCH], join, scan->snapshot);
}

/*
 * Adds a collection by a qual on the first column of an index, or by a whole index. If
 * bounds are given, they are on the index's next column and narrow its key ranges.
 */
static void
add_collection(DirectScan *scan, PathSet *paths, Source source, Qual *qual, const Qual *bounds,
			   bool keeps)
{
	Collection *collection = &paths->collections[paths->ncollections];
	DirectTable *table = scan->tables[source];
	bool by_key = source == SOURCE_JOB_COUNT && needs_other_table(scan, source, keeps);
	bool found = false;

	/* Finding batches by their keys pays for a filter on jobs only, which may leave few. */
	if (by_key && (qual == NULL || qual->columns[SOURCE_BATCH] != InvalidAttrNumber))
		return;
	memset(collection, 0, sizeof(*collection));
	collection->scan = scan;
	collection->keeps = keeps;
	for (int i = 0; i < table->nindexes; i++)
	{
		DirectIndex *index = &table->indexes[i];
		Qual *list = qual != NULL && qual->has_list ? qual : NULL;
		IndexWalk walk;

		if (qual != NULL && index->columns[0] != qual->columns[source])
			continue;
		if (by_key)
		{
			index_walk_init(&walk, table, index, scan->quals, scan->nquals, list,
							NoMovementScanDirection);
			if (direct_position(index, scan->columns[source][COLUMN_PROJECT_ID]) == 0 ||
				direct_position(index, scan->columns[source][COLUMN_ID]) == 0)
				continue;
		}
		else
			prepare_walk(scan, &walk, source, index, list, NoMovementScanDirection, keeps);
		if (walk.bounds != bounds)
			continue;
		if (!found || is_better(&walk, &collection->walk))
			collection->walk = walk;
		found = true;
	}
	if (!found)
		return;
	if (by_key)
	{
		collection->key = scan_key(scan, SOURCE_BATCH);
		collect_from_batches(collection);
	}
	else
	{
		collection->quals = collection->walk.heap_quals;
		collection->nquals = collection->walk.nheap_quals;
		fetch_init(&collection->fetch, table, collection->walk.fetch.join, scan->snapshot);
	}
	/* In a unique index on this column alone each value has one live row: the list's length bounds the fetches. */
	if (collection->walk.needs_heap && collection->walk.list != NULL &&
		collection->walk.index->is_key)
	{
		int nvalues = collection->walk.list->nvalues;

		collection->sized = true;
		collection->known_work = collection->walk.nranges * (int64) WORK_DESCENT +
								 fetch_work(collection, nvalues, Min(nvalues, scan->nblocks));
	}
	paths->ncollections++;
}

static void
add_collections(DirectScan *scan, PathSet *paths, bool keeps)
{
	bool reads_index_only = false;

	paths->collections =
		palloc(sizeof(Collection) * N_SOURCES * (scan->nquals * (scan->nquals + 1) + 1));
	for (int source = 0; source < count_sources(scan); source++)
		for (int i = 0; i < scan->nquals; i++)
		{
			Qual *qual = &scan->quals[i];

			if (qual->on_elements || qual->columns[source] == InvalidAttrNumber)
				continue;
			add_collection(scan, paths, source, qual, NULL, keeps);
			for (int j = 0; j < scan->nquals; j++)
				add_collection(scan, paths, source, qual, &scan->quals[j], keeps);
		}
	for (int i = 0; i < paths->ncollections; i++)
		reads_index_only |= !collect_fetches(&paths->collections[i]);

	/* Reading a whole index only pays if that saves fetching tuples. */
	if (!reads_index_only)
	{
		int parts = paths->ncollections;

		add_collection(scan, paths, SOURCE_BATCH, NULL, NULL, keeps);
		if (parts > 0 && paths->ncollections > parts && paths->collections[parts].walk.needs_heap)
			paths->ncollections = parts;
	}
}

/* Lets every path check the tag by a tuple's place, without fetching it. */
static void
use_tags(PathSet *paths)
{
	DirectScan *scan = paths->scan;
	TagWalk *tags = paths->tags->tags;

	if (!tag_walk_is_exact(tags))
		return;
	for (int i = 0; i < paths->nmerges; i++)
		if (paths->merges[i].walk.table->source == SOURCE_BATCH)
			walk_use_tags(scan, &paths->merges[i].walk, tags);
	for (int i = 0; i < paths->ncollections; i++)
		if (paths->collections[i].walk.table->source == SOURCE_BATCH)
			collect_use_tags(&paths->collections[i], tags);
}

/* Adds the collection by the index on the tags. */
static void
add_tags(DirectScan *scan, PathSet *paths, bool keeps)
{
	Collection *collection;

	for (int i = 0; i < scan->nquals && scan->tags == NULL; i++)
		if (scan->quals[i].on_elements)
			scan->tags = tag_walk_init(scan->tables[SOURCE_BATCH], &scan->quals[i], scan->context);
	if (scan->tags == NULL)
		return;
	collection = palloc0(sizeof(Collection));
	collection->scan = scan;
	collection->keeps = keeps;
	collection->tags = scan->tags;
	collect_from_batches(collection);
	paths->tags = collection;
	if (tag_walk_has_found(scan->tags))
		use_tags(paths);
}

/* Whether the entries of an index, or of its key ranges, are in the order of the page from a column on. */
static bool
is_page_order(DirectScan *scan, Source source, const DirectIndex *index, int column)
{
	AttrNumber id = scan->columns[source][COLUMN_ID];
	AttrNumber key = scan->columns[source][scan->request->order_by];

	/* The order of the size classes is that of the numbers of jobs, nearly: merge.c does the rest. */
	if (source == SOURCE_JOB_COUNT && scan->request->order_by == COLUMN_JOBS_COUNT)
		return column == 0 && index->nkeys >= 2 && index->columns[0] == scan->size_class_column &&
			   index->columns[1] == id;
	if (key == InvalidAttrNumber)
		return false;
	if (column > 0 && index->columns[0] == key && key != id)
		/* Each key range has a single value of the order column. */
		return column < index->nkeys && index->columns[column] == id;
	/* "complete" sorts opposite to "open", but "id" does not. */
	if (scan->request->order_by == COLUMN_COMPLETE)
		return false;
	if (column >= index->nkeys || index->columns[column] != key)
		return false;
	return key == id || (column + 1 < index->nkeys && index->columns[column + 1] == id);
}

/* Adds a merge of the key ranges of a list, or of a whole index without a list. */
static void
add_merge(DirectScan *scan, PathSet *paths, Source source, Qual *list)
{
	Merge *merge = &paths->merges[paths->nmerges];
	DirectTable *table = scan->tables[source];
	bool found = false;

	memset(merge, 0, sizeof(*merge));
	merge->scan = scan;
	for (int i = 0; i < table->nindexes; i++)
	{
		DirectIndex *index = &table->indexes[i];
		IndexWalk walk;

		if ((list != NULL && index->columns[0] != list->columns[source]) ||
			!is_page_order(scan, source, index, list == NULL ? 0 : 1))
			continue;
		prepare_walk(scan, &walk, source, index, list,
					 scan->request->descending ? BackwardScanDirection : ForwardScanDirection,
					 true);
		/* What a size class has is in order only once it is read as a whole. */
		walk.stands |= scan->request->order_by == COLUMN_JOBS_COUNT;
		/* A key range is started behind a key, and no comparison finds nulls there. */
		if ((!walk.stands || scan->request->after != NULL) &&
			(scan->after.isnull || !direct_is_not_null(table, index->columns[list != NULL])))
			continue;
		if (!found || is_better(&walk, &merge->walk))
			merge->walk = walk;
		found = true;
	}
	if (found)
		paths->nmerges++;
}

/* Merges of few key ranges come first. */
static int
compare_merges(const void *a, const void *b)
{
	const Merge *x = a;
	const Merge *y = b;
	/* A short list skips most of the index; a long one needs a descent for each value before the first row. */
	int64 x_rank = x->walk.list == NULL ? FEW_RANGES : x->walk.nranges;
	int64 y_rank = y->walk.list == NULL ? FEW_RANGES : y->walk.nranges;

	return x_rank < y_rank ? -1 : x_rank > y_rank;
}

static void
add_merges(DirectScan *scan, PathSet *paths)
{
	bool has_open = false;

	paths->merges = palloc(sizeof(Merge) * N_SOURCES * (scan->nquals + 2));
	for (int source = 0; source < count_sources(scan); source++)
	{
		add_merge(scan, paths, source, NULL);
		for (int i = 0; i < scan->nquals; i++)
		{
			Qual *qual = &scan->quals[i];

			has_open |= qual->columns[SOURCE_BATCH] == scan->columns[SOURCE_BATCH][COLUMN_OPEN];
			if (qual->has_list && qual->columns[source] != InvalidAttrNumber)
				add_merge(scan, paths, source, qual);
		}
	}
	if (scan->request->order_by == COLUMN_COMPLETE && !has_open &&
		direct_is_not_null(scan->tables[SOURCE_BATCH], scan->columns[SOURCE_BATCH][COLUMN_OPEN]))
	{
		Qual *qual = palloc(sizeof(Qual));
		Datum *both = palloc(sizeof(Datum) * 2);

		both[0] = BoolGetDatum(false);
		both[1] = BoolGetDatum(true);
		init_qual(qual, BOOLOID);
		qual->columns[SOURCE_BATCH] = scan->columns[SOURCE_BATCH][COLUMN_OPEN];
		restrict_to_list(qual, both, 2);
		add_merge(scan, paths, SOURCE_BATCH, qual);
	}
	qsort(paths->merges, paths->nmerges, sizeof(Merge), compare_merges);
	for (int i = 0; i < paths->nmerges; i++)
		merge_prepare(&paths->merges[i]);
}

/*
 * The qual on the projects of a viewer, if the request names users, devices, tags or batches
 * that are retried, and how long it takes could tell whether others have them; or NULL.
 */
static const Qual *
find_viewer_projects(const DirectScan *scan)
{
	const Qual *projects = NULL;
	bool has_names = false;

	for (int i = 0; i < scan->nquals && scan->request->is_for_viewer; i++)
	{
		const Qual *qual = &scan->quals[i];

		has_names |= qual->type == TEXTOID || qual->on_elements ||
					 qual->columns[SOURCE_BATCH] == scan->columns[SOURCE_BATCH][COLUMN_PARENT_ID];
		if (qual->columns[SOURCE_BATCH] == scan->columns[SOURCE_BATCH][COLUMN_PROJECT_ID])
			projects = qual;
	}
	return has_names ? projects : NULL;
}

/* Whether a path takes part by now: by its key ranges it reads the viewer's rows, or as many as ids are asked for. */
static bool
takes_part(const PathSet *paths, const IndexWalk *walk)
{
	return paths->viewer_projects == NULL ||
		   (walk->list != NULL && (walk->list == paths->viewer_projects || walk->index->is_key));
}

/* What opens a table or an index lets it be counted again. */
static void
hide_statistics(const DirectScan *scan)
{
	for (int i = 0; i < N_SOURCES; i++)
		if (scan->tables[i] != NULL)
			direct_hide_statistics(scan->tables[i]);
}

/* Whether the totals have few rows in the projects of the viewer. The first projects may have many already. */
static bool
counts_few_rows(const PathSet *paths)
{
	const Qual *projects = paths->viewer_projects;
	int64 nrows = 0;
	int n = 0;

	while (n < projects->nvalues && nrows <= FEW_OWN_ROWS)
	{
		n = Min(n == 0 ? FIRST_OWN_PROJECTS : n * 8, projects->nvalues);
		if (!count_projects(projects->values, n, &nrows))
			nrows = PG_INT64_MAX;
	}
	hide_statistics(paths->scan);
	return nrows <= FEW_OWN_ROWS;
}

/*
 * Whether there are few rows in the projects of the viewer. The statistics take a project that
 * is not common for as large as others, even if it is empty: so where they guess many, the
 * totals tell.
 */
static bool
sees_few_rows(const PathSet *paths)
{
	for (int i = 0; i < paths->ncollections; i++)
	{
		const IndexWalk *walk = &paths->collections[i].walk;
		double entries;

		if (walk->list != paths->viewer_projects)
			continue;
		entries = direct_entries(walk->table, walk->index);
		if (entries * estimate_share(walk->table, walk->list) <= FEW_OWN_ROWS)
			return true;
		if (entries * estimate_common_share(walk->table, walk->list) > FEW_OWN_ROWS)
			return false;
	}
	return counts_few_rows(paths);
}

/* Lets all paths take part once those by the viewer's projects have proved long. */
static void
admit_others(PathSet *paths, int64 work_limit)
{
	bool goes_on = false;

	if (paths->viewer_projects == NULL)
		return;
	for (int i = 0; i < paths->nmerges; i++)
		goes_on |= !paths->merges[i].gave_up && takes_part(paths, &paths->merges[i].walk);
	for (int i = 0; i < paths->ncollections; i++)
		goes_on |= !paths->collections[i].gave_up && takes_part(paths, &paths->collections[i].walk);
	if (!goes_on ||
		work_limit > LAST_OWN_TURN + paths->viewer_projects->nvalues * (int64) WORK_OWN_PROJECT ||
		(work_limit == SIZING_TURN && !sees_few_rows(paths)))
		paths->viewer_projects = NULL;
}

/* Finds the paths to a page, or to a count. */
void
paths_begin(PathSet *paths, DirectScan *scan, bool for_page)
{
	memset(paths, 0, sizeof(*paths));
	paths->scan = scan;
	paths->for_page = for_page;
	hide_statistics(scan);
	if (for_page)
		add_merges(scan, paths);
	add_collections(scan, paths, for_page);
	add_tags(scan, paths, for_page);
	paths->viewer_projects = find_viewer_projects(scan);
}

/* The least work that any other path than this one, a merge or a collection, has left. */
static int64
least_work_left(const PathSet *paths, const void *path)
{
	int64 least = NO_WORK_LIMIT;

	for (int i = 0; i < paths->nmerges; i++)
		if (&paths->merges[i] != path && takes_part(paths, &paths->merges[i].walk))
			least = Min(least, merge_work_left(&paths->merges[i]));
	for (int i = 0; i < paths->ncollections; i++)
		if (&paths->collections[i] != path && takes_part(paths, &paths->collections[i].walk))
			least = Min(least, collect_work_left(&paths->collections[i]));
	if (paths->tags != NULL && paths->tags != path && paths->viewer_projects == NULL)
		least = Min(least, collect_work_left(paths->tags));
	return least;
}

static void
report_walk(const PathSet *paths, const char *kind, Relation index, const IndexWalk *walk,
			bool gave_up, const char *outcome)
{
	if (gave_up)
		outcome = paths->scan->met_null ? "met a null" : "out of memory";
	report_path(paths->scan->report, paths->for_page, kind, RelationGetRelationName(index),
				walk->nranges, walk->work, outcome);
}

static void
report_merge(const PathSet *paths, const Merge *merge, const char *outcome)
{
	report_walk(paths, "merge", merge->walk.index->relation, &merge->walk, merge->gave_up, outcome);
}

static void
report_collection(const PathSet *paths, const Collection *collection, const char *outcome)
{
	report_walk(paths, "collection",
				collection->tags == NULL ? collection->walk.index->relation
										 : tag_walk_index(collection->tags),
				&collection->walk, collection->gave_up, outcome);
}

/*
 * Drops the collections that gave up, and those that fetch tuples and are known
 * to take more work than another path.
 */
static void
drop_collections(PathSet *paths)
{
	int64 least = NO_WORK_LIMIT;
	int n = 0;

	if (paths->viewer_projects != NULL)
		return;
	for (int i = 0; i < paths->nmerges; i++)
		if (!paths->merges[i].gave_up)
			least = Min(least, index_walk_whole_work(&paths->merges[i].walk));
	for (int i = 0; i < paths->ncollections; i++)
		if (!paths->collections[i].gave_up)
			least = Min(least, collect_is_known(&paths->collections[i])
								   ? paths->collections[i].known_work
							   : paths->collections[i].key == NULL
								   ? index_walk_whole_work(&paths->collections[i].walk)
								   : NO_WORK_LIMIT);
	for (int i = 0; i < paths->ncollections; i++)
	{
		Collection *collection = &paths->collections[i];

		if (!collection->gave_up &&
			(!collect_fetches(collection) || collect_work_found(collection) <= least))
			paths->collections[n++] = *collection;
		else
		{
			report_collection(paths, collection, "given up");
			collect_drop(collection);
		}
	}
	paths->ncollections = n;
}

/* Whether finding the key ranges alone takes more work than is allowed: then the path waits. */
static bool
is_too_early(const IndexWalk *walk, int64 work_limit)
{
	return walk->nranges * (int64) WORK_DESCENT > work_limit;
}

/*
 * How far a collection may go in a turn: less far if it is expected to take long, or if a
 * merge is near its end and the collection is not.
 */
static int64
collection_share(const PathSet *paths, const Collection *collection, int64 work_limit)
{
	if (collection->expected_work > PATIENCE * work_limit)
		return work_limit / (2 * PATIENCE);
	if (paths->nmerges == 0 ||
		(collection->expected_work > 0 && collection->expected_work <= work_limit))
		return work_limit;
	for (int i = 0; i < paths->nmerges; i++)
		if (takes_part(paths, &paths->merges[i].walk) &&
			merge_work_left(&paths->merges[i]) <= NEAR_END * work_limit)
			return work_limit / PATIENCE;
	return work_limit;
}

/* Whether a path with so much work left now runs to its end. */
static bool
is_time_to_finish(const PathSet *paths, const void *path, int64 left, int64 work_limit)
{
	return left <= work_limit ||
		   (left <= PATIENCE * work_limit && left <= least_work_left(paths, path));
}

/*
 * How far a path may go in its turn. Its work left is an estimate: it may be overrun by a
 * factor of two, then the other paths go on.
 */
static int64
turn_end(const PathSet *paths, const void *path, int64 done, int64 left, int64 work_limit)
{
	if (!is_time_to_finish(paths, path, left, work_limit))
		return work_limit;
	return Max(work_limit, Min(PATIENCE * work_limit, done + 2 * left));
}

/* Goes on with a merge; returns whether its page is complete. */
static bool
advance_merge(PathSet *paths, Merge *merge, int64 work_limit)
{
	int64 end = turn_end(paths, merge, merge->walk.work, merge_work_left(merge), work_limit);

	return takes_part(paths, &merge->walk) && !merge->gave_up && !is_too_early(&merge->walk, end) &&
		   merge_advance(merge, end);
}

/*
 * Makes room for what a collection keeps that now runs to its end, as it has the least work
 * left: if need be, at the cost of the others that fetch. Returns false if that is not enough.
 */
static bool
make_room_to_finish(PathSet *paths, Collection *collection)
{
	if (collect_reserve(collection))
		return true;
	for (int i = 0; i < paths->ncollections; i++)
		if (&paths->collections[i] != collection && collect_fetches(&paths->collections[i]))
			collect_yield(&paths->collections[i]);
	collection->gave_up = !collect_reserve(collection);
	return !collection->gave_up;
}

/* Goes on with a collection; returns whether it has all. */
static bool
advance_collection(PathSet *paths, Collection *collection, int64 work_limit)
{
	int64 share = collection_share(paths, collection, work_limit);
	int64 left = collect_work_left(collection);
	bool finishes = is_time_to_finish(paths, collection, left, work_limit);

	if (!takes_part(paths, &collection->walk) || collection->gave_up ||
		(!finishes && is_too_early(&collection->walk, share)))
		return false;
	if (finishes)
		share = turn_end(paths, collection, collection->walk.work, left, work_limit);
	if (!collect_fetches(collection))
		return collect_entries(collection, share);
	do
	{
		if (!collection->sized)
		{
			if (!collect_find(collection, share))
				return false;
			for (int i = 0; i < paths->ncollections; i++)
				if (&paths->collections[i] != collection)
					collect_narrow(collection, &paths->collections[i]);
			finishes =
				is_time_to_finish(paths, collection, collect_work_left(collection), work_limit);
		}
		if (finishes && make_room_to_finish(paths, collection) && collect_tuples(collection))
			return true;
	} while (finishes && !collection->gave_up);
	return false;
}

/* The same for the tags, which are found at once. */
static bool
advance_tags(PathSet *paths, int64 work_limit)
{
	TagWalk *tags = paths->tags->tags;

	if (!tag_walk_has_found(tags))
	{
		int64 work = tag_walk_find_work(tags);

		if (paths->tags->gave_up ||
			(work > work_limit &&
			 (work > PATIENCE * work_limit || work > least_work_left(paths, paths->tags))))
			return false;
		paths->tags->walk.work += work;
		if (!tag_walk_find(tags))
		{
			paths->tags->gave_up = true;
			return false;
		}
		use_tags(paths);
	}
	return !paths->tags->gave_up &&
		   is_time_to_finish(paths, paths->tags, collect_work_left(paths->tags), work_limit) &&
		   collect_tagged(paths->tags);
}

/* Goes on with the merges; returns one whose page is complete, or NULL. */
static Merge *
advance_merges(PathSet *paths, int64 work_limit)
{
	for (int i = 0; i < paths->nmerges; i++)
		if (advance_merge(paths, &paths->merges[i], work_limit))
			return &paths->merges[i];
	return NULL;
}

/* Goes on with the collections; returns one that has all, or NULL. */
static Collection *
advance_collections(PathSet *paths, int64 work_limit)
{
	for (int i = 0; i < paths->ncollections; i++)
		if (advance_collection(paths, &paths->collections[i], work_limit))
			return &paths->collections[i];
	if (paths->tags != NULL && paths->viewer_projects == NULL && advance_tags(paths, work_limit))
		return paths->tags;
	return NULL;
}

/* Whether any path can still win. */
static bool
goes_on(const PathSet *paths)
{
	bool goes_on = paths->ncollections > 0 || (paths->tags != NULL && !paths->tags->gave_up);

	for (int i = 0; i < paths->nmerges; i++)
		goes_on |= !paths->merges[i].gave_up;
	/* A count reads no ids. */
	return goes_on && !(paths->for_page && paths->scan->met_null);
}

/* Ends all paths but the winner. */
static void
end_others(PathSet *paths)
{
	static const char *const outcome = "behind";

	for (int i = 0; i < paths->nmerges; i++)
		if (&paths->merges[i] != paths->merge)
		{
			report_merge(paths, &paths->merges[i], outcome);
			index_walk_end(&paths->merges[i].walk);
		}
	for (int i = 0; i < paths->ncollections; i++)
		if (&paths->collections[i] != paths->collection)
		{
			report_collection(paths, &paths->collections[i], outcome);
			collect_drop(&paths->collections[i]);
		}
	if (paths->tags != NULL && paths->tags != paths->collection)
	{
		report_collection(paths, paths->tags, outcome);
		collect_drop(paths->tags);
	}
}

/*
 * Lets the paths take turns, until one has finished: a merge, or else a collection. The
 * turns grow, so that little is lost to the others where one of them needs little.
 * Returns false if all have given up.
 */
bool
paths_run(PathSet *paths)
{
	bool alone = paths->nmerges + paths->ncollections + (paths->tags != NULL) == 1;

	for (int64 limit = alone ? NO_WORK_LIMIT : FIRST_TURN; goes_on(paths);
		 limit = Min(limit * 2, NO_WORK_LIMIT))
	{
		admit_others(paths, limit);
		if (limit == ESTIMATING_TURN)
			for (int i = 0; i < paths->ncollections; i++)
				collect_estimate(&paths->collections[i]);
		if ((paths->merge = advance_merges(paths, limit)) != NULL ||
			(paths->collection = advance_collections(paths, limit)) != NULL)
			break;
		drop_collections(paths);
	}
	end_others(paths);
	return paths->merge != NULL || paths->collection != NULL;
}

/* The table whose tuples the winner has found */
Source
paths_source(const PathSet *paths)
{
	if (paths->merge != NULL)
		return paths->merge->walk.table->source;
	return paths->collection->fetch.table->source;
}

/* Ends the winner; what it has found stays. */
void
paths_end(PathSet *paths)
{
	if (paths->merge != NULL)
	{
		report_merge(paths, paths->merge, OUTCOME_WON);
		index_walk_end(&paths->merge->walk);
	}
	if (paths->collection != NULL)
	{
		report_collection(paths, paths->collection, OUTCOME_WON);
		collect_end(paths->collection);
	}
}
