-- Filters and order by the number of jobs, by both engines: at the borders of the size classes that an index has, with ties, and
-- with every other filter. And totals and facets as the writing transaction, a savepoint and an older snapshot see them.

\ir include/output.psql

begin isolation level repeatable read;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(80);

create function pg_temp.p(n int) returns uuid language sql immutable return lpad(n::text, 32, 'a')::uuid;

--
-- Size classes
--

select is_empty($$ select n from generate_series(0, 127) n where batches.size_class(n) <> n $$, 'a small number is its own class');
select is((select array_agg(batches.size_class(n) order by o) from unnest(array[-2147483648, -1, 128, 129, 130, 255, 256, 259, 260]) with ordinality u (n, o)),
          '{0,0,128,128,129,191,192,192,193}'::smallint[], 'from 128 on a class has two numbers, from 256 on four');
select is_empty($$ select n from generate_series(1, 100000) n where batches.size_class(n) not in (batches.size_class(n - 1), batches.size_class(n - 1) + 1) $$,
                'a larger number has the same class or the next');
select is_empty($$ select n from (select (2 ^ e)::bigint + d as n from generate_series(7, 31) e, generate_series(-3, 3) d) v
                    where n between 1 and 2147483647 and batches.size_class(n::int) < batches.size_class((n - 1)::int) $$,
                'at powers of two too');
select cmp_ok(batches.size_class(2147483647), '<', 32767::smallint, 'the largest number has a class');

--
-- Batches with numbers of jobs around the borders, several with the same
--

create table pg_temp.sized as
  select row_number() over (order by n, k)::int as i, n, k
    from unnest(array[0, 0, 1, 2, 5, 126, 127, 128, 129, 130, 131, 191, 192, 254, 255, 256, 257, 258, 259, 260, 511, 512, 1000, 1001, 1007, 1008, 1023, 1024,
                      1025]) n, generate_series(1, 3) k;
insert into batches.batch (project_id, id, status, open, priority, device_type, user_id, created_at, updated_at, tags, start_datetime, end_datetime, queue_priority)
select pg_temp.p(i % 4), md5('batch' || i)::uuid, (enum_range(null::batches.batch_status))[1 + i % 8], i % 3 = 0, i % 5, 'D' || i % 3, 'u' || i % 4,
       '2025-01-01Z'::timestamptz + (i * 7 % 40) * interval '1 hour', '2025-02-01Z'::timestamptz + (i * 11 % 40) * interval '1 hour',
       array['t' || i % 2, 'all'], case when i % 4 > 0 then '2025-01-05Z'::timestamptz + i * interval '1 hour' end,
       case when i % 6 > 0 then '2025-01-06Z'::timestamptz + i * interval '1 hour' end, (enum_range(null::batches.queue_priority))[1 + i % 5]
  from pg_temp.sized;
insert into batches.job (project_id, batch_id, status)
select pg_temp.p(i % 4), md5('batch' || i)::uuid, (enum_range(null::batches.job_status))[1 + j % 6]
  from pg_temp.sized, generate_series(1, n) j;
insert into batches.project_member values (pg_temp.p(1), 'ann'), (pg_temp.p(3), 'ann');
select is_empty('select * from batches.verify_counts()', 'all are counted');

-- Numbers of jobs that nobody inserts one by one, and some that are in one class with others
create function pg_temp.make_large() returns void language plpgsql as $$
begin
  insert into batches.batch (project_id, id, device_type, user_id, tags, created_at)
  select pg_temp.p(n % 2), md5('large' || n)::uuid, 'LARGE', 'u1', '{all}', '2025-01-03Z' from generate_series(1, 12) n;
  set local session_replication_role = replica;
  update batches.batch_job_count c set jobs_count = v.n, done_jobs = v.n, size_class = batches.size_class(v.n)
    from (select md5('large' || i)::uuid as id, n
            from unnest(array[65535, 65536, 1000000, 1000001, 1000002, 1000001, 1048575, 1048576, 2147483646, 2147483647, 2147483647, 2130706431])
                 with ordinality u (n, i)) v
   where c.batch_id = v.id;
  set local session_replication_role = origin;
end $$;
select pg_temp.make_large() as made \gset
analyze batches.batch, batches.batch_job_count;

