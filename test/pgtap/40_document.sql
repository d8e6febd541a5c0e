-- The document of get_all_batches(): its keys, their order, the text of its values, and its pagination.

\ir include/output.psql

begin;
-- Before anything else of the extension, its library among it, has been used in the session.
set local batches.user_id = 'user-123';
select batches.current_user_id() as user_id \gset first_

\ir include/pgtap.psql
set local client_min_messages = warning;
truncate batches.batch, batches.job, batches.project_member;

select plan(186);

select is(:'first_user_id'::text, 'user-123', 'the user can be set before the library is loaded');

create function pg_temp.p() returns uuid language sql immutable return '00000000-0000-0000-0000-000000000001'::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('00000000-0000-0000-0001-' || lpad(n::text, 12, '0'))::uuid;
insert into batches.project_member (project_id, user_id) values (pg_temp.p(), 'user-123');

--
-- The API page's example
--

select is(regexp_replace(batches.get_all_batches()::text, '\s', '', 'g'),
          '{"status":"success","message":"OK.","code":"200","data":[],"pagination":{"total":0,"start":0,"end":0}}',
          'without batches the document is an empty page');

insert into batches.batch (project_id, id, status, device_type, user_id, created_at, updated_at, tags, start_datetime,
                           end_datetime)
values (pg_temp.p(), '00000000-0000-0000-0000-000000000002', 'DONE', 'FRESNEL', 'user-123',
        '2025-01-15 10:30Z', '2025-01-15 10:35Z', '{experiment-1}', '2025-01-15 10:31Z', '2025-01-15 10:35Z');
insert into batches.job (project_id, batch_id, status)
select pg_temp.p(), '00000000-0000-0000-0000-000000000002', 'DONE' from generate_series(1, 3);
select is(regexp_replace(batches.get_all_batches()::text, '\s', '', 'g'), regexp_replace($$
  { "status": "success", "message": "OK.", "code": "200",
    "data": [ { "id": "00000000-0000-0000-0000-000000000002", "status": "DONE", "complete": true, "open": false,
        "priority": 0, "device_type": "FRESNEL", "user_id": "user-123",
        "project_id": "00000000-0000-0000-0000-000000000001",
        "created_at": "2025-01-15T10:30:00Z", "updated_at": "2025-01-15T10:35:00Z",
        "jobs_count": 3, "jobs_count_per_status": { "DONE": 3 }, "tags": [ "experiment-1" ],
        "start_datetime": "2025-01-15T10:31:00Z", "end_datetime": "2025-01-15T10:35:00Z",
        "queue_priority": "MEDIUM" } ],
    "pagination": { "total": 1, "start": 0, "end": 1 } }$$, '\s', '', 'g'),
  'the example of the API comes out as it is written there');

create function pg_temp.item(batch uuid) returns json language sql stable
  as $$ select batches.get_all_batches(id => array[batch])->'data'->0 $$;

--
-- Keys
--

select is(array(select json_object_keys(batches.get_all_batches())), '{status,message,code,data,pagination}'::text[],
          'the document has its five keys in order');
select is(array(select json_object_keys(batches.get_all_batches()->'pagination')), '{total,start,end}'::text[],
          'the pagination has its three keys in order');

insert into batches.batch (project_id, id, parent_id, status, open, priority, device_type, user_id, created_at, updated_at,
                           tags, configuration, backend_configuration, webhook, start_datetime, end_datetime, queue_priority)
values (pg_temp.p(), pg_temp.b(1), 'ABCDEF00-0000-0000-0000-00000000000A', 'CANCELING', true, -7, 'EMU_MPS', 'ann',
        '2025-01-01Z', '2025-01-02Z', '{b,a}', '{"z": 1, "a": {"k": [1, 2.50, null, true, "x\ny"]}}', '{"dt": 10}',
        'https://example.org/hook', '2025-01-01 12:00Z', '2025-01-01 13:00Z', 'CRITICAL');
insert into batches.job (project_id, batch_id, status)
select pg_temp.p(), pg_temp.b(1), s
  from unnest(enum_range(null::batches.job_status)) with ordinality e (s, o), generate_series(1, o) order by o desc;
insert into batches.batch (project_id, id, device_type, user_id, created_at, updated_at)
values (pg_temp.p(), pg_temp.b(2), '', '', '2025-01-01Z', '2025-01-02Z');

