-- How many rows the planner expects of list_batches(): its support function.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local timezone = 'UTC';
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(83);

-- Four thousand batches of forty projects: project 0 has half of them. Every fourth batch has nine jobs, one in a hundred has 200.
create function pg_temp.p(n int) returns uuid language sql immutable return lpad(n::text, 32, 'a')::uuid;
insert into batches.batch (project_id, id, status, open, device_type, user_id, created_at, start_datetime, tags, queue_priority)
select pg_temp.p(case when n % 2 = 0 then 0 else n % 40 end), md5(n::text)::uuid,
       case when n % 50 = 0 then 'RUNNING' when n % 3 = 0 then 'ERROR' else 'DONE' end::batches.batch_status, n % 10 = 0, 'D' || n % 5,
       'u' || n % 100, '2025-01-01Z'::timestamptz + n * interval '1 hour',
       case when n % 4 > 0 then '2025-01-01Z'::timestamptz + n * interval '1 hour' end,
       case when n % 20 = 0 then '{rare,common}' else '{common}' end::text[], case when n % 8 = 0 then 'HIGH' else 'LOW' end::batches.queue_priority
  from generate_series(1, 4000) n;
insert into batches.job (project_id, batch_id)
select b.project_id, b.id from generate_series(1, 4000) n join batches.batch b on b.id = md5(n::text)::uuid,
       generate_series(1, case when n % 100 = 0 then 200 when n % 4 = 0 then 9 else 0 end) k;
insert into batches.project_member select pg_temp.p(n), 'half' from generate_series(1, 39, 2) n;
insert into batches.project_member values (pg_temp.p(3), 'small');
analyze batches.batch, batches.batch_job_count, batches.project_member;

-- The rows that the planner expects of a statement's only part.
create function pg_temp.expected(statement text) returns numeric language plpgsql as $$
declare
  plan json;
begin
  execute 'explain (format json) ' || statement into plan;
  return plan #>> '{0,Plan,Plan Rows}';
end $$;
create function pg_temp.rows(arguments text) returns numeric language sql as
  $$ select pg_temp.expected(format('select id from batches.list_batches(%s)', arguments)) $$;
-- How far off that is, as a factor. There is no less than a row to the planner.
create function pg_temp.factor(arguments text) returns numeric language plpgsql as $$
declare
  actual numeric;
  expected constant numeric := pg_temp.rows(concat_ws(', ', nullif(arguments, ''), '"limit" => null'));
begin
  execute format('select greatest(batches.count_batches(%s), 1)', arguments) into actual;
  return round(greatest(expected / actual, actual / expected), 2);
end $$;

-- Without a limit the statistics tell. Of times they know a hundred steps.
select cmp_ok(pg_temp.factor(arguments), '<=', tolerance, format('all with (%s): at most %s times too many or too few', arguments, tolerance))
  from (values
    ('', 1.0),
    ('project_id => array[pg_temp.p(0)]', 1.2),
    ('project_id => array[pg_temp.p(3)]', 1.5),
    ('project_id => array[pg_temp.p(0), pg_temp.p(3), pg_temp.p(3)]', 1.2),
    ('status => ''{DONE}''', 1.2),
    ('status => ''{RUNNING,ERROR}''', 1.2),
    ('status => ''{CANCELED}''', 1.0),
    ('status => ''{}''', 1.0),
    ('open => true', 1.2),
    ('complete => true', 1.2),
    ('complete => true, open => false', 1.2),
    ('complete => true, open => true', 1.0),
    ('device_type => ''{D1,D4}''', 1.2),
    ('device_type => ''{none}''', 1.0),
    ('user_id => ''{u7}''', 1.5),
    ('queue_priority => ''{HIGH}''', 1.2),
    ('tag => ''rare''', 1.2),
    ('tag => ''common''', 1.0),
    ('id => array[md5(''7''), md5(''8'')]::uuid[]', 1.0),
    ('id__starts_with => ''a''', 1.3),
    ('id__starts_with => ''no id''', 1.0),
    ('created_after => ''2025-03-01Z''', 1.1),
    ('created_after => ''2025-03-01Z'', created_before => ''2025-03-08Z''', 1.3),
    ('created_after => ''2030-01-01Z''', 25),
    ('created_after => ''2025-03-01Z'', created_before => ''2025-02-01Z''', 1.0),
    ('start_date => ''2025-03-01Z''', 1.1),
    ('min_jobs => 1', 1.1),
    ('min_jobs => 1, max_jobs => 10', 1.1),
    ('min_jobs => 150', 1.5),
    ('min_jobs => 99999999999', 1.0),
    ('status => ''{DONE}'', open => false, min_jobs => 1', 1.5),
    ('status => null, tag => null', 1.0),
    ('tags_any => ''{rare,none}''', 2.0),
    ('tags_all => ''{rare,common}''', 1.2),
    ('exclude_status => ''{DONE,ERROR}''', 1.2),
    ('exclude_device_type => ''{D1}'', status => ''{DONE}''', 1.3),
    ('parent_id => array[md5(''1'')]::uuid[]', 1.0),
    ('updated_after => ''2000-01-01Z''', 1.0)) v (arguments, tolerance);

