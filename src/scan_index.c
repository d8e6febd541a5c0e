/*
 * scan_index.c
 *		Reads batches by walks over indexes, without planner and executor.
 *
 * A page comes from a merge or from a gather. A merge walks an index, or the
 * streams of one, in the order of the page, and stops when the page is full. A
 * gather walks all that a filter's index has for it, and sorts. Which is better
 * depends on how many rows the other filters leave, and no estimate of that can be
 * relied on: so the ways to the page take turns, each with the same amount of
 * work, and the first to finish has the page. That costs no more than a small
 * multiple of the best way. Gathers that have to fetch tuples find out first how
 * many each would fetch, which is much cheaper; only the best of them goes on.
 *
 * A count is a gather that keeps nothing.
 */
#include "postgres.h"
#include "compat.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "batches.h"
#include "estimate.h"
#include "scan_index.h"
#include "tag_walk.h"
#include "walk.h"

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
#define NO_WORK_LIMIT (PG_INT64_MAX / (2 * PROMISING))
/* With so few streams, a merge is likely to be the best. */
#define FEW_STREAMS 16
#define MAX_STREAM_READ 1024

/* Which rows row-level security lets a member see; create_tables() makes these policies. */
#define BATCH_POLICY                                                                               \
	"project_id operator(pg_catalog.=) any (array(select m.project_id from " BATCHES_SCHEMA        \
	".project_member m where m.user_id operator(pg_catalog.=) (select " BATCHES_SCHEMA             \
	".current_user_id())))"
#define PROJECT_MEMBER_POLICY                                                                      \
	"user_id operator(pg_catalog.=) (select " BATCHES_SCHEMA ".current_user_id())"

/* A row of the page to be, as far as ordering it takes. */
typedef struct Match
{
	Datum key; /* in the order column */
	bool isnull;
	pg_uuid_t id;
	ItemPointerData tid;
} Match;

struct IndexScan
{
	const Request *request;
	DirectTable *table;
	BlockNumber nblocks; /* of the table */
	Snapshot snapshot;
	MemoryContext context;
	AttrNumber columns[N_COLUMNS]; /* of the table, by ColumnId */
	AttrNumber job_columns[N_JOB_STATUSES];
	bool matches_nothing;
	int nconditions;
	Condition conditions[N_FILTERS];
	TagWalk *tags; /* what has the wanted tag, by an index on the tags; or NULL */
	int64 wanted;  /* rows from the first one to the end of the page */
	int64 total;   /* once it is known; or -1 */
	bool key_byval;
	int16 key_length;
	SortSupportData key_order;
	SortSupportData id_order;
};

/* What is read of a stream and not yet merged */
typedef struct Stream
{
	Match *matches;
	int nmatches;
	int next;
	int size; /* how many to read at once */
	bool ended;
	bool resumes; /* after last */
	Match last;
} Stream;

typedef struct Merge
{
	IndexScan *scan;
	Walk walk;
	Stream *streams;
	int nstarted;
	int reading; /* a stream, or -1 */
	int64 nread; /* matches */
	binaryheap *heap;
	int64 skipped;
	ItemPointerData *tids; /* of the page */
	int64 ntids;
	int64 size;
} Merge;

typedef struct Gather
{
	IndexScan *scan;
	bool keeps; /* the matches; else they are counted */
	Walk walk;
	int stream;
	bool started;  /* the stream */
	TagWalk *tags; /* instead of the walk, or NULL */

	/* If it has to fetch tuples: where they are, found before any is fetched */
	ItemPointerData *tids;
	int64 ntids;
	int64 tids_size;
	bool sized; /* all are found, or as many as there is memory for, or their number is known */
	int64 known_work;
	int64 expected_work; /* of walking; 0: not asked for */
	Fetch fetch;

	int64 count;
	Match *matches;
	int64 nmatches;
	int64 size;
	bool full; /* the last one wanted is at wanted - 1 */
} Gather;

typedef struct Race
{
	Merge *merges;
	int nmerges;
	Gather *gathers;
	int ngathers;
	Gather *tags; /* or NULL */
} Race;

/*
 * Matches
 */

static int
compare_matches(IndexScan *scan, const Match *a, const Match *b)
{
	int order = ApplySortComparator(a->key, a->isnull, b->key, b->isnull, &scan->key_order);

	if (order != 0)
		return order;
	return ApplySortComparator(UUIDPGetDatum(&a->id), false, UUIDPGetDatum(&b->id), false,
							   &scan->id_order);
}

static int
compare_matches_arg(const void *a, const void *b, void *scan)
{
	return compare_matches(scan, a, b);
}

/* The value of a column in the last match of a gather. */
static Datum
gathered_value(Gather *gather, AttrNumber column, bool *isnull)
{
	if (gather->tags != NULL || gather->walk.needs_heap)
		return slot_getattr(gather->fetch.slot, column, isnull);
	return walk_value(&gather->walk, column, isnull);
}

static void
set_match(IndexScan *scan, Match *match, Datum key, bool isnull, Datum id, ItemPointer tid)
{
	match->key = key;
	match->isnull = isnull;
	if (scan->request->order_by == COLUMN_COMPLETE && !isnull)
		match->key = BoolGetDatum(!DatumGetBool(key));
	match->id = *DatumGetUUIDP(id);
	match->tid = *tid;
}

