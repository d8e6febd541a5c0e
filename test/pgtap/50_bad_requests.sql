-- Bad values: an error of a fitting SQLSTATE that names the parameter and the value and helps; nothing else happens.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local lc_messages = 'C';
set local batches.user_id = 'ann';
truncate batches.batch, batches.job, batches.project_member;

select plan(294);

insert into batches.project_member values ('00000000-0000-0000-0000-000000000001', 'ann');
insert into batches.batch (project_id, id, device_type, user_id)
values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', 'FRESNEL', 'ann');

-- How a statement fails, or '00000'.
create function pg_temp.failure(statement text, out state text, out message text, out hint text) language plpgsql as $$
begin
  execute statement;
  state := '00000';
exception when others then
  get stacked diagnostics state = returned_sqlstate, message = message_text, hint = pg_exception_hint;
end $$;

-- One test: the call fails so, its message has all of these words and its hint all of those.
create function pg_temp.fails(call text, expected text, in_message text[], in_hint text[]) returns text language plpgsql as $$
declare
  f record;
  wrong text;
begin
  f := pg_temp.failure('select ' || call);
  wrong := concat_ws('; ',
    case when f.state <> expected then 'SQLSTATE ' || f.state end,
    (select string_agg(format('no %s in the message', w), '; ') from unnest(in_message) w where strpos(f.message, w) = 0),
    case when f.hint = '' then 'no hint' end,
    (select string_agg(format('no %s in the hint', w), '; ') from unnest(in_hint) w where strpos(f.hint, w) = 0),
    case when (select count(*) from batches.list_batches()) <> 1 then 'no list afterwards' end);
  return ok(wrong = '', replace(call, E'\n', '\n') || ' is error ' || expected || ' and helps')
         || coalesce(E'\n' || diag(nullif(wrong, '') || E'\nmessage: ' || f.message || E'\nhint: ' || f.hint), '');
end $$;

select is(pg_temp.failure('select batches.get_all_batches()')::text, '(00000,,)',
          'a request without parameters is no error');

create function pg_temp.matches_failure(statement text, expected text, hint_pattern text, what text) returns text language sql as $$
  select is(concat_ws(' ', f.state, case when f.hint !~ hint_pattern then 'with the hint: ' || f.hint end), expected,
            what || ': error ' || expected || ' with a hint')
    from pg_temp.failure(statement) f
$$;

--
-- The window
--

select pg_temp.fails('batches.get_all_batches("limit" => ' || n || ')', '2201W', array['limit', n], array['100'])
  from unnest(array['0', '-1', '101', '1000', '9223372036854775807', '-9223372036854775808']) with ordinality v (n, o) order by o;
select pg_temp.fails('batches.list_batches("limit" => ' || n || ')', '2201W', array['limit', n], '{}')
  from unnest(array['0', '-1', '-9223372036854775808']) with ordinality v (n, o) order by o;
select pg_temp.fails(format('batches.%s("offset" => %s)', f, n), '2201X', array['offset', n], '{}')
  from unnest(array['list_batches', 'get_all_batches']) with ordinality a (f, i),
       unnest(array['-1', '-9223372036854775808']) with ordinality b (n, o) order by i, o;

--
-- The order
--

select pg_temp.fails(format('batches.%s(order_by => %L)', f, v), '22023', array['order_by', v],
                     '{created_at,updated_at,start_datetime,end_datetime,id,status,open,complete,priority,device_type,
                       user_id,project_id,jobs_count,queue_priority}')
  from unnest(array['list_batches', 'get_all_batches']) with ordinality a (f, i),
       unnest(array['name', 'tags', 'webhook', 'parent_id', 'done_jobs', 'jobs_count_per_status', 'ID', 'Created_at', ' id',
                    'id ', '"id"', 'id,status', 'id desc', 'b.id', '1', 'id; drop table batches.batch', '(select 1)',
                    'i', 'ids', 'id' || chr(10), 'é', '日本', repeat('created_at', 100)]) with ordinality b (v, o) order by i, o;
select pg_temp.fails(format('batches.%s(order_by => '''')', f), '22023', array['order_by'], array['created_at'])
  from unnest(array['list_batches', 'get_all_batches']) f;
select pg_temp.fails(format('batches.%s(order_by_direction => %L)', f, v), '22023', array['order_by_direction', v],
                     array['ASC', 'DESC'])
  from unnest(array['list_batches', 'get_all_batches']) with ordinality a (f, i),
       unnest(array['asc', 'desc', 'Asc', 'UP', 'ASCENDING', 'AS', 'DESC ', ' ASC', 'ASC NULLS FIRST', 'DESC; drop table batches.batch',
                    '1']) with ordinality b (v, o) order by i, o;
select pg_temp.fails(format('batches.%s(order_by_direction => '''')', f), '22023', array['order_by_direction'], array['ASC', 'DESC'])
  from unnest(array['list_batches', 'get_all_batches']) f;

