-- PostgREST: the schema that create_postgrest_api() makes, and the requests that PostgREST sends to it, statement by statement.
--
-- All requests run in this one transaction, so each is a subtransaction that is rolled back, which ends local settings as the end of
-- a transaction does.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local timezone = 'UTC';
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(200);

--
-- The schema
--

\set api 'we"ird %s Api'
\set anonymous 'batches_test "anon" Ü'
\set web 'batches_test web''user'
create role :"anonymous";
create role :"web";
create role batches_test_authenticator noinherit;
create role batches_test_stranger;
grant :"anonymous", :"web" to batches_test_authenticator;

create table pg_temp.known_roles as
  select 'anonymous' as kind, :'anonymous'::name as name union all select 'web', :'web' union all select 'stranger', 'batches_test_stranger'
   union all select 'authenticator', 'batches_test_authenticator';
-- What is in the schema, who may do what: the functions with all that PostgreSQL knows of them, and the rights of the roles.
create function pg_temp.api_state(schema name) returns setof text language sql stable as $$
  select to_jsonb(p)::text || coalesce(obj_description(p.oid, 'pg_proc'), 'no comment')
    from pg_proc p where p.pronamespace = (select oid from pg_namespace where nspname = schema)
   union all
  select n.nspname || ' ' || coalesce(n.nspacl::text, '') from pg_namespace n where n.nspname in (schema, 'batches')
   union all
  select c.relname || ' ' || coalesce(c.relacl::text, '') from pg_class c where c.relnamespace = 'batches'::regnamespace
$$;
select lives_ok(format('select batches.create_postgrest_api(%L, %L, %L)', :'api', :'anonymous', :'web'),
  'a schema with an odd name is made for roles with odd names');
create table pg_temp.state_once as select s as state from pg_temp.api_state(:'api') s;
select lives_ok(format('select batches.create_postgrest_api(%L, %L, %L)', :'api', :'anonymous', :'web'), 'it can be made again');
select bag_eq(format('select * from pg_temp.api_state(%L)', :'api'), 'select * from pg_temp.state_once', 'and is as before');

create function pg_temp.api_oid(schema name) returns oid language sql stable as $$ select oid from pg_namespace where nspname = schema $$;
-- What order_by may be, as the error says.
create function pg_temp.orders() returns text[] language plpgsql as $$
declare
  hint text;
begin
  perform batches.list_batches(order_by => 'x');
exception when invalid_parameter_value then
  get stacked diagnostics hint = pg_exception_hint;
  return string_to_array(substring(hint from 'Allowed values: (.*)\.'), ', ');
end $$;
create table pg_temp.api_function as
  select p.* from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = :'api';
select is(array(select proname::text from pg_temp.api_function order by proname collate "C"), array['batch_facets', 'batches', 'count_batches', 'get_all_batches', 'list_batches'],
  'the schema has the functions of the API');
select is(array(select relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = :'api'), '{}'::text[],
          'and no table, which PostgREST would expose');
select is(concat_ws(' ', provolatile, prosecdef, coalesce(array_length(proconfig, 1), 0), pg_get_function_result(oid)),
          's f 0 ' || coalesce((select pg_get_function_result(b.oid) from pg_proc b
                                 where b.pronamespace = 'batches'::regnamespace and b.proname = api_function.proname), 'json'),
          proname || ' is stable, runs with the caller''s rights and settings, and returns what the extension''s does')
  from pg_temp.api_function order by proname;
select is(pg_get_function_arguments(f.oid),
          case f.proname when 'list_batches' then replace(pg_get_function_arguments(b.oid), 'DEFAULT 100', 'DEFAULT NULL::bigint')
                         else pg_get_function_arguments(b.oid) end,
          f.proname || ' has the arguments of the extension''s, all optional' || case f.proname when 'list_batches' then ', and no limit' else '' end)
  from pg_temp.api_function f join pg_proc b on b.pronamespace = 'batches'::regnamespace and b.proname = f.proname order by f.proname;
select is(pronargs::int - pronargdefaults, 0, proname || ': every argument is optional') from pg_temp.api_function order by proname;
select is(pronargs::int, 0, 'batches takes no argument') from pg_temp.api_function where proname = 'batches';
select matches(obj_description(oid, 'pg_proc'), '^[A-Z][A-Za-z, ]*[^\n]*\n\S', proname || ' has a comment of a summary and a description')
  from pg_temp.api_function order by proname;

select matches(obj_description(pg_temp.api_oid(:'api'), 'pg_namespace'), '^Batches\n.*GET /rpc/batches.*POST /rpc/get_all_batches.*list_batches.*count_batches.*batch_facets',
  'the schema has a comment of a title and what there is');
select is_empty(
  $$ select proname, a.name from pg_temp.api_function, unnest(proargnames[:pronargs]) a (name)
      where obj_description(oid, 'pg_proc') !~ ('`' || a.name || '`') $$,
  'the comments have every parameter');
select is_empty(
  $$ select v.label from pg_temp.api_function, unnest(enum_range(null::batches.batch_status)::text[]
         || enum_range(null::batches.queue_priority)::text[] || pg_temp.orders() || '{ASC,DESC}') v (label)
      where proname = 'get_all_batches' and obj_description(oid, 'pg_proc') !~ ('`' || v.label || '`') $$,
  'and every value that is one of a list');