static int
compare_tids(const ItemPointerData *a, const ItemPointerData *b)
{
	return ItemPointerCompare(unconstify(ItemPointerData *, a), unconstify(ItemPointerData *, b));
}

#define ST_SORT sort_tids
#define ST_ELEMENT_TYPE ItemPointerData
#define ST_COMPARE(a, b) compare_tids(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static void
keep_key(IndexScan *scan, Match *match)
{
	if (!match->isnull)
		match->key = datumCopy(match->key, scan->key_byval, scan->key_length);
}

static void
free_key(IndexScan *scan, Match *match)
{
	if (!match->isnull && !scan->key_byval)
		pfree(DatumGetPointer(match->key));
}

/*
 * Merges
 */

static int
compare_streams(Datum a, Datum b, void *arg)
{
	Merge *merge = arg;
	Stream *x = &merge->streams[DatumGetInt32(a)];
	Stream *y = &merge->streams[DatumGetInt32(b)];

	/* The heap has the largest first. */
	return -compare_matches(merge->scan, &x->matches[x->next], &y->matches[y->next]);
}

/* Begins to read more of a stream. */
static void
read_stream(Merge *merge, int i)
{
	Stream *stream = &merge->streams[i];
	Match *last;

	merge->reading = i;
	if (stream->matches == NULL)
	{
		walk_start_stream(&merge->walk, i);
		stream->matches = palloc(sizeof(Match) * stream->size);
		return;
	}

	/* All of it was taken. */
	last = &stream->matches[stream->nmatches - 1];
	for (int j = 0; j < stream->nmatches - 1; j++)
		free_key(merge->scan, &stream->matches[j]);
	if (stream->resumes)
		free_key(merge->scan, &stream->last);
	stream->last = *last;
	stream->resumes = true;
	stream->next = 0;
	stream->nmatches = 0;
	if (merge->walk.nstreams == 1)
		return; /* The walk stands where it stopped. */

	if (merge->walk.index->columns[1] != merge->scan->columns[merge->scan->request->order_by])
		walk_resume_stream(&merge->walk, i, UUIDPGetDatum(&stream->last.id));
	else
		walk_resume_stream(&merge->walk, i, stream->last.key);
}

static void
add_to_stream(Merge *merge, Stream *stream, Match *match)
{
	if (stream->nmatches >= stream->size)
	{
		stream->size *= 2;
		stream->matches = repalloc_huge(stream->matches, sizeof(Match) * stream->size);
	}
	keep_key(merge->scan, match);
	stream->matches[stream->nmatches++] = *match;
	merge->nread++;
}

/*
 * Goes on reading a stream until it has as many matches as it should; returns
 * whether it has. One of several streams is read to where the key changes, as it
 * is resumed after a key.
 */
static bool
fill_stream(Merge *merge, int64 work_limit)
{
	IndexScan *scan = merge->scan;
	Walk *walk = &merge->walk;
	Stream *stream = &merge->streams[merge->reading];
	int enough = stream->size;

	for (;;)
	{
		Match match;
		bool isnull;
		bool id_isnull;
		Datum key;
		Datum id;
		WalkResult result = walk_next(walk, work_limit);

		if (result == WALK_PAUSED)
			return false;
		if (result == WALK_END)
		{
			stream->ended = true;
			return true;
		}
		key = walk_value(walk, scan->columns[scan->request->order_by], &isnull);
		id = walk_value(walk, scan->columns[COLUMN_ID], &id_isnull);
		set_match(scan, &match, key, isnull, id, &walk->tid);
		if (walk->nstreams == 1)
		{
			add_to_stream(merge, stream, &match);
			if (stream->nmatches == enough)
				return true;
			continue;
		}
		if (stream->resumes && compare_matches(scan, &match, &stream->last) <= 0)
			continue;
		if (stream->nmatches >= enough &&
			compare_matches(scan, &match, &stream->matches[stream->nmatches - 1]) != 0)
			return true;
		add_to_stream(merge, stream, &match);
	}
}

static void
add_tid(Merge *merge, ItemPointer tid)
{
	if (merge->ntids >= merge->size)
	{
		merge->size *= 2;
		merge->tids = repalloc_huge(merge->tids, sizeof(ItemPointerData) * merge->size);
	}
	merge->tids[merge->ntids++] = *tid;
}

/* Returns whether the page is complete. */
static bool
advance_merge(Merge *merge, int64 work_limit)
{
	const Request *request = merge->scan->request;

	for (;;)
	{
		int i;
		Stream *stream;

		if (merge->reading < 0 && merge->nstarted < merge->walk.nstreams)
			read_stream(merge, merge->nstarted++);
		if (merge->reading >= 0)
		{
			if (!fill_stream(merge, work_limit))
				return false;
			stream = &merge->streams[merge->reading];
			if (stream->nmatches > 0)
				binaryheap_add(merge->heap, Int32GetDatum(merge->reading));
			merge->reading = -1;
			continue;
		}

		if (binaryheap_empty(merge->heap))
			return true;
		i = DatumGetInt32(binaryheap_first(merge->heap));
		stream = &merge->streams[i];
		if (merge->skipped < request->offset)
			merge->skipped++;
		else
			add_tid(merge, &stream->matches[stream->next].tid);
		if (merge->ntids == request->limit)
			return true;
		if (++stream->next < stream->nmatches)
			binaryheap_replace_first(merge->heap, Int32GetDatum(i));
		else
		{
			binaryheap_remove_first(merge->heap);
			if (!stream->ended)
			{
				if (stream->size < MAX_STREAM_READ)
				{
					stream->size *= 2;
					stream->matches = repalloc(stream->matches, sizeof(Match) * stream->size);
				}
				read_stream(merge, i);
			}
		}
	}
}

