-- The aggregate jobs_count_per_status: right wherever PostgreSQL lets an aggregate stand, and its parts refuse bad states.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
truncate batches.batch, batches.job, batches.project_member;

select plan(89);

create table pg_temp.event (n int, part text, status batches.job_status);
insert into pg_temp.event values
  (1, 'a', 'DONE'), (2, 'a', 'DONE'), (3, 'b', 'PENDING'), (4, 'a', 'ERROR'), (5, 'b', null), (6, 'b', 'CANCELING'),
  (7, 'c', null), (8, 'a', 'DONE'), (9, 'b', 'PENDING'), (10, 'b', 'RUNNING'), (11, 'a', 'CANCELED');

--
-- Plain use
--

select is(batches.jobs_count_per_status(status),
          '{"PENDING": 2, "RUNNING": 1, "DONE": 3, "ERROR": 1, "CANCELED": 1, "CANCELING": 1}'::jsonb,
          'every status is counted')
  from pg_temp.event;
select is(batches.jobs_count_per_status(status), '{}'::jsonb, 'no rows are an empty object') from pg_temp.event where false;
select is((select jsonb_agg(x) from (select batches.jobs_count_per_status(status) as x from pg_temp.event
                                      where false group by part) g), null, 'no groups are no rows');
select is(batches.jobs_count_per_status(status), '{}'::jsonb, 'nulls alone are an empty object')
  from pg_temp.event where status is null;
select is(batches.jobs_count_per_status(null), '{}'::jsonb, 'a constant null is an empty object') from pg_temp.event;
select is(batches.jobs_count_per_status('DONE'), '{"DONE": 11}'::jsonb, 'a constant is counted once a row') from pg_temp.event;
select is(batches.jobs_count_per_status('CANCELING'), '{"CANCELING": 1}'::jsonb, 'an aggregate needs no table');
select is(jsonb_typeof(batches.jobs_count_per_status(status)->'DONE'), 'number', 'counts are numbers') from pg_temp.event;
select is(batches.jobs_count_per_status(status) filter (where n > 3),
          '{"PENDING": 1, "RUNNING": 1, "DONE": 1, "ERROR": 1, "CANCELED": 1, "CANCELING": 1}'::jsonb,
          'FILTER leaves out what it says') from pg_temp.event;
select is(batches.jobs_count_per_status(status) filter (where n > 100), '{}'::jsonb, 'FILTER may leave out all')
  from pg_temp.event;
select is(batches.jobs_count_per_status(distinct status),
          '{"PENDING": 1, "RUNNING": 1, "DONE": 1, "ERROR": 1, "CANCELED": 1, "CANCELING": 1}'::jsonb,
          'DISTINCT counts a status once') from pg_temp.event;
select is(batches.jobs_count_per_status(status order by n desc),
          '{"PENDING": 2, "RUNNING": 1, "DONE": 3, "ERROR": 1, "CANCELED": 1, "CANCELING": 1}'::jsonb,
          'ORDER BY changes nothing') from pg_temp.event;

select results_eq(
  'select part, batches.jobs_count_per_status(status) from pg_temp.event group by part order by part',
  $$ values ('a', '{"DONE": 3, "ERROR": 1, "CANCELED": 1}'::jsonb),
            ('b', '{"PENDING": 2, "RUNNING": 1, "CANCELING": 1}'), ('c', '{}') $$,
  'GROUP BY counts each group for itself');
select results_eq(
  $$ select part, n % 2, batches.jobs_count_per_status(status) from pg_temp.event where part <> 'b'
      group by grouping sets ((part, n % 2), (part), ()) order by part, n % 2 $$,
  $$ values ('a', 0, '{"DONE": 2, "ERROR": 1}'::jsonb), ('a', 1, '{"DONE": 1, "CANCELED": 1}'),
            ('a', null, '{"DONE": 3, "ERROR": 1, "CANCELED": 1}'), ('c', 1, '{}'), ('c', null, '{}'),
            (null, null, '{"DONE": 3, "ERROR": 1, "CANCELED": 1}') $$,
  'grouping sets count each set for itself');
select results_eq(
  $$ select part from pg_temp.event group by part having batches.jobs_count_per_status(status) ? 'PENDING' $$,
  $$ values ('b') $$, 'HAVING can ask for the counts');
select results_eq(
  $$ select batches.jobs_count_per_status(status), batches.jobs_count_per_status(status) filter (where part = 'b'),
            batches.jobs_count_per_status(status), count(*) from pg_temp.event where n <= 4 $$,
  $$ values ('{"DONE": 2, "ERROR": 1, "PENDING": 1}'::jsonb, '{"PENDING": 1}'::jsonb,
             '{"DONE": 2, "ERROR": 1, "PENDING": 1}'::jsonb, 4::bigint) $$,
  'several of them stand beside each other');

