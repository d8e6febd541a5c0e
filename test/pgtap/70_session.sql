-- A long session: plans that are kept survive changes of the schema and the settings, memory stays, queries can be canceled.

\ir include/output.psql

begin isolation level repeatable read;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(63);

create function pg_temp.p() returns uuid language sql immutable return 'a0000000-0000-0000-0000-000000000001'::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('b0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.fill() returns void language plpgsql as $$
begin
  insert into batches.batch (project_id, id, status, device_type, user_id, created_at, tags)
  select pg_temp.p(), pg_temp.b(n), case when n % 2 = 0 then 'ERROR' else 'DONE' end::batches.batch_status, 'FRESNEL', 'ann',
         '2025-01-01Z'::timestamptz + n * interval '1 hour', array['tag-' || n % 3]
    from generate_series(1, 9) n;
  insert into batches.job (project_id, batch_id, status)
  select pg_temp.p(), pg_temp.b(n), 'DONE' from generate_series(1, 9) n, generate_series(1, n);
  insert into batches.project_member (project_id, user_id) values (pg_temp.p(), 'ann');
end $$;

-- Answers of the three functions to requests of several shapes, as one text: with and without a user, filters and orders.
create function pg_temp.numbers(ids uuid[]) returns text language sql immutable
  return (select string_agg(right(i::text, 2)::int::text, ',' order by o) from unnest(ids) with ordinality u (i, o));
create function pg_temp.answers() returns text language plpgsql as $$
declare
  answers text := '';
  d json;
begin
  foreach d in array array[null, '"ann"'::json] loop
    perform set_config('batches.user_id', coalesce(d #>> '{}', ''), true);
    answers := concat_ws(' ', answers,
      pg_temp.numbers(array(select l.id from batches.list_batches() l)),
      pg_temp.numbers(array(select l.id from batches.list_batches(status => '{DONE}', order_by => 'jobs_count',
                                                                  order_by_direction => 'ASC') l)),
      pg_temp.numbers(array(select l.id from batches.list_batches(tag => 'tag-1', min_jobs => 2, "limit" => 2,
                                                                  id__starts_with => 'B00') l)),
      batches.count_batches(), batches.count_batches(tag => 'tag-2', status => '{ERROR,PAUSED}'),
      batches.count_batches(status => '{ERROR}', device_type => '{FRESNEL,X}'),
      (select string_agg(key || value, ',' order by key) from jsonb_each(batches.batch_facets() -> 'status')),
      (batches.batch_facets(min_jobs => 5) -> 'total'),
      (select sum((l.jobs_count_per_status->'DONE')::int) from batches.list_batches(id => array[pg_temp.b(3), pg_temp.b(5)]) l));
  end loop;
  d := batches.get_all_batches(max_jobs => 7, order_by => 'device_type', "limit" => 3);
  answers := concat_ws(' ', answers, d->'pagination'->>'total',
                       pg_temp.numbers(array(select (i->>'id')::uuid from json_array_elements(d->'data') i)));
  perform set_config('batches.user_id', '', true);
  return trim(answers);
end $$;
\set right '9,8,7,6,5,4,3,2,1 1,3,5,7,9 7,4 9 2 4 DONE5,ERROR4 5 8 9,8,7,6,5,4,3,2,1 1,3,5,7,9 7,4 9 2 4 DONE5,ERROR4 5 8 7 7,6,5'

select pg_temp.fill() as done \gset
select is(pg_temp.answers(), :'right', 'the answers are right');
select is(array(select pg_temp.answers() from generate_series(1, 20)), array_fill(:'right'::text, array[20]),
          'they are right each time again');

--
-- Changes of the schema
--

drop index batches.batch_created_at_idx, batches.batch_tags_idx, batches.batch_listing_idx;
select is(pg_temp.answers(), :'right', 'the answers are right without indexes');
create index batch_created_at_idx on batches.batch (created_at, id);
select is(pg_temp.answers(), :'right', 'the answers are right with a new index');
analyze batches.batch, batches.project_member;
select is(pg_temp.answers(), :'right', 'the answers are right after ANALYZE');

alter table batches.batch add column note text default 'x', add column id2 uuid default gen_random_uuid();
select is(pg_temp.answers(), :'right', 'the answers are right with a new column');
alter table batches.batch drop column note;
select is(pg_temp.answers(), :'right', 'the answers are right after a column was dropped');
alter table batches.batch alter column id2 type text, add column "limit" int, add column "offset" int;
select is(pg_temp.answers(), :'right',
          'the answers are right after a type changed and with columns that are named like arguments');
alter table batches.batch drop column id2, drop column "limit", drop column "offset";

-- A column of the listing is dropped and comes back at the end of the table.
alter table batches.batch drop column webhook, drop column priority;
alter table batches.batch add column webhook text, add column priority integer not null default 0;
update batches.batch set webhook = 'hook-' || right(id::text, 1), priority = 10 - right(id::text, 1)::int;
select is(pg_temp.answers(), :'right', 'the answers are right where columns have another place');
select is((select array_agg(l.webhook || l.priority) from batches.list_batches(order_by => 'priority', order_by_direction => 'ASC', "limit" => 3) l),
          '{hook-91,hook-82,hook-73}'::text[], 'a column in another place is found there');

alter table batches.batch disable row level security;
select is(pg_temp.answers(), :'right', 'the answers are right without row-level security');
alter table batches.batch enable row level security;
alter table batches.batch set (fillfactor = 50);
cluster batches.batch using batch_created_at_idx;
select is(pg_temp.answers(), :'right', 'the answers are right after CLUSTER');

drop table batches.job, batches.batch, batches.batch_job_count, batches.batch_total, batches.project_member;
select throws_ok('select pg_temp.answers()', '42P01', null, 'without tables there are no answers');
do $$ begin perform batches.create_tables(); end $$;
select is(batches.count_batches(), 0::bigint, 'new tables are empty');
select pg_temp.fill() as done \gset
select is(pg_temp.answers(), :'right', 'the answers are right on new tables');
select is_empty('select * from batches.verify_counts()', 'jobs are counted in new tables');

savepoint s;
drop table batches.job, batches.batch, batches.batch_job_count, batches.batch_total, batches.project_member;
do $$ begin perform batches.create_tables(); end $$;
select batches.count_batches() as count \gset other_
rollback to s;
select is(:other_count, 0, 'new tables were empty');
select is(pg_temp.answers(), :'right', 'the answers are right after the new tables were rolled back');

-- An order kept by the type: values renamed.
alter type batches.batch_status rename value 'TIMED_OUT' to 'TOO_LATE';
select is(pg_temp.answers(), :'right', 'the answers are right after a label was renamed');
alter type batches.batch_status rename value 'TOO_LATE' to 'TIMED_OUT';

--
-- Changes of settings
--

create schema batches_test_one;
create schema batches_test_two;
create table batches_test_one.batch (like batches.batch);
create table batches_test_two.project_member (like batches.project_member);
create function pg_temp.answers_with(setting text, value text) returns text language plpgsql as $$
declare
  before constant text := current_setting(setting);
  answers text;
begin
  perform pg_catalog.set_config(setting, value, true);
  answers := pg_temp.answers();
  perform pg_catalog.set_config(setting, before, true);
  return answers;
end $$;
select is(pg_temp.answers_with('search_path', path), :'right', 'the answers are right with search_path ' || quote_literal(path))
  from unnest(array['batches_test_one, batches_test_two', 'batches_test_two, pg_catalog, batches', '', 'batches']) path;
set local search_path = batches_test_one, :"pgtap", pg_temp;
select is(pg_temp.answers(), :'right', 'the answers are right with a schema in search_path');
alter schema batches_test_one rename to batches_test_three;
select is(pg_temp.answers(), :'right', 'the answers are right after it was renamed');
set local search_path = :"pgtap", pg_temp;
select is(pg_temp.answers_with(setting, value), :'right', format('the answers are right with %s = %s', setting, value))
  from (values ('plan_cache_mode', 'force_generic_plan'), ('plan_cache_mode', 'force_custom_plan'), ('enable_seqscan', 'off'),
               ('enable_indexscan', 'off'), ('work_mem', '64kB'), ('timezone', 'Asia/Kolkata'), ('datestyle', 'German, DMY'),
               ('jit_above_cost', '0')) v (setting, value);
-- A worker for every query that may have one; the setting has another name from PostgreSQL 16 on.
select is(pg_temp.answers_with(name, 'on'), :'right', 'the answers are right when workers read the batches')
  from pg_settings where name in ('force_parallel_mode', 'debug_parallel_query');

select is((select string_agg(distinct pg_temp.answers(), '|') from generate_series(1, 5)), :'right',
          'the answers are right inside a query');

--
-- Calls inside calls, cursors
--

select is((select count(*) from batches.list_batches() a, lateral batches.list_batches(status => array[a.status]) b,
             lateral (select batches.count_batches(id => array[b.id]) as n) c where c.n = 1), 41::bigint,
          'lists stand inside lists');
select is((select array_agg(a.jobs_count) from batches.list_batches(order_by => 'id') a
            where batches.count_batches(min_jobs => a.jobs_count + 1) = 2), '{7}'::int[], 'a count stands in a condition');
select is(array(select (l).jobs_count from (select batches.list_batches(order_by => 'id', "limit" => 3) as l) s), '{9,8,7}'::int[],
          'a list can stand in the list of columns');
select is((select count(*) from (select batches.list_batches("limit" => null) limit 2) s), 2::bigint,
          'a list need not be read to its end');

-- A cursor on a list, moved while other lists are made and the table changes: it goes on with the list it has.
create function pg_temp.read_by_cursor() returns text language plpgsql as $$
declare
  listing cursor for select right(l.id::text, 1) as n from batches.list_batches(order_by => 'id', order_by_direction => 'ASC') l;
  n text;
  read text := '';
begin
  open listing;
  loop
    fetch listing into n;
    exit when not found;
    read := read || n;
    if n = '3' then
      read := read || (select string_agg(right(l.id::text, 1), '') from batches.list_batches(order_by => 'id', "limit" => 2) l);
      delete from batches.batch where id = pg_temp.b(5);
    elsif n = '4' then
      begin
        perform batches.list_batches(order_by => 'nothing');
      exception when invalid_parameter_value then
        read := read || '!';
      end;
    end if;
  end loop;
  close listing;
  return read || batches.count_batches();
end $$;
savepoint s;
select pg_temp.read_by_cursor() as text \gset cursor_
rollback to s;
select is(:'cursor_text'::text, '123984!567898', 'a cursor reads its list to the end');

--
-- Transactions that only read
--

savepoint s;
set local transaction_read_only = on;
select pg_temp.answers() as answers, (select count(*) from batches.verify_counts()) as wrong \gset read_only_
rollback to s;
select is(:'read_only_answers'::text, :'right', 'a transaction that only reads is answered');
select is(:read_only_wrong, 0, 'a transaction that only reads can verify the job counts');
select is(current_setting('transaction_isolation'), 'repeatable read',
          'all of this is one REPEATABLE READ transaction');
select is(array(select provolatile from pg_proc where pronamespace = 'batches'::regnamespace
                   and proname in ('list_batches', 'count_batches', 'batch_facets', 'get_all_batches', 'current_user_id')),
          array_fill('s'::"char", array[5]), 'the functions are stable');

--
-- The extension dropped and made again
--

select throws_ok('drop extension batches', '2BP01', null, 'the extension cannot be dropped while its tables have data');
savepoint s;
drop schema batches_test_two, batches_test_three cascade;
drop table batches.job, batches.batch, batches.batch_job_count, batches.batch_total, batches.project_member;
drop extension batches;
create extension batches;
do $$ begin perform batches.create_tables(); end $$;
select pg_temp.fill() as done \gset
select pg_temp.answers() as answers, (select count(*) from batches.verify_counts()) as wrong \gset new_
rollback to s;
select is(:'new_answers'::text, :'right', 'the answers are right with the extension made again');
select is(:new_wrong, 0, 'the jobs are counted with the extension made again');
select is(pg_temp.answers(), :'right', 'the answers are right after that was rolled back');

--
-- Memory
--

create function pg_temp.call_often(calls int) returns bigint language plpgsql as $$
declare
  orders constant text[] := array['created_at', 'updated_at', 'start_datetime', 'end_datetime', 'id', 'status', 'open', 'complete',
                                  'priority', 'device_type', 'user_id', 'project_id', 'jobs_count', 'queue_priority'];
  found bigint := 0;
  b int;  -- its bits choose the parameters
  n bigint;
begin
  for i in 1 .. calls loop
    b := (i::bigint * 40503 % 65536)::int;
    if i % 500 < 250 then
      perform set_config('batches.user_id', case when i % 2 = 0 then 'ann' else '' end, true);
      n := batches.count_batches(
        id => case when b & 1 > 0 then array[pg_temp.b(1), pg_temp.b(i % 10)] end,
        id__starts_with => case when b & 2 > 0 then 'b0' end,
        project_id => case when b & 4 > 0 then array[pg_temp.p()] end,
        user_id => case when b & 8 > 0 then array['ann', 'x' || i] end,
        device_type => case when b & 16 > 0 then '{FRESNEL}'::text[] end,
        status => case when b & 32 > 0 then '{DONE,ERROR}'::batches.batch_status[] end,
        complete => case when b & 64 > 0 then true end,
        open => case when b & 128 > 0 then false end,
        min_jobs => case when b & 256 > 0 then i % 5 end,
        max_jobs => case when b & 512 > 0 then 8 end,
        start_date => case when b & 1024 > 0 then now() end,
        end_date => case when b & 2048 > 0 then now() end,
        queue_priority => case when b & 4096 > 0 then '{MEDIUM}'::batches.queue_priority[] end,
        tag => case when b & 8192 > 0 then 'tag-1' end,
        created_after => case when b & 16384 > 0 then '2025-01-01Z'::timestamptz end,
        created_before => case when b & 32768 > 0 then now() end);
    elsif i % 10 = 1 then
      n := (batches.batch_facets(status => case when b & 1 > 0 then '{DONE}'::batches.batch_status[] end,
                                 min_jobs => case when b & 8 > 0 then 2 end) -> 'total')::bigint;
    elsif i % 10 = 0 then
      perform set_config('batches.user_id', 'ann', true);
      n := json_array_length(batches.get_all_batches(status => case when b & 1 > 0 then '{DONE}'::batches.batch_status[] end,
                                                     order_by => orders[1 + b % 14], "limit" => 1, "offset" => i % 3)->'data');
      perform set_config('batches.user_id', '', true);
    else
      select count(*) into n from batches.list_batches(
        status => case when b & 1 > 0 then '{DONE}'::batches.batch_status[] end,
        tag => case when b & 2 > 0 then 'tag-1' end,
        id__starts_with => case when b & 4 > 0 then 'b' end, min_jobs => case when b & 8 > 0 then 2 end,
        order_by => orders[1 + b % 14], order_by_direction => case when b & 16 > 0 then 'ASC' else 'DESC' end, "limit" => 1,
        "offset" => case when b & 32 > 0 then 1 else 0 end);
    end if;
    found := found + n;
  end loop;
  perform set_config('batches.user_id', '', true);
  return found;
end $$;
select pg_temp.call_often(4000) as found \gset warm_
select sum(total_bytes) as bytes from pg_backend_memory_contexts \gset before_
select pg_temp.call_often(50000) as found \gset many_
select sum(total_bytes) as bytes from pg_backend_memory_contexts \gset after_
select cmp_ok(:many_found::bigint, '>', 25000::bigint, 'fifty thousand calls found batches');
select cmp_ok((:after_bytes - :before_bytes)::bigint, '<', 524288::bigint,
              'fifty thousand calls leave no memory behind');
create function pg_temp.fail_often(calls int) returns void language plpgsql as $$
begin
  for i in 1 .. calls loop
    begin
      perform batches.list_batches(order_by => 'x' || i);
    exception when invalid_parameter_value then null;
    end;
    begin
      perform batches.count_batches(status => array[null]::batches.batch_status[]);
    exception when null_value_not_allowed then null;
    end;
  end loop;
end $$;
select pg_temp.fail_often(1000) as done \gset
select sum(total_bytes) as bytes from pg_backend_memory_contexts \gset before_
select pg_temp.fail_often(10000) as done \gset
select sum(total_bytes) as bytes from pg_backend_memory_contexts \gset after_
select cmp_ok((:after_bytes - :before_bytes)::bigint, '<', 1048576::bigint,
              'twenty thousand errors leave no memory behind');
select is(pg_temp.answers(), :'right', 'the answers are right after many calls');

--
-- Many batches, and a statement that is canceled
--

insert into batches.batch (project_id, device_type, user_id, tags, backend_configuration)
select pg_temp.p(), 'MANY', 'carl', array['t' || n % 100], repeat('x', 100) from generate_series(1, 60000) n;
create function pg_temp.canceled(expression text) returns boolean language plpgsql as $$
begin
  for i in 1 .. 1000 loop
    execute 'select ' || expression;
  end loop;
  return false;
exception when query_canceled then
  return true;
end $$;
\set list '(select count(*) from batches.list_batches(order_by => ''updated_at'', "limit" => null))'
\set count 'batches.count_batches(tag => ''t1'')'
\set document 'batches.get_all_batches(device_type => ''{MANY}'', order_by => ''device_type'')'
set local batches.user_id = 'ann';
set local statement_timeout = '50ms';
select pg_temp.canceled(:'list') as list \gset canceled_
select pg_temp.canceled(:'count') as count \gset canceled_
select pg_temp.canceled(:'document') as document \gset canceled_
set local statement_timeout = 0;
set local batches.user_id = '';
select is(:'canceled_list'::boolean, true, 'a long list can be canceled');
select is(:'canceled_count'::boolean, true, 'a long count can be canceled');
select is(:'canceled_document'::boolean, true, 'a long document can be canceled');
select is(batches.count_batches(device_type => '{MANY}'), 60000::bigint, 'after a cancel a count is right');
select is((select count(*) from batches.list_batches(device_type => '{MANY}', "limit" => null)), 60000::bigint,
          'after a cancel a long list is complete');

-- Workers share the reading of a large table, and with a sort each.
analyze batches.batch;
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
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
select matches(pg_temp.plan_of('select * from batches.batch order by webhook desc, id desc limit 5'), 'Gather Merge.*Parallel Seq Scan',
               'workers can share the reading of the batches');
select is((select count(*) from batches.list_batches(device_type => '{MANY}', "limit" => null)), 60000::bigint,
          'a list that workers read is complete');
select is(array(select l.id from batches.list_batches(order_by => 'updated_at', "limit" => 50, "offset" => 10) l),
          array(select id from batches.batch order by updated_at desc, id desc limit 50 offset 10),
          'a list that workers read is in order');
select is(batches.count_batches(device_type => '{MANY}', tag => 't7'), 600::bigint, 'a count that workers make is right');
set local batches.user_id = 'ann';
select is(array(select (i->>'id')::uuid from batches.get_all_batches(order_by => 'updated_at', "limit" => 50) d,
                                             json_array_elements(d->'data') i),
          array(select id from batches.batch order by updated_at desc, id desc limit 50),
          'a document that workers read is right');
set local batches.user_id = '';
delete from batches.batch where device_type = 'MANY';
select is(pg_temp.answers(), :'right', 'the answers are right after that');

select * from finish();
rollback;
