-- Who sees what: the authenticated user, the role, row-level security and policies of an administrator's own.

\ir include/output.psql

begin;
-- Before the library is loaded: what a role without the right sets does not make it somebody, now or after loading.
create role batches_test_reader;
create role batches_test_stranger;
set local role batches_test_stranger;
do $$
begin
  set local batches.user_id = 'ann';
exception when insufficient_privilege then
  null;
end $$;
reset role;
set local client_min_messages = error;
select batches.current_user_id() is distinct from 'ann' as not_ann \gset early_

\ir include/pgtap.psql
set local client_min_messages = warning;
set local batches.user_id = '';
set local row_security = on;
truncate batches.batch, batches.job, batches.project_member;

select plan(189);

select is(:'early_not_ann'::boolean, true, 'a role without the right cannot set the user before the library is loaded');

--
-- Three projects with 4, 2 and 1 batches; ann is in the first two, bob in the second, eve in none
--

create function pg_temp.p(n int) returns uuid language sql immutable
  return ('a0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('b0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
insert into batches.batch (project_id, id, status, device_type, user_id, created_at, tags)
select pg_temp.p(case when n <= 4 then 1 when n <= 6 then 2 else 3 end), pg_temp.b(n),
       case when n % 2 = 0 then 'ERROR' else 'DONE' end::batches.batch_status, 'FRESNEL',
       -- Who made a batch says nothing about who sees it.
       'eve', '2025-01-01Z'::timestamptz + n * interval '1 hour', array['tag-' || n]
  from generate_series(1, 7) n;
insert into batches.job (project_id, batch_id) select project_id, id from batches.batch, generate_series(1, 2);
insert into batches.project_member (project_id, user_id)
values (pg_temp.p(1), 'ann'), (pg_temp.p(2), 'ann'), (pg_temp.p(2), 'bob');

grant usage on schema batches to batches_test_reader, batches_test_stranger;
grant select on batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member to batches_test_reader;
create role batches_test_analyst bypassrls;
grant usage on schema batches to batches_test_analyst;
grant select on batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member to batches_test_analyst;

-- Everything that a role and a user see of the batches, by all ways there are, or the SQLSTATE of each that fails:
-- the list, the count, the document and its total, and plain queries of the five tables. Facets show their total when it is
-- not that of the count.
create function pg_temp.value_of(expression text) returns text language plpgsql as $$
declare
  result text;
begin
  execute 'select ' || expression into result;
  return result;
exception when others then
  return sqlstate;
end $$;
create function pg_temp.numbers(ids uuid[]) returns text language sql immutable
  return (select coalesce(string_agg(right(i::text, 2)::int::text, ',' order by i), '') from unnest(ids) i);
create function pg_temp.seen(as_role text, as_user text, arguments text default '') returns text language plpgsql as $$
declare
  result text;
  count text;
  facets text;
begin
  perform set_config('batches.user_id', as_user, true);
  perform set_config('role', as_role, true);
  count := pg_temp.value_of('batches.count_batches(' || arguments || ')');
  facets := pg_temp.value_of('batches.batch_facets(' || arguments || ') -> ''total''');
  result := concat_ws(' ',
    'list', pg_temp.value_of('pg_temp.numbers(array(select l.id from batches.list_batches(' || arguments || ') l))'),
    'count', count, case when facets <> count then 'facets ' || facets end,
    'document', pg_temp.value_of(
      'pg_temp.numbers(array(select (i->>''id'')::uuid from json_array_elements(d->''data'') i))'
      ' || '' of '' || (d->''pagination''->>''total'')'
      ' from batches.get_all_batches(' || arguments || ') d'));
  perform set_config('role', 'none', true);
  perform set_config('batches.user_id', '', true);
  return result;
end $$;
create function pg_temp.seen_plainly(as_role text, as_user text) returns text language plpgsql as $$
declare
  result text;
begin
  perform set_config('batches.user_id', as_user, true);
  perform set_config('role', as_role, true);
  result := concat_ws(' ',
    'batches', pg_temp.value_of('pg_temp.numbers(array(select id from batches.batch))'),
    'jobs of', pg_temp.value_of('pg_temp.numbers(array(select distinct batch_id from batches.job))'),
    'counts of', pg_temp.value_of('pg_temp.numbers(array(select batch_id from batches.batch_job_count))'),
    'totals', pg_temp.value_of(
      'coalesce(string_agg(project || '':'' || total, '','' order by project), '''') from (
         select right(project_id::text, 1) as project, sum(x) as total from batches.batch_total, unnest(n) x
          where device_type is null group by 1) s'),
    'members', pg_temp.value_of(
      'string_agg(right(project_id::text, 1) || user_id, '','' order by user_id, project_id) from batches.project_member'));
  perform set_config('role', 'none', true);
  perform set_config('batches.user_id', '', true);
  return result;
end $$;

--
-- Roles and users
--

select is(pg_temp.seen('none', ''), 'list 1,2,3,4,5,6,7 count 7 document 28000',
          'an owner without a user lists and counts all');
select is(pg_temp.seen('none', 'ann'), 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6',
          'an owner sees what its user sees');
select is(pg_temp.seen('none', 'bob'), 'list 5,6 count 2 document 5,6 of 2', 'another user sees other projects');
select is(pg_temp.seen('none', 'eve'), 'list  count 0 document  of 0',
          'a user without project sees nothing, also what is its own');
select is(pg_temp.seen('none', 'Ann'), 'list  count 0 document  of 0', 'case matters in the user');
select is(pg_temp.seen('none', 'ann '), 'list  count 0 document  of 0', 'a space matters in the user');
select is(pg_temp.seen('none', 'x'' or true --'), 'list  count 0 document  of 0', 'a user is no SQL');
select is(pg_temp.seen('batches_test_analyst', ''), 'list 1,2,3,4,5,6,7 count 7 document 28000',
          'a role that bypasses row-level security lists and counts all');
select is(pg_temp.seen('batches_test_analyst', 'bob'), 'list 5,6 count 2 document 5,6 of 2',
          'a role that bypasses row-level security sees what its user sees');
select is(pg_temp.seen('batches_test_reader', ''), 'list  count 0 document 28000',
          'a plain role without a user sees nothing');
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6',
          'a plain role sees what its user sees');
select is(pg_temp.seen('batches_test_reader', 'bob'), 'list 5,6 count 2 document 5,6 of 2', 'and another user''s');
select is(pg_temp.seen('batches_test_reader', 'eve'), 'list  count 0 document  of 0',
          'and nothing of a user without project');

select is(pg_temp.seen_plainly('batches_test_reader', ''), 'batches  jobs of  counts of  totals  members',
          'plain queries of a plain role without a user find nothing');
select is(pg_temp.seen_plainly('batches_test_reader', 'ann'), 'batches 1,2,3,4,5,6 jobs of 1,2,3,4,5,6 counts of 1,2,3,4,5,6 totals 1:4,2:2 members 1ann,2ann',
          'plain queries find what the user sees');
select is(pg_temp.seen_plainly('batches_test_reader', 'bob'), 'batches 5,6 jobs of 5,6 counts of 5,6 totals 2:2 members 2bob',
          'plain queries find what another user sees, and no other member');
select is(pg_temp.seen_plainly('batches_test_reader', 'eve'), 'batches  jobs of  counts of  totals  members',
          'plain queries of a user without project find nothing');
select is(pg_temp.seen_plainly('batches_test_analyst', 'bob'),
          'batches 1,2,3,4,5,6,7 jobs of 1,2,3,4,5,6,7 counts of 1,2,3,4,5,6,7 totals 1:4,2:2,3:1 members 1ann,2ann,2bob',
          'plain queries of a role that bypasses row-level security find all');

-- Rights on tables and schema.
select is(pg_temp.seen('batches_test_stranger', ''), 'list 42501 count 42501 document 28000',
          'a role that may not read batches does not');
select is(pg_temp.seen('batches_test_stranger', 'ann'), 'list 42501 count 42501 document 42501',
          'a role that may not read batches does not for a user either');
select is(pg_temp.seen('batches_test_stranger', 'ann', 'id__starts_with => ''-'''), 'list 42501 count 42501 document 42501',
          'a role that may not read batches may not for what matches nothing either');
grant select on batches.project_member to batches_test_stranger;
select is(pg_temp.seen('batches_test_stranger', 'ann'), 'list 42501 count 42501 document 42501',
          'a role that may read the members alone does not read batches');
revoke select on batches.project_member from batches_test_stranger;
grant select on batches.batch to batches_test_stranger;
select is(pg_temp.seen('batches_test_stranger', 'ann'), 'list 42501 count 42501 document 42501',
          'a role that may not read the members does not read batches');
revoke select on batches.batch from batches_test_stranger;
revoke usage on schema batches from batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 42501 count 42501 document 42501',
          'a role without the schema has none of it');