--
-- Lists
--

select pg_temp.fails(format('batches.%s(%s => %s)', f, name, value), '22004', array[name], '{}')
  from unnest(array['list_batches', 'count_batches', 'batch_facets', 'get_all_batches']) with ordinality a (f, i),
       (values ('id', '''{null}'''), ('id', '''{00000000-0000-0000-0000-000000000002,null}'''),
               ('project_id', '''{null,00000000-0000-0000-0000-000000000001}'''), ('user_id', 'array[null]'),
               ('user_id', 'array[''ann'', null, ''bob'']'), ('device_type', 'array[null, null]'),
               ('device_type', 'array[''FRESNEL'', null]'), ('status', '''{DONE,null}'''), ('status', '''{null}'''),
               ('queue_priority', '''{null,LOW}'''), ('queue_priority', '''{null}''')) b (name, value);
select pg_temp.fails(format('batches.%s(%s => %s)', f, name, value), '22023', array[name, bad], enum_range::text[])
  from unnest(array['list_batches', 'count_batches', 'batch_facets', 'get_all_batches', 'explain_batches']) f,
       (values ('status', '''{done}''', '"done"', enum_range(null::batches.batch_status)::text[]),
               ('status', 'array[''DONE'', ''NONE'']', '"NONE"', enum_range(null::batches.batch_status)::text[]),
               ('status', 'array[''DON'']', '"DON"', enum_range(null::batches.batch_status)::text[]),
               ('status', 'array['''']', '""', enum_range(null::batches.batch_status)::text[]),
               ('queue_priority', 'enum_range(null::batches.batch_status)', '"PENDING"', enum_range(null::batches.queue_priority)::text[]),
               ('queue_priority', '''{URGENT}''', '"URGENT"', enum_range(null::batches.queue_priority)::text[])) b (name, value, bad, enum_range);

--
-- Values that PostgreSQL itself refuses
--

select is((pg_temp.failure(format('select batches.%s(%s)', f, arguments))).state, state, f || '(' || arguments || ') is error ' || state)
  from unnest(array['list_batches', 'count_batches', 'batch_facets', 'get_all_batches']) f,
       (values ('id => ''{no-uuid}''', '22P02'), ('id => ''{""}''', '22P02'), ('project_id => ''{00000000}''', '22P02'),
               ('open => ''maybe''', '22P02'), ('min_jobs => ''1.5''', '22P02'), ('max_jobs => ''9223372036854775808''', '22003'),
               ('start_date => ''soon''', '22007'), ('end_date => ''2025-02-30Z''', '22008'), ('no_parameter => 1', '42883'))
         v (arguments, state);

--
-- Several bad values: an error that names one of them
--

select is((pg_temp.failure('select batches.get_all_batches("limit" => 0, "offset" => -1, order_by => ''x'', order_by_direction => ''y'')')).state
          in ('2201W', '2201X', '22023'), true, 'a request bad in many ways is one error');

--
-- Without a user
--

set local batches.user_id = '';
select pg_temp.matches_failure('select batches.get_all_batches()', '28000', 'batches\.user_id',
                               'get_all_batches() without a user');
select is((pg_temp.failure('select batches.get_all_batches("limit" => 0)')).state, '28000',
          'without a user no other value matters');
select is((pg_temp.failure('select batches.list_batches()')).state, '00000',
          'without a user list_batches() is no error');
select is((pg_temp.failure('select batches.count_batches()')).state, '00000',
          'without a user count_batches() is no error');
select is((pg_temp.failure('select batches.batch_facets()')).state, '00000',
          'without a user batch_facets() is no error');
set local batches.user_id = 'ann';

--
-- Many errors
--

create function pg_temp.many_failures() returns int language plpgsql as $$
declare
  failures int := 0;
  call text;
