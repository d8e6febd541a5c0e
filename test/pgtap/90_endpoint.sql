-- The endpoint in one call: http_get_all_batches() reads query strings as FastAPI with pydantic v2 does, and answers 200,
-- 401 or 422, whatever is sent. test/query_vectors.json holds what a real FastAPI answered.
--
-- The random part prints its seed. BATCHES_TEST_SEED=123 repeats a run; BATCHES_TEST_SIZE=10 makes one ten times as long.

\ir include/output.psql

\set vectors `cat test/query_vectors.json`

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
-- Not those of the requests: a time without a zone is UTC wherever the session is.
set local timezone = 'Asia/Kolkata';
set local datestyle = 'SQL, DMY';
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(725);

--
-- The batches: 300 of three projects that ann is in, and 20 of one that she is not in
--

create function pg_temp.p(n int) returns uuid language sql immutable
  return ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return case when n <= 2 then ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid
              when n = 3 then 'abcdef00-0000-0000-0000-00000000000a'
              else md5('batch ' || n)::uuid end;
create function pg_temp.pick(n int, "values" anyarray) returns anyelement language sql immutable
  as $$ select "values"[1 + n % cardinality("values")] $$;

create table pg_temp.made (n int, id uuid, jobs int);
insert into pg_temp.made select n, pg_temp.b(n), (n * 7) % 13 from generate_series(1, 320) n;
insert into batches.batch (project_id, id, status, open, priority, device_type, user_id, created_at, updated_at, tags,
                           start_datetime, end_datetime, queue_priority)
select case when n > 300 then pg_temp.p(4) else pg_temp.p(1 + n % 3) end, id,
       pg_temp.pick(n, enum_range(null::batches.batch_status)), n % 5 < 2, n % 4,
       pg_temp.pick(n, array['FRESNEL', 'EMU_MPS', 'EMU_FREE']),
       case when n > 300 then 'eve' else pg_temp.pick(n, array['user-123', 'user-456', '', 'a,b', 'Jürgen & Zoé', 'ann', 'bob']) end,
       '2025-01-15Z'::timestamptz + (n % 97) * interval '1 hour', '2025-02-01Z'::timestamptz + (n % 89) * interval '1 hour',
       array[pg_temp.pick(n, array['experiment-1', '', 'a&b=c%', 'one', 'two', 'a b', 'a+b', '€', 'a;limit=3', 'a']), 'n-' || n],
       -- At the moments that the requests name, and a microsecond to either side
       case when n % 11 > 0 then
         pg_temp.pick(n, array['2025-01-15 10:31Z', '2025-01-15 08:31Z', '2025-01-15 00:00Z', '2025-01-15 05:01Z',
                               '2025-01-15 10:31:00.123456Z', '2025-01-15 10:31:00.5Z', '2025-01-14 18:30Z']::timestamptz[])
         + pg_temp.pick(n / 7, array['0', '-0.000001', '0.000001']::interval[]) end,
       case when n % 13 > 0 then
         pg_temp.pick(n, array['2025-01-15 14:01Z', '2025-01-15 10:31Z', '2025-01-15 07:01Z', '2025-01-16 00:00Z']::timestamptz[])
         + pg_temp.pick(n / 4, array['0', '-0.000001', '0.000001']::interval[]) end,
       pg_temp.pick(n / 3, enum_range(null::batches.queue_priority))
  from pg_temp.made;
insert into batches.job (project_id, batch_id, status)
select b.project_id, b.id, pg_temp.pick(m.n + k, enum_range(null::batches.job_status))
  from pg_temp.made m join batches.batch b using (id), generate_series(1, m.jobs) k;
insert into batches.project_member (project_id, user_id)
select pg_temp.p(n), 'ann' from generate_series(1, 3) n union all values (pg_temp.p(4), 'eve');
set local batches.user_id = 'ann';

--
-- Ways to look at an answer
--

-- Every byte of a text as "%XX".
create function pg_temp.encoded(value text) returns text language sql immutable
  return regexp_replace(encode(convert_to(value, 'UTF8'), 'hex'), '(..)', '%\1', 'g');
create function pg_temp.status(query text) returns int language sql stable
  return (select r.status from batches.http_get_all_batches(query) r);