comment on schema :"api" is 'mine';
select lives_ok(format('select batches.create_postgrest_api(%L, %L, %L)', :'api', :'anonymous', :'web'), 'the API is made again');
select is(obj_description(pg_temp.api_oid(:'api'), 'pg_namespace'), 'mine', 'and a comment on the schema that is not its own stays');

-- Rights
create function pg_temp.rights(role name, schema name) returns text language sql stable as $$
  select concat_ws(' ',
    case when has_schema_privilege(role, schema::text, 'usage') then 'api' end,
    case when has_schema_privilege(role, schema::text, 'create') then 'create in api' end,
    case when has_schema_privilege(role, 'batches', 'usage') then 'batches' end,
    case when has_schema_privilege(role, 'batches', 'create') then 'create in batches' end,
    (select string_agg(t || ':' || r, ' ' order by t, r)
       from unnest(array['batch', 'batch_job_count', 'batch_total', 'job', 'project_member']) t,
           unnest(array['delete', 'insert', 'references', 'select', 'trigger', 'truncate', 'update']) r
      where has_table_privilege(role, 'batches.' || t, r)),
    case when has_parameter_privilege(role, 'batches.user_id', 'set') then 'set user_id' end,
    case when has_parameter_privilege(role, 'batches.trust_jwt_claims', 'set') then 'set trust' end)
$$;
select is(pg_temp.rights(name, :'api'), expected, 'the ' || kind || ' role has the rights: ' || expected)
  from pg_temp.known_roles
  join (values ('anonymous', 'api batches'), ('web', 'api batches batch:select batch_job_count:select batch_total:select job:select project_member:select'),
               ('authenticator', ''), ('stranger', '')) v (kind, expected) using (kind);
select is(has_function_privilege(r.name, f.oid, 'execute'), true, 'the ' || r.kind || ' role may call ' || f.proname)
  from pg_temp.known_roles r, pg_temp.api_function f where r.kind in ('anonymous', 'web') order by r.kind, f.proname;

-- Another schema beside it, with one role for both
select lives_ok($$ select batches.create_postgrest_api('batches_test_api', 'batches_test_stranger', 'batches_test_stranger') $$,
  'a second schema is made, for a role that is both');
select is(array(select p.proname::text from pg_proc p where p.pronamespace = 'batches_test_api'::regnamespace order by 1),
  array['batch_facets', 'batches', 'count_batches', 'get_all_batches', 'list_batches'], 'and has the functions too');
select bag_eq(format('select * from pg_temp.api_state(%L) s where s !~ ''^(batches|batch|batch_job_count|batch_total|job|project_member) ''', :'api'),
              'select state from pg_temp.state_once where state !~ ''^(batches|batch|batch_job_count|batch_total|job|project_member) ''',
              'while the first stays as it was');
alter default privileges revoke execute on functions from public;
create schema batches_test_present;
select lives_ok(format($$ select batches.create_postgrest_api('batches_test_present', %L, %L) $$, :'anonymous', :'web'),
  'a schema that is there already is used');
select is(array(select proname || ' ' || has_function_privilege(r.name, p.oid, 'execute') from pg_proc p
                 where p.pronamespace = 'batches_test_present'::regnamespace order by 1),
                     array(select f || ' ' || may from unnest(array['batch_facets', 'batches', 'count_batches', 'get_all_batches', 'list_batches']) f),
          'where functions are not everybody''s, that the ' || kind || ' role may call those of the schema is ' || may)
  from pg_temp.known_roles r join (values ('anonymous', true), ('web', true), ('stranger', false)) v (kind, may) using (kind);
-- A role whose name has to be quoted, and who may use what it cannot grant
savepoint odd;
create role "Batches.Test";
create role batches_test_bare;
grant usage on schema batches to "Batches.Test";
grant select on all tables in schema batches to "Batches.Test";
select format('grant create on database %I to "Batches.Test"', current_database()) \gexec
set local client_min_messages = error;
set local role "Batches.Test";
select lives_ok(format($$ select batches.create_postgrest_api('batches_test_odd', %L, %L) $$, :'anonymous', :'web'), 'any role makes an API');
select throws_ok(format($$ select batches.create_postgrest_api('batches_test_odd', 'batches_test_bare', %L) $$, :'web'), '42501',
                 'role "batches_test_bare" has no rights on schema batches', 'but not for who gets no rights by it');
reset role;
grant usage on schema batches to batches_test_bare;
set local role "Batches.Test";
select throws_like(format($$ select batches.create_postgrest_api('batches_test_odd', %L, 'batches_test_bare') $$, :'anonymous'),
                   'role "batches_test_bare" has no rights on table batches.%', 'nor on the tables');
rollback to odd;

select throws_ok(format($$ select batches.create_postgrest_api('batches_test_other', 'batches_test_nobody', %L) $$, :'web'), '42704', null,
  'a role that does not exist is an error');
select throws_ok(format('select batches.create_postgrest_api(%L, %L, %L)', 'batches_test_other', anon, web), '22023',
  'role "public" cannot be a role of the PostgREST API', format('%s and %s cannot be the roles: public is everybody', anon, web))
  from (values ('batches_test_stranger', 'public'), ('public', 'batches_test_stranger'), ('public', 'public')) v (anon, web);
