-- Batches, and a function each for what writers do to them and how readers compare: both engines with a plain query.
-- test/t/010_engines.pl and scripts/soak begin with this, in a new database. The variable "batches" is how many to make.
\set ON_ERROR_STOP 1
set client_min_messages = warning;

create extension batches;
select batches.create_tables();
insert into batches.project_member
select lpad(n::text, 32, '0')::uuid, u from generate_series(0, 12) n, unnest(array['one', 'few', 'all']) u
 where u = 'all' or (u = 'few' and n % 4 = 0) or n = 5;

create function public.pick("values" anyarray) returns anyelement language sql volatile
  as $$ select "values"[1 + floor(random() * cardinality("values"))::int] $$;

create function public.statuses() returns batches.batch_status[] language sql stable
  as $$ select array_remove(enum_range(null::batches.batch_status)::text[], 'BLOCKED')::batches.batch_status[] $$;

create procedure public.add_batches(batches int) language sql as $$
  insert into batches.batch (project_id, parent_id, status, open, priority, device_type, user_id, created_at, updated_at, tags,
                             start_datetime, end_datetime, queue_priority)
  select lpad((floor(random() ^ 2 * 14)::int)::text, 32, '0')::uuid,
         case when random() < 0.1 then lpad((floor(random() * 30)::int)::text, 32, 'b')::uuid end, public.pick(public.statuses()),
         random() < 0.2, floor(random() * 3), public.pick(array['A', 'B', 'b', 'EMU']), 'user-' || floor(random() * 9),
         t, t + floor(random() * 20) * interval '1 minute',
         array_remove(array[case when random() < 0.3 then 'common' end, case when random() < 0.02 then 'rare' end], null),
         case when random() < 0.7 then t + floor(random() * 20) * interval '1 minute' end,
         case when random() < 0.5 then t + floor(random() * 20) * interval '1 minute' end,
         public.pick(enum_range(null::batches.queue_priority))
    from generate_series(1, batches),
         lateral (select '2025-01-01Z'::timestamptz + floor(random() * 2000) * interval '10 minutes') c (t);
  insert into batches.job (project_id, batch_id, status)
  select project_id, id, public.pick(enum_range(null::batches.job_status))
    from (select b.project_id, b.id from batches.batch b join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id
           where c.jobs_count = 0 limit batches for key share of b) b,
         lateral generate_series(1, floor(random() * 4)::int + (project_id is null)::int);
$$;

--
-- Random requests: a filter or an order more is a row more
--

create function public.moment() returns timestamptz language sql volatile
  as $$ select '2025-01-01Z'::timestamptz + random() * interval '14 days' $$;

