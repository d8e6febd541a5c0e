-- Paging by cursors: every order in both directions, with nulls and ties, by either engine, is gone through as the whole
-- listing has it; what comes and goes between two pages; cursors that are wrong; what a page is without its total or some keys.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(139);

\set size 500
\ir include/random.psql

--
-- Batches with many ties, and nulls where they can be
--

create function pg_temp.p(n int) returns uuid language sql immutable return lpad(n::text, 32, 'a')::uuid;
insert into batches.batch (project_id, id, parent_id, status, open, priority, device_type, user_id, created_at, updated_at, tags,
                           start_datetime, end_datetime, queue_priority)
select pg_temp.p(n % 7), md5('batch' || n)::uuid, case when n % 5 = 0 then md5('batch' || n % 50)::uuid end,
       (enum_range(null::batches.batch_status))[1 + n % 8], n % 3 = 0, n % 4, (array['A', 'a', 'é', 'EMU'])[1 + n % 4], 'user ' || n % 6,
       '2025-01-01Z'::timestamptz + n / 9 * interval '1 hour', '2025-01-01Z'::timestamptz + n % 13 * interval '1 day',
       array['all', 'm' || n % 3], case when n % 3 > 0 then '2025-01-02Z'::timestamptz + n % 11 * interval '1 day' end,
       case when n % 4 > 0 then '2025-01-03Z'::timestamptz + n % 12 * interval '1 day' end, (enum_range(null::batches.queue_priority))[1 + n % 5]
  from generate_series(1, 900) n;
insert into batches.job (project_id, batch_id)
select b.project_id, b.id from (select n, pg_temp.p(n % 7) as project_id, md5('batch' || n)::uuid as id from generate_series(1, 900) n) b,
       generate_series(1, case when n < 6 then 130 - n % 4 else n % 4 end);
insert into batches.project_member select pg_temp.p(n), 'all' from generate_series(0, 6) n;
insert into batches.project_member values (pg_temp.p(2), 'some'), (pg_temp.p(5), 'some');
analyze batches.batch, batches.batch_job_count;

--
-- Walks
--

-- The ids of all pages
create function pg_temp.walk(engine text, arguments text, page int) returns uuid[] language plpgsql as $$
declare
  cursor text := '';
  pages int := 0;
  document json;
  ids uuid[] := '{}';
begin
  perform set_config('batches.scan', engine, true);
  while cursor is not null loop
    execute format('select batches.get_all_batches(%s)', concat_ws(', ', nullif(arguments, ''), format('"limit" => %s, after => %L', page, cursor)))
       into document;
    ids := ids || array(select (item ->> 'id')::uuid from json_array_elements(document -> 'data') with ordinality i (item, n) order by n);
    cursor := document -> 'pagination' ->> 'next';
    pages := pages + 1;
    if cursor is not null and json_array_length(document -> 'data') < page or pages > 1000 then
      return null;
    end if;
  end loop;
  return ids;
end $$;
create function pg_temp.all_ids(arguments text) returns uuid[] language plpgsql as $$
declare
  ids uuid[];
begin
  perform set_config('batches.scan', 'sql', true);
  execute format('select array(select id from batches.list_batches(%s))', concat_ws(', ', nullif(arguments, ''), '"limit" => null')) into ids;
  return ids;
end $$;

create table pg_temp.orders as
  select key, direction, format('order_by => %L, order_by_direction => %L', key, direction) as arguments
    from unnest('{created_at,updated_at,start_datetime,end_datetime,id,status,open,complete,priority,device_type,user_id,project_id,jobs_count,queue_priority}'::text[]) key,
         unnest('{ASC,DESC}'::text[]) direction;

set local batches.user_id = 'all';
select is(pg_temp.walk(engine, arguments, 7 + floor(random() * 90)::int), pg_temp.all_ids(arguments),
          format('pages by cursor are the listing: %s %s, %s', key, direction, engine))
  from pg_temp.orders, unnest(array['index', 'sql']) engine;