grant usage on schema batches to batches_test_reader;
set local row_security = off;
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 42501 count 42501 document 42501',
          'row_security = off is an error where it would show more');
set local row_security = on;

--
-- No parameter reaches further
--

select is(pg_temp.seen(role, 'bob', arguments), expected, what || ' (' || role || ')')
  from unnest(array['none', 'batches_test_reader', 'batches_test_analyst']) role,
       (values
    ('id => ''{b0000000-0000-0000-0000-000000000001}''', 'list  count 0 document  of 0', 'the id of a foreign batch finds nothing'),
    ('id => ''{b0000000-0000-0000-0000-000000000001,b0000000-0000-0000-0000-000000000005}''', 'list 5 count 1 document 5 of 1',
     'a foreign id beside an own one finds the own'),
    ('project_id => ''{a0000000-0000-0000-0000-000000000001}''', 'list  count 0 document  of 0', 'a foreign project is empty'),
    ('project_id => ''{a0000000-0000-0000-0000-000000000003,a0000000-0000-0000-0000-000000000002}''',
     'list 5,6 count 2 document 5,6 of 2', 'a foreign project adds nothing'),
    ('user_id => ''{eve}''', 'list 5,6 count 2 document 5,6 of 2', 'the maker of foreign batches finds own ones'),
    ('tag => ''tag-1''', 'list  count 0 document  of 0', 'the tag of a foreign batch finds nothing'),
    ('id__starts_with => ''b0000000-0000-0000-0000-000000000007''', 'list  count 0 document  of 0', 'a foreign id finds nothing'),
    ('id__starts_with => ''b''', 'list 5,6 count 2 document 5,6 of 2', 'the start of all ids finds own ones'),
    ('min_jobs => 2, max_jobs => 2', 'list 5,6 count 2 document 5,6 of 2', 'the number of jobs of all finds own ones'),
    ('created_before => ''infinity''', 'list 5,6 count 2 document 5,6 of 2', 'any date finds own ones')) v (arguments, expected, what);