-- How many of the requests have a filter, with what values, and what that means for a batch "b" and a request "r"
create table public.filter (name text, type regtype, share float8, value text, condition text);
insert into public.filter values
  ('id', 'uuid[]', 0.05, 'array(select id from batches.batch order by id limit floor(random() * 60))', 'b.id = any (r.id)'),
  ('id__starts_with', 'text', 0.15, 'left(md5(random()::text), 1 + floor(random() * 2)::int)', 'starts_with(b.id::text, r.id__starts_with)'),
  ('project_id', 'uuid[]', 0.3, 'array(select lpad(floor(random() * 15)::int::text, 32, ''0'')::uuid from generate_series(1, 1 + floor(random() * 8)::int))',
   'b.project_id = any (r.project_id)'),
  ('user_id', 'text[]', 0.2, 'array[''user-'' || floor(random() * 10), ''user-'' || floor(random() * 10)]', 'b.user_id = any (r.user_id)'),
  ('device_type', 'text[]', 0.2, 'array[public.pick(''{A,B,b,EMU,x}''::text[])]', 'b.device_type = any (r.device_type)'),
  ('status', 'text[]', 0.2, 'array(select public.pick(public.statuses()) from generate_series(1, 1 + floor(random() * 3)::int))', 'b.status::text = any (r.status)'),
  ('complete', 'boolean', 0.1, 'random() < 0.5', 'not b.open = r.complete'),
  ('min_jobs', 'bigint', 0.15, 'floor(random() * 4)::int', 'b.jobs_count >= r.min_jobs'),
  ('max_jobs', 'bigint', 0.15, 'floor(random() * 4)::int', 'b.jobs_count <= r.max_jobs'),
  ('start_date', 'timestamptz', 0.15, 'public.moment()', 'b.start_datetime >= r.start_date'),
  ('end_date', 'timestamptz', 0.15, 'public.moment()', 'b.end_datetime <= r.end_date'),
  ('queue_priority', 'text[]', 0.2, 'array[public.pick(enum_range(null::batches.queue_priority))]', 'b.queue_priority::text = any (r.queue_priority)'),
  ('tag', 'text', 0.15, 'public.pick(''{common,rare,none}''::text[])', 'r.tag = any (b.tags)'),
  ('created_before', 'timestamptz', 0.15, 'public.moment()', 'b.created_at <= r.created_before'),
  ('parent_id', 'uuid[]', 0.05, 'array(select lpad(floor(random() * 32)::int::text, 32, ''b'')::uuid from generate_series(1, 5))', 'coalesce(b.parent_id = any (r.parent_id), false)'),
  ('updated_after', 'timestamptz', 0.05, 'public.moment()', 'b.updated_at >= r.updated_after'),
  ('updated_before', 'timestamptz', 0.05, 'public.moment()', 'b.updated_at <= r.updated_before'),
  ('tags_any', 'text[]', 0.1, 'array[public.pick(''{common,rare,none}''::text[]), ''rare'']', 'b.tags && r.tags_any'),
  ('tags_all', 'text[]', 0.05, 'array[public.pick(''{common,none}''::text[]), ''rare'']', 'b.tags @> r.tags_all'),
  ('exclude_status', 'text[]', 0.1, 'array(select public.pick(public.statuses()) from generate_series(1, 1 + floor(random() * 6)::int))', 'b.status::text <> all (r.exclude_status)'),
  ('exclude_device_type', 'text[]', 0.1, 'array[public.pick(''{A,B,b,EMU,x}''::text[]), ''EMU'']', 'b.device_type <> all (r.exclude_device_type)');

-- What batches are sorted by
create table public.ordering (name text, expression text);
insert into public.ordering values
  ('created_at', 'created_at'), ('updated_at', 'updated_at'), ('start_datetime', 'start_datetime'), ('end_datetime', 'end_datetime'),
  ('id', 'id'), ('status', 'status'), ('open', 'open'), ('complete', 'not open'), ('priority', 'priority'),
  ('device_type', 'device_type collate "C"'), ('user_id', 'user_id collate "C"'), ('project_id', 'project_id'),
  ('jobs_count', 'jobs_count'), ('queue_priority', 'queue_priority');

-- The functions that these tables make
do $do$
declare
  columns text := (select string_agg(format('%I %s', name, type), ', ' order by name) from public.filter);
  arguments text := (select string_agg(format('%1$I => r.%1$I', name), ', ') from public.filter);
  random_values text := (select string_agg(format('case when shape[%s] < %s then %s end', number, share, value), ', ' order by name)
                           from (select *, row_number() over (order by name) as number from public.filter) f);
  conditions text := (select string_agg(format('(r.%1$I is null or %2$s(%3$s))', name,
                                               case when type::text ~ '\[\]$' then format('cardinality(r.%I) = 0 or ', name) else '' end, condition), ' and ')
                        from public.filter);
  orders text[] := (select array_agg(name order by name) from public.ordering);
  ranks text := (select string_agg(format('(row_number() over (order by %s, id))::int', expression), ', ' order by name) from public.ordering);