-- With filters, and for who sees less
create table pg_temp.filters (filter text);
insert into pg_temp.filters values
  ('status => ''{DONE,ERROR}'''), ('status => ''{DONE}'''), ('open => true'), ('complete => true'), ('project_id => array[pg_temp.p(3)]'),
  ('user_id => ''{"user 1"}'''), ('user_id => ''{"user 1","user 4"}'''), ('device_type => ''{a,é}'''), ('tag => ''m1'''), ('tags_any => ''{m1,m2}'''), ('tags_all => ''{all,m2}'''),
  ('min_jobs => 2'), ('min_jobs => 1, max_jobs => 129'), ('created_after => ''2025-01-02Z'''), ('created_before => ''2025-01-03Z'', created_after => ''2025-01-01 06:00Z'''),
  ('updated_after => ''2025-01-08Z'''), ('start_date => ''2025-01-05Z'''), ('end_date => ''2025-01-09Z'''), ('exclude_status => ''{DONE,PENDING}'''),
  ('exclude_device_type => ''{A}'', exclude_status => ''{ERROR}'', status => ''{ERROR,PAUSED,RUNNING}'''), ('id__starts_with => ''a'''),
  ('parent_id => array[md5(''batch5'')::uuid, md5(''batch20'')::uuid]');
select is((select string_agg(concat_ws(' ', filter, arguments, engine, who), E'\n')
             from pg_temp.filters, unnest(array['index', 'sql']) engine, unnest(array['all', 'some']) who,
                  lateral (select o.arguments from pg_temp.orders o where random() < 0.08 and filter is not null offset 0) o,
                  lateral (select set_config('batches.user_id', who, true) where arguments is not null offset 0) viewer,
                  lateral (select pg_temp.walk(engine, filter || ', ' || arguments, 3 + floor(random() ^ 2 * 97)::int) as walked,
                                  pg_temp.all_ids(filter || ', ' || arguments) as listed offset 0) w
            where walked is distinct from listed), null::text, 'so they are with any filter');
set local batches.user_id = 'all';

-- The rows of list_batches()
create function pg_temp.walk_rows(page int) returns uuid[] language plpgsql as $$
declare
  cursor text := '';
  last_id uuid;
  ids uuid[] := '{}';
  more uuid[];
begin
  loop
    more := array(select id from batches.list_batches(status => '{DONE,PAUSED}', order_by => 'device_type', "limit" => page, after => cursor));
    exit when more = '{}';
    ids := ids || more;
    cursor := batches.next_cursor(more[cardinality(more)], status => '{PAUSED,DONE}', order_by => 'device_type');
  end loop;
  return ids;
end $$;
select is(pg_temp.walk_rows(50), pg_temp.all_ids('status => ''{DONE,PAUSED}'', order_by => ''device_type'''), 'rows are paged by next_cursor()');
select is(batches.next_cursor(md5('batch1')::uuid, status => '{PENDING}'), null, 'there is none behind a batch that does not match');
select is(batches.next_cursor(gen_random_uuid()), null, 'nor behind one that does not exist');
select is(batches.next_cursor(null), null, 'nor behind null');
set local batches.user_id = 'some';
select is(batches.next_cursor(md5('batch1')::uuid), null, 'nor behind one of others');
set local batches.user_id = 'all';

-- Pages
select is((batches.get_all_batches(status => '{DONE}', "limit" => 1, after => '')::jsonb -> 'pagination') - 'next', '{"total": 113}'::jsonb,
          'the pagination has the total and the next cursor alone');
select matches(batches.get_all_batches(after => '') -> 'pagination' ->> 'next', '^[A-Za-z0-9_-]+$', 'a cursor can be in a URL as it is');
select is((batches.get_all_batches(device_type => '{none}', after => '') -> 'pagination')::text, '{"total":0,"next":null}', 'without rows there is no next page');
select is(batches.get_all_batches(id => array[md5('batch1')::uuid, md5('batch2')::uuid], "limit" => 2, after => '')::jsonb #> '{pagination,next}',
          'null'::jsonb, 'nor behind a page that is just full');