--
-- Windows
--

select results_eq(
  $$ select n, batches.jobs_count_per_status(status) over (partition by part) from pg_temp.event where n <= 7 order by n $$,
  $$ values (1, '{"DONE": 2, "ERROR": 1}'::jsonb), (2, '{"DONE": 2, "ERROR": 1}'), (3, '{"PENDING": 1, "CANCELING": 1}'),
            (4, '{"DONE": 2, "ERROR": 1}'), (5, '{"PENDING": 1, "CANCELING": 1}'), (6, '{"PENDING": 1, "CANCELING": 1}'),
            (7, '{}') $$,
  'OVER (PARTITION BY …) counts the partition on each of its rows');
select results_eq(
  $$ select n, batches.jobs_count_per_status(status) over (partition by part order by n) from pg_temp.event order by n $$,
  $$ values (1, '{"DONE": 1}'::jsonb), (2, '{"DONE": 2}'), (3, '{"PENDING": 1}'), (4, '{"DONE": 2, "ERROR": 1}'),
            (5, '{"PENDING": 1}'), (6, '{"PENDING": 1, "CANCELING": 1}'), (7, '{}'), (8, '{"DONE": 3, "ERROR": 1}'),
            (9, '{"PENDING": 2, "CANCELING": 1}'), (10, '{"PENDING": 2, "RUNNING": 1, "CANCELING": 1}'),
            (11, '{"DONE": 3, "ERROR": 1, "CANCELED": 1}') $$,
  'OVER (… ORDER BY …) counts up to each row');
select results_eq(
  $$ select n, batches.jobs_count_per_status(status) over (order by n rows between 1 preceding and 1 following)
       from pg_temp.event order by n $$,
  $$ values (1, '{"DONE": 2}'::jsonb), (2, '{"DONE": 2, "PENDING": 1}'), (3, '{"DONE": 1, "PENDING": 1, "ERROR": 1}'),
            (4, '{"PENDING": 1, "ERROR": 1}'), (5, '{"ERROR": 1, "CANCELING": 1}'), (6, '{"CANCELING": 1}'),
            (7, '{"CANCELING": 1, "DONE": 1}'), (8, '{"DONE": 1, "PENDING": 1}'), (9, '{"DONE": 1, "PENDING": 1, "RUNNING": 1}'),
            (10, '{"PENDING": 1, "RUNNING": 1, "CANCELED": 1}'), (11, '{"RUNNING": 1, "CANCELED": 1}') $$,
  'a frame that moves counts what is in it');
select results_eq(
  $$ select n, batches.jobs_count_per_status(status) over (order by n rows between 2 following and 3 following)
       from pg_temp.event where n <= 5 order by n $$,
  $$ values (1, '{"PENDING": 1, "ERROR": 1}'::jsonb), (2, '{"ERROR": 1}'), (3, '{}'), (4, '{}'), (5, '{}') $$,
  'an empty frame is an empty object');
select results_eq(
  $$ select n, batches.jobs_count_per_status(status) filter (where part = 'a')
                 over (order by n rows between unbounded preceding and current row exclude current row)
       from pg_temp.event where n <= 5 order by n $$,
  $$ values (1, '{}'::jsonb), (2, '{"DONE": 1}'), (3, '{"DONE": 2}'), (4, '{"DONE": 2}'), (5, '{"DONE": 2, "ERROR": 1}') $$,
  'FILTER and EXCLUDE hold in a window');
select results_eq(
  $$ select batches.jobs_count_per_status(status) over (order by n),
            batches.jobs_count_per_status(status) over (order by n desc)
       from pg_temp.event where n <= 4 order by n $$,
  $$ values ('{"DONE": 1}'::jsonb, '{"DONE": 2, "PENDING": 1, "ERROR": 1}'::jsonb),
            ('{"DONE": 2}', '{"DONE": 1, "PENDING": 1, "ERROR": 1}'),
            ('{"DONE": 2, "PENDING": 1}', '{"PENDING": 1, "ERROR": 1}'),
            ('{"DONE": 2, "PENDING": 1, "ERROR": 1}', '{"ERROR": 1}') $$,
  'two windows do not disturb each other');

--
-- Many jobs: hashing, spilling, workers
--