set local batches.user_id = 'bob';
select is(array(select l.id from batches.list_batches(order_by => name, order_by_direction => 'ASC', "offset" => start) l),
          case start when 0 then array[pg_temp.b(5), pg_temp.b(6)] else '{}' end,
          'an offset of ' || start || ' in order by ' || name || ' counts own batches alone')
  from unnest(array['created_at', 'id', 'project_id']) name, unnest(array[0, 2]) start;
set local batches.user_id = '';

--
-- The setting
--

create function pg_temp.state_as(as_role text, statement text) returns text language plpgsql as $$
declare
  state text := '00000';
begin
  perform set_config('role', as_role, true);
  begin
    execute statement;
  exception when others then
    state := sqlstate;
  end;
  perform set_config('role', 'none', true);
  return state;
end $$;
select is(pg_temp.state_as('batches_test_reader', statement), '42501', 'a plain role cannot: ' || statement)
  from unnest(array[
    $$ set batches.user_id = 'ann' $$, $$ set local batches.user_id = 'ann' $$,
    $$ select set_config('batches.user_id', 'ann', true) $$, $$ select set_config('batches.user_id', 'ann', false) $$,
    $$ alter role batches_test_reader set batches.user_id = 'ann' $$,
    $$ update pg_settings set setting = 'ann' where name = 'batches.user_id' $$]) statement;