select is(batches.get_all_batches("limit" => 100, after => batches.get_all_batches(after => '') -> 'pagination' ->> 'next')::jsonb #> '{pagination,total}', '900'::jsonb,
          'the total is that of the listing, not of the rest');
select is((select count(*) from batches.list_batches("limit" => null, after => batches.get_all_batches(after => '') -> 'pagination' ->> 'next')), 800::bigint,
          'without a limit the rest comes');

--
-- Between two pages
--

-- An id and the rest of the listing behind it
create table pg_temp.place as
  select batches.next_cursor(id, order_by => 'updated_at') as cursor, id, updated_at
    from batches.list_batches(order_by => 'updated_at', "limit" => 300) where id = any (array(select id from batches.list_batches(order_by => 'updated_at', "limit" => 1, "offset" => 299)));
create table pg_temp.rest as
  select id, row_number() over () as n from batches.list_batches(order_by => 'updated_at', "limit" => null, "offset" => 300);
create function pg_temp.behind(engine text) returns uuid[] language plpgsql as $$
begin
  perform set_config('batches.scan', engine, true);
  return array(select l.id from pg_temp.place, batches.list_batches(order_by => 'updated_at', "limit" => null, after => cursor) l);
end $$;
select is(pg_temp.behind(engine), array(select id from pg_temp.rest order by n), 'the rest is behind its place, ' || engine) from unnest(array['index', 'sql']) engine;
delete from batches.job j using pg_temp.place p where j.batch_id = p.id;
delete from batches.batch b using pg_temp.place p where b.id = p.id;
insert into batches.batch (project_id, id, device_type, user_id, updated_at)
select pg_temp.p(1), md5('before')::uuid, 'new', 'new', p.updated_at + interval '1 s' from pg_temp.place p;
select is(pg_temp.behind(engine), array(select id from pg_temp.rest order by n), 'whether that row is there or not, and what comes before it, ' || engine)
  from unnest(array['index', 'sql']) engine;
insert into batches.batch (project_id, id, device_type, user_id, updated_at)
select pg_temp.p(1), md5('behind')::uuid, 'new', 'new', p.updated_at - interval '1 s' from pg_temp.place p;
update batches.batch b set updated_at = p.updated_at + interval '2 s' from pg_temp.place p where b.id = (select id from pg_temp.rest where n = 350);
select is(array(select id from unnest(pg_temp.behind(engine)) with ordinality b (id, n) where id <> md5('behind')::uuid order by n),
          array(select id from pg_temp.rest where n <> 350 order by n), 'rows that stay where they are come once, ' || engine) from unnest(array['index', 'sql']) engine;
select ok(md5('behind')::uuid = any (pg_temp.behind('index')), 'and what is inserted behind comes, too');

--
-- Cursors that are wrong
--

create function pg_temp.crc32c(bytes bytea) returns bigint language plpgsql immutable as $$
declare
  crc bigint := 4294967295;
begin
  for i in 0 .. length(bytes) - 1 loop
    crc := crc # get_byte(bytes, i);
    for bit in 1 .. 8 loop
      crc := case when crc & 1 = 1 then (crc >> 1) # 2197175160 else crc >> 1 end;
    end loop;
  end loop;
  return crc # 4294967295;
end $$;
create function pg_temp.bytes_of(cursor text) returns bytea language sql immutable
  return decode(rpad(translate(cursor, '-_', '+/'), (length(cursor) + 3) / 4 * 4, '='), 'base64');
-- With a checksum that is right
create function pg_temp.forged(bytes bytea) returns text language sql immutable
  return translate(rtrim(replace(encode(bytes || substring(int8send(pg_temp.crc32c(bytes)) from 5), 'base64'), E'\n', ''), '='), '+/', '-_');
create function pg_temp.content(cursor text) returns bytea language sql immutable
  return substring(pg_temp.bytes_of(cursor) from 1 for length(pg_temp.bytes_of(cursor)) - 4);

create table pg_temp.given as
  select key, arguments, batches.get_all_batches(order_by => key, "limit" => 10, after => '') -> 'pagination' ->> 'next' as cursor from pg_temp.orders where direction = 'DESC';
