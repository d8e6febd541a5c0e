/*
 * race.c
 *		Finds the ways to the rows of a request, and lets them race.
 *
 * A page comes from a merge or from a gather. A merge walks an index, or the streams
 * of one, in the order of the page, and stops when the page is full. A gather walks all
 * that a filter's index has for it, and sorts; if it has to fetch tuples, it leaves out
 * those that another one, which has found all of its own, has not found. Which is better
 * depends on how many rows the other filters leave, and no estimate of that can be relied
 * on. So the ways take turns, which become longer, and the first to finish has the page.
 * What is known of a way (what it has found so far, how much its index has, what the
 * statistics say) decides how much it may do before the others, but none is ever left
 * behind by more than a small multiple: that much of the best way's work a request costs
 * at most.
 *
 * A count is a race of gathers that keep nothing.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "race.h"

/* How much work each way does before it is the next one's turn, at first. */
#define FIRST_TURN 250
/* The turn that is long enough for asking the statistics before it. */
#define ESTIMATING_TURN (FIRST_TURN * 8)
/*
 * A way that is expected to be the best goes through to its end when the others have
 * each done one part in so many of the work that it has left; any other way, when they
 * have done as much.
 */
#define PATIENCE 4
/* A merge promises to finish soon when it has no more left than so many turns. */
#define PROMISING 16
/* With so few streams, a merge is likely to be the best. */
#define FEW_STREAMS 16

/* Whether a way by a walk is better than one by another that reads the same rows. */
static bool
is_better(const Walk *walk, const Walk *other)
{
	if (walk->needs_heap != other->needs_heap)
		return other->needs_heap;
	if (walk->nheap_conditions != other->nheap_conditions)
		return walk->nheap_conditions < other->nheap_conditions;
	return walk->index->width < other->index->width;
}

/* Whether a way by one table has to have something of the other one. */
static bool
needs_other_table(const IndexScan *scan, Source source, bool for_page)
{
	bool needs = for_page && scan->columns[source][scan->request->order_by] == InvalidAttrNumber;

	for (int i = 0; i < scan->nconditions; i++)
		needs |= scan->conditions[i].columns[source] == InvalidAttrNumber;
	return needs;
}

/*
 * Prepares a walk over an index of one of the tables, joined with the other one if that
 * has something that is asked for.
 */
static void
prepare_walk(IndexScan *scan, Walk *walk, Source source, DirectIndex *index, Condition *list,
			 ScanDirection direction, bool for_page)
{
	ColumnId order_by = scan->request->order_by;

	walk_init(walk, scan->tables[source], index, scan->conditions, scan->nconditions, list,
			  direction);
	if (for_page)
	{
		if (scan->columns[source][order_by] != InvalidAttrNumber)
			walk_need_column(walk, scan->columns[source][order_by]);
		walk_need_column(walk, scan->columns[source][COLUMN_ID]);
	}
	if (needs_other_table(scan, source, for_page) &&
		!(source == SOURCE_BATCH &&
		  walk_count_jobs(walk, scan->tables[SOURCE_JOB_COUNT], scan_key(scan, SOURCE_JOB_COUNT),
						  scan->size_class_column, scan->conditions, scan->nconditions)))
		walk_join(walk, new_join(scan, source));
}

/* The tables whose indexes are ways to the rows of a request */
static int
count_sources(const IndexScan *scan)
{
	return scan->uses_job_counts ? N_SOURCES : 1;
}

/* Lets a gather fetch batches, and check all conditions. */
static void
gather_from_batches(Gather *gather)
{
	IndexScan *scan = gather->scan;
	KeyJoin *join = NULL;

	gather->conditions = palloc(sizeof(Condition *) * (scan->nconditions + 1));
	for (int i = 0; i < scan->nconditions; i++)
		if (scan->conditions[i].columns[SOURCE_BATCH] != InvalidAttrNumber)
			gather->conditions[gather->nconditions++] = &scan->conditions[i];
	/* Who was found by the number of jobs need not be asked for it again, but as a key. */
	if (needs_other_table(scan, SOURCE_BATCH, gather->keeps) &&
		(gather->key == NULL || scan->request->order_by == COLUMN_JOBS_COUNT))
		join = new_join(scan, SOURCE_BATCH);
	fetch_init(&gather->fetch, scan->tables[SOURCE_BATCH], join, scan->snapshot);
}