begin
  for round in 1 .. 1000 loop
    foreach call in array array[
        'batches.get_all_batches("limit" => 101)', 'batches.list_batches("limit" => 0)', 'batches.list_batches("offset" => -1)',
        'batches.get_all_batches(order_by => ''x'')', 'batches.list_batches(order_by_direction => ''x'')',
        'batches.count_batches(status => ''{null}'')', 'batches.list_batches(user_id => array[null, ''ann''])'] loop
      if (pg_temp.failure('select ' || call)).state in ('2201W', '2201X', '22023', '22004') then
        failures := failures + 1;
      end if;
    end loop;
  end loop;
  return failures;
end $$;
select is(pg_temp.many_failures(), 7000, 'thousands of errors are thousands of errors');
select is((batches.get_all_batches()->'pagination')::jsonb, '{"total": 1, "start": 0, "end": 1}'::jsonb,
          'after thousands of errors a request is answered');
select is((select array_agg(l.id) from batches.list_batches() l), '{00000000-0000-0000-0000-000000000002}'::uuid[],
          'after thousands of errors the list is right');
select is(batches.count_batches(), 1::bigint, 'after thousands of errors the count is right');

--
-- Bad rows
--

select is((pg_temp.failure(format(
            'insert into batches.batch (project_id, device_type, user_id, %I) values (gen_random_uuid(), ''F'', ''ann'', %L)',
            name, value))).state, state, what)
  from (values
    ('tags', '{a,a}', '23514', 'a batch cannot carry a tag twice'),
    ('tags', '{a,null}', '23514', 'a batch cannot carry a null tag'),
    ('tags', '{{a,b},{c,d}}', '23514', 'the tags of a batch are one list'),
    ('tags', '{a,A,"a "," a",""}', '00000', 'tags that differ in case or spaces are different'),
    ('configuration', '[1]', '23514', 'a configuration is an object'),
    ('configuration', 'null', '23514', 'a configuration is no JSON null'),
    ('configuration', '{}', '00000', 'an empty configuration is one')) v (name, value, state, what);

--
-- Without tables
--

drop table batches.job, batches.batch, batches.batch_job_count, batches.batch_total, batches.project_member;
select pg_temp.matches_failure(statement, '42P01', 'create_tables\(\)', statement || ' before create_tables()')
  from unnest(array[
    'select batches.list_batches()', 'select batches.count_batches()', 'select batches.get_all_batches()', 'select batches.batch_facets()',
    'select batches.list_batches(status => ''{DONE}'', order_by => ''id'', "limit" => null)',
    'select batches.count_batches(id__starts_with => ''zz'')', 'select batches.get_all_batches(tag => ''x'')']) statement;
set local batches.user_id = '';
select pg_temp.matches_failure(statement, '42P01', 'create_tables\(\)', statement || ' before create_tables(), without a user')
  from unnest(array['select batches.list_batches()', 'select batches.count_batches()']) statement;
select pg_temp.matches_failure('select batches.get_all_batches()', '28000', 'batches\.user_id',
                               'no user comes before no table');
select is((pg_temp.failure('select batches.list_batches(order_by => ''x'')')).state in ('22023', '42P01'), true,
          'a bad value before create_tables() is an error too');
select is((pg_temp.failure('select * from batches.verify_counts()')).state, '42P01',
          'verify_counts() before create_tables() is error 42P01');
set local batches.user_id = 'ann';

select lives_ok('select batches.create_tables()', 'create_tables() makes the tables again');
select set_eq($$ select tablename from pg_tables where schemaname = 'batches' $$, array['batch', 'batch_job_count', 'batch_total', 'job', 'project_member'],
              'create_tables() makes five tables');
select is(batches.count_batches(), 0::bigint, 'the new tables are empty and can be counted');
insert into batches.project_member values ('00000000-0000-0000-0000-000000000001', 'ann');
insert into batches.batch (project_id, id, device_type, user_id)
values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000003', 'FRESNEL', 'ann');
insert into batches.job (project_id, batch_id)
values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000003');
select lives_ok('select batches.create_tables()', 'create_tables() can be called when the tables exist');
select is((select array[count(*), sum(jobs_count)] from batches.list_batches()), array[1, 1]::bigint[],
          'a second create_tables() keeps the rows');
select is((select count(*) from pg_trigger where tgrelid = 'batches.job'::regclass and not tgisinternal), 4::bigint,
          'a second create_tables() adds no trigger to the jobs');
select is((select count(*) from pg_trigger where tgrelid = 'batches.batch'::regclass and not tgisinternal), 4::bigint,
          'nor to the batches');

-- A part of the tables: no guess at the rest.
create function pg_temp.create_tables_without(gone text) returns text language plpgsql as $$
declare
  f record;