begin
  execute format('create type public.request as ("user" text, ordering int, order_by_direction text, "limit" bigint, "offset" bigint, %s)', columns);
  -- Which filters and order a request has comes of a list of random numbers: a shape.
  execute format($q$
    create function public.random_request(shape float8[]) returns public.request language plpgsql volatile as $f$
    begin
      return row(pick(array['', 'one', 'few', 'all']), 1 + floor(shape[%1$s] * %2$s), pick(array['ASC', 'DESC']), pick(array[null, 1, 10, 100]),
                 case when random() < 0.5 then 0 else floor(random() ^ 4 * 2000) end, %3$s)::public.request;
    end $f$ $q$, (select count(*) + 1 from public.filter), cardinality(orders), random_values);
  -- What an engine answers, in the snapshot of the statement that asks. Behind a cursor is what is behind as many rows.
  execute format($q$
    create function public.answer(engine text, r public.request) returns jsonb language plpgsql stable as $f$
    declare
      orders constant text[] := %1$L;
      page uuid[];
      last uuid;
      by_cursor uuid[];
    begin
      perform set_config('batches.scan', engine, true), set_config('batches.user_id', r."user", true);
      page := array(select l.id from batches.list_batches(%2$s, order_by => orders[r.ordering], order_by_direction => r.order_by_direction,
                                                          "limit" => r."limit", "offset" => r."offset") l);
      if r."offset" > 0 then
        last := (select l.id from batches.list_batches(%2$s, order_by => orders[r.ordering], order_by_direction => r.order_by_direction,
                                                       "limit" => 1, "offset" => r."offset" - 1) l);
      end if;
      if last is not null then
        by_cursor := array(select l.id from batches.list_batches(%2$s, order_by => orders[r.ordering], order_by_direction => r.order_by_direction, "limit" => r."limit",
                             after => batches.next_cursor(last, %2$s, order_by => orders[r.ordering], order_by_direction => r.order_by_direction)) l);
        if by_cursor <> page then
          return jsonb_build_array('behind the cursor', by_cursor);
        end if;
      end if;
      return jsonb_build_array(
        to_jsonb(page),
        batches.count_batches(%2$s),
        batches.batch_facets(%2$s));
    end $f$ $q$, orders, arguments);
  -- Which of these requests get another answer by an engine or by a plain query. Each batch has its place in each order;
  -- descending, all places are the other way round, those of nulls and ties, too.
  execute format($q$
    create function public.differing_answers(requests public.request[]) returns setof text language sql as $f$
      with b as materialized (
        select x.*, array[%1$s] as places
          from (select b.*, coalesce(j.jobs_count, 0) as jobs_count
                  from batches.batch b
                  left join (select project_id, batch_id, count(*) as jobs_count from batches.job group by 1, 2) j
                    on j.project_id = b.project_id and j.batch_id = b.id) x)
      select format(E'differs: %%s\nindex %%s\nsql   %%s\nplain %%s', jsonb_strip_nulls(to_jsonb(r)), left(by_index::text, 1000), left(by_sql::text, 1000), left(plain::text, 1000))
        from unnest(requests) r,
             lateral (select public.answer('index', r), public.answer('sql', r) offset 0) a (by_index, by_sql),
             lateral (
               with found as materialized (
                 select b.id, b.status, b.open, b.device_type, b.queue_priority, b.project_id,
                        case r.order_by_direction when 'ASC' then b.places[r.ordering] else -b.places[r.ordering] end as place
                   from b
                  where (r."user" = '' or b.project_id in (select m.project_id from batches.project_member m where m.user_id = r."user"))
                    and %2$s)
               select jsonb_build_array(
                 (select coalesce(jsonb_agg(id order by place), '[]') from (select id, place from found order by place limit r."limit" offset r."offset") page),
                 (select count(*) from found),
                 jsonb_build_object(
                   'total', (select count(*) from found),
                   'status', (select coalesce(jsonb_object_agg(v, n), '{}') from (select status, count(*) from found group by 1) g (v, n)),
                   'open', (select coalesce(jsonb_object_agg(v, n), '{}') from (select open, count(*) from found group by 1) g (v, n)),
                   'device_type', (select coalesce(jsonb_object_agg(v, n), '{}') from (select device_type, count(*) from found group by 1) g (v, n)),
                   'queue_priority', (select coalesce(jsonb_object_agg(v, n), '{}') from (select queue_priority, count(*) from found group by 1) g (v, n)),
                   'project_id', (select coalesce(jsonb_object_agg(v, n), '{}') from (select project_id, count(*) from found group by 1) g (v, n))))
               offset 0) p (plain)
       where by_index <> plain or by_sql <> plain
    $f$ $q$, ranks, conditions);