/*
 * Adds a gather by a condition on the first column of an index of a table, or by a whole
 * index, of which a range makes the streams shorter, or none does.
 */
static void
add_gather(IndexScan *scan, Race *race, Source source, Condition *condition, const Condition *range,
		   bool keeps)
{
	Gather *gather = &race->gathers[race->ngathers];
	DirectTable *table = scan->tables[source];
	bool by_key = source == SOURCE_JOB_COUNT && needs_other_table(scan, source, keeps);
	bool found = false;

	/* What is asked for of the batches themselves is worth it for few of them, by their jobs. */
	if (by_key && (condition == NULL || condition->columns[SOURCE_BATCH] != InvalidAttrNumber))
		return;
	memset(gather, 0, sizeof(*gather));
	gather->scan = scan;
	gather->keeps = keeps;
	for (int i = 0; i < table->nindexes; i++)
	{
		DirectIndex *index = &table->indexes[i];
		Condition *list = condition != NULL && condition->has_list ? condition : NULL;
		Walk walk;

		if (condition != NULL && index->columns[0] != condition->columns[source])
			continue;
		if (by_key)
		{
			walk_init(&walk, table, index, scan->conditions, scan->nconditions, list,
					  NoMovementScanDirection);
			if (direct_position(index, scan->columns[source][COLUMN_PROJECT_ID]) == 0 ||
				direct_position(index, scan->columns[source][COLUMN_ID]) == 0)
				continue;
		}
		else
			prepare_walk(scan, &walk, source, index, list, NoMovementScanDirection, keeps);
		if (walk.range != range)
			continue;
		if (!found || is_better(&walk, &gather->walk))
			gather->walk = walk;
		found = true;
	}
	if (!found)
		return;
	if (by_key)
	{
		gather->key = scan_key(scan, SOURCE_BATCH);
		gather_from_batches(gather);
	}
	else
	{
		gather->conditions = gather->walk.heap_conditions;
		gather->nconditions = gather->walk.nheap_conditions;
		fetch_init(&gather->fetch, table, gather->walk.fetch.join, scan->snapshot);
	}
	/* Each value of a list has one entry, or few, in a unique index on its column. */
	if (gather->walk.needs_heap && gather->walk.list != NULL && gather->walk.index->is_key)
	{
		gather->sized = true;
		gather->known_work = gather->walk.nstreams * (int64) WORK_DESCENT +
							 fetch_work(&gather->fetch, gather->walk.nstreams,
										Min(gather->walk.nstreams, scan->nblocks));
	}
	race->ngathers++;
}

static void
add_gathers(IndexScan *scan, Race *race, bool keeps)
{
	bool reads_index_only = false;

	race->gathers =
		palloc(sizeof(Gather) * N_SOURCES * (scan->nconditions * (scan->nconditions + 1) + 1));
	for (int source = 0; source < count_sources(scan); source++)
		for (int i = 0; i < scan->nconditions; i++)
		{
			Condition *condition = &scan->conditions[i];

			if (condition->has_element || condition->columns[source] == InvalidAttrNumber)
				continue;
			add_gather(scan, race, source, condition, NULL, keeps);
			for (int j = 0; j < scan->nconditions; j++)
				add_gather(scan, race, source, condition, &scan->conditions[j], keeps);
		}
	for (int i = 0; i < race->ngathers; i++)
		reads_index_only |= !gather_fetches(&race->gathers[i]);

	/* A whole index has more entries than a part: it is worth it if it saves fetching. */
	if (!reads_index_only)
	{
		int parts = race->ngathers;

		add_gather(scan, race, SOURCE_BATCH, NULL, NULL, keeps);
		if (parts > 0 && race->ngathers > parts && race->gathers[parts].walk.needs_heap)
			race->ngathers = parts;
	}
}

/* Lets every way tell a tag without fetching. */
static void
use_tags(Race *race)
{
	TagWalk *tags = race->tags->tags;

	if (!tag_walk_is_exact(tags))
		return;
	for (int i = 0; i < race->nmerges; i++)
		if (race->merges[i].walk.table->source == SOURCE_BATCH)
			walk_use_tags(&race->merges[i].walk, tags);
	for (int i = 0; i < race->ngathers; i++)
		if (race->gathers[i].walk.table->source == SOURCE_BATCH)
			gather_use_tags(&race->gathers[i], tags);
}