select is(count(*), 14::bigint, 'a cursor with its own checksum is that cursor') from pg_temp.given where pg_temp.forged(pg_temp.content(cursor)) = cursor;

-- What the endpoint and the listing say to a cursor
create function pg_temp.http_says(key text, cursor text) returns text language sql stable
  return (select r.status || coalesce(' ' || (r.body #>> '{data,description,0,type}') || ' ' || (r.body #>> '{data,description,0,loc,1}') || ': '
                                      || (r.body #>> '{data,description,0,msg}'), '')
            from batches.http_get_all_batches('limit=5&order_by=' || key || '&after=' || regexp_replace(encode(convert_to(cursor, 'UTF8'), 'hex'), '(..)', '%\1', 'g'), true) r);
create function pg_temp.sql_says(key text, cursor text) returns text language plpgsql as $$
begin
  perform batches.list_batches(order_by => key, after => cursor, "limit" => 5);
  return '200';
exception when others then
  return sqlstate;
end $$;
create function pg_temp.says(key text, cursor text) returns text language sql volatile
  return pg_temp.http_says(key, cursor) || ', ' || pg_temp.sql_says(key, cursor);
\set malformed '''422 value_error after: Value error, not a cursor, 22023'''

select is((select array_agg(distinct pg_temp.says(key, cursor)) from pg_temp.given), array['200, 200'], 'a page takes its cursor');
select is((select array_agg(distinct pg_temp.says(key, left(cursor, n))) from pg_temp.given, generate_series(1, length(cursor) - 1) n), array[:malformed],
          'a cursor that is cut off is none, wherever');
select is((select array_agg(distinct pg_temp.says(key, cursor || more)) from pg_temp.given, unnest(array['A', 'AAAA', '=', ' ', E'\n', '%', 'é', repeat('A', 70000)]) more), array[:malformed],
          'nor is one with something behind');
select is((select array_agg(distinct pg_temp.says(key, overlay(cursor placing case substr(cursor, n, 1) when 'x' then 'y' else 'x' end from n))) from pg_temp.given, generate_series(1, 30) n),
          array[:malformed], 'nor with one letter changed');
select is((select array_agg(distinct pg_temp.says('id', c)) from unnest(array['x', ' ', '0', 'null', repeat('x', 70000), repeat('=', 8), '++++', '////', 'Zm9v', '日本', E'\u0001', '''; drop table x', '%00']) c),
          array[:malformed], 'nor is any text');
select is((select array_agg(distinct pg_temp.says(key, pg_temp.forged(set_byte(pg_temp.content(cursor), 0, version)))) from pg_temp.given, unnest(array[0, 2, 255]) version),
          array[:malformed], 'nor one of another version');
select is((select array_agg(distinct pg_temp.says(key, pg_temp.forged(left_bytes))) from pg_temp.given,
                  lateral (select substring(pg_temp.content(cursor) from 1 for n) as left_bytes from generate_series(0, 27) n) l), array[:malformed],
          'nor one without all of its parts');
select is((select array_agg(distinct key || ' ' || pg_temp.says(key, pg_temp.forged(substring(pg_temp.content(cursor) from 1 for 28) || value))) from pg_temp.given,
                  unnest(array['', '\x02', '\x000000', '\xffffffffffffffff', '\x80000000000000000000', decode(repeat('00', 17), 'hex'), 'NOT_A_LABEL', decode(repeat('41', 64), 'hex')]::bytea[]) value
            where key not in ('device_type', 'user_id')
              and not (key in ('start_datetime', 'end_datetime') and value = '') -- a null, which comes first
              and not (key in ('updated_at', 'created_at') and length(value) = 8)
              and pg_temp.says(key, pg_temp.forged(substring(pg_temp.content(cursor) from 1 for 28) || value)) <> :malformed), null, 'nor one with a value of another type');
select is(pg_temp.says('created_at', pg_temp.forged(substring(pg_temp.content(cursor) from 1 for 28) || '\x7ffffffffffffff0')), :malformed, 'or a time that there is not')
  from pg_temp.given where key = 'created_at';
select is(pg_temp.says('device_type', pg_temp.forged(substring(pg_temp.content(cursor) from 1 for 28) || value)), :malformed, 'or text that is none')
  from pg_temp.given, unnest(array['\xff', '\x4100', '\xe9']::bytea[]) value where key = 'device_type';
-- Bytes changed, added and taken away at random, with a checksum that is right
create function pg_temp.mutated(bytes bytea) returns bytea language plpgsql volatile as $$
begin
  for n in 1 .. 1 + floor(random() * 3)::int loop
    bytes := case floor(random() * 4)
      when 0 then overlay(bytes placing '' from 1 + floor(random() * length(bytes))::int for 1)
      when 1 then overlay(bytes placing decode(lpad(to_hex(floor(random() * 256)::int), 2, '0'), 'hex') from 1 + floor(random() * length(bytes))::int for 0)
      else case when length(bytes) > 0 then set_byte(bytes, floor(random() * length(bytes))::int, floor(random() * 256)::int) else bytes end end;
  end loop;
  return bytes;
end $$;
select is((select array_agg(distinct left(said, 3)) from generate_series(1, :requests) n, (select *, row_number() over (order by key) as i from pg_temp.given) g,
                  lateral (select pg_temp.http_says(g.key, pg_temp.forged(pg_temp.mutated(pg_temp.content(g.cursor)))) as said where n > 0) s
            where n % 14 + 1 = i), array['200', '422'],
          'whatever is made of a cursor, it is taken or refused');
select is(pg_temp.says(o.key, cursor), '422 value_error after: Value error, the cursor is of another order, 22023', 'a cursor of another order is an error')
  from pg_temp.given g, (values ('id')) o (key) where g.key = 'created_at';
select is((select r.body #>> '{data,description,0,msg}' from batches.http_get_all_batches('order_by_direction=ASC&after=' || cursor, true) r),
          'Value error, the cursor is of another order', 'so is one of another direction') from pg_temp.given where key = 'created_at';
select is((select array_agg(distinct r.body #>> '{data,description,0,msg}') from batches.http_get_all_batches(filter || '&after=' || cursor, true) r),
          array['Value error, the cursor is of other filters'], 'and one of other filters: ' || filter)
  from pg_temp.given, unnest(array['status=DONE', 'tag=x', 'open=1', 'id__starts_with=0', 'exclude_status=DONE', 'min_jobs=0', 'created_after=2025-01-01&updated_after=2025-01-01']) filter where key = 'created_at';
select is((select r.body #> '{data,description}' from batches.http_get_all_batches('offset=0&after=', true) r)::jsonb,
          '[{"type": "value_error", "loc": ["query", "after"], "msg": "Value error, a cursor and an offset exclude each other", "input": "", "ctx": {"error": "a cursor and an offset exclude each other"}}]',
          'a cursor and an offset exclude each other');
select throws_ok($$ select batches.get_all_batches("offset" => 0, after => '') $$, '22023', 'invalid value for parameter "after": ""', 'in SQL, too');
select is((select jsonb_path_query_array(r.body::jsonb, '$.data.description[*].loc[1]') from batches.http_get_all_batches('after=x&limit=0&status=NEVER&omit=id&total=some', true) r),
          '["limit", "status", "after", "total", "omit"]', 'every error of the request is listed');
select is((select jsonb_path_query_array(r.body::jsonb, '$.data.description[*].loc[1]') from batches.http_get_all_batches('status=NEVER&after=' || cursor, true) r), '["status"]',
          'a cursor is not held against filters that are wrong themselves') from pg_temp.given where key = 'id';

-- Cursors that anybody can make: they begin elsewhere, and show nothing else.
create function pg_temp.ids_behind(engine text, arguments text, cursor text) returns uuid[] language plpgsql as $$
declare
  ids uuid[];
begin
  perform set_config('batches.scan', engine, true);
  execute format('select array(select id from batches.list_batches(%s, "limit" => null, after => %L))', arguments, cursor) into ids;
  return ids;
end $$;
select is((select string_agg(o.key || ' ' || o.direction, ', ')
             from pg_temp.orders o,
                  lateral (select batches.get_all_batches(order_by => o.key, order_by_direction => o.direction, "limit" => 10, after => '') -> 'pagination' ->> 'next' as cursor) c,
                  lateral (select pg_temp.forged(set_byte(substring(pg_temp.content(c.cursor) from 1 for 28), 27, 1)) as forged) f
            where pg_temp.ids_behind('index', o.arguments, forged) is distinct from pg_temp.ids_behind('sql', o.arguments, forged)), null,
          'a null where no batch has one is a place like others');
select is(pg_temp.says(key, pg_temp.forged(substring(pg_temp.content(cursor) from 1 for 28) || value)), :malformed, 'no batch has that ' || key)
  from pg_temp.given join (values ('id', uuid_send(md5('batch1')::uuid)), ('jobs_count', int4send(-1))) v (key, value) using (key);
insert into batches.batch (project_id, device_type, user_id) values (pg_temp.p(1), repeat('z', 100000), 'long'), (pg_temp.p(1), repeat('z', 100000), 'long');
select is(pg_temp.walk(engine, 'user_id => ''{long}'', order_by => ''device_type''', 1), pg_temp.all_ids('user_id => ''{long}'', order_by => ''device_type'''), 'a cursor may be long: ' || engine)
  from unnest(array['index', 'sql']) engine;
delete from batches.batch where user_id = 'long';
set local batches.scan = auto;
set local batches.user_id = 'some';
select is((select array_agg(distinct l.project_id) from pg_temp.given g, batches.list_batches(order_by => g.key, "limit" => null, after => g.cursor) l), array[pg_temp.p(2), pg_temp.p(5)],
          'another user''s cursor shows what the user sees');
select is((select count(*) from batches.list_batches(created_after => '2025-01-02Z', created_before => '2025-01-03Z', order_by_direction => dir, "limit" => null, after => forged) where created_at not between '2025-01-02Z' and '2025-01-03Z'),
          0::bigint, format('a cursor outside of the bounds does not widen them: %s, %s', dir, key))
  from (values ('ASC', '\x0000000000000000'::bytea), ('DESC', '\x0004000000000000'), ('ASC', '\x0004000000000000'), ('DESC', '\x0000000000000000')) v (dir, key),
       lateral (select batches.next_cursor(id, created_after => '2025-01-02Z', created_before => '2025-01-03Z', order_by_direction => dir) as cursor
                  from batches.list_batches(created_after => '2025-01-02Z', created_before => '2025-01-03Z', order_by_direction => dir, "limit" => 1)) c,
       lateral (select pg_temp.forged(substring(pg_temp.content(cursor) from 1 for 28) || key) as forged) f;
set local batches.user_id = 'all';

--
-- Over HTTP
--

select is((select r.body #>> '{pagination,start}' from batches.http_get_all_batches('after=&total=none&omit=tags&tags_any=m1&limit=2') r), '0', 'the endpoint itself knows none of this');
select is((select r.body #>> '{pagination,total}' from batches.http_get_all_batches(query, true) r), total, 'what the database cannot hold: ' || query)
  from (values ('tags_all=all&tags_all=%00', '0'), ('tags_any=all&tags_any=%FF', '899'), ('exclude_device_type=%00', '901'), ('exclude_device_type=%00&exclude_device_type=new', '899'), ('tags_any=%00', '0'))
       v (query, total);
select is((select r.headers ->> 'Content-Range' from batches.http_get_all_batches(query, true) r), range, 'Content-Range: ' || query)
  from (values ('limit=2&offset=3', '4-5/901'), ('limit=2&total=none', '1-2/*'), ('limit=2&after=', '*/901'), ('limit=2&after=&total=none', '*/*'), ('offset=2000', '*/901')) v (query, range);
select is((select r.body ->> 'pagination' from batches.http_get_all_batches('limit=2&total=none', true) r), '{"total":null,"start":0,"end":2}', 'without a total it is null');
select is((select r.body #>> '{pagination,total}' from batches.http_get_all_batches('exclude_status=DONE&exclude_status=ERROR&exclude_device_type=A', true) r),
          (select count(*)::text from batches.batch where status not in ('DONE', 'ERROR') and device_type <> 'A'), 'more filters are read');

--
-- Without a total, and without some keys
--

select is((select detail - 'paths' from batches.explain_batches(user_id => '{"user 1"}', "limit" => 3, total => 'none')), '{"rows": 3, "total": null, "total_source": null}'::jsonb,
          'nothing is counted where no total is asked for');
select is((select count(*) from batches.explain_batches(user_id => '{"user 1"}', "limit" => 3, total => 'none') e, jsonb_array_elements(e.detail -> 'paths') p where p ->> 'for' = 'total'),
          0::bigint, 'no path to a total is tried');
select is((select count(*) from batches.explain_batches(user_id => '{"user 1"}', "limit" => 3) e, jsonb_array_elements(e.detail -> 'paths') p where p ->> 'for' = 'total') > 0, true,
          'as it is otherwise');
-- Behind a cursor a row more is read than the page has, as by the document.
select is((select array[work, (detail -> 'rows')::bigint] from batches.explain_batches(after => '', "limit" => 9)),
          (select array[work, 9] from batches.explain_batches("limit" => 10)), 'explained is what a page behind a cursor reads');
select is((select (detail -> 'rows')::bigint from batches.explain_batches(after => '', "limit" => 9223372036854775807)), batches.count_batches(), 'if there can be one');
select is((select array_agg(key order by n) from json_object_keys(batches.get_all_batches("limit" => 1, omit => '{tags,jobs_count_per_status}') #> '{data,0}') with ordinality k (key, n)),
          array_remove(array_remove((select array_agg(key order by n) from json_object_keys(batches.get_all_batches("limit" => 1) #> '{data,0}') with ordinality k (key, n)), 'tags'),
                       'jobs_count_per_status'), 'omitted keys are not in the document');
create role batches_test_narrow;
grant usage on schema batches to batches_test_narrow;
grant select on batches.project_member, batches.batch_total to batches_test_narrow;
grant select (project_id, id, parent_id, status, open, priority, device_type, user_id, created_at, updated_at, start_datetime, end_datetime, queue_priority) on batches.batch to batches_test_narrow;
grant select (project_id, batch_id, jobs_count, size_class) on batches.batch_job_count to batches_test_narrow;
set local role batches_test_narrow;
select set_config('batches.scan', 'index', true) as engine \gset
select is((select count(*) from batches.list_batches("limit" => null, omit => '{configuration,backend_configuration,webhook,tags,jobs_count_per_status}')), 901::bigint,
          'what is omitted is not read: no right on it is needed, index');
select throws_ok(format($$ select batches.list_batches(%s, omit => '{configuration,backend_configuration,webhook,tags,jobs_count_per_status}') $$, filter), '42501', null, 'but for a filter: ' || filter)
  from unnest(array[$$tag => 'a'$$, $$tags_any => '{a}'$$, $$tags_all => '{a}'$$]) filter;
select set_config('batches.scan', 'sql', true) as engine \gset
select is((select count(*) from batches.list_batches("limit" => null, omit => '{configuration,backend_configuration,webhook,tags,jobs_count_per_status}')), 901::bigint,
          'what is omitted is not read: no right on it is needed, sql');
select throws_ok($$ select batches.list_batches(omit => '{configuration,backend_configuration,webhook,jobs_count_per_status}') $$, '42501', null, 'but on all else it is');
reset role;
select set_config('batches.scan', 'auto', true) as engine \gset
select throws_ok($$ select batches.list_batches(omit => '{tags,id}') $$, '22023', 'invalid value for parameter "omit": "id"', 'only some keys can be left out');
select throws_ok($$ select batches.get_all_batches(total => 'NONE') $$, '22023', 'invalid value for parameter "total": "NONE"', 'a total is exact or none');

select * from finish();
rollback;
