/*
 * merge.c
 *		Merges the streams of a walk to the rows of a page.
 *
 * All streams are read with one index scan: a few matches of each, and when they are
 * used up, more, from behind the last one on. So many streams cost little more than
 * their matches. It stops when the page is full.
 */
#include "postgres.h"
#include "compat.h"

#include "merge.h"

/* How many matches of a stream are read at once, if there is memory for them. */
#define LEAST_STREAM_READ 4
#define MOST_STREAM_READ 1024

/* What is read of a stream and not yet merged */
struct Stream
{
	Match *matches;
	int nmatches;
	int nready; /* of them, those that are in order: only more matches of their class come behind */
	int next;
	int size; /* how many to read at once */
	bool ended;
	bool resumes; /* behind last */
	Match last;
};

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
	Datum place[2];

	merge->reading = i;
	if (stream->matches == NULL)
	{
		walk_start_stream(&merge->walk, i);
		stream->matches = palloc(sizeof(Match) * stream->size);
		return;
	}

	/* All that was ready was taken. */
	last = &stream->matches[stream->nready - 1];
	for (int j = 0; j < stream->nready - 1; j++)
		free_key(merge->scan, &stream->matches[j]);
	if (stream->resumes)
		free_key(merge->scan, &stream->last);
	stream->last = *last;
	stream->resumes = true;
	stream->nmatches -= stream->nready;
	memmove(stream->matches, stream->matches + stream->nready, sizeof(Match) * stream->nmatches);
	stream->next = 0;
	stream->nready = 0;
	if (merge->walk.nstreams == 1)
		return; /* The walk stands where it stopped. */

	place[0] = stream->last.key;
	place[1] = UUIDPGetDatum(&stream->last.id);
	if (merge->walk.index->columns[1] == merge->walk.table->columns[COLUMN_ID])
		walk_resume_stream(&merge->walk, i, place + 1, 1);
	else
		walk_resume_stream(&merge->walk, i, place, 2);
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

/* Puts the matches in order that came in that of their size class only. */
static void
order_class(Merge *merge, Stream *stream)
{
	sort_matches(stream->matches + stream->nready, stream->nmatches - stream->nready, merge->scan);
	stream->nready = stream->nmatches;
}

/*
 * Adds a match to the one stream of a walk. By size classes, those of one class come in
 * any order, unless it has a single number.
 */
static void
add_to_only_stream(Merge *merge, Stream *stream, Match *match)
{
	bool by_class = merge->scan->request->order_by == COLUMN_JOBS_COUNT;
	int class = by_class ? size_class(DatumGetInt32(match->key)) : 0;

	if (by_class && stream->nready < stream->nmatches &&
		class != size_class(DatumGetInt32(stream->matches[stream->nmatches - 1].key)))
		order_class(merge, stream);
	merge->gave_up = stream->nmatches - stream->nready >= most_matches();
	add_to_stream(merge, stream, match);
	if (class < EXACT_SIZE_CLASSES)
		stream->nready = stream->nmatches;
}

/*
 * Goes on reading a stream until it has as many matches as it should; returns
 * whether it has. One of several streams is read to where the place in the order
 * changes, as it is resumed behind one.
 */
static bool
fill_stream(Merge *merge, int64 work_limit)
{
	IndexScan *scan = merge->scan;
	Walk *walk = &merge->walk;
	Stream *stream = &merge->streams[merge->reading];
	const Fetch *fetch = walk->needs_heap ? &walk->fetch : NULL;
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
			order_class(merge, stream);
			stream->ended = true;
			return true;
		}
		key = match_value(walk, fetch, scan->request->order_by, &isnull);
		id = match_value(walk, fetch, COLUMN_ID, &id_isnull);
		set_match_key(scan, &match, key, isnull);
		set_match_place(&match, id, &walk->tid);
		if (walk->nstreams == 1)
		{
			add_to_only_stream(merge, stream, &match);
			if (merge->gave_up)
				return false;
			if (stream->nready >= enough)
				return true;
			continue;
		}
		if (stream->nmatches >= enough &&
			compare_matches(scan, &match, &stream->matches[stream->nmatches - 1]) != 0)
			return true;
		add_to_stream(merge, stream, &match);
		stream->nready = stream->nmatches;
	}
}