create schema batches_test_scratch authorization batches_test_reader;
select isnt(pg_temp.state_as('batches_test_reader', $$
  create function batches_test_scratch.as_ann() returns bigint language sql set batches.user_id = 'ann'
    as 'select batches.count_batches()';
  select batches_test_scratch.as_ann() $$), '00000', 'a plain role cannot make a function that sets the user');
select is(batches.current_user_id(), null, 'after all attempts there is no user');
grant set on parameter batches.user_id to batches_test_analyst;
select is(pg_temp.state_as('batches_test_analyst', $$ set local batches.user_id = 'bob' $$), '00000',
          'a role that was granted the setting can set it');
select is(batches.current_user_id(), 'bob', 'current_user_id() is the user that was set');
set local batches.user_id = '';
select is(batches.current_user_id(), null, 'an empty setting is no user');
select is(pg_temp.state_as('batches_test_analyst', $$ set local batches.user_id = 'ann' $$), '00000', 'and again');
select is(pg_temp.state_as('batches_test_reader', $$ set local batches.user_id = 'bob' $$), '42501',
          'while another role cannot');
select is(batches.current_user_id(), 'ann', 'and the user stays');
set local batches.user_id = '';

-- Claims of a token count for nothing unless the administrator says so.
select set_config('request.jwt.claims', '{"sub": "ann", "role": "web"}', true) as claims \gset
select is(batches.current_user_id(), null, 'claims of a token make no user by default');
select is(pg_temp.seen('batches_test_reader', ''), 'list  count 0 document 28000',
          'claims of a token show nothing by default');
select set_config('request.jwt.claims', '', true) as claims \gset

--
-- Nobody writes the derived tables
--

create role batches_test_writer;
create role batches_test_bypassing bypassrls;
grant usage on schema batches to batches_test_writer, batches_test_bypassing;
grant all on batches.batch_job_count, batches.batch_total to batches_test_writer, batches_test_bypassing;
grant select on batches.project_member to batches_test_writer;
create table pg_temp.derived_before as
  select (select jsonb_agg(c order by c.batch_id) from batches.batch_job_count c) as counts,
         (select jsonb_agg(t order by t.id) from batches.batch_total t) as totals;
create table pg_temp.attempt (n int, statement text);
insert into pg_temp.attempt values
  (1, 'update batches.batch_job_count set jobs_count = 9, done_jobs = 9, size_class = 9'),
  (2, 'delete from batches.batch_job_count'),
  (3, 'insert into batches.batch_job_count (project_id, batch_id, jobs_count) values (pg_temp.p(2), pg_temp.b(8), 1)'),
  (4, 'insert into batches.batch_job_count select * from batches.batch_job_count on conflict (project_id, batch_id) do update set jobs_count = 9'),
  (5, 'merge into batches.batch_job_count c using (values (1)) v (n) on true when matched then update set jobs_count = 9'),
  (6, 'truncate batches.batch_job_count'),
  (7, 'update batches.batch_total set n = array_fill(9::bigint, array[8, 2, 5])'),
  (8, 'delete from batches.batch_total'),
  (9, 'insert into batches.batch_total (project_id, device_type, n) values (pg_temp.p(2), ''FRESNEL'', array_fill(9::bigint, array[8, 2, 5]))'),
  (10, 'merge into batches.batch_total t using (values (1)) v (n) on true when matched then delete'),
  (11, 'truncate batches.batch_total'),
  (12, 'alter table batches.batch_total disable trigger user'),
  (13, 'drop trigger protect_rows on batches.batch_total'),
  (14, 'set session_replication_role = replica');
-- What became of an attempt: its SQLSTATE, and whether the tables are another thing than before.
create function pg_temp.attempted(as_role text, as_user text, statement text) returns text language plpgsql as $$
declare
  state text := '00000';
begin
  perform set_config('batches.user_id', as_user, true), set_config('role', as_role, true);
  begin
    execute statement;
  exception when others then
    state := sqlstate;
  end;
  perform set_config('role', 'none', true), set_config('batches.user_id', '', true);
  return case when (select counts = (select jsonb_agg(c order by c.batch_id) from batches.batch_job_count c)
                           and totals = (select jsonb_agg(t order by t.id) from batches.batch_total t) from pg_temp.derived_before)
              then 'unchanged ' else 'changed ' end || state;