select is((select count(*)::int from pg_namespace where nspname = 'batches_test_other'), 0, 'and leaves no schema');
create function batches_test_present.count_batches(x int) returns int language sql return x;
drop function batches_test_present.batch_facets;
create function batches_test_present.batch_facets(id uuid[] default null) returns json language sql return null::json;
select lives_ok(format($$ select batches.create_postgrest_api('batches_test_present', %L, %L) $$, :'anonymous', :'web'),
  'functions of another version are replaced');
select is((select string_agg(p.proname || ' ' || p.pronargs, ', ' order by p.proname) from pg_proc p
            where p.pronamespace = 'batches_test_present'::regnamespace),
          (select string_agg(p.proname || ' ' || p.pronargs, ', ' order by p.proname) from pg_temp.api_function p),
          'and none is left beside them');
revoke select on batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member from batches_test_stranger;
revoke usage on schema batches, batches_test_api from batches_test_stranger;

--
-- Batches 1 to 4 are of the first project, 5 and 6 of the second, 7 and 8 of the third; ann is in the first two, bob in the second
--

create function pg_temp.p(n int) returns uuid language sql immutable
  return ('a0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('b0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
insert into batches.batch (project_id, id, status, device_type, user_id, created_at, tags, start_datetime, open)
select pg_temp.p(case when n <= 4 then 1 when n <= 6 then 2 else 3 end), pg_temp.b(n),
       case when n % 2 = 0 then 'ERROR' else 'DONE' end::batches.batch_status,
           case when n = 3 then 'O''Brien "x" \y, {z}' else 'FRESNEL' end, 'user ' || n,
       '2025-01-01Z'::timestamptz + n * interval '1 hour', array['tag', 'tag-' || n, 'é' || n],
       '2025-01-02Z'::timestamptz + n * interval '1 hour', n > 6
  from generate_series(1, 8) n;
insert into batches.job (project_id, batch_id) select project_id, id from batches.batch, generate_series(1, right(id::text, 1)::int);
insert into batches.project_member (project_id, user_id) values (pg_temp.p(1), 'ann'), (pg_temp.p(2), 'ann'), (pg_temp.p(2), 'bob');
set local batches.trust_jwt_claims = on;

create function pg_temp.numbers(body json) returns text language sql immutable
  return (select coalesce(string_agg(right(i ->> 'id', 1), ',' order by o), '')
      from json_array_elements(body -> 'data') with ordinality a (i, o));

-- The first call of the session: PostgREST has set nothing yet. A rollback ends settings of the session as it ends those
-- of the transaction; at the end of a function that has settings of its own, only those of the transaction go.
create function pg_temp.settings_of_response(api name) returns text language plpgsql
  set "response.status" = '' set "response.headers" = '' as $$
begin
  execute format('select %I.batches()', api);
  return current_setting('response.status') || ' ' || current_setting('response.headers');
end $$;
select is(pg_temp.settings_of_response(:'api'), '401 [{"WWW-Authenticate" : "Bearer"}]', 'a call sets the status and the headers of the response');
select is(current_setting('response.status', true) || current_setting('response.headers', true), '', 'and for the transaction alone');

--
-- A request as it comes over the connection: savepoints stand for the limits of the transaction
--

savepoint request;
set local session authorization batches_test_authenticator;
set local transaction_read_only = on;
select set_config('search_path', '"we""ird %s Api", "public"', true) as path, set_config('role', :'web', true) as role,
       set_config('request.jwt.claims', '{"role": "web", "sub": "ann"}', true) as claims,
           set_config('request.method', 'GET', true) as method,
       set_config('request.path', '/rpc/batches', true) as request_path,
           set_config('request.headers', '{"host": "localhost", "x-query-string": "limit=2&status=DONE"}', true) as headers,
       set_config('request.cookies', '{}', true) as cookies \gset request_
with pgrst_source as (select pgrst_call.pgrst_scalar from (select "we""ird %s Api"."batches"() pgrst_scalar) pgrst_call)
select null::bigint as total_result_set, 1 as page_total, coalesce(json_agg(_postgrest_t.pgrst_scalar) -> 0, 'null') as body,
       nullif(current_setting('response.headers', true), '') as response_headers,
           nullif(current_setting('response.status', true), '') as response_status, '' as response_inserted
  from (select "batches".* from pgrst_source "batches") _postgrest_t \gset first_
rollback to request;
set local session authorization batches_test_authenticator;
set local transaction_read_only = on;
select set_config('search_path', '"we""ird %s Api", "public"', true) as path, set_config('role', :'web', true) as role,
       set_config('request.jwt.claims', '{"role": "web", "sub": "bob"}', true) as claims,
           set_config('request.method', 'POST', true) as method,
       set_config('request.path', '/rpc/get_all_batches', true) as request_path,
           set_config('request.headers', '{"host": "localhost"}', true) as headers,
       set_config('request.cookies', '{}', true) as cookies \gset request_
with pgrst_source as (
  select pgrst_call.pgrst_scalar
    from (select '{"limit": 1, "status": ["DONE", "ERROR"]}'::json as json_data) pgrst_payload,
         lateral (select "limit", "status" from json_to_record(pgrst_payload.json_data) as _("limit" bigint,
             "status" text[]) limit 1) pgrst_body,
         lateral (select "we""ird %s Api"."get_all_batches"("limit" := pgrst_body."limit",
             "status" := pgrst_body."status") pgrst_scalar) pgrst_call)
select null::bigint as total_result_set, 1 as page_total, coalesce(json_agg(_postgrest_t.pgrst_scalar) -> 0, 'null') as body,
       nullif(current_setting('response.headers', true), '') as response_headers,
           nullif(current_setting('response.status', true), '') as response_status, '' as response_inserted
  from (select "get_all_batches".* from pgrst_source "get_all_batches") _postgrest_t \gset second_
rollback to request;
release request;
select is(pg_temp.numbers(:'first_body'::json), '5,3', 'GET answers with the page that the header asks for');
select is(:'first_body'::json #>> '{pagination,total}', '3', 'and its total');
select is(:'first_response_status'::text, '200', 'the status is 200');
select matches(:'first_response_headers'::json::text,
  '^\[\{"Access-Control-Expose-Headers" : "Content-Range"\}, \{"Content-Range" : "1-2/3"\}, \{"ETag" : "W/\\"[0-9a-f]{32}\\""\}\]$', 'the headers are a list of objects with one key');
select is(pg_temp.numbers(:'second_body'::json) || ' of ' || (:'second_body'::json #>> '{pagination,total}'), '6 of 2',
  'POST answers with the page that its body asks for, of its user');
select is(:{?second_response_headers}::text || :{?second_response_status}::text, 'falsefalse',
  'and with PostgREST''s own status and headers, none left over from the request before');

--
-- The same by a function, for many requests
--

create function pg_temp.quoted(name text) returns text language sql immutable return '"' || replace(name, '"', '""') || '"';
-- The call of a function: without arguments, with those of a JSON object as POST, or with texts as GET.
create function pg_temp.call(schema text, function text, body json, as_get boolean default false) returns text language sql stable as $$
  select 'select pgrst_call.pgrst_scalar from '
      || case when a.n is null then '(select ' || pg_temp.quoted(schema) || '.' || pg_temp.quoted(function) || '() pgrst_scalar) pgrst_call'
              when as_get then '(select ' || pg_temp.quoted(schema) || '.' || pg_temp.quoted(function) || '(' || a.given
                  || ') pgrst_scalar) pgrst_call'
              else '(select $1 as json_data) pgrst_payload, lateral (select ' || a.names
                  || ' from json_to_record(pgrst_payload.json_data) as _(' || a.typed
                || ') limit 1) pgrst_body, lateral (select ' || pg_temp.quoted(schema) || '.' || pg_temp.quoted(function) || '(' || a.passed
                    || ') pgrst_scalar) pgrst_call' end
    from (select max(n) as n, string_agg(pg_temp.quoted(key), ', ') as names, string_agg(pg_temp.quoted(key) || ' ' || type, ', ') as typed,
                 string_agg(pg_temp.quoted(key) || ' := pgrst_body.' || pg_temp.quoted(key), ', ') as passed,
                 string_agg(pg_temp.quoted(key) || ' := ' || quote_literal(value) || '::' || type, ', ') as given
            from (select key, value, n, format_type(p.proargtypes[array_position(p.proargnames, key) - 1], null) as type
                    from json_each_text(body) with ordinality j (key, value, n),
                        pg_proc p where p.oid = 'batches.get_all_batches'::regproc) k) a
$$;
create function pg_temp.request(as_role text, claims json, headers text, call text, payload json default null,
  read_only boolean default true,
  method text default null,
                                out body json, out headers_out text, out status text, out state text,
                                    out left_over text) language plpgsql as $$
declare
  search_path text := current_setting('pg_temp.api_path');
begin
  begin
    perform set_config('session_authorization', 'batches_test_authenticator', true),
        set_config('transaction_read_only', read_only::text, true);
    execute $sql$ select set_config('search_path', $1, true), set_config('role', $2, true), set_config('request.jwt.claims', $3, true),
                         set_config('request.method', $4, true), set_config('request.path', $5, true),
                             set_config('request.headers', $6, true),
                         set_config('request.cookies', '{}', true) $sql$
      using search_path, as_role, claims::text, coalesce(method, case when payload is null then 'GET' else 'POST' end), '/rpc/batches', headers;
    execute 'with pgrst_source as (' || call || ') select coalesce(json_agg(_postgrest_t.pgrst_scalar) -> 0, ''null''),'
         || ' nullif(current_setting(''response.headers'', true), ''''), nullif(current_setting(''response.status'', true), ''''), '''' as response_inserted'
         || ' from (select "fn".* from pgrst_source "fn") _postgrest_t'
      into body, headers_out, status using payload;
    state := '00000';
    raise exception using errcode = 'ZZ000';
  exception
    when sqlstate 'ZZ000' then null;
    when others then state := sqlstate;
  end;
  left_over := nullif(concat_ws(' ', nullif(current_user, session_user), batches.current_user_id(),
      nullif(current_setting('request.jwt.claims', true), ''),
                         nullif(current_setting('request.headers', true), ''), nullif(current_setting('response.status', true), ''),
                         nullif(current_setting('response.headers', true), ''), nullif(current_setting('transaction_read_only'), 'off')),
                             '');
end $$;
select set_config('pg_temp.api_path', pg_temp.quoted(:'api') || ', "public"', true) as path,
  pg_temp.call(:'api', 'batches', '{}') as batches_call \gset
create function pg_temp.claims_of(member text) returns json language sql immutable return json_strip_nulls(json_build_object('role', 'x',
  'sub', member, 'exp', 1));
create function pg_temp.get(as_role text, member text, headers text, out answer text, out body json, out etag text) language sql volatile as $$
  select concat_ws(' ', r.state, r.status, case r.status when '200' then pg_temp.numbers(r.body) end,
                   regexp_replace(r.headers_out, ', \{"ETag" : [^}]*\}', ''), r.left_over), r.body,
         (select h ->> 'ETag' from json_array_elements(r.headers_out::json) h where h ->> 'ETag' is not null)
    from pg_temp.request(as_role, pg_temp.claims_of(member), headers, pg_temp.call(current_setting('pg_temp.api_name'), 'batches', '{}')) r
$$;
select set_config('pg_temp.api_name', :'api', true) as name \gset

-- 200
select is(g.answer, '00000 200 ' || ids || ' [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "' || range || '"}]',
          format('%s''s GET with the headers %s lists %s', member, coalesce(headers, 'null'), ids))
  from (values
    ('ann', '{"x-query-string": ""}', '6,5,4,3,2,1', '1-6/6'),
    ('bob', '{"x-query-string": ""}', '6,5', '1-2/2'),
    ('eve', '{"x-query-string": ""}', '', '*/0'),
    ('ann', '{}', '6,5,4,3,2,1', '1-6/6'),
    ('bob', '{"host": "x", "accept": "*/*"}', '6,5', '1-2/2'),
    ('bob', '', '6,5', '1-2/2'),
    ('bob', '{"x-query-string": null}', '6,5', '1-2/2'),
    ('ann', '{"X-Query-String": "limit=1"}', '6,5,4,3,2,1', '1-6/6'),
    ('ann', '{"query-string": "limit=1", "x-query-string": "limit=2"}', '6,5', '1-2/6'),
    ('ann', '{"x-query-string": "limit=2&offset=3"}', '3,2', '4-5/6'),
    ('ann', '{"x-query-string": "offset=6"}', '', '*/6'),
    ('ann', '{"x-query-string": "order_by=jobs_count&order_by_direction=ASC&columns=id&select=id&limit=3"}', '1,2,3', '1-3/6'),
    ('ann', '{"x-query-string": "status=DONE&id=b0000000-0000-0000-0000-000000000001&id=b0000000-0000-0000-0000-000000000005"}', '5,1',
    '1-2/2'),
    ('bob', '{"x-query-string": "id=b0000000-0000-0000-0000-000000000001"}', '', '*/0'),
    ('ann', '{"x-query-string": "device_type=O%27Brien+%22x%22+%5Cy%2C+%7Bz%7D"}', '3', '1-1/1'),
    ('ann', '{"x-query-string": "device_type=O''Brien \"x\" \\y, {z}"}', '3', '1-1/1'),
    ('ann', '{"x-query-string": "tag=é5&x=\u00e9\t\r\n\b\f/\/"}', '5', '1-1/1'),
    ('ann', '{"x-query-string": "tag=%C3%A95"}', '5', '1-1/1'),
    ('ann', '{"x-query-string": "tag=%FF&limit=3"}', '', '*/0'),
    ('ann', '{"x-query-string": "tag=%00"}', '', '*/0'),
    ('ann', '{"x-query-string": "?limit=1"}', '6,5,4,3,2,1', '1-6/6'),
    ('ann', '{"x-query-string": "%"}', '6,5,4,3,2,1', '1-6/6')) v (member, headers, ids, range),
       pg_temp.get(:'web', member, headers) g;
select is(g.body::text, r.body::text, 'the body of a GET is the endpoint''s, byte by byte')
  from pg_temp.get(:'web', 'ann', '{"x-query-string": "limit=3&open=0"}') g,
       lateral (select set_config('batches.user_id', 'ann', true) offset 0) s,
       lateral (select h.body from batches.http_get_all_batches('limit=3&open=0') h where s is not null offset 0) r;
set local batches.user_id = '';

-- 304
select is(g.answer || ' ' || g.body, '00000 304 [{"ETag" : ' || to_json(first.etag) || '}] null', 'GET with If-None-Match: ' || sent || ' gets no body')
  from pg_temp.get(:'web', 'ann', '{"x-query-string": "limit=3"}') first,
       unnest(array[first.etag, substr(first.etag, 3), '"x", ' || first.etag, '*']) sent,
       pg_temp.get(:'web', 'ann', json_build_object('x-query-string', 'limit=3', 'if-none-match', sent)::text) g;
select is(g.answer, '00000 ' || expected, format('GET of %s by %s with If-None-Match: %s is answered with %s', query, member, sent, split_part(expected, ' ', 1)))
  from pg_temp.get(:'web', 'ann', '{"x-query-string": "limit=3"}') first,
       lateral (values ('ann', 'limit=3', '"x"', '200 6,5,4 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "1-3/6"}]'),
                       ('ann', 'limit=3', null, '200 6,5,4 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "1-3/6"}]'),
                       ('ann', 'limit=1', first.etag, '200 6 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "1-1/6"}]'),
                       ('bob', 'limit=3', first.etag, '200 6,5 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "1-2/2"}]'),
                       ('ann', 'limit=0', '*', '422 []')) v (member, query, sent, expected),
       pg_temp.get(:'web', member, json_build_object('x-query-string', query, 'if-none-match', sent)::text) g;

-- Beyond the endpoint
select is(g.answer, '00000 200 6,5 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "' || range || '"}]', what)
  from (values (false, '1-2/6', 'what is beyond the endpoint is unknown'), (true, '1-2/*', 'but where it is asked for')) v (extended, range, what),
       lateral (select batches.create_postgrest_api(:'api', :'anonymous', :'web', extended) offset 0) made,
       lateral (select (pg_temp.get(:'web', 'ann', '{"x-query-string": "limit=2&total=none"}')).answer where made is not null offset 0) g;
select matches(obj_description(format('%I.batches()', :'api')::regprocedure, 'pg_proc'), 'beyond the endpoint', 'and that is said');
select is(batches.create_postgrest_api(:'api', :'anonymous', :'web')::text || (pg_temp.get(:'web', 'ann', '{"x-query-string": "limit=2&total=none"}')).answer,
  '00000 200 6,5 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "1-2/6"}]', 'made again without it, it is unknown again');

-- 422 and 401 keep their bodies.
select is(g.answer || ' ' || g.body, '00000 422 [] {"status":"fail","message":"Unprocessable Entity","code":"422","data":{"description":['
  || errors || ']}}',
          format('GET with %s is answered with the errors of the endpoint', query))
  from (values
    ('limit=101', '{"type":"less_than","loc":["query","limit"],"msg":"Input should be less than 101","input":"101","ctx":{"lt":101}}'),
    ('limit=a%22%5c%ff%00%01é&open', '{"type":"int_parsing","loc":["query","limit"],"msg":'
      '"Input should be a valid integer, unable to parse string as an integer","input":"a\"\\��\u0001é"},'
      '{"type":"bool_parsing","loc":["query","open"],"msg":'
      '"Input should be a valid boolean, unable to interpret input","input":""}')) v (query, errors),
       pg_temp.get(:'web', 'ann', json_build_object('x-query-string', query)::text) g;
-- PostgREST takes the answer out of an array, and PostgreSQL reads the strings in it for that.
select is(g.answer, '00000 422 []', 'GET with a zero byte in ' || query || ' is answered with 422, too')
  from unnest(array['limit=%00', 'id=%00', 'status=DONE%00', 'start_date=%00', 'limit=%5C%00%00', 'limit=%5Cu0000&open=%00']) query,
       pg_temp.get(:'web', 'ann', json_build_object('x-query-string', query)::text) g;
select is(g.answer || ' ' || (g.body::jsonb #- '{data,description}'),
  '00000 401 [{"WWW-Authenticate" : "Bearer"}] {"code": "401", "data": {}, "status": "fail", "message": "Unauthorized"}',
          format('GET without a user as the %s role with %s is answered with 401', kind, headers))
  from pg_temp.known_roles r, unnest(array['', '{}', '{"x-query-string": "limit=5"}', '{"x-query-string": "limit=101&id=x"}']) headers,
       pg_temp.get(r.name, null, headers) g
 where kind in ('anonymous', 'web') order by kind, headers;
select is(g.answer || ' ' || g.body, '00000 403 {"status":"error","message":"Forbidden","code":"403","data":{"description":"The user''s role may not read batches."}}',
  'GET as the anonymous role with a user is answered with 403, in the API''s words')
  from pg_temp.get(:'anonymous', 'ann', '{"x-query-string": ""}') g;

select is(g.answer, '42501', 'GET as the ' || kind || ' role is refused')
  from pg_temp.known_roles r, pg_temp.get(r.name, 'ann', '{"x-query-string": ""}') g where kind in ('stranger', 'authenticator')
      order by kind;

-- Claims alone make a user only where they are trusted.
set local batches.trust_jwt_claims = off;
select is(g.answer, '00000 401 [{"WWW-Authenticate" : "Bearer"}]', 'claims that are not trusted make no user') from pg_temp.get(:'web', 'ann', '{}') g;
set local batches.trust_jwt_claims = on;

--
-- POST
--

create function pg_temp.post(as_role text, member text, body json, as_get boolean default false, read_only boolean default true,
  method text default null,
  out answer text, out body_out json) language sql volatile as $$
  select concat_ws(' ', r.state, r.status, pg_temp.numbers(r.body) || ' of ' || (r.body #>> '{pagination,total}'), r.headers_out,
      r.left_over), r.body
    from pg_temp.request(as_role, pg_temp.claims_of(member), '{"x-query-string": "limit=1"}',
        pg_temp.call(current_setting('pg_temp.api_name'), 'get_all_batches', body, as_get),
                         case when not as_get then body end, read_only, method) r
$$;
select is(p.answer, '00000 ' || expected, format('%s''s POST of %s lists %s', member, body, expected))
  from (values
    ('ann', '{}', '6,5,4,3,2,1 of 6'),
    ('bob', '{}', '6,5 of 2'),
    ('eve', '{}', ' of 0'),
    ('ann', '{"limit": 2, "offset": 1}', '5,4 of 6'),
    ('ann', '{"status": ["DONE"], "order_by": "id", "order_by_direction": "ASC"}', '1,3,5 of 3'),
    ('ann', '{"status": [], "id": [], "tag": null}', '6,5,4,3,2,1 of 6'),
    ('ann', '{"id": ["b0000000-0000-0000-0000-000000000007", "b0000000-0000-0000-0000-000000000002"]}', '2 of 1'),
    ('ann', '{"device_type": ["O''Brien \"x\" \\y, {z}"]}', '3 of 1'),
    ('ann', '{"user_id": ["user 1", "user 8"], "complete": true}', '1 of 1'),
    ('ann', '{"min_jobs": 2, "max_jobs": 3}', '3,2 of 2'),
    ('ann', '{"start_date": "2025-01-02T05:00:00Z", "created_before": "2025-01-01T05:00:00+00:00"}', '5 of 1'),
    ('ann', '{"tag": "é4"}', '4 of 1'),
    ('ann', '{"queue_priority": ["MEDIUM"], "id__starts_with": "B0", "open": false, "limit": 1}', '6 of 6')) v (member, body, expected),
       pg_temp.post(:'web', member, body::json) p;
select is(p.answer, 'PT405', method || ' is refused: PostgREST would keep parameters to itself')
  from unnest(array['GET', 'HEAD']) method, pg_temp.post(:'web', 'ann', '{"status": "{DONE}", "max_jobs": "3"}', true, method => method) p;
select is(p.answer, '00000 6,5 of 2', 'POST works in a transaction that may write, too')
  from pg_temp.post(:'web', 'bob', '{"limit": 5}', false, false) p;
select is(p.body_out::text, r.body::text, 'the body of a POST is that of get_all_batches, byte by byte')
  from pg_temp.post(:'web', 'ann', '{"limit": 3, "open": false}') p,
       lateral (select set_config('batches.user_id', 'ann', true) offset 0) s,
       lateral (select g.body from batches.get_all_batches("limit" => 3, open => false) g (body) where s is not null offset 0) r;
set local batches.user_id = '';
select is(p.answer, state, format('%s POST of %s is the error %s', kind, body, state))
  from (values
    ('web', 'ann', '{"limit": 0}', '2201W'), ('web', 'ann', '{"limit": 101}', '2201W'), ('web', 'ann', '{"offset": -1}', '2201X'),
    ('web', 'ann', '{"order_by": "x"}', '22023'),
    ('web', 'ann', '{"status": [null]}', '22004'), ('web', 'ann', '{"status": ["x"]}', '22023'), ('web', 'ann', '{"id": ["x"]}', '22P02'),
    ('web', null, '{}', 'PT401'),
    ('web', null, '{"limit": 0}', 'PT401'), ('anonymous', null, '{}', 'PT401'), ('anonymous', 'ann', '{}', 'PT403'),
    ('stranger', 'ann', '{}', '42501')) v (kind, member, body, state)
  join pg_temp.known_roles r using (kind),
       pg_temp.post(r.name, member, body::json) p;

--
-- Rows and numbers
--

-- 150 batches more, the first of which is older than the newest 100; PostgREST's own filters come after the function.

insert into batches.batch (project_id, id, device_type, user_id, created_at)
select pg_temp.p(9), md5(n::text)::uuid, case n when 1 then 'OLD' else 'NEW' end, 'zoe', '2025-03-01Z'::timestamptz + n * interval '1 hour'
  from generate_series(1, 150) n;
insert into batches.project_member values (pg_temp.p(9), 'zoe');
create function pg_temp.rows_of(as_role text, member text, call text, method text, filter text default '') returns text language sql volatile as $$
  select concat_ws(' ', r.state, r.body)
    from pg_temp.request(as_role, pg_temp.claims_of(member), '{}',
           format('select to_json(array(select _postgrest_t from (select f.* from (select * from %s.%s) f %s) _postgrest_t)) as pgrst_scalar',
                  pg_temp.quoted(current_setting('pg_temp.api_name')), call, filter), method => method) r
$$;
select is(r, '00000 ' || expected, format('%s %s %s of %s', method, call, filter, member))
  from (values
    ('ann', 'count_batches()', '', '[{"count_batches":6}]'),
    ('bob', 'count_batches()', '', '[{"count_batches":2}]'),
    ('eve', 'count_batches()', '', '[{"count_batches":0}]'),
    ('ann', 'count_batches(status => ''{DONE}'', open => false)', '', '[{"count_batches":3}]'),
    ('bob', 'batch_facets(status => ''{ERROR}'')', '', '[{"batch_facets":{"open": {"false": 1}, "total": 1, "status": {"ERROR": 1}, '
      '"project_id": {"a0000000-0000-0000-0000-000000000002": 1}, "device_type": {"FRESNEL": 1}, "queue_priority": {"MEDIUM": 1}}}]')) v (member, call, filter, expected),
       unnest(array['GET', 'HEAD', 'POST']) method,
       pg_temp.rows_of(:'web', member, call, method, filter) r;
select is((select string_agg(right(b ->> 'id', 1), ',') from json_array_elements(substr(r, 7)::json) b), expected, format('%s %s of %s', call, filter, member))
  from (values
    ('ann', 'list_batches()', '', '6,5,4,3,2,1'),
    ('ann', 'list_batches(status => ''{DONE}'', order_by => ''id'', order_by_direction => ''ASC'')', '', '1,3,5'),
    ('ann', 'list_batches("limit" => 2, "offset" => 1)', '', '5,4'),
    ('ann', 'list_batches()', 'where device_type = ''FRESNEL'' and jobs_count > 1 order by jobs_count desc limit 2 offset 1', '5,4'),
    ('bob', 'list_batches()', 'where project_id <> ''a0000000-0000-0000-0000-000000000002''', null)) v (member, call, filter, expected),
       pg_temp.rows_of(:'web', member, call, 'GET', filter) r;
select is((select string_agg(b ->> 'device_type', ',') from json_array_elements(substr(r, 7)::json) b), 'OLD',
          'what PostgREST filters are all batches, not the newest 100')
  from pg_temp.rows_of(:'web', 'zoe', 'list_batches()', 'GET', 'where device_type = ''OLD''') r;
select is(json_array_length(substr(r, 7)::json), 150, 'and it lists all of them')
  from pg_temp.rows_of(:'web', 'zoe', 'list_batches()', 'POST') r;
select is(pg_temp.rows_of(r.name, member, call, 'POST'), expected, format('%s of the %s role, %s', call, kind, coalesce(member, 'nobody')))
  from unnest(array['list_batches()', 'count_batches()', 'batch_facets()', 'list_batches(status => ''{x}'')']) call,
       (values ('web', null, 'PT401'), ('anonymous', null, 'PT401'), ('anonymous', 'ann', 'PT403'), ('stranger', 'ann', '42501')) v (kind, member, expected)
  join pg_temp.known_roles r using (kind);
select is(pg_temp.rows_of(:'web', 'ann', call, 'POST'), '22023', call || ' is an error')
  from unnest(array['list_batches(status => ''{x}'')', 'count_batches(queue_priority => ''{x}'')']) call;
delete from batches.project_member where user_id = 'zoe';
delete from batches.batch where user_id = 'zoe';

-- What takes too long is ended, and said so.
create policy batches_test_slow on batches.batch as restrictive using (pg_sleep(60)::text is not null);
set local statement_timeout = '500ms';
select is(g.answer || ' ' || g.body, '00000 504 {"status":"error","message":"Gateway Timeout","code":"504","data":{"description":"The database did not answer in time."}}',
  'GET that takes too long is answered with 504, in the API''s words')
  from pg_temp.get(:'web', 'ann', '{}') g;
select is(p.answer, 'PT504', 'so is POST') from pg_temp.post(:'web', 'ann', '{}') p;
create function pg_temp.call_beside(schema text, role text) returns text language plpgsql as $$
begin
  perform set_config('request.method', '', true), set_config('batches.user_id', 'ann', true), set_config('role', role, true);
  execute format('select %I.batches()', schema);
  return 'answered';
exception when query_canceled then
  return sqlstate;
end $$;
select is(pg_temp.call_beside(:'api', :'web'), '57014', 'but a statement that is none of PostgREST''s is ended');
set local statement_timeout = 0;
drop policy batches_test_slow on batches.batch;

--
-- Many requests of many users on one session: each has its own answer, and leaves nothing to the next
--

create table pg_temp.turn (n int, post boolean, kind text, member text, request text, expected text);
insert into pg_temp.turn values
  (1, false, 'web', 'ann', '{"x-query-string": "limit=1"}',
  '00000 200 6 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "1-1/6"}]'),
  (2, false, 'web', 'bob', '{"x-query-string": "limit=1"}',
  '00000 200 6 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "1-1/2"}]'),
  (3, false, 'web', 'eve', '{"x-query-string": "limit=1"}',
  '00000 200  [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "*/0"}]'),
  (4, false, 'web', 'ann', '{"x-query-string": "limit=0"}', '00000 422 []'),
  (5, false, 'web', null, '{"x-query-string": "limit=1"}', '00000 401 [{"WWW-Authenticate" : "Bearer"}]'),
  (6, false, 'anonymous', null, '{"x-query-string": "limit=1"}', '00000 401 [{"WWW-Authenticate" : "Bearer"}]'),
  (7, false, 'anonymous', 'bob', '{}', '00000 403'),
  (8, false, 'stranger', 'ann', '{}', '42501'),
  (9, true, 'web', 'ann', '{}', '00000 6,5,4,3,2,1 of 6'),
  (10, true, 'web', 'bob', '{"limit": 1}', '00000 6 of 2'),
  (11, true, 'web', 'eve', '{"limit": 1}', '00000  of 0'),
  (12, true, 'web', 'ann', '{"limit": 0}', '2201W'),
  (13, true, 'web', null, '{}', 'PT401'),
  (14, true, 'anonymous', null, '{}', 'PT401'),
  (15, false, 'web', 'bob', '{}', '00000 200 6,5 [{"Access-Control-Expose-Headers" : "Content-Range"}, {"Content-Range" : "1-2/2"}]');
create function pg_temp.take(turn pg_temp.turn) returns text language plpgsql as $$
declare
  as_role text := (select name from pg_temp.known_roles r where r.kind = turn.kind);
begin
  if turn.post then
    return (select p.answer from pg_temp.post(as_role, turn.member, turn.request::json) p);
  else
    return (select g.answer from pg_temp.get(as_role, turn.member, turn.request) g);
  end if;
end $$;
select is_empty(
  $$ select a.n, b.n, v.* from pg_temp.turn a, pg_temp.turn b,
      lateral (select pg_temp.take(a) as first, pg_temp.take(b) as second offset 0) v
      where v.first is distinct from a.expected or v.second is distinct from b.expected $$,
  'every request is answered the same after every other one');
select is_empty(
  $$ select round, t.n, pg_temp.take(t) from (select t, round from pg_temp.turn t, generate_series(1, 30) round order by round,
      md5(t.n || ' ' || round) offset 0) o (turn, round),
            lateral (select (turn).*) t (n, post, kind, member, request, expected)
      where pg_temp.take(turn) is distinct from t.expected $$,
  'and in thirty random orders');
select is(current_user || ' ' || coalesce(batches.current_user_id(), 'nobody'), session_user || ' nobody',
  'after all of them there is neither a role nor a user');

select * from finish();
rollback;