select is(array(select json_object_keys(pg_temp.item(pg_temp.b(1)))),
          '{id,parent_id,status,complete,open,priority,device_type,user_id,project_id,created_at,updated_at,jobs_count,
            jobs_count_per_status,tags,configuration,backend_configuration,webhook,start_datetime,end_datetime,
            queue_priority}'::text[], 'an item has all its keys in order');
select is(regexp_replace(pg_temp.item(pg_temp.b(1))::text, '\s', '', 'g'), regexp_replace($$
  { "id": "00000000-0000-0000-0001-000000000001", "parent_id": "abcdef00-0000-0000-0000-00000000000a",
    "status": "CANCELING", "complete": false, "open": true, "priority": -7, "device_type": "EMU_MPS", "user_id": "ann",
    "project_id": "00000000-0000-0000-0000-000000000001", "created_at": "2025-01-01T00:00:00Z",
    "updated_at": "2025-01-02T00:00:00Z", "jobs_count": 21,
    "jobs_count_per_status": { "PENDING": 1, "RUNNING": 2, "DONE": 3, "ERROR": 4, "CANCELED": 5, "CANCELING": 6 },
    "tags": [ "b", "a" ], "configuration": { "a": { "k": [ 1, 2.50, null, true, "x\ny" ] }, "z": 1 },
    "backend_configuration": "{\"dt\": 10}", "webhook": "https://example.org/hook",
    "start_datetime": "2025-01-01T12:00:00Z", "end_datetime": "2025-01-01T13:00:00Z", "queue_priority": "CRITICAL" }$$,
  '\s', '', 'g'), 'every key has its value, the tags in the order given and the statuses of jobs in theirs');
select is(pg_temp.item(pg_temp.b(1))->>'backend_configuration', '{"dt": 10}', 'spaces in strings stay');
select is(regexp_replace(pg_temp.item(pg_temp.b(2))::text, '\s', '', 'g'), regexp_replace($$
  { "id": "00000000-0000-0000-0001-000000000002", "status": "PENDING", "complete": true, "open": false, "priority": 0,
    "device_type": "", "user_id": "", "project_id": "00000000-0000-0000-0000-000000000001",
    "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-02T00:00:00Z", "jobs_count": 0,
    "jobs_count_per_status": {}, "tags": [], "queue_priority": "MEDIUM" }$$, '\s', '', 'g'),
  'null keys are left out, no jobs are {} and no tags are []');