end $$;
select is(pg_temp.attempted('batches_test_writer', 'ann', statement),
          -- What policies let one read alone is not there to be changed, and MERGE says so; what is inserted is passed over.
          'unchanged ' || case when n in (6, 11) then '428C9' when n in (5, 10) or n > 11 then '42501' else '00000' end,
          'a role with all rights on the derived tables cannot: ' || statement)
  from pg_temp.attempt order by n;
select is(pg_temp.attempted('batches_test_bypassing', '', statement),
          'unchanged ' || case when n in (3, 4, 9) then '00000' when n > 11 then '42501' else '428C9' end,
          'nor can one that bypasses row-level security: ' || statement)
  from pg_temp.attempt order by n;
select is(pg_temp.attempted('none', '', statement), 'unchanged ' || case when n in (3, 4, 9) then '00000' else '428C9' end,
          'nor can the owner: ' || statement)
  from pg_temp.attempt where n <= 11 order by n;
select is(pg_temp.attempted('batches_test_reader', 'ann', statement), 'unchanged 42501', 'nor can who may only read: ' || statement)
  from pg_temp.attempt order by n;
-- A trigger of such a role is not run by those who write jobs and batches: it would run with their rights.
create schema batches_test_triggers authorization batches_test_writer;
set local role batches_test_writer;
create function batches_test_triggers.grab() returns trigger language plpgsql as $$ begin raise 'run by %', current_user; end $$;
create trigger grab before insert or update or delete on batches.batch_job_count for each row execute function batches_test_triggers.grab();
create trigger grab before insert or update or delete on batches.batch_total for each row execute function batches_test_triggers.grab();
reset role;
select lives_ok($$ insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(8), 'FRESNEL', 'eve');
                   insert into batches.job (project_id, batch_id) values (pg_temp.p(2), pg_temp.b(8));
                   update batches.batch set status = 'ERROR' where id = pg_temp.b(8);
                   delete from batches.batch where id = pg_temp.b(8) $$,
                'a trigger of another role''s on the derived tables is not run by who writes batches and jobs');
drop trigger grab on batches.batch_job_count;
drop trigger grab on batches.batch_total;

-- Rights on the derived tables
revoke select on batches.batch_total from batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6',
          'without the right on the totals the rows are counted');
grant select (project_id) on batches.batch_total to batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'bob'), 'list 5,6 count 2 document 5,6 of 2', 'with the right on one column of them too');
grant select on batches.batch_total to batches_test_reader;
revoke select on batches.batch_job_count from batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 42501 count 6 document 42501',
          'without the right on the job counts there is no list, and still a count');
select is(pg_temp.seen('batches_test_reader', 'ann', 'min_jobs => 1'), 'list 42501 count 42501 document 42501',
          'but for a count by them');
grant select (project_id, batch_id, jobs_count, size_class) on batches.batch_job_count to batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann', 'min_jobs => 1'), 'list 42501 count 6 document 42501',
          'for which the right on the columns of the number is enough');
grant select on batches.batch_job_count to batches_test_reader;
revoke select on batches.batch from batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 42501 count 42501 document 42501',
          'the right on the totals alone does not make a count');
grant select (status) on batches.batch to batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann', 'status => ''{DONE}'''), 'list 42501 count 42501 document 42501',
          'nor without the right on the column that says whose a batch is');
grant select (project_id) on batches.batch to batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann', 'status => ''{DONE}'''), 'list 42501 count 3 document 42501',
          'which with that on the filters'' columns is enough');
select is(pg_temp.seen('batches_test_reader', 'ann', 'device_type => ''{FRESNEL}'''), 'list 42501 count 42501 document 42501',
          'and a filter on another column needs the right on that');
revoke select (status, project_id) on batches.batch from batches_test_reader;
grant select on batches.batch to batches_test_reader;

--
-- Changes show in the next statement
--

