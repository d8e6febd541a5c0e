-- How requests are read: which engine, which path, where the total comes from.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(109);

-- Two thousand batches of forty projects: of these 1 is large; one status, user and tag are rare.
create function pg_temp.p(n int) returns uuid language sql immutable return lpad(n::text, 32, 'a')::uuid;
insert into batches.batch (project_id, id, status, device_type, user_id, created_at, tags)
select pg_temp.p(case when n % 2 = 0 then 1 else n % 40 end), md5(n::text)::uuid,
       case when n % 500 = 0 then 'RUNNING' else 'DONE' end::batches.batch_status, 'D' || n % 3,
       case when n % 400 = 0 then 'rare' else 'u' || n % 5 end, '2025-01-01Z'::timestamptz + n * interval '1 hour',
       case when n % 300 = 0 then '{rare}' else '{common}' end::text[]
  from generate_series(1, 2000) n;
insert into batches.job (project_id, batch_id)
select project_id, id from batches.batch, generate_series(1, 9) k where hashtext(id::text) % 10 >= k;
insert into batches.project_member select pg_temp.p(n), 'all' from generate_series(0, 39) n;
insert into batches.project_member values (pg_temp.p(3), 'small');
analyze batches.batch, batches.batch_job_count, batches.project_member;

-- The rows and the total are the request's; says how they are read.
create function pg_temp.explained(request text) returns text language plpgsql as $$
declare
  explained record;
  rows bigint;
  total bigint;
begin
  execute format('select * from batches.explain_batches(%s)', request) into explained;
  execute format('select count(*) from batches.list_batches(%s)', request) into rows;
  request := regexp_replace(request, '(, )?(order_by|order_by_direction|"limit"|"offset") => (''\w*''|\w+)', '', 'g');
  execute format('select batches.count_batches(%s)', ltrim(request, ', ')) into total;
  if (explained.detail ->> 'rows')::bigint <> rows or (explained.detail ->> 'total')::bigint <> total then
    return 'wrong numbers: ' || explained.detail::text;
  end if;
  return concat_ws('; ', explained.engine, explained.reason, explained.path, 'total: ' || (explained.detail ->> 'total_source'));
end $$;

-- Who wins where it matters
select is(pg_temp.explained(request), expected, request)
  from (values
    ('', 'index; merge of batch_created_at_idx; total: batch_total'),
    ('order_by_direction => ''ASC''', 'index; merge of batch_created_at_idx; total: batch_total'),
    ('order_by => ''updated_at''', 'index; merge of batch_updated_at_idx; total: batch_total'),
    ('order_by => ''id''', 'index; merge of batch_id_key; total: batch_total'),
    ('order_by => ''status'', order_by_direction => ''ASC''', 'index; merge of batch_status_idx; total: batch_total'),
    ('order_by => ''jobs_count''', 'index; merge of batch_job_count_size_class_idx; total: batch_total'),
    ('status => ''{RUNNING}''', 'index; collection of batch_status_idx; total: page'),
    ('user_id => ''{rare}''', 'index; collection of batch_user_id_idx; total: page'),
    ('tag => ''rare''', 'index; collection of batch_tags_idx; total: page'),
    ('id__starts_with => ''3f''', 'index; collection of batch_id_key; total: page'),
    ('id => array[md5(''7''), md5(''8'')]::uuid[]', 'index; collection of 2 key ranges of batch_id_key; total: page'),
    ('device_type => ''{D1}''', 'index; collection of batch_listing_idx; total: page'),
    ('device_type => ''{D1}'', created_after => ''2025-01-02Z''', 'index; collection of batch_listing_idx; total: page'),
    ('min_jobs => 1, "limit" => 3', 'index; merge of batch_created_at_idx; total: index'),
    ('project_id => array[pg_temp.p(3)]', 'index; collection of batch_listing_idx; total: page'),
    ('project_id => array[pg_temp.p(1)]', 'index; merge of batch_listing_idx; total: batch_total'),
    ('project_id => array[pg_temp.p(3), pg_temp.p(5), pg_temp.p(7)]', 'index; merge of 3 key ranges of batch_listing_idx; total: batch_total'),
    ('"limit" => null', 'index; collection of batch_created_at_idx; total: page'),
    ('id__starts_with => ''x''', 'index; total: page'),
    ('"offset" => 5000', 'index; collection of batch_created_at_idx; total: page')) t (request, expected);