create view pg_temp.plain as
  select b.*, c.jobs_count from batches.batch b
    join (select project_id, batch_id, count(*)::int as jobs_count from batches.job group by 1, 2
           union all select project_id, id, 0 from batches.batch b
                      where device_type <> 'LARGE' and not exists (select from batches.job j where j.project_id = b.project_id and j.batch_id = b.id)
           union all select project_id, batch_id, jobs_count from batches.batch_job_count where jobs_count > 60000) c
      on c.project_id = b.project_id and c.batch_id = b.id;
create table pg_temp.stored as select * from pg_temp.plain;
select is((select count(*) from pg_temp.stored), (select count(*) from batches.batch), 'each batch has a number of jobs');

-- What differs between an engine and the plain query
create function pg_temp.differing(engine text, who text, filters text, condition text, orders text[], windows text[]) returns setof text language plpgsql as $$
declare
  key text;
  direction text;
  page text;
  got text[];
  plain text[];
  total bigint;
  facets jsonb;
  plain_total bigint;
begin
  perform set_config('batches.scan', engine, true), set_config('batches.user_id', who, true);
  if who <> '' then
    condition := condition || format(' and project_id in (select project_id from batches.project_member where user_id = %L)', who);
  end if;
  execute format('select count(*) from pg_temp.stored where %s', condition) into plain_total;
  execute format('select batches.count_batches(%1$s), batches.batch_facets(%1$s)', filters) into total, facets;
  if total <> plain_total or (facets ->> 'total')::bigint <> plain_total then
    return next format('%s %s: count %s, facets %s instead of %s', engine, filters, total, facets -> 'total', plain_total);
  end if;
  foreach key in array orders loop
    foreach direction in array array['ASC', 'DESC'] loop
      foreach page in array windows loop
        execute format('select array(select id || '' '' || jobs_count from batches.list_batches(%s))',
                       concat_ws(', ', nullif(filters, ''), format('order_by => %L, order_by_direction => %L, "limit" => %s, "offset" => %s', key, direction,
                                                                   split_part(page, ' ', 1), split_part(page, ' ', 2)))) into got;
        execute format('select array(select id || '' '' || jobs_count from pg_temp.stored where %1$s order by %2$s %3$s, id %3$s limit %4$s offset %5$s)',
                       condition, key, direction, split_part(page, ' ', 1), split_part(page, ' ', 2)) into plain;
        if got is distinct from plain then
          return next format('%s, %s: %s by %s %s, %s: row %s of %s', engine, who, filters, key, direction, page,
                             (select min(i) from generate_series(1, greatest(cardinality(got), cardinality(plain))) i where got[i] is distinct from plain[i]),
                             cardinality(plain));
        end if;
      end loop;
    end loop;
  end loop;
  perform set_config('batches.scan', 'auto', true), set_config('batches.user_id', '', true);
end $$;
create function pg_temp.agrees(filters text, condition text, what text, orders text[] default '{jobs_count}',
                               windows text[] default '{1 0,2 0,2 1,3 50,10 7,100 0,100 20,null 0,null 95}') returns text language sql as $$
  select is((select string_agg(d, e'\n') from unnest(array['index', 'sql']) engine, unnest(array['', 'ann']) who,
               lateral pg_temp.differing(engine, who, filters, condition, orders, windows) d), null, what)
$$;

select pg_temp.agrees('', 'true', 'in the order of the numbers', '{jobs_count}',
                      array(select format('%s %s', l, o) from unnest(array['1', '2', '4', '7']) l, generate_series(0, 100, 3) o) || array['100 0', 'null 0', 'null 99', '5 1000']);
select pg_temp.agrees(format('min_jobs => %s', n), format('jobs_count >= %s', n), 'at least ' || n)
  from unnest(array[-9223372036854775808, -2147483649, -1, 0, 1, 126, 127, 128, 129, 130, 255, 256, 257, 1007, 1008, 1026, 1000001, 2147483647,
                    2147483648, 9223372036854775807]) with ordinality u (n, o) order by o;
select pg_temp.agrees(format('max_jobs => %s', n), format('jobs_count <= %s', n), 'at most ' || n)
  from unnest(array[-9223372036854775808, -2147483649, -1, 0, 1, 126, 127, 128, 129, 255, 256, 257, 1007, 1008, 1000001, 2147483646, 2147483647,
                    2147483648, 9223372036854775807]) with ordinality u (n, o) order by o;