/* Adds a gather by an index on the tags. */
static void
add_tags(IndexScan *scan, Race *race, bool keeps)
{
	Gather *gather;

	for (int i = 0; i < scan->nconditions && scan->tags == NULL; i++)
		if (scan->conditions[i].has_element)
			scan->tags = tag_walk_init(scan->tables[SOURCE_BATCH], &scan->conditions[i]);
	if (scan->tags == NULL)
		return;
	gather = palloc0(sizeof(Gather));
	gather->scan = scan;
	gather->keeps = keeps;
	gather->tags = scan->tags;
	gather_from_batches(gather);
	race->tags = gather;
	if (tag_walk_has_found(scan->tags))
		use_tags(race);
}

/* Whether a stream of an index of a table, from a column on, is in the order of the page. */
static bool
is_page_order(IndexScan *scan, Source source, const DirectIndex *index, int column)
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
		/* The streams have one key each. */
		return column < index->nkeys && index->columns[column] == id;
	/* The order of "complete" goes against that of "open", and along that of "id". */
	if (scan->request->order_by == COLUMN_COMPLETE)
		return false;
	if (column >= index->nkeys || index->columns[column] != key)
		return false;
	return key == id || (column + 1 < index->nkeys && index->columns[column + 1] == id);
}

/* Adds a merge of the streams that a list makes of a table's index, or of the single one without. */
static void
add_merge(IndexScan *scan, Race *race, Source source, Condition *list)
{
	Merge *merge = &race->merges[race->nmerges];
	DirectTable *table = scan->tables[source];
	bool found = false;

	memset(merge, 0, sizeof(*merge));
	merge->scan = scan;
	for (int i = 0; i < table->nindexes; i++)
	{
		DirectIndex *index = &table->indexes[i];
		Walk walk;

		if ((list != NULL && index->columns[0] != list->columns[source]) ||
			!is_page_order(scan, source, index, list == NULL ? 0 : 1))
			continue;
		/* Streams are resumed after a key, and nulls are not behind any. */
		if (list != NULL && list->nvalues > 1 && !direct_is_not_null(table, index->columns[1]))
			continue;
		prepare_walk(scan, &walk, source, index, list,
					 scan->request->descending ? BackwardScanDirection : ForwardScanDirection,
					 true);
		if (!found || is_better(&walk, &merge->walk))
			merge->walk = walk;
		found = true;
	}
	if (found)
		race->nmerges++;
}

/* The order in which the merges have their first turn. */
static int
compare_merges(const void *a, const void *b)
{
	const Merge *x = a;
	const Merge *y = b;
	/* A list with few values leaves out rows; one with many takes long to begin. */
	int x_rank = x->walk.list == NULL ? FEW_STREAMS : x->walk.nstreams;
	int y_rank = y->walk.list == NULL ? FEW_STREAMS : y->walk.nstreams;

	return x_rank - y_rank;
}

static void
add_merges(IndexScan *scan, Race *race)
{
	bool has_open = false;

	race->merges = palloc(sizeof(Merge) * N_SOURCES * (scan->nconditions + 2));
	for (int source = 0; source < count_sources(scan); source++)
	{
		add_merge(scan, race, source, NULL);
		for (int i = 0; i < scan->nconditions; i++)
		{
			Condition *condition = &scan->conditions[i];

			has_open |=
				condition->columns[SOURCE_BATCH] == scan->columns[SOURCE_BATCH][COLUMN_OPEN];
			if (condition->has_list && condition->columns[source] != InvalidAttrNumber)
				add_merge(scan, race, source, condition);
		}
	}
	if (scan->request->order_by == COLUMN_COMPLETE && !has_open)
	{
		Condition *condition = palloc(sizeof(Condition));
		Datum *both = palloc(sizeof(Datum) * 2);

		both[0] = BoolGetDatum(false);
		both[1] = BoolGetDatum(true);
		init_condition(condition, BOOLOID);
		condition->columns[SOURCE_BATCH] = scan->columns[SOURCE_BATCH][COLUMN_OPEN];
		restrict_to_list(condition, both, 2);
		add_merge(scan, race, SOURCE_BATCH, condition);
	}
	qsort(race->merges, race->nmerges, sizeof(Merge), compare_merges);
	for (int i = 0; i < race->nmerges; i++)
		merge_prepare(&race->merges[i]);
}