set local batches.user_id = 'small';
select is(pg_temp.explained(''), 'index; collection of batch_listing_idx; total: page', 'a user of one small project');
set local batches.user_id = 'nobody';
select is(pg_temp.explained(''), 'index; total: page', 'a user without projects');
set local batches.user_id = '';

-- What each path did
select set_eq($$select p ->> 'for' as a, p ->> 'outcome' as b, (p ->> 'work')::bigint > 0 as c
                  from batches.explain_batches(min_jobs => 1) e, jsonb_array_elements(e.detail -> 'paths') p
                 where p ->> 'outcome' = 'won'$$,
              $$values ('page', 'won', true), ('total', 'won', true)$$, 'one path wins the page, and one the total');
select bag_eq($$select p ->> 'path' from batches.explain_batches(status => '{RUNNING,DONE}', user_id => '{rare,u1}') e, jsonb_array_elements(e.detail -> 'paths') p
                 where p ->> 'for' = 'page'$$,
              $$values ('merge of batch_created_at_idx'), ('collection of 2 key ranges of batch_status_idx'), ('collection of 2 key ranges of batch_user_id_idx')$$,
              'every path is listed');
select cmp_ok(e.work, '>', (select max((p ->> 'work')::bigint) from jsonb_array_elements(e.detail -> 'paths') p), 'and the work of all of them adds up')
  from batches.explain_batches(status => '{RUNNING,DONE}', user_id => '{rare,u1}') e;
select cmp_ok((select e.work from batches.explain_batches(tag => 'rare') e), '>', 0::bigint, 'reading tags is work');
select cmp_ok((select e.work from batches.explain_batches() e), '<', (select e.work from batches.explain_batches(created_before => '2026-01-01Z') e),
              'a total from the totals takes none');

-- SQL, and why
set local batches.scan = sql;
select is(pg_temp.explained(''), 'sql; batches.scan is sql; total: batch_total', 'SQL because it was asked for');
select is((select e.work from batches.explain_batches() e), null, 'of SQL there is no work');
set local batches.scan = auto;
savepoint s;
create policy mine on batches.batch using (true);
create role batches_test_other;
grant usage on schema batches to batches_test_other;
grant select on all tables in schema batches to batches_test_other;
set local batches.user_id = 'small';
set local role batches_test_other;
select results_eq('select engine, reason, path, work, detail from batches.explain_batches()',
                  $$values ('sql', 'it has policies of row-level security beyond its own', null::text, null::bigint, null::jsonb)$$, 'SQL because of a policy');
select is_empty('select * from batches.engine_requests()', 'to whom the session''s requests are not told');
reset role;
rollback to s;
savepoint s;
set local work_mem = 64;
insert into batches.batch (project_id, device_type, user_id) select pg_temp.p(2), 'D', 'u' from generate_series(1, 8000);
select alike(pg_temp.explained('"limit" => null, order_by => ''priority'''), 'sql; no index has the order of the page%', 'SQL for want of memory');
rollback to s;
savepoint s;
insert into batches.batch (project_id, device_type, user_id) select pg_temp.p(2), 'D', 'u' from generate_series(1, 10001);
alter table batches.batch_job_count drop constraint batch_job_count_pkey;
select is(pg_temp.explained('"limit" => 1'), 'sql; it has no index on project and batch; total: batch_total', 'SQL for want of an index');
-- A deep page is counted first, which asks for the index, too.
select is(pg_temp.explained('"offset" => 10000'), 'sql; it has no index on project and batch; total: batch_total', 'and of a deep page');
insert into batches.project_member values (pg_temp.p(2), 'deep');
set local batches.user_id = 'deep';
select is(jsonb_array_length(batches.get_all_batches("offset" => 10000, "limit" => 1)::jsonb -> 'data'), 1, 'which has its rows');
rollback to s;