end $do$;

-- The newest batches of a user as an engine's document, and as it should be
create function public.document(engine text, who text) returns jsonb language plpgsql stable as $$
begin
  perform set_config('batches.scan', engine, true), set_config('batches.user_id', who, true);
  return batches.get_all_batches();
end $$;

create function public.plain_document(who text) returns jsonb language sql stable as $$
  with b as (select * from batches.batch where project_id in (select m.project_id from batches.project_member m where m.user_id = who)),
       page as (select * from b order by created_at desc, id desc limit 100)
  select jsonb_build_object('status', 'success', 'message', 'OK.', 'code', '200',
    'data', coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'id', id, 'parent_id', parent_id, 'status', status, 'complete', not open, 'open', open, 'priority', priority, 'device_type', device_type,
      'user_id', user_id, 'project_id', project_id, 'jobs_count', (select count(*) from batches.job j where j.project_id = page.project_id and j.batch_id = page.id),
      'created_at', to_char(created_at at time zone 'UTC', t), 'updated_at', to_char(updated_at at time zone 'UTC', t),
      'jobs_count_per_status', (select coalesce(jsonb_object_agg(status, n), '{}')
                                  from (select j.status, count(*) from batches.job j where j.project_id = page.project_id and j.batch_id = page.id group by 1) j (status, n)),
      'tags', tags, 'configuration', configuration, 'backend_configuration', backend_configuration, 'webhook', webhook,
      'start_datetime', to_char(start_datetime at time zone 'UTC', t), 'end_datetime', to_char(end_datetime at time zone 'UTC', t),
      'queue_priority', queue_priority)) order by created_at desc, id desc), '[]'),
    'pagination', jsonb_build_object('total', (select count(*) from b), 'start', 0, 'end', (select count(*) from page)))
    from page, (select 'YYYY-MM-DD"T"HH24:MI:SS"Z"') f (t)
$$;

-- What differs for so many random requests, and a document, in one snapshot. So many requests are of one shape: the fewer
-- shapes, the less is planned.
create function public.compare(seed float8, requests int, alike int default 1) returns setof text language plpgsql as $$
declare
  filters constant int := (select count(*) from public.filter);
  random_requests public.request[] := '{}';
  shape float8[];
  who text;
begin
  perform setseed(seed);
  for n in 0 .. requests - 1 loop
    if n % alike = 0 then
      shape := array(select random() from generate_series(0, filters));
    end if;
    random_requests := random_requests || random_request(shape);
  end loop;
  who := pick(array['one', 'few', 'all']);
  return query
    select * from public.differing_answers(random_requests)
     union all
    select format(E'differs: the document of "%s"\n%s\nplain %s', who, left(d.by_engine::text, 1000), left(d.plain::text, 1000))
      from (select public.document(engine, who), public.plain_document(who) from unnest(array['index', 'sql']) engine offset 0) d (by_engine, plain)
     where d.by_engine <> d.plain;
  perform set_config('batches.user_id', '', true);
end $$;

\if :{?batches}
\else
\set batches 3000
\endif
call public.add_batches(:batches);
vacuum analyze;