-- The total of a 200, or the types of the errors of a 422.
create function pg_temp.total(query text) returns text language sql stable
  return (select case r.status when 200 then 'total ' || (r.body -> 'pagination' ->> 'total')
                               else (select string_agg(e ->> 'type', ', ' order by o)
                                       from json_array_elements(r.body #> '{data,description}') with ordinality a (e, o)) end
            from batches.http_get_all_batches(query) r);
-- What a text is read as: the number of a 200, the type of the error of a 422.
create function pg_temp.read_offset(value text) returns text language sql stable
  return (select case r.status when 200 then r.body -> 'pagination' ->> 'start' else pg_temp.total('offset=' || pg_temp.encoded(value)) end
            from batches.http_get_all_batches('offset=' || pg_temp.encoded(value)) r);
-- What a value that is no integer was taken for, as JSON text.
create function pg_temp.input(raw text) returns text language sql stable
  return (select r.body #> '{data,description,0,input}' from batches.http_get_all_batches('limit=' || raw) r)::text;

--
-- The vectors
--

create table pg_temp.vector (n int, query text, status int, parsed jsonb, errors jsonb);
insert into pg_temp.vector
select o, v ->> 'query', (v ->> 'status')::int, v -> 'parsed', v -> 'errors'
  from jsonb_array_elements(:'vectors'::jsonb) with ordinality a (v, o);

-- A call of get_all_batches() with the values read as named arguments.
create function pg_temp.argument(key text, value jsonb) returns text language sql immutable
  return quote_ident(key) || ' => ' || quote_literal(case
    when jsonb_typeof(value) = 'array' then (select array_agg(x order by o)
        from jsonb_array_elements_text(value) with ordinality a (x, o))::text
    when key in ('start_date', 'end_date') and value #>> '{}' !~ '[+-]\d\d:\d\d$' then (value #>> '{}') || 'Z'
    else value #>> '{}' end);
create function pg_temp.document(parsed jsonb) returns text language plpgsql stable as $$
declare
  document text;
begin
  execute 'select batches.get_all_batches('
       || coalesce((select string_agg(pg_temp.argument(key, value), ', ') from jsonb_each(parsed)), '') || ')' into document;
  return document;
end $$;

-- Errors without the part that may be worded freely, where the message ends with the context's error.
create function pg_temp.without_wording(errors jsonb) returns jsonb language sql immutable
  return (select jsonb_agg(
            case when e ->> 'type' in ('uuid_parsing', 'datetime_parsing', 'datetime_from_date_parsing')
                  and e #>> '{ctx,error}' <> '' and e ->> 'msg' = words || (e #>> '{ctx,error}')
                 then e || '{"msg": "", "ctx": {"error": ""}}'::jsonb else e end order by o)
            from jsonb_array_elements(errors) with ordinality a (e, o),
                 lateral (select case e ->> 'type' when 'uuid_parsing' then 'Input should be a valid UUID, '
                                                   when 'datetime_parsing' then 'Input should be a valid datetime, '
                                                   else 'Input should be a valid datetime or date, ' end) w (words));
create function pg_temp.frame(errors jsonb) returns jsonb language sql immutable
  return jsonb_build_object('status', 'fail', 'message', 'Unprocessable Entity', 'code', '422',
                            'data', jsonb_build_object('description', errors));
create function pg_temp.answer(query text) returns text language plpgsql stable as $$
declare
  r record;
begin
  select * into r from batches.http_get_all_batches(query);
  return r.status || ' ' || case
    when r.status = 422 then jsonb_set(r.body::jsonb, '{data,description}',
                                       pg_temp.without_wording(r.body::jsonb #> '{data,description}'))::text
    else r.body::text end;
end $$;

select is(jsonb_agg(pg_temp.without_wording(errors) -> 0), '[{"a": 1, "type": "uuid_parsing", "msg": "", "ctx": {"error": ""}},
  {"type": "datetime_parsing", "msg": "Input should be a valid datetime, x", "ctx": {"error": "y"}}, {"type": "enum", "msg": "x"}]',
          'the comparison leaves out free wording and nothing else')
  from (values (1, '[{"a": 1, "type": "uuid_parsing", "msg": "Input should be a valid UUID, x", "ctx": {"error": "x"}}]'::jsonb),
               (2, '[{"type": "datetime_parsing", "msg": "Input should be a valid datetime, x", "ctx": {"error": "y"}}]'),
               (3, '[{"type": "enum", "msg": "x"}]')) v (n, errors);
select is(pg_temp.answer(query),
          status || ' ' || case status when 200 then pg_temp.document(parsed)
                                       else pg_temp.frame(pg_temp.without_wording(errors))::text end,
          format('?%s is answered with %s and %s', query, status,
                 case status when 200 then 'the batches that it asks for' else 'FastAPI''s errors' end))
  from pg_temp.vector order by n;

-- The vectors would not tell right from wrong on batches that are all alike.
create function pg_temp.is_filter(key text) returns boolean language sql immutable
  return key not in ('order_by', 'order_by_direction', 'limit', 'offset');
select set_eq(
  $$ select query, pg_temp.total(query) from pg_temp.vector
      where status = 200 and exists (select from jsonb_object_keys(parsed) k where pg_temp.is_filter(k))
        and pg_temp.total(query) in ('total 0', 'total 300') $$,
  $$ values ('id__starts_with=', 'total 300'), ('id__starts_with=%25', 'total 0'), ('device_type=UNKNOWN_DEVICE', 'total 0'),
            ('min_jobs=-3', 'total 300') $$,
  'the filters of all other vectors find some batches and not all');
select is(array(select distinct k collate "C" from pg_temp.vector, jsonb_object_keys(parsed) k order by 1),
          array['complete', 'device_type', 'end_date', 'id', 'id__starts_with', 'limit', 'max_jobs', 'min_jobs', 'offset', 'open',
                'order_by', 'order_by_direction', 'project_id', 'queue_priority', 'start_date', 'status', 'tag', 'user_id'],
          'the vectors give a value to every parameter');

--
-- The document of an error and of no user, in full
--

select is(r.body::text, '{"status":"fail","message":"Unprocessable Entity","code":"422","data":{"description":['
  '{"type":"less_than","loc":["query","limit"],"msg":"Input should be less than 101","input":"101","ctx":{"lt":101}},'
  '{"type":"int_parsing","loc":["query","offset"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"a\"b"}]}}',
  'an error has FastAPI''s keys in FastAPI''s order')
  from batches.http_get_all_batches('offset=a%22b&limit=101') r;
select is(r.status || ' ' || r.headers, '422 {}', 'an error has no headers of its own')
  from batches.http_get_all_batches('limit=101') r;
select is((select json_agg(e -> 'loc' ->> 1) from json_array_elements(r.body -> 'data' -> 'description') e)::text,
  '["order_by", "order_by_direction", "limit", "offset", "id", "project_id", "status", "complete", "open", "min_jobs", '
  '"max_jobs", "start_date", "end_date", "queue_priority"]',
  'errors are in the order of the parameters, not of the query string')
  from batches.http_get_all_batches('queue_priority=x&tag=x&end_date=x&start_date=x&max_jobs=x&min_jobs=x&open=x&complete=x&status=x'
         '&device_type=x&user_id=x&project_id=x&id__starts_with=x&id=x&offset=x&limit=x&order_by_direction=x&order_by=x') r;
select is((select json_agg(e -> 'loc') from json_array_elements(r.body -> 'data' -> 'description') e)::text,
  '[["query","id",0], ["query","id",3], ["query","status",1]]', 'an error in a list has its place among the values of the key')
  from batches.http_get_all_batches('status=DONE&id=x&id=' || pg_temp.b(1) || '&status=x&id=' || pg_temp.b(2) || '&id=y&status=ERROR') r;

-- The labels that a message names are those of the type.
create function pg_temp.alternatives(labels text[]) returns text language sql immutable
  return '''' || array_to_string(labels[:cardinality(labels) - 1], ''', ''') || ''' or ''' || labels[cardinality(labels)] || '''';
select is((select (e ->> 'msg') || '; ' || (e #>> '{ctx,expected}') from json_array_elements(r.body -> 'data' -> 'description') e),
          'Input should be ' || pg_temp.alternatives(labels) || '; ' || pg_temp.alternatives(labels),
          'the message about ' || parameter || ' names the labels of its type')
  from (values ('status', enum_range(null::batches.batch_status)::text[]),
               ('queue_priority', enum_range(null::batches.queue_priority)::text[])) v (parameter, labels),
       batches.http_get_all_batches(parameter || '=x') r;
select is(pg_temp.status(parameter || '=' || label), 200, parameter || '=' || label || ' is allowed')
  from (select 'status', unnest(enum_range(null::batches.batch_status))::text union all
        select 'queue_priority', unnest(enum_range(null::batches.queue_priority))::text) v (parameter, label);
select is(pg_temp.total(parameter || '=' || pg_temp.encoded(text)), error, format('%s=%s is no label', parameter, to_json(text)))
  from (values ('status', 'enum'), ('queue_priority', 'enum'), ('order_by_direction', 'literal_error')) p (parameter, error),
       unnest(array[' DONE', 'DONE ', 'HIGH' || chr(160), 'desc', 'DESCENDING', '0', 'null']) text;

set local batches.user_id = '';
select is(r.status || ' ' || r.headers || ' ' || jsonb_set(r.body::jsonb, '{data,description}', '"x"')
            || (r.body #>> '{data,description}' <> '')::text,
          '401 {"WWW-Authenticate":"Bearer"} {"code": "401", "data": {"description": "x"}, "status": "fail", "message": "Unauthorized"}true',
          'without a user the answer to ' || coalesce(quote_literal(query), 'null') || ' is 401')
  from unnest(array['', 'limit=101', 'id=x&status=%00', 'tag=%FF', null, '%', repeat('a', 100000)]) query,
       batches.http_get_all_batches(query) r;
set local batches.user_id = 'ann';

--
-- The headers
--

select is(r.status || ' ' || (r.headers::jsonb - 'Content-Range') || ' ' || (r.headers ->> 'Content-Range'),
          '200 {"Access-Control-Expose-Headers": "Content-Range"} ' || range, what || ' has the range ' || range)
  from (values ('', '1-100/300', 'the first page'),
               ('limit=100&offset=200', '201-300/300', 'the last page'),
               ('limit=7&offset=10', '11-17/300', 'a page in the middle'),
               ('limit=100&offset=299', '300-300/300', 'a page of the last item'),
               ('id=00000000-0000-0000-0000-000000000001', '1-1/1', 'one item of one'),
               ('limit=1', '1-1/300', 'one item of many'),
               ('tag=nothing', '*/0', 'an empty page'),
               ('tag=nothing&offset=5', '*/0', 'an empty page with an offset'),
               ('offset=300', '*/300', 'a page at the end'),
               ('offset=1000&tag=experiment-1', '*/30', 'a page past the end'),
               ('id=' || pg_temp.b(301), '*/0', 'a page of a foreign batch')) v (query, range, what),
       batches.http_get_all_batches(query) r;

--
-- The tag of a page
--

create function pg_temp.tag(query text) returns text language sql stable
  return (select r.headers ->> 'ETag' from batches.http_get_all_batches(query, if_none_match => '') r);
select matches(pg_temp.tag('limit=3'), '^W/"[0-9a-f]{32}"$', 'a page has a weak tag');
select is(r.status || ' ' || (r.headers::jsonb - 'ETag') || ' ' || r.body, plain.status || ' ' || plain.headers::jsonb || ' ' || plain.body,
          'and is besides as it is without one')
  from batches.http_get_all_batches('limit=3', false, '') r, batches.http_get_all_batches('limit=3') plain;
select is(pg_temp.tag(query), null, 'an answer with another status has none: ' || query)
  from unnest(array['limit=0', 'id=x', 'open=perhaps']) query;
select is(count(distinct pg_temp.tag(query)), 8::bigint, 'other pages have other tags')
  from unnest(array['', 'limit=99', 'offset=1', 'limit=1', 'limit=1&offset=1', 'limit=1&offset=2', 'tag=nothing', 'tag=nothing&offset=1']) query;

-- What has it: @ is the tag, @@ what is in its quotes.
create function pg_temp.matched(header text) returns text language sql stable
  return (select concat_ws(' ', r.status, case when r.body is null then 'no body' else 'body' end,
                           (select string_agg(k, ' ') from json_object_keys(r.headers) k), nullif(r.headers ->> 'ETag', pg_temp.tag('limit=3')))
            from batches.http_get_all_batches('limit=3', false, replace(replace(header, '@@', substr(pg_temp.tag('limit=3'), 4, 32)),
                                                                        '@', pg_temp.tag('limit=3'))) r);
select is(pg_temp.matched(header), '304 no body ETag', format('If-None-Match: %s has the tag', left(to_json(header)::text, 50)))
  from unnest(array['@', '"@@"', ' @', e'\t@\t ', '"x",@', '@,"x"', '"x" , @ , W/"y"', ',@', '@,', e' , ,\t@ , ,', '"", W/"",@', '"a,b","@@"',
                    '"x!#()~[]{}€é",@', repeat('"x",', 10000) || '@', '*', e' *\t']) header;
select is(pg_temp.matched(header), '200 body Access-Control-Expose-Headers Content-Range ETag',
          format('If-None-Match: %s has not', left(to_json(header)::text, 50)))
  from unnest(array['', ' ', ',', '@@', '"@@', '@@"', 'w/"@@"', 'W/ "@@"', 'W"@@"', 'W/W/"@@"', '/"@@"', 'W/', 'W', 'W/@@', '''@@''', '"@@ "', '" @@"',
                    '"@@x"', '"x@@"', '"W/@@"', '"x"', 'W/"x"', '**', '*,@', '@,*', '*@', '"*"', '@ @', '@"x"', '@;', '@,x', 'x,@', '"x,@', e'"x\ny",@',
                    e'"x\u007fy",@', '"x y",@', e'@,\n', '"' || repeat('x', 100000), repeat(',', 100000)]) header;
select is(r.status, expected, format('"*" has the tag of an answer that is a page, and of no %s', expected))
  from (values ('limit=0', 422), ('', 304)) v (query, expected), batches.http_get_all_batches(query, if_none_match => '*') r;
set local batches.user_id = '';
select is(r.status || ' ' || r.headers, '401 {"WWW-Authenticate":"Bearer"}', 'no user, no tag') from batches.http_get_all_batches('', false, '*') r;
set local batches.user_id = 'ann';

-- The same for the same, another one for what differs in a character
create table pg_temp.tag_before as
  select n, query, pg_temp.tag(query) as tag from unnest(array['limit=5', 'limit=5&offset=295', 'status=PAUSED']) with ordinality q (query, n);
create function pg_temp.same_tags() returns setof boolean language sql stable
  begin atomic select pg_temp.tag(query) = tag from pg_temp.tag_before order by n; end;
set local timezone = 'Asia/Tokyo';
set local batches.scan = 'sql';
select results_eq('select pg_temp.same_tags()', array[true, true, true], 'the tag is that of the body, however it is read');
reset batches.scan;
set local timezone = 'Asia/Kolkata';
savepoint changed;
update batches.batch set priority = 7 where id = (select id from batches.list_batches("limit" => 1));
select results_eq('select pg_temp.same_tags()', array[false, true, true], 'a digit of a batch changes the tag of its page');
rollback to changed;
insert into batches.batch (project_id, id, status, device_type, user_id, created_at)
values (pg_temp.p(1), md5('another')::uuid, 'DONE', 'FRESNEL', 'ann', '2025-01-16Z');
select results_eq('select pg_temp.same_tags()', array[false, false, true], 'and so does the total');
rollback to changed;
select results_eq('select pg_temp.same_tags()', array[true, true, true], 'until it is as before');

--
-- Integers
--

select is(pg_temp.read_offset(text), expected, format('the integer %s is %s', to_json(text), expected))
  from (values
    ('5', '5'), ('+5', '5'), (' 5 ', '5'), (E'\t\n\x0b\f\r5\r\n', '5'), ('  +5', '5'), ('1_0', '10'), ('1_2_3', '123'), ('1.0', '1'),
    ('1.000', '1'), ('1_0.0', '10'), (' 1.0 ', '1'), ('007', '7'), ('00', '0'), ('0_7', '7'), ('00_7', '7'), ('-0', '0'),
    ('-0.0', '0'), ('+0', '0'), ('2147483648', '2147483648'), ('4294967296', '4294967296'),
    ('9223372036854775807', '9223372036854775807'),
    -- White space of Unicode around the number
    (chr(160) || '5', '5'), ('5' || chr(8195), '5'), (chr(12288) || '5' || chr(133), '5'), ('5' || chr(8232) || ' ', '5'),
    -- Numbers below zero are read as such.
    ('-1', 'greater_than_equal'), (' -1 ', 'greater_than_equal'), ('-0_5', 'greater_than_equal'), ('-1.0', 'greater_than_equal'),
    ('-9999999999999999999999999', 'greater_than_equal'),
    -- No integers
    ('', 'int_parsing'), (' ', 'int_parsing'), ('+', 'int_parsing'), ('-', 'int_parsing'), ('.', 'int_parsing'), ('_', 'int_parsing'),
    ('1__0', 'int_parsing'), ('_1', 'int_parsing'), ('1_', 'int_parsing'), ('0_', 'int_parsing'), ('1_.0', 'int_parsing'),
    ('1.', 'int_parsing'), ('.0', 'int_parsing'), ('1.5', 'int_parsing'), ('1.0.0', 'int_parsing'), ('1.0_0', 'int_parsing'),
    ('--1', 'int_parsing'), ('+-1', 'int_parsing'), ('- 1', 'int_parsing'), ('1 0', 'int_parsing'), ('1,000', 'int_parsing'),
    ('1e2', 'int_parsing'), ('0x1F', 'int_parsing'), ('0b1', 'int_parsing'), ('5L', 'int_parsing'), ('Infinity', 'int_parsing'),
    ('nan', 'int_parsing'), ('true', 'int_parsing'), ('null', 'int_parsing'), ('None', 'int_parsing'), ('"5"', 'int_parsing'),
    ('٣', 'int_parsing'), ('５', 'int_parsing'), ('²', 'int_parsing'), ('−5', 'int_parsing'), ('5' || chr(8203), 'int_parsing'),
    (chr(65279) || '5', 'int_parsing'), ('5' || chr(65533), 'int_parsing'), ('5;', 'int_parsing'), ('5--', 'int_parsing'))
      v (text, expected);

select is(pg_temp.total('limit=' || repeat(digit, length)), expected,
  format('a limit of %s times the digit %s is %s', length, digit, expected))
  from (values ('9', 25, 'less_than'), ('9', 4300, 'less_than'), ('9', 4301, 'int_parsing_size'), ('1', 100000, 'int_parsing_size'),
               ('0', 25, 'greater_than')) v (digit, length, expected);
select is((select json_agg(json_build_array(e -> 'type', e -> 'msg', length(e ->> 'input'), e -> 'ctx'))
             from json_array_elements(r.body -> 'data' -> 'description') e)::text,
          '[["int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size", 4301, null]]',
          'an integer of too many digits says so, and is echoed in full')
  from batches.http_get_all_batches('min_jobs=' || repeat('8', 4301)) r;

-- Numbers past the range of any integer type mean what they say.
select is(pg_temp.total(query || pg_temp.encoded(number)), expected, format('%s%s: %s', query, number, expected))
  from unnest(array['1000000000000000000000000000000', '2147483648', '4294967296', '9223372036854775807', '9223372036854775808',
                    '18446744073709551616', '18446744073709551617', '1_000_000_000_000_000_000_000.0']) number,
       (values ('min_jobs=', 'total 0'), ('max_jobs=', 'total 300'), ('min_jobs=-', 'total 300'), ('max_jobs=-', 'total 0'),
               ('limit=', 'less_than'), ('limit=-', 'greater_than'), ('offset=-', 'greater_than_equal')) v (query, expected);
select is(pg_temp.total('min_jobs=3&max_jobs=3'), 'total ' || count(*), 'both bounds on the number of jobs are inclusive')
  from pg_temp.made where jobs = 3 and n <= 300;
select is(pg_temp.total('min_jobs=12.0&min_jobs=1_2'), 'total ' || count(*), 'the last of a repeated number holds')
  from pg_temp.made where jobs >= 12 and n <= 300;
select is(r.status || ' ' || json_array_length(r.body -> 'data') || ' of ' || (r.body #>> '{pagination,total}') || ' '
  || (r.headers ->> 'Content-Range'),
          '200 0 of 300 */300', 'an offset of ' || number || ' is past the end')
  from unnest(array['4294967296', '9223372036854775807', '9223372036854775808', '18446744073709551616', '1' || repeat('0', 30)]) number,
       batches.http_get_all_batches('offset=' || number) r;
select is(pg_temp.total('limit=' || number), 'less_than', 'a limit of ' || number || ' is not taken for a smaller one')
  from unnest(array['4294967297', '18446744073709551617']) number;

--
-- Booleans
--

select is_empty(
  $$ select parameter, text, pg_temp.total(parameter || '=' || text)
       from (values ('1', true), ('t', true), ('y', true), ('yes', true), ('on', true), ('true', true),
                    ('0', false), ('f', false), ('n', false), ('no', false), ('off', false), ('false', false)) v (spelling, meaning),
            unnest(array[spelling, upper(spelling), initcap(spelling), left(spelling, -1) || upper(right(spelling, 1))]) text,
            (values ('open', true), ('complete', false)) p (parameter, open)
      where pg_temp.total(parameter || '=' || text)
            is distinct from 'total ' || (select count(*) from pg_temp.made where n <= 300 and (n % 5 < 2) = (meaning = open)) $$,
  'booleans are read in all their spellings, in upper, lower and mixed case');
select is(pg_temp.total('open=' || pg_temp.encoded(text)), 'bool_parsing', to_json(text) || ' is no boolean')
  from unnest(array['', ' ', ' true', 'true ', E'true\n', '2', '-1', '00', '01', '1.0', '+1', 'tru', 'yess', 'yeſ', 'ｔ', 'null', 'None',
                    'enable', 'on,off', 'true' || chr(160)]) text;
select is(pg_temp.total('open=true&complete=yes'), 'total 0', 'open and complete at once find nothing');
select is(pg_temp.total('open=x&open=off'), pg_temp.total('open=0'), 'the last of a repeated boolean holds');

--
-- Uuids
--

select is((select json_agg(i -> 'id') from json_array_elements(r.body -> 'data') i)::text, '["abcdef00-0000-0000-0000-00000000000a"]',
          text || ' is read as a uuid')
  from unnest(array['abcdef00-0000-0000-0000-00000000000a', 'ABCDEF00-0000-0000-0000-00000000000A', 'aBcDeF00-0000-0000-0000-00000000000a',
                    'abcdef0000000000000000000000000a', 'ABCDEF0000000000000000000000000A', '{abcdef00-0000-0000-0000-00000000000a}',
                    'urn:uuid:abcdef00-0000-0000-0000-00000000000a', 'urn:uuid:ABCDEF00-0000-0000-0000-00000000000a']) text,
       batches.http_get_all_batches('id=' || pg_temp.encoded(text)) r;
select is(pg_temp.total('project_id=' || pg_temp.encoded(text)), 'uuid_parsing', to_json(text) || ' is no uuid')
  from unnest(array['', ' ', 'abcdef00', '{}', 'abcdef00-0000-0000-0000-00000000000', 'abcdef00-0000-0000-0000-00000000000ab',
                    'abcdef00-0000-0000-0000-00000000000g', 'abcdef000-000-0000-0000-00000000000a', 'abcdef00-00000000-0000-00000000000a',
                    'abcdef00 0000 0000 0000 00000000000a', 'abcdef00_0000_0000_0000_00000000000a', ' abcdef00-0000-0000-0000-00000000000a',
                    'abcdef00-0000-0000-0000-00000000000a ', '{abcdef00-0000-0000-0000-00000000000a',
                    'abcdef00-0000-0000-0000-00000000000a}',
                    '{abcdef0000000000000000000000000a}', 'urn:uuid:abcdef0000000000000000000000000a', 'urn:uuid:abcdef00',
                    'URN:UUID:abcdef00-0000-0000-0000-00000000000a', 'urn:UUID:abcdef00-0000-0000-0000-00000000000a',
                    'uuid:urn:abcdef00-0000-0000-0000-00000000000a',
                    'abcd-ef00-0000-0000-0000-0000-0000-000a', '0xabcdef00000000000000000000000a', 'a-bcdef0000000000000000000000000a',
                    'abcdef00-0000-0000-0000-0000000000٠a', 'ＡＢcdef00000000000000000000000a', '{abcdef00-0000-0000-0000-00000000000a)',
                    repeat('-', 32), repeat('-', 36), 'null']) text;

--
-- Dates and times. A text is read as a moment if it finds the batch that started then and not one that started a
-- microsecond earlier, and as end_date the batch that ended then and not one a microsecond later.
--

create function pg_temp.read_time(value text, expected timestamptz) returns text language plpgsql as $$
declare
  found text;
begin
  update batches.batch b
     set start_datetime = expected - (case id when pg_temp.b(1) then 0 else 0.000001 end) * interval '1 second',
         end_datetime = expected + (case id when pg_temp.b(1) then 0 else 0.000001 end) * interval '1 second'
   where id in (pg_temp.b(1), pg_temp.b(2));
  select string_agg(case when r.status = 200 then (select string_agg(right(i ->> 'id', 1), ',')
      from json_array_elements(r.body -> 'data') i)
                         else pg_temp.total(parameter || '=' || pg_temp.encoded(value)) end, ' ' order by parameter)
    into found
    from unnest(array['start_date', 'end_date']) parameter,
         batches.http_get_all_batches(parameter || '=' || pg_temp.encoded(value) || '&id=' || pg_temp.b(1) || '&id=' || pg_temp.b(2)) r;
  return found;
end $$;
select is(pg_temp.read_time(text, expected::timestamptz), '1 1', format('the time %s is %s', to_json(text), expected))
  from (values
    ('2025-01-15T10:31:00Z', '2025-01-15 10:31:00Z'), ('2025-01-15T10:31:00z', '2025-01-15 10:31:00Z'),
    ('2025-01-15t10:31:00Z', '2025-01-15 10:31:00Z'), ('2025-01-15 10:31:00Z', '2025-01-15 10:31:00Z'),
    ('2025-01-15_10:31:00Z', '2025-01-15 10:31:00Z'), ('2025-01-15T10:31:00', '2025-01-15 10:31:00Z'),
    ('2025-01-15T10:31', '2025-01-15 10:31:00Z'), ('2025-01-15T10:31Z', '2025-01-15 10:31:00Z'),
    ('2025-01-15T10:31+02:00', '2025-01-15 08:31:00Z'), ('2025-01-15', '2025-01-15 00:00:00Z'), ('2025-01-05', '2025-01-05 00:00:00Z'),
    -- Offsets
    ('2025-01-15T10:31:00+00:00', '2025-01-15 10:31:00Z'), ('2025-01-15T10:31:00-00:00', '2025-01-15 10:31:00Z'),
    ('2025-01-15T10:31:00+02:00', '2025-01-15 08:31:00Z'), ('2025-01-15T10:31:00+0530', '2025-01-15 05:01:00Z'),
    ('2025-01-15T10:31:00-0330', '2025-01-15 14:01:00Z'), ('2025-01-15T10:31:00−0330', '2025-01-15 14:01:00Z'),
    ('2025-01-15T10:31:00+23:59', '2025-01-14 10:32:00Z'), ('2025-01-15T10:31:00-23:59', '2025-01-16 10:30:00Z'),
    ('2025-01-15T10:31:00.25-01:00', '2025-01-15 11:31:00.25Z'), ('2025-01-01T00:30:00+01:00', '2024-12-31 23:30:00Z'),
    -- Fractions
    ('2025-01-15T10:31:00.5Z', '2025-01-15 10:31:00.5Z'), ('2025-01-15T10:31:00,5Z', '2025-01-15 10:31:00.5Z'),
    ('2025-01-15T10:31:00.000001', '2025-01-15 10:31:00.000001Z'), ('2025-01-15T10:31:00.123456', '2025-01-15 10:31:00.123456Z'),
    ('2025-01-15T10:31:00.1234569', '2025-01-15 10:31:00.123456Z'), ('2025-01-15T23:59:59.999999999', '2025-01-15 23:59:59.999999Z'),
    -- Leap days, first and last years
    ('2024-02-29', '2024-02-29 00:00:00Z'), ('2000-02-29T12:00', '2000-02-29 12:00:00Z'), ('2024-12-31', '2024-12-31 00:00:00Z'),
    ('1600-02-29T00:00Z', '1600-02-29 00:00:00Z'), ('1900-03-01', '1900-03-01 00:00:00Z'), ('1969-12-31T23:59:59', '1969-12-31 23:59:59Z'),
    ('0001-01-01T00:00:00Z', '0001-01-01 00:00:00Z'), ('0001-01-01T00:00:00+01:00', '0001-12-31 23:00:00Z BC'),
    ('9999-12-31T23:59:59.999999Z', '9999-12-31 23:59:59.999999Z'), ('9999-12-31T23:59:59-01:00', '10000-01-01 00:59:59Z'),
    -- Seconds, and milliseconds beyond 20,000,000,000, since 1970
    ('0', '1970-01-01 00:00:00Z'), ('-1', '1969-12-31 23:59:59Z'), ('+5', '1970-01-01 00:00:05Z'), ('5.', '1970-01-01 00:00:05Z'),
    ('1.999999', '1970-01-01 00:00:01.999999Z'), ('-1.5', '1969-12-31 23:59:58.5Z'), ('1736937060', '2025-01-15 10:31:00Z'),
    ('1736937060.5', '2025-01-15 10:31:00.5Z'), ('1736937060000', '2025-01-15 10:31:00Z'), ('1736937060001', '2025-01-15 10:31:00.001Z'),
    ('00000005', '1970-01-01 00:00:05Z'), ('20250115', '1970-08-23 09:01:55Z'), ('-1736937060', '1914-12-17 13:29:00Z'),
    ('20000000000', '2603-10-11 11:33:20Z'), ('20000000001', '1970-08-20 11:33:20.001Z'), ('-20000000001', '1969-05-14 12:26:39.999Z'),
    ('253402300799999', '9999-12-31 23:59:59.999Z'), ('-62135596800000', '0001-01-01 00:00:00Z')) v (text, expected);

select is(pg_temp.total('end_date=' || pg_temp.encoded(text)), expected, format('the time %s is %s', to_json(text), expected))
  from (values
    ('0000-01-01', 'datetime_parsing'), ('0000-12-31T23:59:59Z', 'datetime_parsing'), ('0000-02-29', 'datetime_parsing'),
    ('-62135596800001', 'datetime_parsing')) v (text, expected);
select is(pg_temp.total('end_date=' || pg_temp.encoded(text)), 'datetime_from_date_parsing', to_json(text) || ' is no time')
  from unnest(array[
    '', ' ', 'now', 'today', 'yesterday', 'infinity', '-infinity', 'epoch', 'null', 'Jan 15 2025', '15/01/2025', '2025/01/15', '2025-1-5',
    '2025-01', '2025-01-15T', '2025-01-15T10', '2025-01-15T1031', '2025-01-15T10:31:', '2025-01-15T10:31:0', '2025-01-15T10:31:00.',
    '2025-01-15T10:31:00,Z', '2025-01-15T10:31:60Z', '2025-01-15T10:60:00Z', '2025-01-15T24:00:00Z', '2025-01-15T10:31:00ZZ',
    '2025-01-15T10:31:00 Z', '2025-01-15T10:31:00 +02:00', '2025-01-15T10:31:00+2', '2025-01-15T10:31:00+02', '2025-01-15T10:31:00+02:60',
    '2025-01-15T10:31:00+24:00', '2025-01-15T10:31:00+02:00:00', '2025-01-15T10:31:00 Europe/Paris', '2025-01-15T10:31:00CET',
    '2025-01-15 AD', '44-03-15 BC', ' 2025-01-15', '2025-01-15 ', '2025-01-15Z', '2025-01-15T10:31:00' || chr(160),
    '2025-00-15', '2025-13-15', '2025-01-00', '2025-01-32', '2025-04-31', '2025-02-29', '1900-02-29', '2100-02-29', '02025-01-15',
    '-2025-01-15', '+2025-01-15', '10000-01-01', '２025-01-15', '2025-01-15x10:31:00', '2025-W03-3', '2025-015', '10:31:00', '1e9', '.5',
    '-.5',
    '1_0', ' 5', '5 ', '--5', '1.5.0', '253402300800000', '9999999999999999', '99999999999999999999', '9' || repeat('0', 400), 'nan']) text;
select is(pg_temp.read_time('2025', '1970-01-01 00:33:45Z'), '1 1', 'a year alone is a number of seconds');

--
-- Percent-encoding and UTF-8
--

select is(pg_temp.input(raw), expected, format('the value %s is read as %s', raw, expected))
  from (values
    ('a+b', '"a b"'), ('a%2Bb', '"a+b"'), ('a%20b', '"a b"'), ('%41%5a%5A', '"AZZ"'), ('%e2%82%ac', '"€"'), ('%E2%82%AC', '"€"'),
    ('€', '"€"'),
    ('J%C3%BCrgen', '"Jürgen"'), ('%F0%9F%98%80', '"😀"'), ('%zz', '"%zz"'), ('%', '"%"'), ('%4', '"%4"'), ('%4g', '"%4g"'),
    ('%g4', '"%g4"'),
    ('%%41', '"%A"'), ('%2541', '"%41"'), ('%+1', '"% 1"'), ('%25zz', '"%zz"'), ('a=b', '"a=b"'), ('=', '"="'), ('a%3Db%26c', '"a=b&c"'),
    ('a;offset=-1', '"a;offset=-1"'), ('a?b#c', '"a?b#c"'), ('%22%5C%2F%08%0C%0A%0D%09', '"\"\\/\b\f\n\r\t"'),
    ('%01%1F%7f', '"\u0001\u001f' || chr(127) || '"'),
    -- What is no text is echoed with replacement characters: of what is not UTF-8 as many as Python makes of it.
    ('a%00b', '"a�b"'), ('%00', '"�"'), ('%00%FF%00', '"���"'),
    ('%FF', '"�"'), ('a%FFb', '"a�b"'), ('%80', '"�"'), ('%E2%82', '"�"'), ('%E2%82x', '"�x"'), ('%E2x%82', '"�x�"'), ('%C0%AF', '"��"'),
    ('%ED%A0%80', '"���"'), ('%F0%9F%98', '"�"'), ('%F4%90%80%80', '"����"'), ('%F8%88%80%80%80', '"�����"'), ('%EF%BF%BD', '"�"'),
    ('%C3%BCr%C3', '"ür�"')
  ) v (raw, expected);

-- Names are decoded like values; "&" separates pairs, and nothing else does.
select is(pg_temp.total(query), expected, format('?%s: %s', query, expected))
  from (values
    ('l%69mit=x', 'int_parsing'), ('%6c%69%6d%69%74=x', 'int_parsing'), ('limit%3Dx', 'total 300'), ('limit%00=x', 'total 300'),
    ('limit%FF=x', 'total 300'),
    ('limit+=x', 'total 300'), ('+limit=x', 'total 300'), ('Limit=x', 'total 300'), ('LIMIT=x', 'total 300'), ('limit[]=x', 'total 300'),
    ('limi=x', 'total 300'),
    ('limits=x', 'total 300'), ('?limit=x', 'total 300'), ('query=x', 'total 300'), ('query_string=x', 'total 300'), ('=limit', 'total 300'),
    ('x;limit=x', 'total 300'),
    ('x=1;limit=x', 'total 300'), ('x=1&amp;limit=x', 'total 300'), ('&', 'total 300'), ('&&&', 'total 300'), ('=', 'total 300'),
    ('&=&=&', 'total 300'),
    ('&&limit=x&&', 'int_parsing'), ('limit', 'int_parsing'), ('limit&', 'int_parsing'), ('offset&limit', 'int_parsing, int_parsing'),
    ('open', 'bool_parsing'),
    ('id', 'uuid_parsing'), ('id&id=', 'uuid_parsing, uuid_parsing'), ('start_date', 'datetime_from_date_parsing'),
    ('order_by', 'literal_error'),
    ('id__starts_with', 'total 300'), ('device_type', 'total 0'), ('limit=x&limit=5', 'total 300'), ('limit=5&limit=x', 'int_parsing'),
    ('limit=5&limit', 'int_parsing'),
    ('order_by=x&order_by=id', 'total 300'), ('start_date=x&start_date=2030-01-01', 'total 0'),
    -- What SQL alone can filter by
    ('created_after=x', 'total 300'), ('created_before=1970-01-01', 'total 300'),
    ('created_after=2030-01-01&created_before', 'total 300')) v (query, expected);
select is(pg_temp.total('tag='), 'total 30', 'an empty tag is a tag');
select is(pg_temp.total('tag'), 'total 30', 'a tag without "=" is an empty one');
select is(pg_temp.total('user_id='), pg_temp.total('user_id'), 'an empty user is one with or without "="');
select is(pg_temp.total('user_id=&user_id=ann'), 'total ' || count(*), 'an empty value is one of a list''s values')
  from batches.batch where user_id in ('', 'ann') and project_id <> pg_temp.p(4);
select is(pg_temp.answer(null), pg_temp.answer(''), 'no query string is an empty one');
select is(pg_temp.answer('created_after=2030-01-01&Limit=3&x=y'), '200 ' || batches.get_all_batches()::text, 'unknown keys change nothing');
select is(pg_temp.answer('id__starts_with=ABCDEF00-0'), '200 ' || batches.get_all_batches(id => array[pg_temp.b(3)])::text,
          'a prefix of an id is read in either case');
select is(pg_temp.total('id__starts_with=' || pg_temp.encoded(text)), 'total 0', to_json(text) || ' begins no id')
  from unnest(array['%', '_bcdef00', ' abcdef', 'abcdef00_', 'g', '{abcdef00', 'urn:uuid:abcdef00', 'ａbcdef00', repeat('0', 37)]) text;

-- Text that the database cannot hold matches nothing, not even batches that hold its replacement.
update batches.batch set user_id = '�', device_type = 'a�', tags = '{�,a,ab}' where id = pg_temp.b(1);
update batches.batch set user_id = 'a', device_type = 'a', tags = '{a�}' where id = pg_temp.b(2);
select is(pg_temp.total(query), expected, format('?%s: %s', query, expected))
  from (values
    ('user_id=%EF%BF%BD', 'total 1'), ('user_id=%FF', 'total 0'), ('user_id=%E2%82', 'total 0'), ('user_id=a', 'total 1'),
    ('user_id=a%00', 'total 0'), ('user_id=%00a', 'total 0'),
    ('user_id=%FF&user_id=a', 'total 1'), ('user_id=a&user_id=%00', 'total 1'), ('user_id=%FF&user_id=%00', 'total 0'),
    ('device_type=a%EF%BF%BD', 'total 1'), ('device_type=a%FF', 'total 0'), ('device_type=a%00', 'total 0'),
    ('device_type=a%00&device_type=a', 'total 1'),
    ('tag=%EF%BF%BD', 'total 1'), ('tag=a%EF%BF%BD', 'total 1'), ('tag=%FF', 'total 0'), ('tag=a%C3', 'total 0'), ('tag=ab%00', 'total 0'),
    ('tag=ab', 'total 1'), ('tag=%FF&tag=ab', 'total 1'),
    ('id__starts_with=%00', 'total 0'), ('id__starts_with=abcdef00%00', 'total 0'), ('id__starts_with=%FF', 'total 0'),
    ('id__starts_with=%00&id__starts_with=abcdef00-', 'total 1'),
    ('id=' || pg_temp.b(1) || '%00', 'uuid_parsing'), ('status=DONE%00', 'enum'), ('status=%FF', 'enum'), ('queue_priority=%00', 'enum'),
    ('order_by=id%00', 'literal_error'),
    ('order_by_direction=%ff', 'literal_error'), ('limit=5%00', 'int_parsing'), ('limit=%C2%A05', 'total 300'),
    ('limit=%A05', 'int_parsing'), ('open=1%00', 'bool_parsing'),
    ('complete=%ff', 'bool_parsing'), ('start_date=2025-01-15%00', 'datetime_from_date_parsing'),
    ('end_date=5%00', 'datetime_from_date_parsing'),
    ('start_date=2025-01-15%0010:31:00', 'datetime_from_date_parsing')) v (query, expected);

--
-- Much at once
--

create function pg_temp.repeated(pair text, times int) returns text language sql immutable
  return (select string_agg(pair || n, '&' order by n) from generate_series(1, times) n);
select is(pg_temp.total('tag=' || repeat('x', 262140)), 'total 0', 'a tag as long as a query string can be is nobody''s');
select is(r.body::text, '{"status":"fail","message":"Unprocessable Entity","code":"422","data":{"description":[{"type":"string_too_long","loc":["query"],'
  '"msg":"String should have at most 262144 characters","input":null,"ctx":{"max_length":262144}}]}}', 'a longer one is refused')
  from batches.http_get_all_batches('limit=x&tag=' || repeat('x', 262140)) r;
select is(pg_temp.total('user_id=' || repeat('%41', 80000)), 'total 0', 'much percent-encoding is decoded');
select is(r.status || ' ' || (r.body #>> '{data,description,0,input}' = repeat('x', 250000)), '422 true',
  'a long limit is echoed in full')
  from batches.http_get_all_batches('limit=' || repeat('x', 250000)) r;
select is(r.status || ' ' || (r.body #>> '{data,description,0,input}' = repeat('�', 80000)), '422 true',
  'many zero bytes are echoed as replacement characters')
  from batches.http_get_all_batches('limit=' || repeat('%00', 80000)) r;
select is(pg_temp.total(repeat('&', 250000) || 'limit=x'), 'int_parsing', 'many "&" are skipped');
select is(pg_temp.total(repeat('x', 250000) || '&limit=x'), 'int_parsing', 'a long key is unknown');
select is(pg_temp.total('order_by_direction=' || repeat('DESC', 60000)), 'literal_error', 'a long label is none');
select is(pg_temp.total('start_date=' || repeat('9', 250000)), 'datetime_from_date_parsing', 'a long time is none');
select is(pg_temp.total('limit=' || repeat('_', 250000)), 'int_parsing', 'many underscores are no integer');
select is(pg_temp.total('user_id=bob&' || pg_temp.repeated('user_id=x', 9999)), pg_temp.total('user_id=bob'),
  'one of 10,000 users is found');
select is(pg_temp.total('id=' || pg_temp.b(7) || '&'
  || (select string_agg('id=' || md5('other ' || n), '&') from generate_series(1, 7000) n)), 'total 1',
          'one of 7,000 ids is found');
select is(pg_temp.total(substr(repeat('&status=DONE&status=ERROR', 5000), 2)), pg_temp.total('status=ERROR&status=DONE'),
  '10,000 labels are those that occur');
select is(pg_temp.answer(pg_temp.repeated('limit=', 20000) || '&limit=3'), pg_temp.answer('limit=3'), 'the last of 20,000 limits holds');
select is(pg_temp.answer(pg_temp.repeated('user_id=%FF', 9999) || '&user_id=bob'), pg_temp.answer('user_id=bob'),
  '10,000 users that are no text match nothing');
select is(pg_temp.answer(pg_temp.repeated('x', 30000)), pg_temp.answer(''), '30,000 unknown keys change nothing');
select is(r.status || ' ' || (select count(*) || ' '
  || count(*) filter (where e -> 'loc' ->> 1 = key and (e -> 'loc' ->> 2)::int = o - 1 and e ->> 'input' = 'x' || o)
                                from json_array_elements(r.body #> '{data,description}') with ordinality a (e, o)),
          '422 1000 1000', 'of 10,000 invalid values of ' || key || ' the first 1,000 are listed')
  from unnest(array['id', 'project_id', 'status', 'queue_priority']) key,
      batches.http_get_all_batches(pg_temp.repeated(key || '=x', 10000)) r;
select is(r.body #>> '{data,description}',
  format('[{"type":"int_parsing","loc":["query","limit"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"x"},'
         '{"type":"too_long","loc":["query","%s"],"msg":"List should have at most 10000 items after validation, not %s","input":null,'
         '"ctx":{"field_type":"List","max_length":10000,"actual_length":%2$s}}]', key, length), format('%s values of %s are too many, and one error', length, key))
  from (values ('user_id', 10001), ('queue_priority', 12000)) v (key, length),
       batches.http_get_all_batches('limit=x&' || pg_temp.repeated(key || '=x', length)) r;

--
-- Random query strings
--

\set size 4000
\ir include/random.psql
create function pg_temp.upto(n int) returns int language sql volatile return floor(random() * n)::int;
create function pg_temp.one_of("values" text[]) returns text language plpgsql volatile as $$
begin
  return "values"[1 + pg_temp.upto(cardinality("values"))];
end $$;
create function pg_temp.random_piece() returns text language plpgsql volatile as $$
begin
  case pg_temp.upto(10)
    when 0 then return '%' || lpad(to_hex(pg_temp.upto(256)), 2, '0');
    when 1 then return chr(1 + pg_temp.upto(127));
    when 2 then return pg_temp.one_of(array['&', '&', '=', ';', '+', '%', '%00', '%FF', '%C3%A9', 'é', '€', '😀', chr(160), chr(8195),
        '%ED%A0%80', '%E2%82']);
    when 3, 4, 5 then return pg_temp.one_of(array['0', '1', '5', '10', '+', '-', '_', '.', ',', ':', 'T', 'Z', '{', '}', ' ', '%20', '%2B',
        'e', 'x', 'a', 'urn:uuid:', '9223372036854775807']);
    when 6, 7 then return pg_temp.one_of(array['true', 'OFF', 'DONE', 'ERROR', 'HIGH', 'ASC', 'created_at', 'id', 'status', '2025-01-15',
        '2025-01-15T10:31:00Z',
      '1736937060', '00000000-0000-0000-0000-000000000001', 'abcdef0000000000000000000000000a', 'ann', 'FRESNEL', 'experiment-1', 'exact', 'none', 'tags', 'webhook',
      batches.get_all_batches("limit" => 1, after => '') -> 'pagination' ->> 'next', 'AQkB']);
    else return '';
  end case;
end $$;
create function pg_temp.random_query() returns text language plpgsql volatile as $$
declare
  query text := '';
  value text;
begin
  for pair in 1 .. pg_temp.upto(4) + 1 loop
    query := query || pg_temp.one_of(array['', '&', '&'])
        || pg_temp.one_of(array['order_by', 'order_by_direction', 'limit', 'offset', 'id', 'id__starts_with',
      'project_id', 'user_id', 'device_type', 'status', 'complete', 'open', 'min_jobs', 'max_jobs', 'start_date', 'end_date',
      'queue_priority', 'tag', 'x', '', 'parent_id', 'updated_after', 'updated_before', 'tags_any', 'tags_all', 'exclude_status',
      'exclude_device_type', 'after', 'total', 'omit', 'created_after'])
      || pg_temp.one_of(array['=', '=', '=', '=', '', '%3D']);
    for piece in 1 .. pg_temp.upto(4) loop
      query := query || pg_temp.random_piece();
    end loop;
  end loop;
  return (query);
end $$;
-- What is wrong with the answer to a query string: nothing, an error, or an answer that is none.
create function pg_temp.complaint(query text, extended boolean, out status int, out complaint text) language plpgsql volatile as $$
declare
  r record;
  document jsonb;
begin
  begin
    -- The query string is no If-None-Match either.
    select * into r from batches.http_get_all_batches(query, extended, if_none_match => query);
    status := r.status;
    document := r.body;
    if status not in (200, 422) then
      complaint := 'status ' || status;
    elsif document ->> 'code' is distinct from status::text then
      complaint := 'another status in the body';
    elsif status = 200 and (coalesce(jsonb_array_length(document -> 'data') not between 0 and 100, true)
                            or document @> '{"data": [{"user_id": "eve"}]}'
                            or coalesce(r.headers ->> 'Content-Range' !~ case when extended then '^(\d+-\d+|\*)/(\d+|\*)$' else '^(\d+-\d+|\*)/\d+$' end, true)) then
      complaint := 'page ' || document;
    elsif status = 422 and (coalesce(jsonb_array_length(document #> '{data,description}') = 0, true)
           or exists (select from jsonb_array_elements(document #> '{data,description}') e
                       where e ->> 'type' is null or e ->> 'msg' is null or e ->> 'input' is null
                          or e #>> '{loc,0}' is distinct from 'query')) then
      complaint := 'errors ' || document;
    end if;
  exception when others then
    complaint := sqlstate || ' ' || sqlerrm;
  end;
end $$;
create table pg_temp.answered as
  select query, c.* from (select pg_temp.random_query() as query from generate_series(1, :requests) offset 0) q, unnest(array[false, true]) extended,
         pg_temp.complaint(query, extended) c;
select is_empty('select query, complaint from pg_temp.answered where complaint is not null',
                'every random query string is answered with a page or with errors, never with an exception');
select ok(count(*) filter (where status = 200) > count(*) / 10 and count(*) filter (where status = 422) > count(*) / 10,
          'the random query strings are good and bad ones')
  from pg_temp.answered;

select * from finish();
rollback;