-- Row-level security: the others' rows are not to be told by work or paths.
create role batches_test_reader;
grant usage on schema batches to batches_test_reader;
grant select on all tables in schema batches to batches_test_reader;
set local batches.user_id = 'small';
set local role batches_test_reader;
select results_eq('select engine, reason, path, work, detail from batches.explain_batches()',
                  $$values ('index', null::text, null::text, null::bigint, null::jsonb)$$, 'a restricted role is told the engine alone');
set local batches.scan = sql;
select results_eq('select engine, reason, path, work, detail from batches.explain_batches()',
                  $$values ('sql', 'batches.scan is sql', null::text, null::bigint, null::jsonb)$$, 'and the reason');
set local batches.scan = auto;
reset role;
set local batches.user_id = '';

-- Errors are those of the listing.
select throws_ok($$select * from batches.explain_batches(order_by => 'jobs')$$, '22023', null, 'a bad order');
select throws_ok($$select * from batches.explain_batches("limit" => 0)$$, '2201W', null, 'a bad limit');
select throws_ok($$select * from batches.explain_batches(status => '{NULL}')$$, '22004', null, 'a null in a list');

-- The session's requests, by engine and reason
create function pg_temp.requests(engine text, reason text) returns bigint language sql
  as $$ select coalesce(sum(r.requests), 0)::bigint from batches.engine_requests() r where r.engine = $1 and r.reason is not distinct from $2 $$;
select pg_temp.requests('index', null) as index, pg_temp.requests('sql', 'batches.scan is sql') as sql \gset before_
select count(*) from batches.list_batches() \g /dev/null
select batches.count_batches(status => '{DONE}') \g /dev/null
set local batches.user_id = 'all';
select batches.get_all_batches() \g /dev/null
select batches.http_get_all_batches('limit=1') \g /dev/null
select batches.http_get_all_batches('limit=0') \g /dev/null
set local batches.scan = sql;
select batches.get_all_batches() \g /dev/null
set local batches.scan = auto;
select is(pg_temp.requests('index', null) - :before_index, 4::bigint, 'each request is counted once');
select is(pg_temp.requests('sql', 'batches.scan is sql') - :before_sql, 1::bigint, 'by its reason');
select is((select count(*) - count(distinct (engine, reason)) from batches.engine_requests()), 0::bigint, 'a row for each reason');

-- Who sees few batches is not told by the work of a request what others have: their user, tag, device and what is retried take as much as
-- those that nobody has. Nor is who has many projects that are empty, which the statistics do not know.
insert into batches.batch (project_id, id, parent_id, device_type, user_id, tags, created_at)
select pg_temp.p(1000 + n % 300), md5('others' || n)::uuid, pg_temp.p(9999), 'THEIRS', case when n % 50 = 0 then 'they' else 'them' end,
       case when n % 70 = 0 then '{rare-theirs,theirs}' else '{theirs}' end::text[], '2025-02-01Z'::timestamptz + n * interval '1 minute'
  from generate_series(1, 20000) n;
insert into batches.batch (project_id, id, device_type, user_id, tags, created_at)
select pg_temp.p(case when n <= 300 then 200 else 201 end), md5('few' || n)::uuid, 'D1', 'u1', '{common}', '2025-02-01Z'::timestamptz + n * interval '9 minutes'
  from generate_series(1, 1300) n;
insert into batches.project_member values (pg_temp.p(200), 'hundreds'), (pg_temp.p(201), 'thousand');
insert into batches.project_member
select pg_temp.p(n), viewer
  from (values ('fifty', 151, 199), ('fifty', 201, 201), ('crowd', 201, 201), ('crowd', 2001, 2999)) v (viewer, first, last), generate_series(first, last) n;
analyze batches.batch, batches.batch_job_count;
create function pg_temp.work_of(viewer text, request text) returns text language plpgsql as $$
declare
  answer text;
begin
  perform set_config('batches.user_id', viewer, true);
  execute format('select concat_ws('' '', path, work, detail) from batches.explain_batches(%s)', request) into answer;
  perform set_config('batches.user_id', '', true);
  return answer;