static void
prepare_merge(Merge *merge)
{
	int nstreams = merge->walk.nstreams;
	int64 share = merge->scan->wanted / nstreams;
	int size = Min(share, MAX_STREAM_READ / 4);

	merge->walk.resumable = nstreams > 1;
	merge->streams = palloc_extended(sizeof(Stream) * nstreams, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < nstreams; i++)
		merge->streams[i].size = Max(size, 1);
	merge->heap = binaryheap_allocate(nstreams, compare_streams, merge);
	merge->reading = -1;
	merge->size = 128;
	merge->tids = palloc(sizeof(ItemPointerData) * merge->size);
}

/*
 * Gathers
 */

/* Sorts the matches, and drops those behind the page. */
static void
sort_matches(Gather *gather)
{
	IndexScan *scan = gather->scan;

	qsort_arg(gather->matches, gather->nmatches, sizeof(Match), compare_matches_arg, scan);
	while (gather->nmatches > scan->wanted)
		free_key(scan, &gather->matches[--gather->nmatches]);
	gather->full = gather->nmatches == scan->wanted;
}

static void
keep_match(Gather *gather, ItemPointer tid)
{
	IndexScan *scan = gather->scan;
	bool isnull;
	bool id_isnull;
	Datum key = gathered_value(gather, scan->columns[scan->request->order_by], &isnull);
	Datum id = gathered_value(gather, scan->columns[COLUMN_ID], &id_isnull);
	Match match;

	set_match(scan, &match, key, isnull, id, tid);
	if (gather->full && compare_matches(scan, &match, &gather->matches[scan->wanted - 1]) >= 0)
		return;
	if (gather->nmatches >= gather->size)
	{
		if (gather->nmatches / 2 >= scan->wanted)
			sort_matches(gather);
		else
		{
			gather->size = gather->size == 0 ? 256 : gather->size * 2;
			if (gather->matches == NULL)
				gather->matches = palloc(sizeof(Match) * gather->size);
			else
				gather->matches = repalloc_huge(gather->matches, sizeof(Match) * gather->size);
		}
	}
	keep_key(scan, &match);
	gather->matches[gather->nmatches++] = match;
}

static void
take_match(Gather *gather, ItemPointer tid)
{
	gather->count++;
	if (gather->keeps)
		keep_match(gather, tid);
}

/* Goes on with a gather that need not fetch. Returns whether all is gathered. */
static bool
gather_entries(Gather *gather, int64 work_limit)
{
	Walk *walk = &gather->walk;

	while (gather->stream < walk->nstreams)
	{
		if (!gather->started)
			walk_start_stream(walk, gather->stream);
		gather->started = true;
		switch (walk_next(walk, work_limit))
		{
			case WALK_PAUSED:
				return false;
			case WALK_END:
				gather->stream++;
				gather->started = false;
				break;
			case WALK_MATCH:
				take_match(gather, &walk->tid);
				break;
		}
	}
	return true;
}

/*
 * Finds out where the tuples are that have to be fetched. Returns whether all are
 * found, or as many as there is memory for.
 */
static bool
find_tids(Gather *gather, int64 work_limit)
{
	const int64 most = work_mem * INT64CONST(1024) / sizeof(ItemPointerData);
	Walk *walk = &gather->walk;

	while (gather->stream < walk->nstreams && gather->ntids < most)
	{
		if (!gather->started)
			walk_start_stream(walk, gather->stream);
		gather->started = true;
		switch (walk_next_entry(walk, work_limit))
		{
			case WALK_PAUSED:
				return false;
			case WALK_END:
				gather->stream++;
				gather->started = false;
				break;
			case WALK_MATCH:
				if (gather->ntids == gather->tids_size)
				{
					gather->tids_size = gather->tids_size == 0 ? 256 : gather->tids_size * 2;
					gather->tids = gather->tids == NULL
									   ? palloc(sizeof(ItemPointerData) * gather->tids_size)
									   : repalloc_huge(gather->tids,
													   sizeof(ItemPointerData) * gather->tids_size);
				}
				gather->tids[gather->ntids++] = walk->tid;
				break;
		}
	}
	return true;
}

static void
fetch_tid(Gather *gather, ItemPointer tid, Condition **conditions, int nconditions)
{
	CHECK_FOR_INTERRUPTS();
	if (fetch_match(&gather->fetch, tid, conditions, nconditions))
		take_match(gather, tid);
}

/* Fetches all, each page of the table once for as many tuples as were found together. */
static void
gather_tuples(Gather *gather)
{
	Walk *walk = &gather->walk;

	do
	{
		find_tids(gather, NO_WORK_LIMIT);
		sort_tids(gather->tids, gather->ntids);
		for (int64 i = 0; i < gather->ntids; i++)
			if (walk->tags == NULL || tag_walk_has(walk->tags, &gather->tids[i]))
				fetch_tid(gather, &gather->tids[i], walk->heap_conditions, walk->nheap_conditions);
		gather->ntids = 0;
	} while (gather->stream < walk->nstreams);
}

static void
end_gather(Gather *gather)
{
	walk_end(&gather->walk);
	fetch_end(&gather->fetch);
}

