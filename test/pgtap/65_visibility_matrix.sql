-- Who sees what, as a matrix: roles, ways to be a user and ways to read. What each cell shows is written here.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local row_security = on;
set local batches.user_id = '';
set local batches.trust_jwt_claims = off;
select set_config('request.jwt.claims', '', true) as claims \gset

select plan(952);

--
-- The tables of a role that is no superuser. Three projects: ann is in the first two, bob in the second, eve in none.
-- All that belongs to the first and the third, which bob is not in, says "secret".
--

create role batches_test_owner;
create role batches_test_analyst bypassrls;
create role batches_test_reader;
create role batches_test_permitted;
create role batches_test_restricted;

drop table batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member;
grant usage on schema batches to public;
grant create on schema batches to batches_test_owner;
set local role batches_test_owner;
select batches.create_tables() as created \gset
grant select on batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member
   to batches_test_analyst, batches_test_reader, batches_test_permitted, batches_test_restricted;
create function pg_temp.create_policies() returns void language plpgsql as $$
declare
  name text;
begin
  foreach name in array array['batch', 'job', 'batch_job_count', 'batch_total'] loop
    execute format('create policy third_project on batches.%I for select to batches_test_permitted
      using (project_id = ''a0000000-0000-0000-0000-000000000003'')', name);
    execute format('create policy not_the_second_project on batches.%I as restrictive for select to batches_test_restricted
      using (project_id <> ''a0000000-0000-0000-0000-000000000002'')', name);
  end loop;
end $$;
select pg_temp.create_policies() as created \gset
reset role;

create function pg_temp.p(n int) returns uuid language sql immutable
  return ('a0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('b0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.fill() returns void language plpgsql as $$
begin
  truncate batches.batch, batches.job, batches.project_member;
  insert into batches.batch (project_id, id, parent_id, status, open, priority, device_type, user_id, created_at, updated_at,
                             start_datetime, end_datetime, tags, configuration, backend_configuration, webhook, queue_priority)
  select pg_temp.p(project), pg_temp.b(n), case when secret then pg_temp.b(1) end,
         case when secret then 'PAUSED' when n = 5 then 'DONE' else 'ERROR' end::batches.batch_status, n % 2 = 0, n,
         name || '-device', name || '-user', '2025-01-01Z'::timestamptz + n * interval '1 hour',
         '2025-02-01Z'::timestamptz - n * interval '1 hour', '2025-01-02Z'::timestamptz + (n * 3 % 8) * interval '1 hour',
         '2025-01-03Z'::timestamptz + (n * 5 % 8) * interval '1 hour', array[name || '-tag', 'tag'],
         case when secret then '{"secret": 1}'::jsonb end, case when secret then 'secret' end, case when secret then 'secret' end,
         case when secret then 'CRITICAL' else 'LOW' end::batches.queue_priority
    from (select n, case when n <= 4 then 1 when n <= 6 then 2 else 3 end as project, n not in (5, 6) as secret,
                 case when n in (5, 6) then 'plain' else 'secret' end as name
            from generate_series(1, 8) n) v;
  insert into batches.job (project_id, batch_id, status)
  select project_id, id, case when user_id = 'plain-user' then 'DONE' else 'CANCELING' end::batches.job_status
    from batches.batch, generate_series(1, priority) k;
  insert into batches.project_member (project_id, user_id)
  values (pg_temp.p(1), 'ann'), (pg_temp.p(2), 'ann'), (pg_temp.p(2), 'bob');
end $$;
select pg_temp.fill() as filled \gset

--
-- The matrix
--

create function pg_temp.numbers(ids uuid[]) returns text language sql immutable
  return (select coalesce(string_agg(right(i::text, 2)::int::text, ',' order by i), '') from unnest(ids) i);
create function pg_temp.value_of(expression text) returns text language plpgsql as $$
declare
  result text;
begin
  execute 'select ' || expression into result;
  return result;
exception when others then
  return sqlstate;
end $$;
create function pg_temp.numbers_of(document json) returns text language sql immutable
  return pg_temp.numbers(array(select (i ->> 'id')::uuid from json_array_elements(document -> 'data') i))
      || ' of ' || (document #>> '{pagination,total}');

-- The ways to read
create table pg_temp.way (way text, expression text);
insert into pg_temp.way values
  ('list_batches()', 'pg_temp.numbers(array(select l.id from batches.list_batches("limit" => null) l))'),
  ('count_batches()', 'batches.count_batches()'),
  ('get_all_batches()', 'pg_temp.numbers_of(d) from batches.get_all_batches() d'),
  ('http_get_all_batches()', 'concat_ws('' '', r.status, case r.status when 200 then pg_temp.numbers_of(r.body) end, r.headers ->> ''Content-Range'')
                                from batches.http_get_all_batches('''') r'),
  ('batch_facets()', 'concat_ws('' '', f ->> ''total'', (select string_agg(right(p, 1) || '':'' || n, '','' order by p) from jsonb_each(f -> ''project_id'') x (p, n)),
                      (select string_agg(v, '','' order by v) from (select jsonb_object_keys(f -> k) as v from unnest(array[''device_type'', ''status'', ''queue_priority'']) k) y))
                      from batches.batch_facets() f'),
  ('verify_counts()', 'pg_temp.numbers(array(select batch_id from batches.verify_counts() where batch_id is not null))'),
  ('batch', 'pg_temp.numbers(array(select id from batches.batch))'),
  ('job', 'pg_temp.numbers(array(select distinct batch_id from batches.job)) || '' '' || (select count(*) from batches.job)'),
  ('batch_job_count', 'pg_temp.numbers(array(select batch_id from batches.batch_job_count))'),
  ('batch_total', 'coalesce(string_agg(distinct right(project_id::text, 1), '',''), '''') || '' '' || coalesce(string_agg(distinct device_type, '',''), '''') from batches.batch_total'),
  ('project_member', 'coalesce(string_agg(right(project_id::text, 1) || user_id, '','' order by user_id, project_id), '''') from batches.project_member'),
  ('current_user_id()', 'coalesce(batches.current_user_id(), ''nobody'')');

-- The ways to be a user, and who that is
create table pg_temp.identity (identity text, member text);
insert into pg_temp.identity values
  ('no user', ''), ('ann', 'ann'), ('bob', 'bob'), ('eve', 'eve'),
  ('ann, then reset', ''), ('ann, then empty', ''), ('ann in a subtransaction that is rolled back', ''),
  ('bob, then ann in a subtransaction that is rolled back', 'bob'),
  ('claims of bob', ''), ('trusted claims of bob', 'bob'), ('trusted claims of eve', 'eve'), ('bob over trusted claims of ann', 'bob'),
  ('trusted claims of bob in a subtransaction that is rolled back', '');
create function pg_temp.become(identity text) returns void language plpgsql as $$
declare
  member text := substring(identity from '^(ann|bob|eve)');
begin
  perform set_config('batches.user_id', coalesce(member, ''), true);
  if identity ~ '^(trusted )?claims' or identity ~ 'over trusted' then
    if identity ~ 'rolled back' then
      begin
        perform set_config('batches.trust_jwt_claims', 'on', true), set_config('request.jwt.claims', '{"sub": "bob"}', true);
        raise exception 'rolled back';
      exception when raise_exception then
        null;
      end;
    else
      perform set_config('batches.trust_jwt_claims', (identity ~ 'trusted')::text, true),
              set_config('request.jwt.claims', json_build_object('sub', substring(identity from 'claims of (.*)'))::text, true);
    end if;
  elsif identity ~ 'then reset' then
    reset batches.user_id;
  elsif identity ~ 'then empty' then
    perform set_config('batches.user_id', '', true);
  elsif identity ~ 'rolled back' then
    perform set_config('batches.user_id', case when identity ~ '^bob, ' then 'bob' else '' end, true);
    begin
      perform set_config('batches.user_id', 'ann', true);
      raise exception 'rolled back';
    exception when raise_exception then
      null;
    end;
  end if;
end $$;
create function pg_temp.seen(role text, identity text, expression text) returns text language plpgsql as $$
declare
  result text;
begin
  perform pg_temp.become(identity);
  perform set_config('role', role, true);
  result := pg_temp.value_of(expression);
  perform set_config('role', 'none', true), set_config('batches.user_id', '', true),
          set_config('batches.trust_jwt_claims', 'off', true), set_config('request.jwt.claims', '', true);
  return result;
end $$;

-- What is seen: a batch n has n jobs.
create table pg_temp.expected (role text, member text, list text, count text, document text, http text, verify text,
                               batch text, job text, project_member text);
insert into pg_temp.expected values
  ('batches_test_owner', '', '1,2,3,4,5,6,7,8', '8', '28000', '401', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann,2bob'),
  ('batches_test_owner', 'ann', '1,2,3,4,5,6', '6', '1,2,3,4,5,6 of 6', '200 1,2,3,4,5,6 of 6 1-6/6', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann,2bob'),
  ('batches_test_owner', 'bob', '5,6', '2', '5,6 of 2', '200 5,6 of 2 1-2/2', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann,2bob'),
  ('batches_test_owner', 'eve', '', '0', ' of 0', '200  of 0 */0', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann,2bob'),
  ('batches_test_analyst', '', '1,2,3,4,5,6,7,8', '8', '28000', '401', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann,2bob'),
  ('batches_test_analyst', 'ann', '1,2,3,4,5,6', '6', '1,2,3,4,5,6 of 6', '200 1,2,3,4,5,6 of 6 1-6/6', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann,2bob'),
  ('batches_test_analyst', 'bob', '5,6', '2', '5,6 of 2', '200 5,6 of 2 1-2/2', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann,2bob'),
  ('batches_test_analyst', 'eve', '', '0', ' of 0', '200  of 0 */0', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann,2bob'),
  ('batches_test_reader', '', '', '0', '28000', '401', '', '', ' 0', ''),
  ('batches_test_reader', 'ann', '1,2,3,4,5,6', '6', '1,2,3,4,5,6 of 6', '200 1,2,3,4,5,6 of 6 1-6/6', '1,2,3,4,5,6',
   '1,2,3,4,5,6', '1,2,3,4,5,6 21', '1ann,2ann'),
  ('batches_test_reader', 'bob', '5,6', '2', '5,6 of 2', '200 5,6 of 2 1-2/2', '5,6', '5,6', '5,6 11', '2bob'),
  ('batches_test_reader', 'eve', '', '0', ' of 0', '200  of 0 */0', '', '', ' 0', ''),
  -- A policy lets this role see the third project too; a user's pages stay the user's.
  ('batches_test_permitted', '', '7,8', '2', '28000', '401', '7,8', '7,8', '7,8 15', ''),
  ('batches_test_permitted', 'ann', '1,2,3,4,5,6', '6', '1,2,3,4,5,6 of 6', '200 1,2,3,4,5,6 of 6 1-6/6', '1,2,3,4,5,6,7,8',
   '1,2,3,4,5,6,7,8', '1,2,3,4,5,6,7,8 36', '1ann,2ann'),
  ('batches_test_permitted', 'bob', '5,6', '2', '5,6 of 2', '200 5,6 of 2 1-2/2', '5,6,7,8', '5,6,7,8', '5,6,7,8 26', '2bob'),
  ('batches_test_permitted', 'eve', '', '0', ' of 0', '200  of 0 */0', '7,8', '7,8', '7,8 15', ''),
  -- A policy hides the second project from this role, from its users' pages too.
  ('batches_test_restricted', '', '', '0', '28000', '401', '', '', ' 0', ''),
  ('batches_test_restricted', 'ann', '1,2,3,4', '4', '1,2,3,4 of 4', '200 1,2,3,4 of 4 1-4/4', '1,2,3,4',
   '1,2,3,4', '1,2,3,4 10', '1ann,2ann'),
  ('batches_test_restricted', 'bob', '', '0', ' of 0', '200  of 0 */0', '', '', ' 0', '2bob'),
  ('batches_test_restricted', 'eve', '', '0', ' of 0', '200  of 0 */0', '', '', ' 0', '');
-- Of the batches seen: what the facets, and the rows of the totals, say of projects, devices, statuses and priorities.
create function pg_temp.facets_of(batches text) returns text language sql immutable
  return (select concat_ws(' ', count(*), (select string_agg(p || ':' || c, ',' order by p) from (
                                             select case when n <= 4 then 1 when n <= 6 then 2 else 3 end as p, count(*) as c
                                               from unnest(string_to_array(batches, ',')::int[]) n group by 1) x),
                           (select string_agg(distinct v, ',' order by v) from unnest(string_to_array(batches, ',')::int[]) n,
                              unnest(case when n = 5 then '{plain-device,DONE,LOW}' when n = 6 then '{plain-device,ERROR,LOW}'
                                          else '{secret-device,PAUSED,CRITICAL}' end::text[]) v))
            from unnest(string_to_array(batches, ',')));
create function pg_temp.totals_of(batches text) returns text language sql immutable
  return (select coalesce(string_agg(distinct case when n <= 4 then '1' when n <= 6 then '2' else '3' end, ','), '') || ' '
                 || coalesce(string_agg(distinct case when n in (5, 6) then 'plain-device' else 'secret-device' end, ','), '')
            from unnest(string_to_array(batches, ',')::int[]) n);
create table pg_temp.cell as
  select e.role, i.identity, w.way, w.expression, v.expected
    from pg_temp.expected e
    join pg_temp.identity i using (member)
   cross join lateral (values
     ('list_batches()', e.list), ('count_batches()', e.count), ('batch_facets()', pg_temp.facets_of(e.list)),
     ('batch_job_count', e.batch), ('batch_total', pg_temp.totals_of(e.batch)), ('get_all_batches()', e.document), ('http_get_all_batches()', e.http),
     ('verify_counts()', e.verify), ('batch', e.batch), ('job', e.job), ('project_member', e.project_member),
     ('current_user_id()', coalesce(nullif(e.member, ''), 'nobody'))) v (way, expected)
    join pg_temp.way w using (way);

-- As long as verify_counts() is to show something, all counts are wrong.
select is_empty($$ select * from batches.verify_counts() $$, 'no count is wrong');
set local session_replication_role = replica;
update batches.batch_job_count set jobs_count = 99, done_jobs = 99;
set local session_replication_role = origin;
select is(pg_temp.seen(role, identity, expression), expected, format('%s, %s: %s', role, identity, way))
  from pg_temp.cell order by role, identity, way;

-- The same cells in other orders: neither kept plans nor anything else carries rights from one call to the next.
select is_empty(
  $$ select round, role, identity, way, seen, expected
       from (select c.*, pg_temp.seen(role, identity, expression) as seen
               from (select c.*, round from pg_temp.cell c, generate_series(1, 8) round
                      order by round, md5(round || role || identity || way) offset 0) c) s
      where seen is distinct from expected $$,
  'all cells show the same in eight other orders');
select pg_temp.fill() as filled \gset

-- Plans of the caller's own, made once and run by one role after the other
create function pg_temp.planned() returns text language plpgsql as $$
declare
  listed text;
  counted bigint;
  plain text;
  parts text;
begin
  listed := pg_temp.numbers(array(select l.id from batches.list_batches(order_by => 'id', order_by_direction => 'ASC') l));
  counted := batches.count_batches(open => true);
  if (batches.batch_facets(open => true) ->> 'total')::bigint <> counted
     or batches.count_batches(open => true, min_jobs => 1) <> counted then
    return 'another number of batches';
  end if;
  plain := pg_temp.numbers(array(select b.id from batches.batch b));
  select count(*) into parts from batches.job j join batches.batch b on b.project_id = j.project_id and b.id = j.batch_id;
  return concat_ws(' / ', listed, counted, plain, parts);
end $$;
create table pg_temp.planned_call (role text, identity text, expected text);
insert into pg_temp.planned_call values
  ('batches_test_owner', 'no user', '1,2,3,4,5,6,7,8 / 4 / 1,2,3,4,5,6,7,8 / 36'),
  ('batches_test_owner', 'bob', '5,6 / 1 / 1,2,3,4,5,6,7,8 / 36'),
  ('batches_test_analyst', 'ann', '1,2,3,4,5,6 / 3 / 1,2,3,4,5,6,7,8 / 36'),
  ('batches_test_reader', 'no user', ' / 0 /  / 0'),
  ('batches_test_reader', 'ann', '1,2,3,4,5,6 / 3 / 1,2,3,4,5,6 / 21'),
  ('batches_test_reader', 'trusted claims of bob', '5,6 / 1 / 5,6 / 11'),
  ('batches_test_permitted', 'no user', '7,8 / 1 / 7,8 / 15'),
  ('batches_test_permitted', 'bob', '5,6 / 1 / 5,6,7,8 / 26'),
  ('batches_test_restricted', 'ann', '1,2,3,4 / 2 / 1,2,3,4 / 10');
select is_empty(
  $$ select mode, a.role, a.identity, b.role, b.identity, v.*
       from unnest(array['auto', 'force_generic_plan', 'force_custom_plan']) mode, pg_temp.planned_call a, pg_temp.planned_call b,
            lateral (select set_config('plan_cache_mode', mode, true), pg_temp.seen(a.role, a.identity, 'pg_temp.planned()') as first,
                            pg_temp.seen(b.role, b.identity, 'pg_temp.planned()') as second offset 0) v
      where v.first is distinct from a.expected or v.second is distinct from b.expected $$,
  'a function whose plans are kept shows each role and user what is theirs, after any other');
set local plan_cache_mode = auto;

--
-- No parameter reaches behind the projects of the user: bob's answers are the same with and without the others' batches
--

-- Requests as arguments of the functions, or as a query string. Each of the filters finds batches of other projects for who may see them.
create table pg_temp.request (request text, is_filter boolean, is_query boolean);
insert into pg_temp.request
select filter, true, false
  from unnest(array[
    'id => ''{b0000000-0000-0000-0000-000000000001}''',
    'id => ''{b0000000-0000-0000-0000-000000000007,b0000000-0000-0000-0000-000000000005}''',
    'id => array(select pg_temp.b(n) from generate_series(1, 9) n)', 'id__starts_with => ''b0000000-0000-0000-0000-000000000001''',
    'id__starts_with => ''b''', 'id__starts_with => ''''', 'project_id => ''{a0000000-0000-0000-0000-000000000001}''',
    'project_id => array(select pg_temp.p(n) from generate_series(1, 3) n)', 'user_id => ''{secret-user}''',
    'user_id => ''{plain-user,secret-user}''',
    'device_type => ''{secret-device}''', 'device_type => ''{plain-device,secret-device}''', 'status => ''{PAUSED}''',
    'status => enum_range(null::batches.batch_status)', 'complete => true', 'complete => false', 'open => true', 'open => false',
    'min_jobs => 1', 'min_jobs => 7', 'max_jobs => 4', 'max_jobs => 100', 'start_date => ''2025-01-02 05:00Z''',
    'start_date => ''-infinity''',
    'end_date => ''2025-01-03 04:00Z''', 'end_date => ''infinity''', 'queue_priority => ''{CRITICAL}''',
    'queue_priority => ''{LOW,CRITICAL}''',
    'tag => ''secret-tag''', 'tag => ''tag''', 'created_after => ''2025-01-01 07:00Z''', 'created_before => ''2025-01-01 05:00Z''',
    'id => ''{}'', project_id => ''{}'', user_id => ''{}'', device_type => ''{}'', status => ''{}'', queue_priority => ''{}''']) filter;
insert into pg_temp.request
select request, false, false
  from unnest(array['', '"limit" => 1', '"limit" => 1, "offset" => 1', '"offset" => 2', '"offset" => 3', '"offset" => 8',
    -- Not allowed, or a bad value of a type
    '"limit" => 0', '"offset" => -1', 'order_by => ''secret''', 'order_by => ''webhook''', 'order_by_direction => ''secret''',
    'id => ''{NULL}''', 'id => ''{secret}''', 'status => ''{SECRET}''', 'start_date => ''secret''']) request
 union all
select format('order_by => %L, order_by_direction => %L, "limit" => 7, "offset" => %s', name, direction, start), false, false
  from unnest(array['created_at', 'updated_at', 'start_datetime', 'end_datetime', 'id', 'status', 'open', 'complete', 'priority',
                    'device_type', 'user_id', 'project_id', 'jobs_count', 'queue_priority']) name,
       unnest(array['ASC', 'DESC']) direction, unnest(array[0, 1]) start;
insert into pg_temp.request
select request, false, true
  from unnest(array['id=b0000000-0000-0000-0000-000000000001',
      'id=b0000000-0000-0000-0000-000000000007&id=b0000000-0000-0000-0000-000000000005',
    'id__starts_with=B', 'id__starts_with=', 'project_id=a0000000-0000-0000-0000-000000000001', 'user_id=secret-user',
    'device_type=secret-device',
    'status=PAUSED', 'open=1', 'complete=1', 'min_jobs=0', 'max_jobs=1000', 'start_date=0', 'end_date=2030-01-01',
    'queue_priority=CRITICAL',
    'tag=secret-tag', 'offset=1', 'offset=5', 'limit=1', 'order_by=priority',
    'user_id=secret-user&limit=101&id=b0000000-0000-0000-0000-00000000000',
    'project_id=a0000000-0000-0000-0000-000000000001&status=SECRET']) request;
create function pg_temp.answers(request text, is_query boolean) returns text language plpgsql as $$
declare
  answers text := '';
  answer text;
  call text;
  detail text;
  hint text;
begin
  foreach call in array case
    when is_query then array[format('r::text from batches.http_get_all_batches(%L) r', request)]
    else array[format('string_agg(l::text, '' '') from batches.list_batches(%s) l', request),
        format('batches.get_all_batches(%s)', request)]
         || case when request !~ 'order_by|"limit"|"offset"' then
              array[format('batches.count_batches(%s)', request), format('batches.batch_facets(%s)', request)] end end
  loop
    continue when call is null;
    begin
      execute 'select ' || call into answer;
    exception when others then
      get stacked diagnostics detail = pg_exception_detail, hint = pg_exception_hint;
      answer := concat_ws(' ', sqlstate, sqlerrm, detail, hint);
    end;
    answers := answers || coalesce(answer, 'nothing') || E'\n';
  end loop;
  return answers;
end $$;
create function pg_temp.all_answers() returns table (role text, request text, is_query boolean, answers text) language sql volatile as $$
  select role, request, is_query, pg_temp.seen(role, 'bob', format('pg_temp.answers(%L, %L)', request, is_query))
    from unnest(array['batches_test_owner', 'batches_test_analyst', 'batches_test_reader', 'batches_test_permitted',
        'batches_test_restricted']) role,
         pg_temp.request
$$;
select is_empty(
  $$ select request from pg_temp.request
      where is_filter and pg_temp.seen('batches_test_analyst', 'no user', format('pg_temp.answers(%L, false)', request)) !~ 'secret' $$,
  'every filter of the requests finds batches of other projects for a role that may see them');
create table pg_temp.with_others as select * from pg_temp.all_answers();
select is_empty(
  $$ select role, request, answers from pg_temp.with_others where answers ~ 'secret' and request !~* 'secret' $$,
  'no answer to bob tells of what is secret');
select is_empty(
  $$ select role, request, answers from pg_temp.with_others
      where not is_query and request !~ '0000-[0-9]{11}[1-9]|=> ''secret'
        and answers ~ 'b0000000-0000-0000-0000-00000000000[123478]|a0000000-0000-0000-0000-00000000000[13]' $$,
  'no answer to bob has an id of the others');
select ok(count(*) filter (where answers ~ 'b0000000-0000-0000-0000-000000000005') > 100,
  'the answers to bob have batches of bob''s project')
  from pg_temp.with_others;
delete from batches.batch where project_id <> pg_temp.p(2);
delete from batches.project_member where project_id <> pg_temp.p(2);
select is_empty(
  $$ select role, request, o.answers, a.answers from pg_temp.with_others o full join pg_temp.all_answers() a using (role, request, is_query)
      where a.answers is distinct from o.answers $$,
  'bob''s answers to all requests, rows, totals and errors, are the same without the others');
select pg_temp.fill() as filled \gset

--
-- Changes of membership show in the next statement
--

create function pg_temp.listed(role text, identity text) returns text language sql volatile as $$
  select pg_temp.seen(role, identity, 'pg_temp.planned()')
$$;
select is(pg_temp.listed(role, 'eve'), expected, 'before eve joins, a page as ' || role || ' is empty')
  from (values ('batches_test_owner', ' / 0 / 1,2,3,4,5,6,7,8 / 36'), ('batches_test_reader', ' / 0 /  / 0'),
               ('batches_test_permitted', ' / 0 / 7,8 / 15'), ('batches_test_restricted', ' / 0 /  / 0')) v (role, expected);
insert into batches.project_member (project_id, user_id) values (pg_temp.p(1), 'eve'), (pg_temp.p(2), 'eve');
select is(pg_temp.listed(role, identity), expected, 'eve''s new projects show at once as ' || role || ', ' || identity)
  from (values ('batches_test_owner', '1,2,3,4,5,6 / 3 / 1,2,3,4,5,6,7,8 / 36'),
      ('batches_test_reader', '1,2,3,4,5,6 / 3 / 1,2,3,4,5,6 / 21'),
               ('batches_test_permitted', '1,2,3,4,5,6 / 3 / 1,2,3,4,5,6,7,8 / 36'),
               ('batches_test_restricted', '1,2,3,4 / 2 / 1,2,3,4 / 10')) v (role, expected),
       unnest(array['eve', 'trusted claims of eve']) identity;
update batches.project_member set project_id = pg_temp.p(3) where user_id = 'eve' and project_id = pg_temp.p(1);
select is(pg_temp.listed(role, 'eve'), expected, 'a membership that moved to another project shows that as ' || role)
  from (values ('batches_test_reader', '5,6,7,8 / 2 / 5,6,7,8 / 26'), ('batches_test_restricted', '7,8 / 1 / 7,8 / 15')) v (role, expected);
update batches.project_member set user_id = 'Eve' where user_id = 'eve' and project_id = pg_temp.p(3);
select is(pg_temp.listed('batches_test_reader', 'eve'), '5,6 / 1 / 5,6 / 11', 'a membership that went to another user is gone');
delete from batches.project_member where user_id = 'eve';
select is(pg_temp.listed('batches_test_reader', 'eve'), ' / 0 /  / 0', 'who has left the last project sees nothing');
select is(pg_temp.listed('batches_test_reader', 'bob'), '5,6 / 1 / 5,6 / 11', 'another member''s pages stay as they were');

--
-- The setting
--

create function pg_temp.state_as(role text, statement text) returns text language plpgsql as $$
declare
  state text := '00000';
begin
  perform set_config('role', role, true);
  begin
    execute statement;
  exception when others then
    state := sqlstate;
  end;
  perform set_config('role', 'none', true);
  return state;
end $$;
select is(pg_temp.state_as(role, format(statement, setting, value)), '42501', role || ' cannot ' || format(statement, setting, value))
  from unnest(array['batches_test_owner', 'batches_test_analyst', 'batches_test_reader', 'batches_test_permitted',
      'batches_test_restricted']) role,
       (values ('batches.user_id', 'ann'), ('batches.trust_jwt_claims', 'on')) v (setting, value),
       unnest(array['set %s = %L', 'set local %s = %L', 'select set_config(%L, %L, false)', 'select set_config(%L, %L, true)']) statement;
select is(current_setting('batches.user_id') || current_setting('batches.trust_jwt_claims'), 'off', 'all these attempts have set nothing');
grant set on parameter batches.user_id to batches_test_reader;
select is(pg_temp.state_as('batches_test_reader', $$ set local batches.user_id = 'bob' $$), '00000',
  'a role that was granted the setting can set it');
select is(batches.current_user_id(), 'bob', 'and makes the user');
select is(pg_temp.state_as('batches_test_reader', 'reset batches.user_id'), '00000', 'it can reset it');
select is(batches.current_user_id(), null, 'and there is no user');
revoke set on parameter batches.user_id from batches_test_reader;
select is(pg_temp.state_as('batches_test_reader', $$ set local batches.user_id = 'bob' $$), '42501', 'once the right is revoked it cannot');
set local batches.user_id = '';

--
-- Claims of a token
--

select is(boot_val || ' ' || reset_val || ' ' || context, 'off off superuser', 'claims are trusted only when a superuser says so')
  from pg_settings where name = 'batches.trust_jwt_claims';

create table pg_temp.claim (claims text, member text);
insert into pg_temp.claim values
  ('{"sub": "ann"}', 'ann'), (E' \t\r\n{"role": "web", "sub" : "bob", "aud": ["x", {"sub": "y"}], "exp": 1}\n', 'bob'),
  ('{"sub":" ann"}', ' ann'), ('{"sub":"Ann"}', 'Ann'),
  ('{"sub":"a\"b\\c\/d''\n\u00e9\ud83d\ude00é"}', E'a"b\\c/d''\né😀é'), ('{"s\u0075b":"ann"}', 'ann'), ('{"sub":"null"}', 'null'),
  ('{"sub":"\u0061nn"}', 'ann'),
  ('{"sub":"ann"' || repeat(',"x":"y"', 10000) || '}', 'ann'), ('{"sub":"' || repeat('x', 100000) || '"}', repeat('x', 100000)),
  -- The last one of several
  ('{"sub":"ann","sub":"bob"}', 'bob'), ('{"sub":1,"sub":"bob"}', 'bob'), ('{"sub":{"sub":"ann"},"sub":"bob"}', 'bob'),
  ('{"sub":"ann","sub":null}', null),
  ('{"sub":"ann","sub":""}', null), ('{"sub":"ann","sub":{}}', null), ('{"sub":"ann","sub":{"sub":"bob"}}', null),
  ('{"sub":"ann","sub":["bob"]}', null),
  -- None
  ('', null), (' ', null), ('{}', null), ('null', null), ('{"role":"web"}', null), ('{"Sub":"ann"}', null), ('{"SUB":"ann"}', null),
  ('{"sub ":"ann"}', null), ('{"":"ann"}', null),
  ('{"su":"ann"}', null), ('{"subject":"ann"}', null), ('{"a":"sub","b":"ann"}', null),
  -- No string
  ('{"sub":1}', null), ('{"sub":-1.5e3}', null), ('{"sub":null}', null), ('{"sub":true}', null), ('{"sub":{}}', null),
  ('{"sub":{"sub":"ann"}}', null), ('{"sub":[]}', null),
  ('{"sub":["ann"]}', null), ('{"sub":[["ann"]],"x":"ann"}', null), ('{"sub":""}', null), ('{"sub":{"x":[]},"y":"ann"}', null),
  -- Elsewhere
  ('{"user":{"sub":"ann"}}', null), ('{"a":[{"sub":"ann"}]}', null), ('{"a":{"b":{"sub":"ann"}},"c":"d"}', null), ('["ann"]', null),
  ('["sub","ann"]', null), ('[{"sub":"ann"}]', null),
  ('"ann"', null), ('"{\"sub\":\"ann\"}"', null), ('"sub"', null), ('1', null), ('true', null),
  -- Not JSON
  ('ann', null), ('sub', null), ('sub=ann', null), ('{sub:"ann"}', null), ('{''sub'':''ann''}', null), ('{"sub":ann}', null),
  ('{"sub":"ann"', null), ('{"sub":"ann', null), ('{"sub":"ann"}}', null),
  ('{"sub":"ann"} x', null), ('{"sub":"ann"}{"sub":"bob"}', null), ('{"sub":"ann",}', null), ('{"sub":}', null), ('{"sub"}', null),
  ('{"sub":"ann" "x":1}', null), ('{,"sub":"ann"}', null), ('{', null), ('}', null), ('[', null),
  ('"', null), ('\', null), ('{"sub":"ann"}' || chr(65279), null), (chr(65279) || '{"sub":"ann"}', null), ('{"sub":"ann","x":01}', null),
  ('{"sub":"ann","x":NaN}', null), ('{"sub":"an' || chr(10) || 'n"}', null),
  ('eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln', null),
  -- What is no text
  ('{"sub":"a\u0000b"}', null), ('{"sub":"ann\u0000"}', null), ('{"sub":"\ud83d"}', null), ('{"sub":"\ude00"}', null),
  ('{"sub":"\ud83dx"}', null), ('{"sub":"\u00"}', null), ('{"sub":"\x61nn"}', null),
  -- Deep
  (repeat('[', 100000), null), (repeat('[', 100000) || repeat(']', 100000), null), (repeat('{"sub":', 100000), null),
  (repeat('{"sub":', 100000) || '"ann"' || repeat('}', 100000), null),
  ('{"sub":' || repeat('[', 100000) || '"ann"' || repeat(']', 100000) || '}', null), ('{"sub":"ann","x":' || repeat('[', 100000), null),
  ('{"sub":' || repeat('{"sub":', 100000), null);
-- Who asks, by every way there is: the user, the status, the document's error or whose page it is.
create function pg_temp.user_by(claims text) returns text language plpgsql as $$
declare
  result text;
begin
  perform set_config('request.jwt.claims', claims, true);
  perform set_config('role', 'batches_test_reader', true);
  result := concat_ws(' ', pg_temp.value_of('coalesce(''user '' || batches.current_user_id(), ''nobody'')'),
    pg_temp.value_of('r.status || '' '' || json_typeof(r.body) from batches.http_get_all_batches('''') r'),
    pg_temp.value_of('pg_temp.numbers_of(d) from batches.get_all_batches() d'),
    pg_temp.value_of('batches.count_batches()'), pg_temp.value_of('count(*) from batches.batch'),
    pg_temp.value_of('coalesce(string_agg(distinct user_id, '' ''), '''') from batches.project_member'));
  perform set_config('role', 'none', true), set_config('request.jwt.claims', '', true);
  return result;
end $$;
set local batches.trust_jwt_claims = on;
select is(pg_temp.user_by(claims),
          case when member = 'ann' then 'user ann 200 object 1,2,3,4,5,6 of 6 6 6 ann'
               when member = 'bob' then 'user bob 200 object 5,6 of 2 2 2 bob'
               when member is null then 'nobody 401 object 28000 0 0 '
               else 'user ' || member || ' 200 object  of 0 0 0 ' end,
          format('trusted claims %s make %s', left(to_json(claims)::text, 60),
              coalesce('the user ' || left(to_json(member)::text, 40), 'no user')))
  from pg_temp.claim;
select set_config('request.jwt.claim.sub', 'ann', true) as legacy \gset
select is(pg_temp.user_by(''), 'nobody 401 object 28000 0 0 ', 'the claim is taken from the claims, not from a setting of its own');
set local batches.user_id = 'bob';
select is(pg_temp.user_by(claims), 'user bob 200 object 5,6 of 2 2 2 bob',
  'batches.user_id is the user, whatever the claims are: ' || claims)
  from unnest(array['{"sub":"ann"}', '{"sub":1}', 'x', '']) claims;
set local batches.user_id = '';
-- In another order than before: no claims leave anything to the next.
select is_empty(
  $$ select left(claims, 60) from (select * from pg_temp.claim order by md5(claims) offset 0) c
      where pg_temp.user_by(claims) !~ case when member is null then '^nobody 401 object 28000 0 0 $' else '^user .* 200 ' end $$,
  'trusted claims in another order make the same users');
set local batches.trust_jwt_claims = off;
select is_empty($$ select left(claims, 60) from pg_temp.claim where pg_temp.user_by(claims) is distinct
  from 'nobody 401 object 28000 0 0 ' $$,
                'claims that are not trusted make no user');

select * from finish();
rollback;