select is((select string_agg(d, e'\n') from unnest(array['index', 'sql']) engine, unnest(array[-1, 0, 127, 128, 129, 130, 255, 256, 257, 1007, 1000001]) a,
             unnest(array[0, 1, 3, 128, 2147483647]) width,
             lateral pg_temp.differing(engine, '', format('min_jobs => %s, max_jobs => %s', a, a::bigint + width), format('jobs_count between %s and %s', a, a::bigint + width),
                                       '{jobs_count,created_at}', '{2 1,100 0}') d), null, 'between two numbers of one class or of several');
select pg_temp.agrees('min_jobs => 129, max_jobs => 128', 'false', 'a range upside down within a class');
select pg_temp.agrees('min_jobs => 3000000000, max_jobs => 4000000000', 'false', 'a range beyond all numbers');
select pg_temp.agrees('min_jobs => -4000000000, max_jobs => -3000000000', 'false', 'a range below them');

-- With each other filter, in each order
create table pg_temp.other (filter text, condition text);
insert into pg_temp.other values
  ('id => array(select md5(''batch'' || i)::uuid from generate_series(1, 90, 2) i) || md5(''large10'')::uuid', 'id in (select md5(''batch'' || i)::uuid from generate_series(1, 90, 2) i) or id = md5(''large10'')::uuid'),
  ('id__starts_with => ''3''', 'starts_with(id::text, ''3'')'), ('project_id => array[pg_temp.p(0), pg_temp.p(1), pg_temp.p(9)]', 'project_id in (pg_temp.p(0), pg_temp.p(1))'),
  ('user_id => ''{u1,u3}''', 'user_id in (''u1'', ''u3'')'), ('device_type => ''{D1,LARGE}''', 'device_type in (''D1'', ''LARGE'')'),
  ('status => ''{PENDING,ERROR,DONE}''', 'status in (''PENDING'', ''ERROR'', ''DONE'')'), ('open => true', 'open'), ('complete => true', 'not open'),
  ('start_date => ''2025-01-06 12:00Z''', 'start_datetime >= ''2025-01-06 12:00Z'''), ('end_date => ''2025-01-08Z''', 'end_datetime <= ''2025-01-08Z'''),
  ('queue_priority => ''{HIGH,MEDIUM}''', 'queue_priority in (''HIGH'', ''MEDIUM'')'), ('tag => ''t1''', '''t1'' = any (tags)'),
  ('created_after => ''2025-01-01 20:00Z''', 'created_at >= ''2025-01-01 20:00Z'''), ('created_before => ''2025-01-02Z''', 'created_at <= ''2025-01-02Z''');
select is((select string_agg(d, e'\n') from unnest(array['index', 'sql']) engine, unnest(array['', 'ann']) who, pg_temp.other o,
             (values ('', 'true'), ('min_jobs => 128', 'jobs_count >= 128'), ('max_jobs => 256', 'jobs_count <= 256'),
                     ('min_jobs => 127, max_jobs => 129', 'jobs_count between 127 and 129')) j (filter, condition),
             lateral pg_temp.differing(engine, who, concat_ws(', ', o.filter, nullif(j.filter, '')), format('(%s) and %s', o.condition, j.condition),
                                       '{jobs_count,created_at,start_datetime}', '{3 2,100 0}') d), null,
          'with each other filter');
select is((select string_agg(d, e'\n') from unnest(array['index', 'sql']) engine, unnest(array['', 'ann']) who,
             lateral pg_temp.differing(engine, who, 'min_jobs => 2, max_jobs => 1000', 'jobs_count between 2 and 1000',
                                       '{created_at,updated_at,start_datetime,end_datetime,id,status,open,priority,device_type,user_id,project_id,jobs_count,queue_priority}',
                                       '{5 0,5 4,100 0,null 60}') d), null, 'in each order');

-- More batches of one class than a page has, with the same numbers and not in the order of the numbers
insert into batches.batch (project_id, id, device_type, user_id)
select pg_temp.p(n % 3), md5('many' || n)::uuid, 'MANY', 'u1' from generate_series(1, 3000) n;
set local session_replication_role = replica;
update batches.batch_job_count c set jobs_count = v.n, done_jobs = v.n, size_class = batches.size_class(v.n)
  from (select md5('many' || i)::uuid as id, (524288 + i * 7919 % 3000)::int as n from generate_series(1, 3000) i) v where c.batch_id = v.id;
set local session_replication_role = origin;
select is((select count(distinct size_class) from batches.batch_job_count c join batches.batch b on b.id = c.batch_id where b.device_type = 'MANY'), 1::bigint,
          'thousands of batches have one class');