insert into batches.project_member (project_id, user_id) values (pg_temp.p(3), 'eve'), (pg_temp.p(1), 'eve');
select is(pg_temp.seen('batches_test_reader', 'eve'), 'list 1,2,3,4,7 count 5 document 1,2,3,4,7 of 5',
          'a new member sees the projects at once');
delete from batches.project_member where user_id = 'eve' and project_id = pg_temp.p(1);
select is(pg_temp.seen('batches_test_reader', 'eve'), 'list 7 count 1 document 7 of 1',
          'a former member does not see the project any more');
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(3), pg_temp.b(9), 'FRESNEL', 'eve');
select is(pg_temp.seen('batches_test_reader', 'eve'), 'list 7,9 count 2 document 7,9 of 2',
          'a new batch is seen at once');
update batches.batch set project_id = pg_temp.p(2) where id = pg_temp.b(9);
select is(pg_temp.seen('batches_test_reader', 'eve'), 'list 7 count 1 document 7 of 1',
          'a batch that left the project is not seen');
select is(pg_temp.seen('batches_test_reader', 'bob'), 'list 5,6,9 count 3 document 5,6,9 of 3',
          'a batch that came to the project is seen');
delete from batches.batch where id = pg_temp.b(9);
delete from batches.project_member where user_id = 'eve';

--
-- One session, many roles and users: each call has its own rights
--

create table pg_temp.turn (n int, role text, member text, expected text);
insert into pg_temp.turn values
  (1, 'none', '', 'list 1,2,3,4,5,6,7 count 7 document 28000'),
  (2, 'batches_test_reader', '', 'list  count 0 document 28000'),
  (3, 'batches_test_analyst', '', 'list 1,2,3,4,5,6,7 count 7 document 28000'),
  (4, 'batches_test_reader', 'ann', 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6'),
  (5, 'batches_test_reader', 'bob', 'list 5,6 count 2 document 5,6 of 2'),
  (6, 'batches_test_stranger', 'bob', 'list 42501 count 42501 document 42501'),
  (7, 'none', 'bob', 'list 5,6 count 2 document 5,6 of 2'),
  (8, 'batches_test_analyst', 'ann', 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6'),
  (9, 'batches_test_reader', 'eve', 'list  count 0 document  of 0');
select is_empty(
  $$ select a.n, a.role, a.member, s.seen from (select a.*, round from pg_temp.turn a, generate_series(1, 20) round
       order by round, (a.n * round) % 11 offset 0) a,
       lateral (select pg_temp.seen(a.role, a.member) as seen) s where s.seen is distinct from a.expected $$,
  'calls of many roles and users in turn see what each of them sees');
select is_empty(
  $$ select a.n as before, b.n from pg_temp.turn a, pg_temp.turn b,
       lateral (select pg_temp.seen(a.role, a.member) as first, pg_temp.seen(b.role, b.member) as second) s
      where s.first is distinct from a.expected or s.second is distinct from b.expected $$,
  'after the calls of one role and user another sees what it sees');
revoke select on batches.batch from batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 42501 count 42501 document 42501',
          'a right that was revoked is gone at once');
grant select on batches.batch to batches_test_reader;
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6',
          'a right that was granted is there at once');

-- A view shows what who asks may see: the functions run with the rights of the caller.
create view batches_test_scratch.listed as select id from batches.list_batches();
grant select on batches_test_scratch.listed to batches_test_reader;
set local role batches_test_reader;
select count(*) as rows from batches_test_scratch.listed \gset view_
reset role;
select is(:view_rows, 0, 'a superuser''s view of the list shows a plain role what that may see');

--
-- An administrator's own policies
--

create policy no_errors on batches.batch as restrictive for select to batches_test_reader using (status <> 'ERROR');
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 1,3,5 count 3 document 1,3,5 of 3',
          'a restrictive policy holds for the functions');
select is(pg_temp.seen_plainly('batches_test_reader', 'ann'), 'batches 1,3,5 jobs of 1,2,3,4,5,6 counts of 1,2,3,4,5,6 totals 1:4,2:2 members 1ann,2ann',
          'as it holds for plain queries');