/* Fetches all that may have the tag. */
static void
gather_tagged(Gather *gather)
{
	IndexScan *scan = gather->scan;
	Condition *conditions[N_FILTERS];
	ItemPointerData tid;

	for (int i = 0; i < scan->nconditions; i++)
		conditions[i] = &scan->conditions[i];
	tag_walk_rewind(gather->tags);
	while (tag_walk_next(gather->tags, &tid))
		fetch_tid(gather, &tid, conditions, scan->nconditions);
}

/*
 * Which ways there are
 */

/* The work of fetching so many tuples in their order: they are on one page each at most. */
static int64
fetch_work(const IndexScan *scan, int64 ntuples)
{
	return ntuples * WORK_TUPLE + Min(ntuples, scan->nblocks) * WORK_BLOCK;
}

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

/*
 * Adds a gather by a condition on the first column of an index, or by a whole index, of
 * which a range makes the streams shorter, or none does.
 */
static void
add_gather(IndexScan *scan, Race *race, Condition *condition, const Condition *range, bool keeps)
{
	Gather *gather = &race->gathers[race->ngathers];
	bool found = false;

	memset(gather, 0, sizeof(*gather));
	gather->scan = scan;
	gather->keeps = keeps;
	fetch_init(&gather->fetch, scan->table->relation, scan->snapshot);
	for (int i = 0; i < scan->table->nindexes; i++)
	{
		DirectIndex *index = &scan->table->indexes[i];
		Walk walk;

		if (condition != NULL && index->columns[0] != condition->column)
			continue;
		walk_init(&walk, scan->table, index, scan->conditions, scan->nconditions,
				  condition != NULL && condition->has_list ? condition : NULL,
				  NoMovementScanDirection);
		if (walk.range != range)
			continue;
		if (keeps)
		{
			walk_need_column(&walk, scan->columns[scan->request->order_by]);
			walk_need_column(&walk, scan->columns[COLUMN_ID]);
		}
		if (!found || is_better(&walk, &gather->walk))
			gather->walk = walk;
		found = true;
	}
	if (!found)
		return;
	/* Each value of a list has one entry at most in a unique index on its column. */
	if (gather->walk.needs_heap && gather->walk.list != NULL && gather->walk.index->is_key)
	{
		gather->sized = true;
		gather->known_work =
			gather->walk.nstreams * (int64) WORK_DESCENT + fetch_work(scan, gather->walk.nstreams);
	}
	race->ngathers++;
}