/* Finds the ways to a page, or to a count. */
void
race_begin(Race *race, IndexScan *scan, bool for_page)
{
	memset(race, 0, sizeof(*race));
	if (for_page)
		add_merges(scan, race);
	add_gathers(scan, race, for_page);
	add_tags(scan, race, for_page);
}

/* The least work that any other way than this one, a merge or a gather, has left. */
static int64
least_work_left(const Race *race, const void *way)
{
	int64 least = NO_WORK_LIMIT;

	for (int i = 0; i < race->nmerges; i++)
		if (&race->merges[i] != way)
			least = Min(least, merge_work_left(&race->merges[i]));
	for (int i = 0; i < race->ngathers; i++)
		if (&race->gathers[i] != way)
			least = Min(least, gather_work_left(&race->gathers[i]));
	if (race->tags != NULL && race->tags != way)
		least = Min(least, gather_work_left(race->tags));
	return least;
}

/*
 * Drops the gathers that gave up, and of those that fetch the ones that are known to take
 * more work than another way.
 */
static void
drop_gathers(Race *race)
{
	int64 least = NO_WORK_LIMIT;
	int n = 0;

	for (int i = 0; i < race->nmerges; i++)
		if (!race->merges[i].gave_up)
			least = Min(least, walk_whole_work(&race->merges[i].walk));
	for (int i = 0; i < race->ngathers; i++)
		least = Min(least, gather_is_known(&race->gathers[i]) ? race->gathers[i].known_work
						   : race->gathers[i].key == NULL ? walk_whole_work(&race->gathers[i].walk)
														  : NO_WORK_LIMIT);
	for (int i = 0; i < race->ngathers; i++)
	{
		Gather *gather = &race->gathers[i];

		if (!gather->gave_up && (!gather_fetches(gather) || gather_work_found(gather) <= least))
			race->gathers[n++] = *gather;
		else
			gather_drop(gather);
	}
	race->ngathers = n;
}

/* A walk that cannot be over by then does as well to wait. */
static bool
is_too_early(const Walk *walk, int64 work_limit)
{
	return walk->nstreams * (int64) WORK_DESCENT > work_limit;
}

/*
 * What a gather does in a turn: less if it is expected to take long, and beside a merge
 * that promises to finish soon, unless it is expected to know now what it has left.
 */
static int64
gather_share(const Race *race, const Gather *gather, int64 work_limit)
{
	if (gather->expected_work > PATIENCE * work_limit)
		return work_limit / (2 * PATIENCE);
	if (race->nmerges == 0 || (gather->expected_work > 0 && gather->expected_work <= work_limit))
		return work_limit;
	for (int i = 0; i < race->nmerges; i++)
		if (merge_work_left(&race->merges[i]) <= PROMISING * work_limit)
			return work_limit / PATIENCE;
	return work_limit;
}

/* Whether it is the turn of a way with so much left to go through to its end. */
static bool
is_time_to_finish(const Race *race, const void *way, int64 left, int64 work_limit)
{
	return left <= work_limit ||
		   (left <= PATIENCE * work_limit && left <= least_work_left(race, way));
}

/*
 * How far a way that has done some work may go in its turn. What it has left is a guess:
 * it has to give way again where that was much too low.
 */
static int64
turn_end(const Race *race, const void *way, int64 done, int64 left, int64 work_limit)
{
	if (!is_time_to_finish(race, way, left, work_limit))
		return work_limit;
	return Max(work_limit, Min(PATIENCE * work_limit, done + 2 * left));
}

/* Goes on with a merge; returns whether its page is complete. */
static bool
advance_merge(Race *race, Merge *merge, int64 work_limit)
{
	int64 end = turn_end(race, merge, merge->walk.work, merge_work_left(merge), work_limit);

	return !merge->gave_up && !is_too_early(&merge->walk, end) && merge_advance(merge, end);
}

/* Goes on with a gather; returns whether it has all. */
static bool
advance_gather(Race *race, Gather *gather, int64 work_limit)
{
	int64 share = gather_share(race, gather, work_limit);
	int64 left = gather_work_left(gather);
	bool finishes = is_time_to_finish(race, gather, left, work_limit);

	if (gather->gave_up || (!finishes && is_too_early(&gather->walk, share)))
		return false;
	if (!gather_fetches(gather))
		return gather_entries(
			gather, finishes ? turn_end(race, gather, gather->walk.work, left, work_limit) : share);
	do
	{
		if (!gather->sized)
		{
			if (!gather_find(gather, share))
				return false;
			for (int i = 0; i < race->ngathers; i++)
				if (&race->gathers[i] != gather)
					gather_narrow(gather, &race->gathers[i]);
			finishes = is_time_to_finish(race, gather, gather_work_left(gather), work_limit);
		}
		if (finishes && gather_tuples(gather))
			return true;
	} while (finishes && !gather->gave_up);
	return false;
}