-- What is known when it is planned, however it comes there
select is(pg_temp.rows(arguments), expected::numeric, format('expected of (%s): %s', arguments, expected))
  from (values
    ('', 100),
    ('"limit" => 7', 7),
    ('"limit" => 7, "offset" => 100000', 7),
    ('"limit" => 100, id => array[md5(''7'')]::uuid[]', 100),
    ('"limit" => 101, id => array[md5(''7'')]::uuid[]', 1),
    ('"limit" => 1000', 1000),
    ('"limit" => 100000', 4000),
    ('"limit" => null, "offset" => 1000', 3000),
    ('"limit" => 1000, "offset" => 3500', 500),
    ('"limit" => null, "offset" => 5000', 1),
    ('"limit" => null, order_by => ''id'', order_by_direction => ''ASC''', 4000),
    ('"limit" => null, created_before => now()', 4000),
    ('"limit" => null, after => ''no cursor''', 4000),
    ('"limit" => 5, omit => ''{x}''', 5),
    ('"limit" => (select 5)', 100)) v (arguments, expected);
select is(pg_temp.expected('select batches.list_batches("limit" => null)'), 4000::numeric, 'as a column of a result, too');
prepare by_device (text[], bigint) as select id from batches.list_batches(device_type => $1, "limit" => $2);
set local plan_cache_mode = force_custom_plan;
select cmp_ok(pg_temp.expected($$ execute by_device ('{D1}', null) $$), '<', 1000::numeric, 'a plan for its parameters knows them');
select is(pg_temp.expected($$ execute by_device ('{D1}', 50) $$), 50::numeric, 'the limit, too');
set local plan_cache_mode = force_generic_plan;
select is(pg_temp.expected($$ execute by_device ('{D1}', null) $$), 100::numeric, 'a plan for all knows nothing of a limit that is one');
prepare all_of_device (text[]) as select id from batches.list_batches(status => '{DONE}', device_type => $1, "limit" => null);
select is(pg_temp.expected($$ execute all_of_device ('{D1}') $$), pg_temp.rows($$ status => '{DONE}', "limit" => null $$),
          'of a filter, it knows the others');
reset plan_cache_mode;

-- What will be an error is none yet.
select is(pg_temp.rows(arguments || ', "limit" => ' || "limit"), case "limit" when 'null' then 100 else "limit"::numeric end,
          format('a plan for (%s, "limit" => %s) is made', arguments, "limit"))
  from (values ('status => ''{DONE,NONE}''', 'null'), ('queue_priority => array[null]', 'null'), ('user_id => array[''x'', null]', 'null'),
               ('order_by => ''x''', '5'), ('"offset" => -1', 'null'), ('id => array[null]::uuid[]', 'null')) v (arguments, "limit");
select is(pg_temp.rows('"limit" => 0'), 100::numeric, 'and one for a limit that is none');
select throws_ok($$ select batches.list_batches(status => '{DONE,NONE}', "limit" => null) $$, '22023', null, 'running it is the error');

-- A viewer sees the rows of projects, and the planner expects these.
set local batches.user_id = 'half';
select cmp_ok(pg_temp.factor(''), '<=', 1.2, 'a viewer''s batches');
select cmp_ok(pg_temp.factor('device_type => ''{D1}'''), '<=', 1.2, 'those with a filter');
select cmp_ok(pg_temp.factor('project_id => array[pg_temp.p(0), pg_temp.p(3)]'), '<=', 1.5, 'those of some projects');
select is(pg_temp.rows('project_id => array[pg_temp.p(0)], "limit" => null'), 1::numeric, 'of projects that are not the viewer''s there are none');
set local batches.user_id = 'nobody';
select is(pg_temp.rows('"limit" => null'), 1::numeric, 'and none of who has no projects');

-- A role that does not see all is not told what others have.
create role batches_test_app;
grant usage on schema batches to batches_test_app;
grant select on all tables in schema batches to batches_test_app;
set local batches.user_id = 'small';
set local role batches_test_app;
select cmp_ok(pg_temp.factor(''), '<=', 1.5, 'with row-level security a viewer''s batches are expected, too');
select is(pg_temp.rows(filter || ', "limit" => null'), pg_temp.rows('"limit" => null'), 'and no fewer for ' || filter)
  from unnest(array['status => ''{RUNNING}''', 'tag => ''rare''', 'tag => ''none''', 'device_type => ''{none}''', 'min_jobs => 150']) filter;
reset role;
set local batches.user_id = '';
set local role batches_test_app;
select is(pg_temp.rows('"limit" => null'), 100::numeric, 'without a user, nothing is known');
reset role;
set local batches.user_id = 'small';
revoke select on batches.project_member from batches_test_app;
set local role batches_test_app;
select is(pg_temp.rows('"limit" => null'), 100::numeric, 'nor where the role may not read whose projects are whose: that is for running it to say');
reset role;
set local batches.user_id = '';
alter table batches.batch disable row level security;
revoke select on batches.batch from batches_test_app;
grant select (project_id, id, device_type) on batches.batch to batches_test_app;
set local role batches_test_app;
select cmp_ok(pg_temp.rows('device_type => ''{D1}'', "limit" => null'), '<', 1000::numeric, 'of columns that it may read the statistics tell');
select is(pg_temp.rows('status => ''{RUNNING}'', "limit" => null'), 100::numeric, 'and not of others');
reset role;
set local batches.user_id = '';

-- Tables that are read by SQL alone, and none at all
alter table batches.batch rename to other_batch;
select is(pg_temp.rows('"limit" => null'), 100::numeric, 'a plan is made without tables');
create view batches.batch as select * from batches.other_batch;
select is(pg_temp.rows('"limit" => null'), 100::numeric, 'and of a view, which has no statistics');

select * from finish();
rollback;