static void
add_gathers(IndexScan *scan, Race *race, bool keeps)
{
	bool reads_index_only = false;

	race->gathers = palloc(sizeof(Gather) * (scan->nconditions * (scan->nconditions + 1) + 1));
	for (int i = 0; i < scan->nconditions; i++)
	{
		if (scan->conditions[i].has_element)
			continue;
		add_gather(scan, race, &scan->conditions[i], NULL, keeps);
		for (int j = 0; j < scan->nconditions; j++)
			add_gather(scan, race, &scan->conditions[i], &scan->conditions[j], keeps);
	}
	for (int i = 0; i < race->ngathers; i++)
		reads_index_only |= !race->gathers[i].walk.needs_heap;

	/* A whole index has more entries than a part: it is worth it if it saves fetching. */
	if (!reads_index_only)
	{
		add_gather(scan, race, NULL, NULL, keeps);
		if (race->ngathers > 1 && race->gathers[race->ngathers - 1].walk.needs_heap)
			race->ngathers--;
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
		walk_use_tags(&race->merges[i].walk, tags);
	for (int i = 0; i < race->ngathers; i++)
	{
		Gather *gather = &race->gathers[i];

		bool fetches = gather->walk.needs_heap;

		walk_use_tags(&gather->walk, tags);
		if (!fetches || gather->walk.needs_heap)
			continue;
		/* It need not fetch any more. */
		gather->stream = 0;
		gather->started = false;
		gather->walk.work = 0;
	}
}

/* Adds a gather by an index on the tags. */
static void
add_tags(IndexScan *scan, Race *race, bool keeps)
{
	for (int i = 0; i < scan->nconditions && scan->tags == NULL; i++)
		if (scan->conditions[i].has_element)
			scan->tags = tag_walk_init(scan->table, &scan->conditions[i]);
	if (scan->tags == NULL)
		return;
	race->tags = palloc0(sizeof(Gather));
	race->tags->scan = scan;
	race->tags->keeps = keeps;
	race->tags->tags = scan->tags;
	fetch_init(&race->tags->fetch, scan->table->relation, scan->snapshot);
	if (tag_walk_has_found(scan->tags))
		use_tags(race);
}

/* Whether a stream of an index, from a column on, is in the order of the page. */
static bool
is_page_order(IndexScan *scan, const DirectIndex *index, int column)
{
	AttrNumber id = scan->columns[COLUMN_ID];
	AttrNumber key = scan->columns[scan->request->order_by];

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

/* Adds a merge of the streams that a list makes, or of the single one without. */
static void
add_merge(IndexScan *scan, Race *race, Condition *list)
{
	Merge *merge = &race->merges[race->nmerges];
	bool found = false;

	memset(merge, 0, sizeof(*merge));
	merge->scan = scan;
	for (int i = 0; i < scan->table->nindexes; i++)
	{
		DirectIndex *index = &scan->table->indexes[i];
		Walk walk;

		if ((list != NULL && index->columns[0] != list->column) ||
			!is_page_order(scan, index, list == NULL ? 0 : 1))
			continue;
		/* Streams are resumed after a key, and nulls are not behind any. */
		if (list != NULL && list->nvalues > 1 &&
			!direct_is_not_null(scan->table, index->columns[1]))
			continue;
		walk_init(&walk, scan->table, index, scan->conditions, scan->nconditions, list,
				  scan->request->descending ? BackwardScanDirection : ForwardScanDirection);
		if (!found || is_better(&walk, &merge->walk))
			merge->walk = walk;
		found = true;
	}
	if (found)
	{
		prepare_merge(merge);
		race->nmerges++;
	}
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

	race->merges = palloc(sizeof(Merge) * (scan->nconditions + 2));
	add_merge(scan, race, NULL);
	for (int i = 0; i < scan->nconditions; i++)
	{
		Condition *condition = &scan->conditions[i];

		has_open |= condition->column == scan->columns[COLUMN_OPEN];
		if (condition->has_list)
			add_merge(scan, race, condition);
	}
	if (scan->request->order_by == COLUMN_COMPLETE && !has_open)
	{
		Condition *condition = palloc(sizeof(Condition));
		Datum *both = palloc(sizeof(Datum) * 2);

		both[0] = BoolGetDatum(false);
		both[1] = BoolGetDatum(true);
		init_condition(condition, scan->columns[COLUMN_OPEN], BOOLOID);
		restrict_to_list(condition, both, 2);
		add_merge(scan, race, condition);
	}
	qsort(race->merges, race->nmerges, sizeof(Merge), compare_merges);
	/* They have moved. */
	for (int i = 0; i < race->nmerges; i++)
		race->merges[i].heap->bh_arg = &race->merges[i];
}

/*
 * The race
 */

/* What work a way can take at most, by the number of entries that its index had of late. */
static int64
most_work(const Walk *walk)
{
	float4 entries = walk->index->relation->rd_rel->reltuples;
	int64 each = ScanDirectionIsNoMovement(walk->direction) ? WORK_ENTRY : WORK_STEP;

	if (walk->needs_heap || entries <= 0)
		return NO_WORK_LIMIT;
	return walk->nstreams * (int64) WORK_DESCENT + (int64) entries * each;
}

/* The work of a gather that fetches, as far as it is known. */
static int64
found_work(const Gather *gather)
{
	return gather->walk.work + fetch_work(gather->scan, gather->ntids);
}

/* What a merge may have left to do, if it goes on to find as many matches as up to now. */
static int64
merge_work_left(const Merge *merge)
{
	/* Of each stream, one is read that is not needed. */
	double wanted = (double) merge->scan->wanted + merge->walk.nstreams - 1;
	double most = most_work(&merge->walk) - merge->walk.work;
	double expected = (double) NO_WORK_LIMIT;

	if (merge->nread > 0)
		expected = merge->walk.work * (wanted - merge->nread) / merge->nread;
	return (int64) Max(Min(expected, most), 0);
}

/* Finds out what work a gather may take to walk, by the statistics. */
static void
estimate_gather(Gather *gather)
{
	const Walk *walk = &gather->walk;
	DirectTable *table = gather->scan->table;
	double entries = Max(walk->index->relation->rd_rel->reltuples, 0);

	if (walk->list != NULL)
		entries *= estimate_share(table, walk->list);
	if (walk->range != NULL)
		entries *= estimate_share(table, walk->range);
	gather->expected_work = walk->nstreams * (int64) WORK_DESCENT + (int64) (entries * WORK_ENTRY);
}

/* What a gather may have left to do; much, if nothing is known of that. */
static int64
gather_work_left(const Gather *gather)
{
	const Walk *walk = &gather->walk;
	int64 left;

	if (gather->tags != NULL)
		return tag_walk_has_found(gather->tags)
				   ? fetch_work(gather->scan, tag_walk_count(gather->tags))
				   : NO_WORK_LIMIT;
	if (walk->needs_heap)
		return gather->sized ? gather->known_work : NO_WORK_LIMIT;
	left = (gather->expected_work > 0 ? gather->expected_work : most_work(walk)) - walk->work;
	/* If there is more than was expected: as much again. */
	return left > 0 ? left : walk->work;
}

/* The least work that any other way than a gather has left. */
static int64
least_work_left(const Race *race, const Gather *gather)
{
	int64 least = NO_WORK_LIMIT;

	for (int i = 0; i < race->nmerges; i++)
		least = Min(least, merge_work_left(&race->merges[i]));
	for (int i = 0; i < race->ngathers; i++)
		if (&race->gathers[i] != gather)
			least = Min(least, gather_work_left(&race->gathers[i]));
	if (race->tags != NULL && race->tags != gather)
		least = Min(least, gather_work_left(race->tags));
	return least;
}

/* Of the gathers that fetch, drops those that are known to take more work than another way. */
static void
drop_larger(Race *race)
{
	int64 least = NO_WORK_LIMIT;
	int n = 0;

	for (int i = 0; i < race->nmerges; i++)
		least = Min(least, most_work(&race->merges[i].walk));
	for (int i = 0; i < race->ngathers; i++)
		least = Min(least, race->gathers[i].sized ? race->gathers[i].known_work
												  : most_work(&race->gathers[i].walk));
	for (int i = 0; i < race->ngathers; i++)
	{
		Gather *gather = &race->gathers[i];

		if (!gather->walk.needs_heap || found_work(gather) <= least)
			race->gathers[n++] = *gather;
		else
			end_gather(gather);
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
 * What a gather does in a turn: less beside a merge that promises to finish soon, and if
 * it is expected to take long.
 */
static int64
gather_share(const Race *race, const Gather *gather, int64 work_limit)
{
	if (gather->expected_work > PATIENCE * work_limit)
		return work_limit / (2 * PATIENCE);
	if (race->nmerges == 0)
		return work_limit;
	for (int i = 0; i < race->nmerges; i++)
		if (merge_work_left(&race->merges[i]) <= PROMISING * work_limit)
			return work_limit / PATIENCE;
	return work_limit;
}

/* Whether it is a gather's turn to go through to its end. */
static bool
is_time_to_finish(const Race *race, const Gather *gather, int64 work_limit)
{
	int64 left = gather_work_left(gather);

	return left <= work_limit ||
		   (left <= PATIENCE * work_limit && left <= least_work_left(race, gather));
}

/* Goes on with a gather; returns whether it has all. */
static bool
advance_gather(Race *race, Gather *gather, int64 work_limit)
{
	int64 share = gather_share(race, gather, work_limit);
	bool finishes = is_time_to_finish(race, gather, work_limit);

	if (!finishes && is_too_early(&gather->walk, share))
		return false;
	if (!gather->walk.needs_heap)
		return gather_entries(gather, finishes ? PATIENCE * work_limit : share);
	if (!gather->sized)
	{
		if (!find_tids(gather, share))
			return false;
		gather->known_work = found_work(gather);
		gather->sized = true;
		finishes = is_time_to_finish(race, gather, work_limit);
	}
	if (finishes)
		gather_tuples(gather);
	return finishes;
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
	if (!is_time_to_finish(race, race->tags, work_limit))
		return false;
	gather_tagged(race->tags);
	return true;
}

/*
 * Lets the ways take turns, until one has finished: a merge, or else a gather. The
 * turns grow, so that little is lost to the others where one of them needs little.
 */
static void
run_race(Race *race, Merge **merge, Gather **gather)
{
	bool alone = race->nmerges + race->ngathers + (race->tags != NULL) == 1;

	*merge = NULL;
	*gather = NULL;
	for (int64 limit = alone ? NO_WORK_LIMIT : FIRST_TURN;; limit *= 2)
	{
		if (limit == ESTIMATING_TURN)
			for (int i = 0; i < race->ngathers; i++)
				estimate_gather(&race->gathers[i]);
		for (int i = 0; i < race->nmerges; i++)
			if (!is_too_early(&race->merges[i].walk, limit) &&
				advance_merge(&race->merges[i], limit))
			{
				*merge = &race->merges[i];
				return;
			}
		for (int i = 0; i < race->ngathers; i++)
			if (advance_gather(race, &race->gathers[i], limit))
			{
				*gather = &race->gathers[i];
				return;
			}
		if (race->tags != NULL && advance_tags(race, limit))
		{
			*gather = race->tags;
			return;
		}
		drop_larger(race);
	}
}

static void
end_race(Race *race)
{
	for (int i = 0; i < race->nmerges; i++)
		walk_end(&race->merges[i].walk);
	for (int i = 0; i < race->ngathers; i++)
		end_gather(&race->gathers[i]);
	if (race->tags != NULL)
		fetch_end(&race->tags->fetch);
}

/*
 * Pages and counts
 */

/* The row of a tuple. */
static void
read_row(IndexScan *scan, TupleTableSlot *slot, BatchRow *row)
{
	slot_getallattrs(slot);
	for (int column = 0; column < N_COLUMNS; column++)
	{
		int i = scan->columns[column] - 1;

		if (batch_columns[column].type == COLUMN_TYPE_JOB_COUNTS)
			continue;
		row->values[column] = slot->tts_values[i];
		row->isnull[column] = slot->tts_isnull[i];
	}
	row->values[COLUMN_COMPLETE] = BoolGetDatum(!DatumGetBool(row->values[COLUMN_OPEN]));
	for (int status = 0; status < N_JOB_STATUSES; status++)
	{
		int i = scan->job_columns[status] - 1;

		if (!slot->tts_isnull[i])
			row->job_counts[status] = DatumGetInt32(slot->tts_values[i]);
	}
}

/* Fetches the tuples of a page. */
typedef struct PageReader
{
	IndexScan *scan;
	Fetch fetch;
	MemoryContext row_context;
} PageReader;

static void
read_tuple(PageReader *reader, ItemPointerData tid, BatchRowCallback callback, void *arg)
{
	IndexScan *scan = reader->scan;
	MemoryContext previous;
	BatchRow row = {0};

	CHECK_FOR_INTERRUPTS();
	if (!fetch_tuple(&reader->fetch, &tid))
		elog(ERROR, "tuple (%u,%u) of a page is gone", ItemPointerGetBlockNumber(&tid),
			 ItemPointerGetOffsetNumber(&tid));
	previous = MemoryContextSwitchTo(reader->row_context);
	read_row(scan, reader->fetch.slot, &row);
	callback(&row, arg);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(reader->row_context);
}

void
scan_index_page(IndexScan *scan, BatchRowCallback callback, void *arg)
{
	const Request *request = scan->request;
	MemoryContext previous;
	PageReader reader = {.scan = scan};
	Race race = {0};
	Merge *merge;
	Gather *gather;

	if (scan->matches_nothing)
		return;
	previous = MemoryContextSwitchTo(scan->context);
	add_merges(scan, &race);
	add_gathers(scan, &race, true);
	add_tags(scan, &race, true);
	run_race(&race, &merge, &gather);

	fetch_init(&reader.fetch, scan->table->relation, scan->snapshot);
	reader.row_context =
		AllocSetContextCreate(CurrentMemoryContext, "batches row", ALLOCSET_DEFAULT_SIZES);
	/* Who has read all that matches knows how much that is. */
	if (merge == NULL)
		scan->total = gather->count;
	else if (binaryheap_empty(merge->heap))
		scan->total = merge->skipped + merge->ntids;
	/* The callback's own memory is the caller's. */
	MemoryContextSwitchTo(previous);
	if (merge != NULL)
		for (int64 i = 0; i < merge->ntids; i++)
			read_tuple(&reader, merge->tids[i], callback, arg);
	else
	{
		sort_matches(gather);
		for (int64 i = request->offset; i < gather->nmatches; i++)
			read_tuple(&reader, gather->matches[i].tid, callback, arg);
	}
	fetch_end(&reader.fetch);
	end_race(&race);
}

int64
scan_index_count(IndexScan *scan)
{
	MemoryContext previous;
	Race race = {0};
	Merge *merge;
	Gather *gather;

	if (scan->matches_nothing)
		return 0;
	if (scan->total >= 0)
		return scan->total;
	previous = MemoryContextSwitchTo(scan->context);
	add_gathers(scan, &race, false);
	add_tags(scan, &race, false);
	run_race(&race, &merge, &gather);
	end_race(&race);
	MemoryContextSwitchTo(previous);
	return gather->count;
}

/*
 * Requests
 */

/* The condition on a column, a new one if there is none. */
static Condition *
condition_on(IndexScan *scan, ColumnId column)
{
	AttrNumber attribute = scan->columns[column];
	Condition *condition;

	for (int i = 0; i < scan->nconditions; i++)
		if (scan->conditions[i].column == attribute)
			return &scan->conditions[i];
	condition = &scan->conditions[scan->nconditions++];
	init_condition(condition, attribute, column_type_oid(batch_columns[column].type));
	return condition;
}

static void
add_list(Condition *condition, ArrayType *list)
{
	Datum *values;
	int nvalues;
	int16 length;
	bool byval;
	char align;

	get_typlenbyvalalign(ARR_ELEMTYPE(list), &length, &byval, &align);
	deconstruct_array(list, ARR_ELEMTYPE(list), length, byval, align, &values, NULL, &nvalues);
	restrict_to_list(condition, values, nvalues);
}

/* A bound on a column of type integer or timestamp. Returns false if no value can meet it. */
static bool
add_bound(Condition *condition, const Parameter *parameter, Datum value)
{
	bool lower = parameter->comparison == COMPARE_AT_LEAST;

	if (condition->type == INT4OID)
	{
		int64 bound = DatumGetInt64(value);

		if (lower ? bound > PG_INT32_MAX : bound < PG_INT32_MIN)
			return false;
		value = Int32GetDatum((int32) Max(Min(bound, PG_INT32_MAX), PG_INT32_MIN));
	}
	if (lower)
		restrict_to_lower(condition, value);
	else
		restrict_to_upper(condition, value);
	return true;
}

/* What a filter asks of its column. Returns false if no value can meet it. */
static bool
add_filter(IndexScan *scan, const Parameter *parameter, const FilterValue *filter)
{
	Condition *condition = condition_on(scan, parameter->column);

	switch (parameter->comparison)
	{
		case COMPARE_EQUAL:
		{
			Datum *values = palloc(sizeof(Datum));

			values[0] = filter->value;
			if (parameter->column == COLUMN_COMPLETE)
				values[0] = BoolGetDatum(!DatumGetBool(filter->value));
			restrict_to_list(condition, values, 1);
			return true;
		}
		case COMPARE_IN:
			add_list(condition, DatumGetArrayTypeP(filter->value));
			return true;
		case COMPARE_AT_LEAST:
		case COMPARE_AT_MOST:
			return add_bound(condition, parameter, filter->value);
		case COMPARE_HAS:
			restrict_to_element(condition, filter->value);
			return true;
		case COMPARE_STARTS_WITH:
			restrict_to_lower(condition, UUIDPGetDatum(&scan->request->first_id));
			restrict_to_upper(condition, UUIDPGetDatum(&scan->request->last_id));
			return true;
		default:
			elog(ERROR, "parameter \"%s\" is not a filter", parameter->name);
	}
}

static void
add_filters(IndexScan *scan)
{
	for (int id = FIRST_FILTER; id < N_PARAMETERS; id++)
		if (scan->request->filters[id].given &&
			!add_filter(scan, &parameters[id], &scan->request->filters[id]))
			scan->matches_nothing = true;
	for (int i = 0; i < scan->nconditions; i++)
		if (!normalize_condition(&scan->conditions[i]))
			scan->matches_nothing = true;
}

/* Finds the table's columns. Returns the name of one that is not there as it should, or NULL. */
static const char *
find_columns(IndexScan *scan)
{
	for (int i = 0; i < N_COLUMNS; i++)
	{
		const Column *column = &batch_columns[i == COLUMN_COMPLETE ? COLUMN_OPEN : i];

		if (column->type == COLUMN_TYPE_JOB_COUNTS)
			continue;
		scan->columns[i] = direct_column(scan->table, column->name, column_type_oid(column->type));
		if (scan->columns[i] == InvalidAttrNumber)
			return column->name;
		/* Every row has its place by them. */
		if ((i == COLUMN_ID || i == COLUMN_OPEN) &&
			!direct_is_not_null(scan->table, scan->columns[i]))
			return column->name;
	}
	for (int i = 0; i < N_JOB_STATUSES; i++)
	{
		scan->job_columns[i] = direct_column(scan->table, job_statuses[i].column, INT4OID);
		if (scan->job_columns[i] == InvalidAttrNumber)
			return job_statuses[i].column;
	}
	return NULL;
}

static void
prepare_page(IndexScan *scan)
{
	const Request *request = scan->request;
	ColumnType type = batch_columns[request->order_by].type;
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(scan->table->relation),
												scan->columns[request->order_by] - 1);

	scan->key_byval = attribute->attbyval;
	scan->key_length = attribute->attlen;
	prepare_order(&scan->key_order, column_type_oid(type), request->descending);
	prepare_order(&scan->id_order, UUIDOID, request->descending);
	if (request->limit == NO_LIMIT ||
		pg_add_s64_overflow(request->offset, request->limit, &scan->wanted))
		scan->wanted = PG_INT64_MAX;
}

/*
 * Begins to read what a request asks for in the active snapshot, or returns NULL
 * and why that is left to SQL.
 */
IndexScan *
scan_index_begin(const Request *request, const char **obstacle)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "batches index scan", ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	IndexScan *scan = palloc0(sizeof(IndexScan));

	scan->request = request;
	scan->context = context;
	scan->total = -1;
	scan->snapshot = GetActiveSnapshot();
	scan->table = direct_open("batch", BATCH_POLICY, obstacle);
	if (scan->table != NULL)
	{
		const char *column = find_columns(scan);

		if (column != NULL)
			*obstacle =
				psprintf("its column \"%s\" is not as batches.create_tables() makes it", column);
		else if (scan->table->nindexes == 0)
			*obstacle = "it has no usable index";
	}
	if (*obstacle == NULL)
	{
		scan->nblocks = RelationGetNumberOfBlocks(scan->table->relation);
		prepare_page(scan);
		add_filters(scan);
	}
	else if (scan->table != NULL)
		direct_close(scan->table);
	MemoryContextSwitchTo(previous);
	return *obstacle == NULL ? scan : NULL;
}

/* Whether the role has the rights on all columns. */
bool
scan_index_may_page(IndexScan *scan)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < N_COLUMNS; i++)
		if (batch_columns[i].type != COLUMN_TYPE_JOB_COUNTS)
			columns = bms_add_member(columns, scan->columns[i]);
	for (int i = 0; i < N_JOB_STATUSES; i++)
		columns = bms_add_member(columns, scan->job_columns[i]);
	return direct_may_select(scan->table, columns);
}