end $$;
select is(pg_temp.work_of(viewer, theirs), pg_temp.work_of(viewer, nobodys), viewer || ': what ' || theirs || ' takes is what ' || nobodys || ' does')
  from unnest(array['hundreds', 'thousand', 'fifty', 'crowd']) viewer,
       (values ('user_id => ''{them}''', 'user_id => ''{nobody}'''),
               ('user_id => ''{they}''', 'user_id => ''{nobody}'''),
               ('tag => ''theirs''', 'tag => ''nothing'''),
               ('tag => ''rare-theirs''', 'tag => ''nothing'''),
               ('parent_id => array[pg_temp.p(9999)]', 'parent_id => array[pg_temp.p(9998)]'),
               ('device_type => ''{THEIRS}'', order_by => ''id''', 'device_type => ''{NONE}'', order_by => ''id'''),
               ('user_id => ''{they}'', status => ''{PENDING}'', order_by => ''user_id''', 'user_id => ''{none}'', status => ''{PENDING}'', order_by => ''user_id'''),
               ('tag => ''theirs'', min_jobs => 0, order_by => ''jobs_count''', 'tag => ''nothing'', min_jobs => 0, order_by => ''jobs_count''')) v (theirs, nobodys);

-- What is read after the totals were asked is not counted by the server's statistics either.
create function pg_temp.counted() returns numeric language sql as $$
  select sum(pg_stat_get_xact_numscans(oid) + pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_blocks_fetched(oid))
    from pg_class where relnamespace = 'batches'::regnamespace
$$;
select pg_temp.counted() as counted \gset before_
set local batches.user_id = 'fifty';
set local role batches_test_reader;
select is((select count(*) from batches.list_batches(user_id => '{them}')), 0::bigint, 'nothing is theirs');
reset role;
select is(pg_temp.counted() - :before_counted, 0::numeric, 'and nothing is counted');

-- For a page far behind, the total is counted before: one behind the end is not looked for, and one nearer to the end
-- is read from there.
insert into batches.project_member select distinct project_id, 'everyone' from batches.batch;
create function pg_temp.page(engine text, start bigint, order_by text default 'priority') returns jsonb language plpgsql as $$
begin
  perform set_config('batches.scan', engine, true), set_config('batches.user_id', 'everyone', true);
  return batches.get_all_batches(device_type => '{THEIRS,D1}', order_by => order_by, "limit" => 40, "offset" => start);
end $$;
select count(*) as theirs from batches.batch where device_type in ('THEIRS', 'D1') \gset
select cmp_ok(:theirs, '>', 20000, 'there is much to pass by');
select is(pg_temp.page('index', start, order_by), pg_temp.page('sql', start, order_by), 'by ' || order_by || ', the same page by both engines from ' || start || ' on')
  from unnest(array[9999, 10000, 11000, :theirs - 41, :theirs - 40, :theirs - 39, :theirs - 1, :theirs, :theirs + 1]) start,
       unnest(array['priority', 'created_at', 'user_id']) order_by;
select is(jsonb_array_length(pg_temp.page('index', :theirs - 1) -> 'data'), 1, 'the last batch is there');
set local batches.scan = index;
select cmp_ok((select work from batches.explain_batches(order_by => 'id', created_after => '2000-01-01Z', "limit" => 40, "offset" => :theirs - 1000)), '<',
              (select work from batches.explain_batches(order_by => 'id', created_after => '2000-01-01Z', "limit" => 40, "offset" => :theirs / 2)),
              'the last pages are read with less work than the middle ones');
select results_eq($$select path, (detail ->> 'rows')::int, detail ->> 'total_source'
                      from batches.explain_batches(device_type => '{THEIRS,D1}', created_after => '2000-01-01Z', order_by => 'priority', "offset" => 1000000)$$,
                  $$values (null::text, 0, 'index')$$, 'a page behind the end is not looked for');
set local batches.scan = auto;
revoke select on batches.batch from batches_test_reader;
do $$ begin
  execute (select format('grant select (%s) on batches.batch to batches_test_reader', string_agg(quote_ident(attname), ', '))
             from pg_attribute where attrelid = 'batches.batch'::regclass and attnum > 0 and not attisdropped and attname <> 'webhook');
end $$;
set local role batches_test_reader;
select throws_ok($$select batches.get_all_batches("offset" => 1000000)$$, '42501', null, 'nor are rights that are missing passed by');
reset role;

select * from finish();
rollback;