-- Each optional key alone.
create function pg_temp.keys_with(assignment text) returns text[] language plpgsql as $$
begin
  execute format('update batches.batch set parent_id = null, configuration = null, backend_configuration = null, webhook = null,
                  start_datetime = null, end_datetime = null where id = %L', pg_temp.b(2));
  execute format('update batches.batch set %s where id = %L', assignment, pg_temp.b(2));
  return array(select json_object_keys(pg_temp.item(pg_temp.b(2))));
end $$;
select is(pg_temp.keys_with(assignment), before || key || after, 'a lone optional key is in its place: ' || key)
  from (values
    ('parent_id', 'parent_id = id', '{id}'::text[],
     '{status,complete,open,priority,device_type,user_id,project_id,created_at,updated_at,jobs_count,
       jobs_count_per_status,tags,queue_priority}'::text[]),
    ('configuration', 'configuration = ''{}''',
     '{id,status,complete,open,priority,device_type,user_id,project_id,created_at,updated_at,jobs_count,
       jobs_count_per_status,tags}', '{queue_priority}'),
    ('backend_configuration', 'backend_configuration = ''''',
     '{id,status,complete,open,priority,device_type,user_id,project_id,created_at,updated_at,jobs_count,
       jobs_count_per_status,tags}', '{queue_priority}'),
    ('webhook', 'webhook = ''''',
     '{id,status,complete,open,priority,device_type,user_id,project_id,created_at,updated_at,jobs_count,
       jobs_count_per_status,tags}', '{queue_priority}'),
    ('start_datetime', 'start_datetime = now()',
     '{id,status,complete,open,priority,device_type,user_id,project_id,created_at,updated_at,jobs_count,
       jobs_count_per_status,tags}', '{queue_priority}'),
    ('end_datetime', 'end_datetime = now()',
     '{id,status,complete,open,priority,device_type,user_id,project_id,created_at,updated_at,jobs_count,
       jobs_count_per_status,tags}', '{queue_priority}')) v (key, assignment, before, after);
update batches.batch set end_datetime = null where id = pg_temp.b(2);

-- Values.
create function pg_temp.value_with(assignment text, key text) returns text language plpgsql as $$
begin
  execute format('update batches.batch set %s where id = %L', assignment, pg_temp.b(2));
  return (pg_temp.item(pg_temp.b(2))->key)::text;
end $$;
select is(pg_temp.value_with(format('status = %L', s), 'status'), '"' || s || '"', 'a batch is ' || s)
  from unnest(array['PENDING', 'RUNNING', 'DONE', 'CANCELED', 'CANCELING', 'TIMED_OUT', 'ERROR', 'PAUSED']) s;
select is(pg_temp.value_with(format('queue_priority = %L', s), 'queue_priority'), '"' || s || '"', 'a queue priority is ' || s)
  from unnest(array['CRITICAL', 'HIGH', 'MEDIUM', 'LOW', 'FREE']) s;
select is(pg_temp.value_with('priority = ' || n, 'priority'), n, 'a priority is ' || n)
  from unnest(array['2147483647', '-2147483648', '0']) n;
select is(pg_temp.value_with('open = ' || o, 'open') || pg_temp.value_with('open = ' || o, 'complete'),
          o::text || (not o)::text,
          'complete is the opposite of open when that is ' || o)
  from unnest(array[true, false]) o;

--
-- One status of jobs at a time
--

create function pg_temp.counts_with(statuses batches.job_status[]) returns text language plpgsql as $$
begin
  delete from batches.job where batch_id = pg_temp.b(2);
  insert into batches.job (project_id, batch_id, status) select pg_temp.p(), pg_temp.b(2), s from unnest(statuses) s;
  return regexp_replace((pg_temp.item(pg_temp.b(2))->'jobs_count_per_status')::text, '\s', '', 'g')
         || (pg_temp.item(pg_temp.b(2))->>'jobs_count');
end $$;
select is(pg_temp.counts_with(statuses::batches.job_status[]), expected, 'jobs per status: ' || expected)
  from (values
    ('{PENDING}', '{"PENDING":1}1'), ('{RUNNING}', '{"RUNNING":1}1'), ('{DONE,DONE}', '{"DONE":2}2'), ('{ERROR}', '{"ERROR":1}1'),
    ('{CANCELED}', '{"CANCELED":1}1'), ('{CANCELING}', '{"CANCELING":1}1'),
    ('{CANCELING,CANCELED,PENDING}', '{"PENDING":1,"CANCELED":1,"CANCELING":1}3'),
    ('{ERROR,DONE,RUNNING,ERROR}', '{"RUNNING":1,"DONE":1,"ERROR":2}4'),
    ('{}', '{}0')) v (statuses, expected);
insert into batches.job (project_id, batch_id, status)
select pg_temp.p(), pg_temp.b(2), case when n % 4 = 0 then 'RUNNING' else 'PENDING' end::batches.job_status
  from generate_series(1, 100000) n;
select is(regexp_replace(json_build_array(i->'jobs_count', i->'jobs_count_per_status')::text, '\s', '', 'g'),
          '[100000,{"PENDING":75000,"RUNNING":25000}]', 'a batch of a hundred thousand jobs')
  from pg_temp.item(pg_temp.b(2)) i;
truncate batches.job;

--
-- Strings
--

create table pg_temp.string (n serial, s text, what text);
insert into pg_temp.string (s, what) values
  ('"', 'a quote'), ('\', 'a backslash'), ('\"', 'a backslash and a quote'), ('/', 'a slash'), ('</script>', 'markup'),
  (E'a\nb', 'a line feed'), (E'\t', 'a tab'), ('''', 'an apostrophe'), (' ', 'a space'), ('\n', 'a written escape'),
  ('\u0041', 'a written unicode escape'), ('null', 'the word null'), ('{"a": 1}', 'JSON'), ('{a,b}', 'an array'),
  ('%s%d%n', 'a format'), ('é', 'a letter of two bytes'), ('日本', 'letters of three bytes'), ('😀', 'a character of four bytes'),
  (U&'\2028\2029', 'line and paragraph separators'), (U&'\FEFF', 'a byte order mark'), (U&'\FFFF\FFFE', 'noncharacters'),
  (U&'\+10FFFF', 'the last code point'), (U&'e\0301', 'a combining accent'), (repeat('x', 8191) || '"', 'a quote after 8191 letters'),
  (repeat('"', 100000), 'a hundred thousand quotes'), (repeat('é', 70000), 'seventy thousand letters of two bytes');
insert into pg_temp.string (s, what)
select 'a' || chr(c) || 'b' || chr(c), 'the control character ' || c
  from (select generate_series(1, 31) union select 127) g (c);

-- The string everywhere: the document is valid, gives it back, and holds no control character as it is.
create function pg_temp.survives(s text) returns text language plpgsql as $$
declare
  item json;
begin
  update batches.batch set device_type = s, user_id = s || '!', tags = array[s, s || 'x'], webhook = s,
                           backend_configuration = s || s,
                           configuration = jsonb_build_object(s, jsonb_build_array(s))
   where id = pg_temp.b(2);
  item := pg_temp.item(pg_temp.b(2));
  return concat_ws(', ',
    case when item::text::json is null then 'no JSON' end,
    case when (item->>'device_type') is distinct from s then 'device_type' end,
    case when (item->>'user_id') is distinct from s || '!' then 'user_id' end,
    case when (item->'tags'->>0) is distinct from s or (item->'tags'->>1) is distinct from s || 'x'
              or json_array_length(item->'tags') <> 2 then 'tags' end,
    case when (item->>'webhook') is distinct from s then 'webhook' end,
    case when (item->>'backend_configuration') is distinct from s || s then 'backend_configuration' end,
    case when (item->'configuration'->s->>0) is distinct from s then 'configuration' end,
    case when item::text ~ '[\u0001-\u001f]' then 'a control character' end,
    case when item::jsonb->>'queue_priority' is distinct from 'MEDIUM' then 'queue_priority' end);
end $$;
update batches.batch set queue_priority = 'MEDIUM' where id = pg_temp.b(2);
select is(pg_temp.survives(s), '', what || ' comes back from every string') from pg_temp.string order by n;

-- Ten megabytes of text that does not compress well.
update batches.batch
   set backend_configuration = (select string_agg(md5(n::text) || E'"\\\n', '') from generate_series(1, 300000) n),
       webhook = null, configuration = null, tags = '{}'
 where id = pg_temp.b(2);
select is(length(i->>'backend_configuration'), 300000 * 35, 'ten megabytes come back') from pg_temp.item(pg_temp.b(2)) i;
select is(md5(i->>'backend_configuration'),
          (select md5(string_agg(md5(n::text) || E'"\\\n', '')) from generate_series(1, 300000) n),
          'ten megabytes come back as they were') from pg_temp.item(pg_temp.b(2)) i;
update batches.batch set backend_configuration = null where id = pg_temp.b(2);

-- Rendered by PostgreSQL: numbers keep their digits.
update batches.batch set configuration = '{"big": 123456789012345678901234567890.1230, "small": 1e-20, "e": 1E+5, "t": "\u00e9"}'
 where id = pg_temp.b(2);
select is((pg_temp.item(pg_temp.b(2))->'configuration')::text, configuration::text, 'a configuration is the text of its jsonb')
  from batches.batch where id = pg_temp.b(2);

--
-- Timestamps
--

create table pg_temp.moment (n serial, t timestamptz, expected text);
insert into pg_temp.moment (t, expected) values
  ('2025-01-15 10:30Z', '2025-01-15T10:30:00Z'),
  ('2025-01-15 10:30:00.12Z', '2025-01-15T10:30:00.120000Z'),
  ('2025-01-15 10:30:00.000001Z', '2025-01-15T10:30:00.000001Z'),
  ('2025-01-15 10:30:00.999999Z', '2025-01-15T10:30:00.999999Z'),
  ('2025-01-15 10:30:00.1Z', '2025-01-15T10:30:00.100000Z'),
  ('2025-01-15 10:30+05:30', '2025-01-15T05:00:00Z'),
  ('2025-01-01 01:00+02', '2024-12-31T23:00:00Z'),
  ('2024-02-29 23:59:59.5Z', '2024-02-29T23:59:59.500000Z'),
  ('2000-01-01Z', '2000-01-01T00:00:00Z'),
  ('1999-12-31 23:59:59.999999Z', '1999-12-31T23:59:59.999999Z'),
  ('1970-01-01Z', '1970-01-01T00:00:00Z'),
  ('1969-12-31 23:59:59.999999Z', '1969-12-31T23:59:59.999999Z'),
  ('1899-12-31 12:34:56.000007Z', '1899-12-31T12:34:56.000007Z'),
  ('1582-10-04Z', '1582-10-04T00:00:00Z'),
  ('0999-03-04 05:06:07Z', '0999-03-04T05:06:07Z'),
  ('0001-01-01Z', '0001-01-01T00:00:00Z'),
  ('0001-12-31 23:59:59.999999Z BC', '0000-12-31T23:59:59.999999Z'),
  ('0001-01-01Z BC', '0000-01-01T00:00:00Z'),
  ('0002-12-31 23:59:59.999999Z BC', '-000001-12-31T23:59:59.999999Z'),
  ('0044-03-15Z BC', '-000043-03-15T00:00:00Z'),
  ('4713-01-01Z BC', '-004712-01-01T00:00:00Z'),
  ('9999-12-31 23:59:59.999999Z', '9999-12-31T23:59:59.999999Z'),
  ('10000-01-01Z', '+010000-01-01T00:00:00Z'),
  ('99999-06-07 08:09:10.5Z', '+099999-06-07T08:09:10.500000Z'),
  ('294276-12-31 23:59:59.999999Z', '+294276-12-31T23:59:59.999999Z'),
  ('infinity', 'infinity'),
  ('-infinity', '-infinity');
create function pg_temp.times_with(moment timestamptz) returns text[] language plpgsql as $$
declare
  item json;
begin
  update batches.batch set created_at = moment, updated_at = moment, start_datetime = moment, end_datetime = moment
   where id = pg_temp.b(2);
  item := pg_temp.item(pg_temp.b(2));
  return array[item->>'created_at', item->>'updated_at', item->>'start_datetime', item->>'end_datetime'];
end $$;
select is(pg_temp.times_with(t), array_fill(expected, array[4]), 'a timestamp is ' || expected) from pg_temp.moment order by n;

--
-- Settings of the session change nothing
--

delete from batches.batch where id = pg_temp.b(2);
insert into batches.batch (project_id, id, device_type, user_id, created_at, updated_at, start_datetime, end_datetime,
                           tags, configuration)
select pg_temp.p(), pg_temp.b(100 + n), 'dev', 'user-' || n, t, t, t, t, array['NULL', 'a b'], '{"n": 1.10}'
  from pg_temp.moment;
insert into batches.job (project_id, batch_id, status) select pg_temp.p(), pg_temp.b(101), 'ERROR' from generate_series(1, 2);

create function pg_temp.whole() returns text language sql stable
  as $$ select batches.get_all_batches(order_by => 'user_id', created_after => '4000-01-01Z BC', max_jobs => 5)::text
               || batches.get_all_batches(id__starts_with => '0', tag => 'NULL', "limit" => 7, "offset" => 3)::text
               || batches.get_all_batches(user_id => '{user-1,user-2}', open => false)::text $$;
set local timezone = 'UTC';
set local datestyle = 'ISO, MDY';
create table pg_temp.expected as select pg_temp.whole() as text;
select cmp_ok(length(text), '>', 5000, 'there is a document to compare') from pg_temp.expected;

-- The values of a setting that make the document another.
create function pg_temp.disturbing(setting text, candidates text[]) returns text[] language plpgsql as $$
declare
  before constant text := current_setting(setting);
  candidate text;
  answer text;
  disturbing text[] := '{}';
begin
  foreach candidate in array candidates loop
    perform pg_catalog.set_config(setting, candidate, true);
    answer := pg_temp.whole();
    perform pg_catalog.set_config(setting, before, true);
    if answer is distinct from (select e.text from pg_temp.expected e) then
      disturbing := disturbing || candidate;
    end if;
  end loop;
  return disturbing;
end $$;

select is(pg_temp.disturbing(setting, candidates::text[]), '{}', setting || ' changes nothing')
  from (values
    ('timezone', '{UTC,Asia/Kolkata,America/St_Johns,Europe/Paris,Asia/Kathmandu,Pacific/Apia,Pacific/Kiritimati,'
                 'America/New_York,Australia/Lord_Howe,+03,-12:45,FOO-14,<+0530>-05:30}'),
    ('datestyle', '{"ISO, MDY","ISO, DMY","ISO, YMD","SQL, MDY","SQL, DMY","Postgres, MDY","Postgres, DMY","German, DMY"}'),
    ('intervalstyle', '{postgres,postgres_verbose,sql_standard,iso_8601}'),
    ('extra_float_digits', '{-15,0,3}'),
    ('bytea_output', '{hex,escape}'),
    ('array_nulls', '{on,off}'),
    ('quote_all_identifiers', '{on,off}'),
    -- Since 19, it cannot be off.
    ('standard_conforming_strings', case when current_setting('server_version_num')::int < 190000 then '{on,off}' else '{on}' end::text[]),
    ('transform_null_equals', '{on,off}'),
    ('lc_numeric', '{C,POSIX}'),
    ('row_security', '{on,off}'),
    ('plan_cache_mode', '{auto,force_custom_plan,force_generic_plan}'),
    ('enable_seqscan', '{on,off}'),
    ('enable_indexscan', '{on,off}'),
    ('enable_bitmapscan', '{on,off}'),
    ('enable_sort', '{on,off}'),
    ('enable_hashagg', '{on,off}'),
    ('enable_incremental_sort', '{on,off}'),
    ('work_mem', '{64kB,64MB}'),
    ('parallel_setup_cost', '{0}'),
    ('session_replication_role', '{origin,replica}')) v (setting, candidates);
select is(pg_temp.disturbing('timezone', array(select name from pg_timezone_names order by name)), '{}',
          'no time zone that the server knows changes anything');
select cmp_ok((select count(*) from pg_timezone_names), '>', 100::bigint, 'the server knows many time zones');

-- A schema that shadows what a listing may use, and tables of the same names in front of the extension's.
create schema batches_test_trap;
create function batches_test_trap.no(uuid, uuid) returns boolean language sql immutable return false;
create function batches_test_trap.no(text, text) returns boolean language sql immutable return false;
create function batches_test_trap.no(int, bigint) returns boolean language sql immutable return false;
create function batches_test_trap.no(timestamptz, timestamptz) returns boolean language sql immutable return false;
create function batches_test_trap.no(boolean, boolean) returns boolean language sql immutable return false;
create function batches_test_trap.no(text[], text[]) returns boolean language sql immutable return false;
create operator batches_test_trap.= (leftarg = uuid, rightarg = uuid, function = batches_test_trap.no);
create operator batches_test_trap.>= (leftarg = uuid, rightarg = uuid, function = batches_test_trap.no);
create operator batches_test_trap.<= (leftarg = uuid, rightarg = uuid, function = batches_test_trap.no);
create operator batches_test_trap.= (leftarg = text, rightarg = text, function = batches_test_trap.no);
create operator batches_test_trap.<= (leftarg = int, rightarg = bigint, function = batches_test_trap.no);
create operator batches_test_trap.>= (leftarg = int, rightarg = bigint, function = batches_test_trap.no);
create operator batches_test_trap.>= (leftarg = timestamptz, rightarg = timestamptz, function = batches_test_trap.no);
create operator batches_test_trap.<= (leftarg = timestamptz, rightarg = timestamptz, function = batches_test_trap.no);
create operator batches_test_trap.= (leftarg = boolean, rightarg = boolean, function = batches_test_trap.no);
create operator batches_test_trap.@> (leftarg = text[], rightarg = text[], function = batches_test_trap.no);
create function batches_test_trap.count() returns bigint language sql immutable return 0::bigint;
create function batches_test_trap.current_user_id() returns text language sql immutable return 'nobody';
create function batches_test_trap.json_build_object(variadic "any") returns json language internal as 'json_build_object';
create function batches_test_trap.batches_document() returns json language sql immutable return '{}'::json;
create type batches_test_trap.batch_status as enum ('NONE');
create type batches_test_trap.uuid as (x int);
create table batches_test_trap.batch (like batches.batch);
create table batches_test_trap.project_member (like batches.project_member);
create function pg_temp.trapped() returns boolean language sql return
  (select 'x'::pg_catalog.text operator(batches_test_trap.=) 'x'::pg_catalog.text);
select is(pg_temp.trapped(), false, 'the trap is set');
select is(pg_temp.disturbing('search_path', array[
            '', 'batches', 'pg_catalog', 'batches_test_trap', 'batches_test_trap, pg_catalog',
            'batches_test_trap, pg_catalog, batches', 'pg_temp, batches_test_trap, pg_catalog', 'no_such_schema']), '{}',
          'no search_path changes anything');
create temp table batch (like batches.batch);
create temp table project_member (like batches.project_member);
select is(pg_temp.disturbing('search_path', array['pg_temp', 'pg_temp, pg_catalog', 'pg_catalog, pg_temp']), '{}',
          'temporary tables of the same names change nothing');
drop table pg_temp.batch, pg_temp.project_member;

--
-- Pagination
--

delete from batches.batch;
insert into batches.batch (project_id, id, device_type, user_id, created_at)
select pg_temp.p(), pg_temp.b(n), case when n <= 7 then 'A' else 'B' end, 'ann',
       '2025-01-01Z'::timestamptz + n * interval '1 second'
  from generate_series(1, 230) n;
-- Batches of a project that the user is no member of: in no total.
insert into batches.batch (project_id, id, device_type, user_id)
select '00000000-0000-0000-0000-000000000009', pg_temp.b(1000 + n), 'A', 'user-123' from generate_series(1, 5) n;

create function pg_temp.page(arguments text) returns text language plpgsql as $$
declare
  d json;
begin
  execute 'select batches.get_all_batches(' || arguments || ')' into d;
  return format('%s-%s/%s with %s items', d->'pagination'->'start', d->'pagination'->'end', d->'pagination'->'total',
                json_array_length(d->'data'));
end $$;
select is(pg_temp.page(arguments), expected, 'a page: ' || arguments)
  from (values
    ('', '0-100/230 with 100 items'),
    ('"limit" => null', '0-100/230 with 100 items'),
    ('"limit" => 100', '0-100/230 with 100 items'),
    ('"limit" => 99', '0-99/230 with 99 items'),
    ('"limit" => 1', '0-1/230 with 1 items'),
    ('"offset" => null', '0-100/230 with 100 items'),
    ('"offset" => 100', '100-200/230 with 100 items'),
    ('"offset" => 130', '130-230/230 with 100 items'),
    ('"offset" => 131', '131-230/230 with 99 items'),
    ('"offset" => 200', '200-230/230 with 30 items'),
    ('"offset" => 229', '229-230/230 with 1 items'),
    ('"offset" => 230', '230-230/230 with 0 items'),
    ('"offset" => 231', '231-231/230 with 0 items'),
    ('"offset" => 9223372036854775807', '9223372036854775807-9223372036854775807/230 with 0 items'),
    ('"limit" => 10, "offset" => 225', '225-230/230 with 5 items'),
    ('device_type => ''{A}''', '0-7/7 with 7 items'),
    ('device_type => ''{A}'', "limit" => 7', '0-7/7 with 7 items'),
    ('device_type => ''{A}'', "limit" => 6', '0-6/7 with 6 items'),
    ('device_type => ''{A}'', "limit" => 6, "offset" => 6', '6-7/7 with 1 items'),
    ('device_type => ''{A}'', "offset" => 7', '7-7/7 with 0 items'),
    ('device_type => ''{A}'', "offset" => 8, "limit" => 1', '8-8/7 with 0 items'),
    ('device_type => ''{C}''', '0-0/0 with 0 items'),
    ('device_type => ''{C}'', "offset" => 3', '3-3/0 with 0 items')) v (arguments, expected);

-- What a client does: on while the end is not the total.
create function pg_temp.walk(page_size int) returns uuid[] language plpgsql as $$
declare
  d json;
  next bigint := 0;
  ids uuid[] := '{}';
begin
  loop
    d := batches.get_all_batches("limit" => page_size, "offset" => next, order_by_direction => 'ASC');
    ids := ids || array(select (i->>'id')::uuid from json_array_elements(d->'data') i);
    next := (d->'pagination'->>'end')::bigint;
    exit when next >= (d->'pagination'->>'total')::bigint or json_array_length(d->'data') = 0;
  end loop;
  return ids;
end $$;
select is(pg_temp.walk(size), array(select pg_temp.b(n) from generate_series(1, 230) n),
          'a walk in pages of ' || size || ' meets every batch once, in order')
  from unnest(array[1, 7, 23, 46, 100]) size;

select * from finish();
rollback;