begin
  execute 'drop table batches.' || replace(gone, ' ', ', batches.') || ' cascade';
  f := pg_temp.failure('select batches.create_tables()');
  raise exception using errcode = 'raise_exception', message = concat_ws(' ', f.state, case when f.hint = '' then 'without hint' end);
exception when raise_exception then
  return sqlerrm;
end $$;
select is(pg_temp.create_tables_without(gone), '55000', 'create_tables() without ' || gone || ' is error 55000 with a hint')
  from generate_series(1, 30) mask,
       lateral (select string_agg(name, ' ' order by bit) as gone
                  from unnest(array['batch', 'batch_job_count', 'batch_total', 'job', 'project_member']) with ordinality t (name, bit)
                 where mask & (1 << (bit - 1)::int) > 0) g;
select is((select array[count(*), sum(jobs_count)] from batches.list_batches()), array[1, 1]::bigint[],
          'attempts to make tables anew keep the rows');

-- Something else by the name of a derived table, or nothing: what checks, mends and writes it says so; what can do without it does.
\set calls 'array[''select * from batches.verify_counts()'', ''select batches.repair_counts()'', ''update batches.batch set open = not open'']'
alter table batches.batch_total rename to kept;
select pg_temp.matches_failure(call, '42P01', 'create_tables\(\)', 'without totals: ' || call) from unnest(:calls) call;
create sequence batches.batch_total;
select pg_temp.matches_failure(call, '42809', 'another name.*create_tables\(\)', 'a sequence for the totals: ' || call) from unnest(:calls) call;
drop sequence batches.batch_total;
create type batches.batch_total as (n bigint);
select pg_temp.matches_failure(call, '42809', 'another name.*create_tables\(\)', 'a type for the totals: ' || call) from unnest(:calls) call;
select is(batches.count_batches(), 1::bigint, 'which a count does not need');
select is(batches.batch_facets() -> 'device_type', '{"FRESNEL": 1}', 'nor do facets');
drop type batches.batch_total;
alter table batches.kept rename to batch_total;
select is_empty('select * from batches.verify_counts()', 'and nothing was changed');

-- Without the tables it does not need, a listing goes on; without one that it needs, it says what to do.
drop table batches.batch_total;
select is(batches.count_batches(), 1::bigint, 'a count does not need the totals');
select is(batches.batch_facets() -> 'device_type', '{"FRESNEL": 1}', 'nor do facets');
drop table batches.job;
select is(batches.count_batches(), 1::bigint, 'a count does not need the jobs');
select is((select array_agg(jobs_count) from batches.list_batches()), '{1}'::int[], 'nor does a list');
drop table batches.batch_job_count;
select is(batches.count_batches(id__starts_with => '0'), 1::bigint, 'a count does not need the job counts');
\set calls 'array[''batches.list_batches()'', ''batches.get_all_batches()'', ''batches.count_batches(min_jobs => 1)'', ''batches.batch_facets(max_jobs => 1)'']'
set local batches.scan = auto;
select pg_temp.matches_failure('select ' || call, '42P01', 'create_tables\(\)', call || ' without job counts, by auto') from unnest(:calls) call;
set local batches.scan = sql;
select pg_temp.matches_failure('select ' || call, '42P01', 'create_tables\(\)', call || ' without job counts, by sql') from unnest(:calls) call;
set local batches.scan = auto;
drop table batches.project_member cascade;
select pg_temp.matches_failure('select batches.count_batches()', '42P01', 'create_tables\(\)',
                               'a user''s count without memberships');

-- Something else by the name of a table
create sequence batches.project_member;
select pg_temp.matches_failure('select batches.count_batches()', '42809', 'another name.*create_tables\(\)', 'a sequence for the memberships');
create type batches.batch_job_count as (jobs_count int);
select pg_temp.matches_failure('select batches.get_all_batches()', '42809', 'another name.*create_tables\(\)', 'a type for the job counts');
drop sequence batches.project_member;
create index project_member on batches.batch (priority);
select pg_temp.matches_failure('select * from batches.list_batches()', '42809', 'another name.*create_tables\(\)', 'an index for the memberships');
drop table batches.batch;
create sequence batches.batch;
select pg_temp.matches_failure('select batches.count_batches()', '42809', 'another name.*create_tables\(\)', 'a sequence for the batches');
select pg_temp.matches_failure('select batches.batch_facets()', '42809', 'another name.*create_tables\(\)', 'the same, and facets');

select * from finish();
rollback;