insert into batches.batch (project_id, id, device_type, user_id)
select '10000000-0000-0000-0000-000000000000', ('20000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 'FRESNEL', 'ann'
  from generate_series(1, 3000) n;
insert into batches.job (project_id, batch_id, status)
select '10000000-0000-0000-0000-000000000000', ('20000000-0000-0000-0000-' || lpad((1 + n % 3000)::text, 12, '0'))::uuid,
       (enum_range(null::batches.job_status))[1 + (n * n / 7) % 6]
  from generate_series(1, 30000) n;
analyze batches.job;

create function pg_temp.counted(query_condition text) returns jsonb language plpgsql as $$
declare
  result jsonb;
begin
  execute 'select jsonb_strip_nulls(jsonb_build_object('
    '''PENDING'', nullif(count(*) filter (where status = ''PENDING''), 0),'
    '''RUNNING'', nullif(count(*) filter (where status = ''RUNNING''), 0),'
    '''DONE'', nullif(count(*) filter (where status = ''DONE''), 0),'
    '''ERROR'', nullif(count(*) filter (where status = ''ERROR''), 0),'
    '''CANCELED'', nullif(count(*) filter (where status = ''CANCELED''), 0),'
    '''CANCELING'', nullif(count(*) filter (where status = ''CANCELING''), 0))) from batches.job where ' || query_condition
    into result;
  return result;
end $$;
create function pg_temp.plan_of(query text) returns text language plpgsql as $$
declare
  line text;
  plan text := '';
begin
  for line in execute 'explain (costs off) ' || query loop
    plan := plan || line || E'\n';
  end loop;
  return plan;
end $$;

-- What grouping by batch gives, compared with counts of PostgreSQL's own: empty when all is right.
\set per_batch 'select batch_id, batches.jobs_count_per_status(status) from batches.job group by batch_id'
create table pg_temp.per_batch as
  select batch_id, jsonb_object_agg(status, n) as counts
    from (select batch_id, status, count(*) as n from batches.job group by batch_id, status) c
   group by batch_id;

set local max_parallel_workers_per_gather = 0;
set local enable_sort = off;
set local work_mem = '64kB';
select matches(pg_temp.plan_of(:'per_batch'), 'HashAggregate', 'groups can be hashed');
select set_eq(:'per_batch', 'select * from pg_temp.per_batch', 'hashed groups that spill to disk are counted right');
set local enable_sort = on;
set local enable_hashagg = off;
select matches(pg_temp.plan_of(:'per_batch'), 'GroupAggregate', 'groups can be sorted');
select set_eq(:'per_batch', 'select * from pg_temp.per_batch', 'sorted groups are counted right');
set local work_mem = default;
select is(batches.jobs_count_per_status(status), pg_temp.counted('true'), 'without workers all jobs are counted')
  from batches.job;
set local enable_hashagg = on;

set local max_parallel_workers_per_gather = 2;
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
set local min_parallel_index_scan_size = 0;
\set whole 'select batches.jobs_count_per_status(status) from batches.job'
\set filtered 'select batches.jobs_count_per_status(status) filter (where status <> ''DONE'') from batches.job where batch_id > ''20000000-0000-0000-0000-000000001000'''
\set nothing 'select batches.jobs_count_per_status(status) from batches.job where updated_at + interval ''0'' < ''-infinity'''
create function pg_temp.value_of(query text) returns jsonb language plpgsql as $$
declare
  result jsonb;
begin
  execute query into strict result;
  return result;
end $$;
select matches(pg_temp.plan_of(query), 'Finalize Aggregate\n +-> +Gather\n.*-> +Partial Aggregate', 'workers can aggregate ' || what)
  from (values (:'whole', 'all'), (:'filtered', 'some'), (:'nothing', 'nothing')) q (query, what);
select is(pg_temp.value_of(:'whole'), pg_temp.counted('true'), 'workers count all jobs');
select is(pg_temp.value_of(:'filtered'),
          pg_temp.counted('status <> ''DONE'' and batch_id > ''20000000-0000-0000-0000-000000001000'''),
          'workers count what FILTER and WHERE leave');
select is(pg_temp.value_of(:'nothing'), '{}'::jsonb, 'workers that find no job make an empty object');
select matches(pg_temp.plan_of(:'per_batch'), '-> +Gather.*Partial (Hash|Group)Aggregate',
               'workers can aggregate groups');
select set_eq(:'per_batch', 'select * from pg_temp.per_batch', 'workers count every group');
set local enable_hashagg = off;
select matches(pg_temp.plan_of(:'per_batch'), 'Partial GroupAggregate', 'workers can aggregate sorted groups');
select set_eq(:'per_batch', 'select * from pg_temp.per_batch', 'workers count every sorted group');
set local enable_hashagg = on;
set local parallel_leader_participation = off;
select is(pg_temp.value_of(:'whole'), pg_temp.counted('true'), 'workers alone count all jobs');
select set_eq(:'per_batch', 'select * from pg_temp.per_batch', 'workers alone count every group');
set local parallel_leader_participation = on;