select is(pg_temp.seen('batches_test_reader', 'ann', 'status => ''{ERROR}'''), 'list  count 0 document  of 0',
          'no filter reaches behind the policy');
select is(pg_temp.seen('none', 'ann'), 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6',
          'the policy does not hold for others');
drop policy no_errors on batches.batch;
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6',
          'without the policy all is as before');
create policy everything on batches.batch for select to batches_test_reader using (true);
select is(pg_temp.seen('batches_test_reader', ''), 'list XX001 count 7 document 28000',
          'a policy that shows more batches than job counts makes a list an error');
create policy everything on batches.batch_job_count for select to batches_test_reader using (true);
select is(pg_temp.seen('batches_test_reader', ''), 'list 1,2,3,4,5,6,7 count 7 document 28000',
          'a permissive policy shows its role all without a user');
select is(pg_temp.seen('batches_test_reader', 'bob'), 'list 5,6 count 2 document 5,6 of 2',
          'with a user it shows that user''s projects alone');
select is(pg_temp.seen('batches_test_reader', 'eve'), 'list  count 0 document  of 0',
          'and nothing of a user without project');
drop policy everything on batches.batch;
drop policy everything on batches.batch_job_count;
-- The same on the totals and the job counts
create policy none on batches.batch_total as restrictive for select to batches_test_reader using (false);
select is(pg_temp.seen('batches_test_reader', 'ann'), 'list 1,2,3,4,5,6 count 6 document 1,2,3,4,5,6 of 6',
          'where a policy hides totals the rows are counted');
drop policy none on batches.batch_total;
create policy everything on batches.batch_total for select to batches_test_reader using (true);
select is(pg_temp.seen('batches_test_reader', ''), 'list  count 0 document 28000', 'a policy that shows all totals does not make a count of them');
select is(pg_temp.seen('batches_test_reader', 'bob'), 'list 5,6 count 2 document 5,6 of 2', 'for a user neither');
drop policy everything on batches.batch_total;
create policy not_six on batches.batch_job_count as restrictive for select to batches_test_reader using (batch_id <> pg_temp.b(6));
select is(pg_temp.seen('batches_test_reader', 'bob'), 'list XX001 count 2 document XX001',
          'where a policy hides job counts and not their batches, a list is an error');
select is(pg_temp.seen('batches_test_reader', 'bob', 'id => array[pg_temp.b(5)]'), 'list 5 count 1 document 5 of 1', 'but for the other batches');
drop policy not_six on batches.batch_job_count;

-- What the server counts of the tables and their indexes, which every role can read, does not grow by what is read below
-- row-level security.
create function pg_temp.counted() returns numeric language sql as $$
  select sum(pg_stat_get_xact_numscans(c.oid) + pg_stat_get_xact_tuples_returned(c.oid) + pg_stat_get_xact_tuples_fetched(c.oid)
             + pg_stat_get_xact_blocks_fetched(c.oid) + pg_stat_get_xact_blocks_hit(c.oid))
    from pg_class c where c.relnamespace = 'batches'::regnamespace
$$;
create function pg_temp.counts_for(reader text, reading text) returns numeric language plpgsql as $$
declare
  before numeric := pg_temp.counted();
begin
  perform set_config('batches.user_id', 'bob', true), set_config('batches.scan', 'index', true), set_config('role', reader, true);
  execute 'select ' || reading;
  perform set_config('role', 'none', true), set_config('batches.user_id', '', true), set_config('batches.scan', 'auto', true);
  return pg_temp.counted() - before;
end $$;
select is(pg_temp.counts_for('batches_test_reader', reading), 0::numeric, 'nothing is counted of ' || reading)
  from unnest(array['batches.count_batches(tag => ''tag-1'')', 'batches.count_batches(user_id => ''{eve}'')', 'batches.count_batches()',
                    'batches.count_batches(device_type => ''{FRESNEL}'')', 'batches.count_batches(min_jobs => 1, status => ''{DONE}'')',
                    'count(*) from batches.list_batches(order_by => ''jobs_count'')', 'count(*) from batches.list_batches(tag => ''tag-5'')',
                    'batches.get_all_batches(tag => ''tag-2'', "limit" => 1)', 'batches.get_all_batches(user_id => ''{eve}'', "limit" => 1)',
                    'batches.http_get_all_batches(''tag=tag-1'')']) reading;