insert into pg_temp.stored
select b.*, c.jobs_count from batches.batch b join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id where b.device_type = 'MANY';
select pg_temp.agrees('device_type => ''{MANY}''', 'device_type = ''MANY''', 'a page from the middle of a class', '{jobs_count}', '{1 0,1 1500,10 2990,100 777,100 2950}');
select pg_temp.agrees('min_jobs => 525000, max_jobs => 526000', 'jobs_count between 525000 and 526000', 'a range within a class', '{jobs_count,created_at}', '{1 0,10 500,100 950,null 0}');
set local work_mem = '64kB';
select is((select string_agg(d, e'\n') from unnest(array['auto', 'sql']) engine, unnest(array['', 'ann']) who,
             lateral pg_temp.differing(engine, who, '', 'true', '{jobs_count}', '{10 1000,100 2000,null 0}') d), null, 'when memory is short too');
reset work_mem;

-- A deep page in an order that no index has. The path that runs to its end has not found all at once, and needs the memory of
-- another one that has.
savepoint s;
truncate batches.batch cascade;
set local session_replication_role = replica;
insert into batches.batch (project_id, id, device_type, user_id, priority)
select pg_temp.p(n % 7), md5('deep' || n)::uuid, 'DEEP', case when n * 7919 % 20 < 11 then 'half' else 'other' end, n * 31 % 1009 from generate_series(1, 30000) n;
insert into batches.batch_job_count (project_id, batch_id, jobs_count, done_jobs, size_class)
select project_id, id, n, n, n from batches.batch, lateral (select get_byte(uuid_send(id), 3) % 30) j (n) where device_type = 'DEEP';
set local session_replication_role = origin;
insert into batches.project_member select pg_temp.p(n), 'all' from generate_series(0, 6) n;
analyze batches.batch, batches.batch_job_count, batches.project_member;
set local batches.user_id = 'all';
create table pg_temp.deep as
  select id, row_number() over (order by priority desc, id desc) as place, count(*) over () as total
    from batches.batch b join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id where user_id = 'half' and c.jobs_count >= 8;
select total, total - 1400 as "offset" from pg_temp.deep limit 1 \gset deep_
select cmp_ok(:deep_offset, '>=', 10000, 'the page is deep');
create function pg_temp.deep_page(memory int, "offset" bigint) returns text language plpgsql as $$
declare
  page json;