-- Parts of a partitioned table are aggregated one by one.
create table pg_temp.event_of (part int, status batches.job_status) partition by list (part);
create table pg_temp.event_of_1 partition of pg_temp.event_of for values in (1);
create table pg_temp.event_of_2 partition of pg_temp.event_of for values in (2);
create table pg_temp.event_of_3 partition of pg_temp.event_of for values in (3);
insert into pg_temp.event_of
select 1 + n % 2, (enum_range(null::batches.job_status))[1 + n % 4] from generate_series(1, 4000) n;
analyze pg_temp.event_of;
set local enable_partitionwise_aggregate = on;
\set parts 'select batches.jobs_count_per_status(status) from pg_temp.event_of'
select matches(pg_temp.plan_of(:'parts'), 'Finalize Aggregate\n +-> +Append\n +-> +Partial Aggregate',
               'partitions can be aggregated one by one');
select is(pg_temp.value_of(:'parts'), '{"PENDING": 1000, "RUNNING": 1000, "DONE": 1000, "ERROR": 1000}'::jsonb,
          'partitions aggregated one by one are counted together');

--
-- The parts of the aggregate
--

select is(batches.jobs_count_per_status_accum('{1,2,3,4,5,6}', s), expected::bigint[], 'the transition function counts one ' || s)
  from (values ('PENDING'::batches.job_status, '{2,2,3,4,5,6}'), ('RUNNING', '{1,3,3,4,5,6}'), ('DONE', '{1,2,4,4,5,6}'),
               ('ERROR', '{1,2,3,5,5,6}'), ('CANCELED', '{1,2,3,4,6,6}'), ('CANCELING', '{1,2,3,4,5,7}')) v (s, expected);
select is(batches.jobs_count_per_status_combine('{1,2,3,4,5,6}', '{10,0,30,0,50,5000000000}'),
          '{11,2,33,4,55,5000000006}'::bigint[], 'the combine function adds two states');
select is(batches.jobs_count_per_status_final('{0,2,0,4,0,5000000000}'),
          '{"RUNNING": 2, "ERROR": 4, "CANCELING": 5000000000}'::jsonb, 'the final function leaves out what is zero');
select is(batches.jobs_count_per_status_final('{0,0,0,0,0,0}'), '{}'::jsonb, 'no jobs are an empty object');

-- Called outside an aggregate they do not change their arguments, be they variables or rows of a table.
create table pg_temp.state (s bigint[]);
insert into pg_temp.state values ('{1,2,3,4,5,6}');
select is(array[batches.jobs_count_per_status_accum(s, 'DONE'), batches.jobs_count_per_status_combine(s, s),
                batches.jobs_count_per_status_accum(s, 'DONE')],
          '{{1,2,4,4,5,6},{2,4,6,8,10,12},{1,2,4,4,5,6}}'::bigint[], 'calls on one stored state are independent')
  from pg_temp.state;
select is(s, '{1,2,3,4,5,6}'::bigint[], 'a stored state is not changed by calls') from pg_temp.state;
create function pg_temp.state_after_calls() returns bigint[] language plpgsql as $$
declare
  s bigint[] := '{1,2,3,4,5,6}';
begin
  s[1] := 10;
  for i in 1 .. 5 loop
    perform batches.jobs_count_per_status_accum(s, 'PENDING'), batches.jobs_count_per_status_combine(s, s),
            batches.jobs_count_per_status_final(s), batches.jobs_count_per_status_final(s);
  end loop;
  return s;
end $$;
select is(pg_temp.state_after_calls(), '{10,2,3,4,5,6}'::bigint[], 'a variable is not changed by calls');

-- Nulls are handed through; what is no state is refused.
select is(batches.jobs_count_per_status_accum(null, 'DONE'), null::bigint[], 'a null state stays null');
select is(batches.jobs_count_per_status_accum('{1,2,3,4,5,6}', null), null::bigint[],
          'a null status makes null outside the aggregate');
select is(batches.jobs_count_per_status_combine('{1,2,3,4,5,6}', null), null::bigint[],
          'combining with null makes null');
select is(batches.jobs_count_per_status_final(null), null::jsonb, 'the final function of null is null');
select throws_ok(format(call, state), '22023', null, format(call, state) || ' is refused')
  from unnest(array['{}', '{1,2,3,4,5}', '{1,2,3,4,5,6,7}', '{1,2,3,null,5,6}', '{null,null,null,null,null,null}',
                    '{{1,2,3,4,5,6}}', '{{1,2,3},{4,5,6}}', '{{{1},{2},{3}},{{4},{5},{6}}}']) with ordinality s (state, i),
       unnest(array['select batches.jobs_count_per_status_accum(%L, ''DONE'')',
                    'select batches.jobs_count_per_status_combine(%L, ''{0,0,0,0,0,0}'')',
                    'select batches.jobs_count_per_status_combine(''{0,0,0,0,0,0}'', %L)',
                    'select batches.jobs_count_per_status_final(%L)']) with ordinality c (call, k)
 order by i, k;

select * from finish();
rollback;