-- Whether totals can tell is asked in between, and opens the table.
revoke select on batches.batch_total from batches_test_reader;
select is(pg_temp.counts_for('batches_test_reader', 'batches.get_all_batches(device_type => ''{FRESNEL}'', "limit" => 1)'), 0::numeric,
          'nor of a total that is counted behind a page');
grant select on batches.batch_total to batches_test_reader;
select cmp_ok(pg_temp.counts_for('batches_test_analyst', reading), '>', 0::numeric, 'but for a role that sees all rows: ' || reading)
  from unnest(array['batches.count_batches(tag => ''tag-1'')', 'batches.get_all_batches(user_id => ''{eve}'', "limit" => 1)']) reading;
select cmp_ok(pg_temp.counts_for('batches_test_reader', 'count(*) from batches.batch, batches.list_batches()'), '>', 0::numeric,
              'and what a query reads beside it');
select cmp_ok(pg_temp.counts_for('batches_test_reader', 'count(*) from batches.batch'), '>', 0::numeric, 'or afterwards');

-- Forced on the owner.
create role batches_test_owner;
alter table batches.batch owner to batches_test_owner;
alter table batches.job owner to batches_test_owner;
alter table batches.batch_job_count owner to batches_test_owner;
alter table batches.batch_total owner to batches_test_owner;
alter table batches.project_member owner to batches_test_owner;
grant usage on schema batches to batches_test_owner;
select is(pg_temp.seen('batches_test_owner', ''), 'list 1,2,3,4,5,6,7 count 7 document 28000',
          'an ordinary owner without a user sees all');
alter table batches.batch force row level security;
select is(pg_temp.seen('batches_test_owner', ''), 'list  count 0 document 28000',
          'an owner on whom row-level security is forced sees nothing without a user');
select is(pg_temp.seen('batches_test_owner', 'bob'), 'list 5,6 count 2 document 5,6 of 2',
          'and a user''s projects with a user');
alter table batches.batch no force row level security;
alter table batches.batch_job_count force row level security;
alter table batches.batch_total force row level security;
select is(pg_temp.seen('batches_test_owner', ''), 'list XX001 count 7 document 28000',
          'forced on the derived tables alone, it hides job counts, and rows are counted');
select is(pg_temp.seen('batches_test_owner', 'bob'), 'list 5,6 count 2 document 5,6 of 2', 'and nothing that a user sees');
select is(pg_temp.state_as('batches_test_owner', $$ insert into batches.batch (project_id, id, device_type, user_id)
                                                    values (pg_temp.p(2), pg_temp.b(8), 'FRESNEL', 'eve');
                                                    insert into batches.job (project_id, batch_id) values (pg_temp.p(2), pg_temp.b(8)) $$),
          '00000', 'such an owner writes batches and jobs');
alter table batches.batch_job_count no force row level security;
alter table batches.batch_total no force row level security;
select is_empty('select * from batches.verify_counts()', 'which are counted');
delete from batches.batch where id = pg_temp.b(8);

-- verify_counts() follows the caller too.
set local session_replication_role = replica;
update batches.batch_job_count set jobs_count = 9 where batch_id in (pg_temp.b(1), pg_temp.b(5));
update batches.batch_total set n = array_fill(9, array[8, 2, 5]) where project_id in (pg_temp.p(1), pg_temp.p(2));
set local session_replication_role = origin;
set local batches.user_id = 'bob';
set local role batches_test_reader;
select string_agg(distinct right(batch_id::text, 1), ',') as batches,
       string_agg(distinct right(project_id::text, 1), ',') filter (where table_name = 'batch_total') as projects
  from batches.verify_counts() \gset wrong_
reset role;
set local batches.user_id = '';
select is(:'wrong_batches'::text, '5', 'verify_counts() reports the batches that the caller sees');
select is(:'wrong_projects'::text, '2', 'and the projects');

select * from finish();
rollback;