/* Whether the role has the rights on the columns of the filters. */
bool
scan_index_may_count(IndexScan *scan)
{
	Bitmapset *columns = NULL;

	for (int i = 0; i < scan->nconditions; i++)
		columns = bms_add_member(columns, scan->conditions[i].column);
	return direct_may_select(scan->table, columns);
}

void
scan_index_end(IndexScan *scan)
{
	direct_close(scan->table);
	MemoryContextDelete(scan->context);
}

/*
 * The projects of a user, in order, or NULL if that is left to SQL.
 */
ArrayType *
scan_index_projects(const char *user_id)
{
	const char *obstacle;
	DirectTable *table = direct_open("project_member", PROJECT_MEMBER_POLICY, &obstacle);
	AttrNumber project_column;
	AttrNumber user_column;
	ArrayType *projects = NULL;

	if (table == NULL)
		return NULL;
	project_column = direct_column(table, "project_id", UUIDOID);
	user_column = direct_column(table, "user_id", TEXTOID);
	for (int i = 0; i < table->nindexes && projects == NULL; i++)
	{
		DirectIndex *index = &table->indexes[i];
		Condition condition;
		Datum *user = palloc(sizeof(Datum));
		ArrayBuildState *state;
		Walk walk;

		if (project_column == InvalidAttrNumber || user_column == InvalidAttrNumber ||
			index->columns[0] != user_column || index->nkeys < 2 ||
			index->columns[1] != project_column ||
			!direct_may_select(table,
							   bms_add_member(bms_make_singleton(project_column), user_column)))
			continue;
		init_condition(&condition, user_column, TEXTOID);
		user[0] = CStringGetTextDatum(user_id);
		restrict_to_list(&condition, user, 1);
		walk_init(&walk, table, index, &condition, 1, &condition, NoMovementScanDirection);
		state = initArrayResult(UUIDOID, CurrentMemoryContext, false);
		walk_start_stream(&walk, 0);
		while (walk_next(&walk, NO_WORK_LIMIT) == WALK_MATCH)
		{
			bool isnull;
			Datum project = walk_value(&walk, project_column, &isnull);

			if (!isnull)
				accumArrayResult(state, project, false, UUIDOID, CurrentMemoryContext);
		}
		walk_end(&walk);
		projects = DatumGetArrayTypeP(makeArrayResult(state, CurrentMemoryContext));
	}
	direct_close(table);
	return projects;
}