begin
  perform set_config('work_mem', memory || 'kB', true);
  page := batches.get_all_batches(user_id => '{half}', min_jobs => 8, order_by => 'priority', "offset" => "offset");
  return concat_ws(' ', page #>> '{pagination,total}', (select md5(string_agg(d ->> 'id', ' ' order by o)) from json_array_elements(page -> 'data') with ordinality u (d, o)));
end $$;
select results_eq(format($$select memory, pg_temp.deep_page(memory, %s) from generate_series(448, 672, 32) memory$$, :deep_offset),
                  format($$select memory, (select concat_ws(' ', max(total), md5(string_agg(id::text, ' ' order by place))) from pg_temp.deep where place - %s between 1 and 100)
                             from generate_series(448, 672, 32) memory$$, :deep_offset),
                  'is right with any memory');
create function pg_temp.outcomes(memory int, "offset" bigint) returns text language plpgsql as $$
begin
  perform set_config('work_mem', memory || 'kB', true);
  return (select string_agg(distinct p ->> 'outcome', ', ')
            from batches.explain_batches(user_id => '{half}', min_jobs => 8, order_by => 'priority', "offset" => "offset") e, jsonb_array_elements(e.detail -> 'paths') p
           where p ->> 'for' = 'page');
end $$;
select ok(bool_or(pg_temp.outcomes(memory, :deep_offset) ~ 'out of memory.*won'), 'though some paths run out of it') from generate_series(448, 672, 32) memory;
rollback to s;

--
-- What was written in this transaction, and what was not after all
--

create function pg_temp.counted() returns text language sql as $$
  select concat_ws(' ', batches.count_batches(), batches.count_batches(status => '{DONE}'), batches.batch_facets() -> 'total',
                   batches.batch_facets() #> '{status,DONE}', batches.batch_facets(device_type => '{NEW}') -> 'project_id')
$$;
select count(*) as all, count(*) filter (where status = 'DONE') as done from batches.batch \gset
select is(pg_temp.counted(), format('%s %s %1$s %2$s {}', :all, :done), 'the totals are what there is');
savepoint s;
insert into batches.batch (project_id, id, device_type, user_id, status) select pg_temp.p(1), md5('new' || n)::uuid, 'NEW', 'u1', 'DONE' from generate_series(1, 5) n;
select is(pg_temp.counted(), format('%s %s %1$s %2$s {"%3$s": 5}', :all + 5, :done + 5, pg_temp.p(1)), 'new batches are in the totals at once');
savepoint t;
update batches.batch set status = 'ERROR' where device_type = 'NEW' and id < md5('new1')::uuid;
delete from batches.batch where id = md5('new1')::uuid;
select is(pg_temp.counted(), format('%s %s %1$s %2$s {"%3$s": 4}', :all + 4,
                                    (select count(*) from batches.batch where status = 'DONE'), pg_temp.p(1)), 'so are their changes');
rollback to t;
select is(pg_temp.counted(), format('%s %s %1$s %2$s {"%3$s": 5}', :all + 5, :done + 5, pg_temp.p(1)), 'which are undone with the savepoint');
-- A cursor has the snapshot of when it was opened.
declare listing cursor for select batches.count_batches(), batches.batch_facets() ->> 'total' as facets from generate_series(1, 2);
delete from batches.batch where device_type = 'NEW';
fetch 1 from listing \gset cursor_
select is(array[:cursor_count_batches, :cursor_facets], array[:all + 5, :all + 5], 'a cursor counts what there was when it was opened');
select is(pg_temp.counted(), format('%s %s %1$s %2$s {}', :all, :done), 'while what is deleted is not counted');
fetch 1 from listing \gset cursor_
select is(array[:cursor_count_batches, :cursor_facets], array[:all + 5, :all + 5], 'and goes on so');
rollback to s;
select is(pg_temp.counted(), format('%s %s %1$s %2$s {}', :all, :done), 'after all there is what was');
-- A statement that writes and counts counts what there was before.
with written as (insert into batches.batch (project_id, device_type, user_id) values (pg_temp.p(1), 'NEW', 'u1') returning id)
select batches.count_batches() as count, batches.batch_facets() ->> 'total' as facets, (select count(*) from written) as written \gset same_
select is(array[:same_count, :same_facets, :same_written]::bigint[], array[:all, :all, 1]::bigint[], 'a statement does not count what it writes');
select is(batches.count_batches(), :all + 1::bigint, 'which the next one does');
rollback to s;
truncate batches.batch cascade;
select is(pg_temp.counted(), '0 0 0 {}', 'after TRUNCATE there is nothing');
select is(array[(select count(*) from batches.batch_total), (select count(*) from batches.batch_job_count)], '{0,0}', 'nor a row in the derived tables');
rollback to s;
select is(pg_temp.counted(), format('%s %s %1$s %2$s {}', :all, :done), 'and all of it when that is rolled back');

--
-- Counts that are missing
--

savepoint m;
set local session_replication_role = replica;
delete from batches.batch_job_count where batch_id = md5('batch40')::uuid;
set local session_replication_role = origin;
create function pg_temp.failure(engine text, call text) returns text language plpgsql as $$
declare
  hint text;
begin
  perform set_config('batches.scan', engine, true), set_config('batches.user_id', 'ann', true);
  execute 'select ' || call;
  return 'no error';
exception when others then
  get stacked diagnostics hint = pg_exception_hint;
  return sqlstate || ' ' || sqlerrm || substring(hint from ' SELECT batches.repair_counts\(\)');
end $$;
insert into batches.project_member values (pg_temp.p(0), 'ann') on conflict do nothing;
select is(pg_temp.failure(engine, call), format('XX001 batch %s has no job counts SELECT batches.repair_counts()', md5('batch40')::uuid),
          format('without the counts of one of its batches a page fails: %s by %s', call, engine))
  from unnest(array['index', 'sql']) engine,
       unnest(array['batches.list_batches(id => array[md5(''batch40'')::uuid])', 'batches.list_batches("limit" => null, order_by => ''updated_at'')',
                    'batches.get_all_batches(id => array[md5(''batch39'')::uuid, md5(''batch40'')::uuid])']) call;
rollback to m;
select is((select array_agg(jobs_count) from batches.list_batches(id => array[md5('batch40')::uuid])), (select array_agg(n) from pg_temp.sized where i = 40),
          'with them it does not');

select * from finish();
rollback;