/* The same for the tags, which are found at once. */
static bool
advance_tags(Race *race, int64 work_limit)
{
	TagWalk *tags = race->tags->tags;

	if (!tag_walk_has_found(tags))
	{
		int64 work = tag_walk_find_work(tags);

		if (work > work_limit &&
			(work > PATIENCE * work_limit || work > least_work_left(race, race->tags)))
			return false;
		tag_walk_find(tags);
		use_tags(race);
	}
	return !race->tags->gave_up &&
		   is_time_to_finish(race, race->tags, gather_work_left(race->tags), work_limit) &&
		   gather_tagged(race->tags);
}

/* Goes on with the merges; returns one whose page is complete, or NULL. */
static Merge *
advance_merges(Race *race, int64 work_limit)
{
	for (int i = 0; i < race->nmerges; i++)
		if (advance_merge(race, &race->merges[i], work_limit))
			return &race->merges[i];
	return NULL;
}

/*
 * Goes on with the gathers, or only with those whose turn it is to go through to their
 * ends; returns one that has all, or NULL.
 */
static Gather *
advance_gathers(Race *race, bool finishing, int64 work_limit)
{
	for (int i = 0; i < race->ngathers; i++)
	{
		Gather *gather = &race->gathers[i];

		if ((!finishing || is_time_to_finish(race, gather, gather_work_left(gather), work_limit)) &&
			advance_gather(race, gather, work_limit))
			return gather;
	}
	if (race->tags != NULL &&
		(!finishing ||
		 is_time_to_finish(race, race->tags, gather_work_left(race->tags), work_limit)) &&
		advance_tags(race, work_limit))
		return race->tags;
	return NULL;
}

/* Whether any way is still in the race. */
static bool
goes_on(const Race *race)
{
	bool goes_on = race->ngathers > 0 || (race->tags != NULL && !race->tags->gave_up);

	for (int i = 0; i < race->nmerges; i++)
		goes_on |= !race->merges[i].gave_up;
	return goes_on;
}

/* Ends all ways but the winner. */
static void
end_others(Race *race)
{
	for (int i = 0; i < race->nmerges; i++)
		if (&race->merges[i] != race->merge)
			walk_end(&race->merges[i].walk);
	for (int i = 0; i < race->ngathers; i++)
		if (&race->gathers[i] != race->gather)
			gather_drop(&race->gathers[i]);
	if (race->tags != NULL && race->tags != race->gather)
		gather_drop(race->tags);
}

/*
 * Lets the ways take turns, until one has finished: a merge, or else a gather. The
 * turns grow, so that little is lost to the others where one of them needs little.
 * Returns false if all have given up.
 */
bool
race_run(Race *race)
{
	bool alone = race->nmerges + race->ngathers + (race->tags != NULL) == 1;

	for (int64 limit = alone ? NO_WORK_LIMIT : FIRST_TURN; goes_on(race);
		 limit = Min(limit * 2, NO_WORK_LIMIT))
	{
		if (limit == ESTIMATING_TURN)
			for (int i = 0; i < race->ngathers; i++)
				gather_estimate(&race->gathers[i]);
		if ((race->gather = advance_gathers(race, true, limit)) != NULL ||
			(race->merge = advance_merges(race, limit)) != NULL ||
			(race->gather = advance_gathers(race, false, limit)) != NULL)
			break;
		drop_gathers(race);
	}
	end_others(race);
	return race->merge != NULL || race->gather != NULL;
}

/* The table whose tuples the winner has found */
Source
race_source(const Race *race)
{
	if (race->merge != NULL)
		return race->merge->walk.table->source;
	return race->gather->fetch.table->source;
}

/* Ends the winner; what it has found stays. */
void
race_end(Race *race)
{
	if (race->merge != NULL)
		walk_end(&race->merge->walk);
	if (race->gather != NULL)
		gather_end(race->gather);
}