static void
add_tid(Merge *merge, ItemPointer tid)
{
	if (merge->ntids >= merge->size)
	{
		merge->size = Min(merge->size * 2, most_tids());
		merge->tids = repalloc_huge(merge->tids, sizeof(ItemPointerData) * merge->size);
	}
	merge->tids[merge->ntids++] = *tid;
	merge->found++;
}

void
merge_prepare(Merge *merge)
{
	int nstreams = merge->walk.nstreams;
	int64 share = merge->scan->wanted / nstreams;
	int64 room = most_matches() / nstreams;

	merge->most_read = Max(Min(room, MOST_STREAM_READ), LEAST_STREAM_READ);
	merge->walk.resumable = nstreams > 1;
	merge->streams = palloc_extended(sizeof(Stream) * nstreams, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < nstreams; i++)
		merge->streams[i].size = Max(Min(share, merge->most_read / 4), 1);
	merge->heap = binaryheap_allocate(nstreams, compare_streams, merge);
	merge->reading = -1;
	merge->size = 128;
	merge->tids = palloc(sizeof(ItemPointerData) * merge->size);
}

/* Returns whether the page is complete, or as much of it found as there is memory for. */
bool
merge_advance(Merge *merge, int64 work_limit)
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
			if (stream->nready > 0)
				binaryheap_add(merge->heap, Int32GetDatum(merge->reading));
			merge->reading = -1;
			continue;
		}

		if (binaryheap_empty(merge->heap))
		{
			merge->complete = true;
			return true;
		}
		if (merge->ntids == most_tids())
			return true;
		i = DatumGetInt32(binaryheap_first(merge->heap));
		stream = &merge->streams[i];
		if (merge->skipped < request->offset)
			merge->skipped++;
		else
			add_tid(merge, &stream->matches[stream->next].tid);
		if (merge->found == request->limit)
		{
			merge->complete = true;
			return true;
		}
		if (++stream->next < stream->nready)
			binaryheap_replace_first(merge->heap, Int32GetDatum(i));
		else
		{
			binaryheap_remove_first(merge->heap);
			if (!stream->ended)
			{
				if (stream->size < merge->most_read)
				{
					stream->size = Min(stream->size * 2, merge->most_read);
					stream->matches = repalloc(stream->matches, sizeof(Match) * stream->size);
				}
				read_stream(merge, i);
			}
		}
	}
}

/* What a merge may have left to do, if it goes on to find as many matches as up to now. */
int64
merge_work_left(const Merge *merge)
{
	/* Of each stream, one is read that is not needed. */
	double wanted = (double) merge->scan->wanted + merge->walk.nstreams - 1;
	double whole = walk_whole_work(&merge->walk);
	/* If there is more than was expected: as much again. */
	double most = whole > merge->walk.work ? whole - merge->walk.work : merge->walk.work;
	double expected = (double) NO_WORK_LIMIT;

	if (merge->gave_up)
		return NO_WORK_LIMIT;
	if (merge->nread > 0)
		expected = merge->walk.work * (wanted - merge->nread) / merge->nread;
	else if (merge->walk.work == 0 && !walk_is_filtered(&merge->walk))
		expected = wanted * WORK_STEP + (double) merge->walk.nstreams * WORK_DESCENT;
	return (int64) Max(Min(expected, most), 0);
}

/* How many rows match, if all were read; or -1. */
int64
merge_total(const Merge *merge)
{
	return binaryheap_empty(merge->heap) ? merge->skipped + merge->found : -1;
}
