-- Batches, and a function each for what writers do to them and how readers compare: both engines with a plain query.
-- test/t/010_engines.pl and scripts/soak begin with this, in a new database.
\set ON_ERROR_STOP 1
set client_min_messages = warning;

create extension batches;
select batches.create_tables();
insert into batches.project_member
select lpad(n::text, 32, '0')::uuid, u from generate_series(0, 12) n, unnest(array['one', 'few', 'all']) u
 where u = 'all' or (u = 'few' and n % 4 = 0) or n = 5;

create function public.pick("values" anyarray) returns anyelement language sql volatile
  as $$ select "values"[1 + floor(random() * cardinality("values"))::int] $$;

create procedure public.add_batches(batches int) language sql as $$
  insert into batches.batch (project_id, status, open, priority, device_type, user_id, created_at, updated_at, tags,
                             start_datetime, end_datetime, queue_priority)
  select lpad((floor(random() ^ 2 * 14)::int)::text, 32, '0')::uuid, public.pick(array_remove(enum_range(null::batches.batch_status)::text[], 'BLOCKED'))::batches.batch_status,
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

-- What an engine answers, in the snapshot of the statement that asks
create function public.answer(engine text, arguments text, filters text) returns jsonb language plpgsql stable as $$
declare
  answer jsonb;
begin
  perform set_config('batches.scan', engine, true);
  execute format('select jsonb_build_array(array(select id from batches.list_batches(%s)), batches.count_batches(%s), batches.batch_facets(%2$s))',
                 arguments, filters) into answer;
  return answer;
end $$;

-- How many of so many random requests get another answer by an engine or by a plain query
create function public.compare(seed float8, requests int) returns setof text language plpgsql as $$
declare
  jobs constant text := '(select count(*) from batches.job j where j.project_id = b.project_id and j.batch_id = b.id)';
  filters text[];
  conditions text[];
  value text;
  key text;
  direction text;
  page text;
  condition text;
  plain jsonb;
  by_index jsonb;
  by_sql jsonb;
  who text;
begin
  perform setseed(seed);
  for n in 1 .. requests loop
    filters := '{}';
    conditions := '{true}';
    who := pick(array['', 'one', 'few', 'all']);
    if who <> '' then
      conditions := conditions || format('project_id = any (array(select m.project_id from batches.project_member m where m.user_id = %L))', who);
    end if;
    if random() < 0.3 then
      value := (select array_agg(lpad(floor(random() * 15)::int::text, 32, '0')::uuid) from generate_series(1, 1 + floor(random() * 8)::int));
      filters := filters || format('project_id => %L', value);
      conditions := conditions || format('project_id = any (%L)', value);
    end if;
    if random() < 0.2 then
      value := (select array_agg(pick(array_remove(enum_range(null::batches.batch_status)::text[], 'BLOCKED'))) from generate_series(1, 1 + floor(random() * 3)::int));
      filters := filters || format('status => %L', value);
      conditions := conditions || format('status = any (%L)', value);
    end if;
    if random() < 0.2 then
      value := array['user-' || floor(random() * 10), 'user-' || floor(random() * 10)];
      filters := filters || format('user_id => %L', value);
      conditions := conditions || format('user_id = any (%L)', value);
    end if;
    if random() < 0.2 then
      value := array[pick(array['A', 'B', 'b', 'EMU', 'x'])];
      filters := filters || format('device_type => %L', value);
      conditions := conditions || format('device_type = any (%L)', value);
    end if;
    if random() < 0.2 then
      value := array[pick(enum_range(null::batches.queue_priority))];
      filters := filters || format('queue_priority => %L', value);
      conditions := conditions || format('queue_priority = any (%L)', value);
    end if;
    if random() < 0.1 then
      value := random() < 0.5;
      filters := filters || format('complete => %L', value);
      conditions := conditions || format('not open = %L', value);
    end if;
    if random() < 0.15 then
      value := floor(random() * 4);
      filters := filters || format('min_jobs => %s', value);
      conditions := conditions || format('%s >= %s', jobs, value);
    end if;
    if random() < 0.15 then
      value := floor(random() * 4);
      filters := filters || format('max_jobs => %s', value);
      conditions := conditions || format('%s <= %s', jobs, value);
    end if;
    if random() < 0.15 then
      value := pick(array['common', 'rare', 'none']);
      filters := filters || format('tag => %L', value);
      conditions := conditions || format('%L = any (tags)', value);
    end if;
    if random() < 0.15 then
      value := '2025-01-01Z'::timestamptz + random() * interval '14 days';
      filters := filters || format('start_date => %L', value);
      conditions := conditions || format('start_datetime >= %L', value);
    end if;
    if random() < 0.15 then
      value := '2025-01-01Z'::timestamptz + random() * interval '14 days';
      filters := filters || format('end_date => %L', value);
      conditions := conditions || format('end_datetime <= %L', value);
    end if;
    if random() < 0.15 then
      value := '2025-01-01Z'::timestamptz + random() * interval '14 days';
      filters := filters || format('created_before => %L', value);
      conditions := conditions || format('created_at <= %L', value);
    end if;
    if random() < 0.15 then
      value := left(md5(random()::text), 1 + floor(random() * 2)::int);
      filters := filters || format('id__starts_with => %L', value);
      conditions := conditions || format('starts_with(id::text, %L)', value);
    end if;
    if random() < 0.05 then
      value := (select array_agg(id) from (select id from batches.batch order by id limit floor(random() * 60)) x);
      filters := filters || format('id => %L', value);
      conditions := conditions || format('coalesce(%1$L::uuid[] = ''{}'', true) or id = any (%1$L)', value);
    end if;
    key := pick('{created_at,updated_at,start_datetime,end_datetime,id,status,open,complete,priority,device_type,user_id,project_id,jobs_count,queue_priority}'::text[]);
    direction := pick(array['ASC', 'DESC']);
    page := format('"limit" => %s, "offset" => %s', pick(array['null', '1', '10', '100']),
                   case when random() < 0.5 then 0 else floor(random() * random() * 2000) end);
    condition := '(' || array_to_string(conditions, ') and (') || ')';
    perform set_config('batches.user_id', who, true);
    -- One statement, one snapshot, at READ COMMITTED too
    execute format($q$
        with m as materialized (select project_id, status, open, device_type, queue_priority from batches.batch b where %1$s)
        select public.answer('index', %2$L, %3$L), public.answer('sql', %2$L, %3$L),
               jsonb_build_array(
                 array(select id from batches.batch b where %1$s order by %4$s %5$s, id %5$s limit %6$s offset %7$s),
                 (select count(*) from m),
                 jsonb_build_object(
                   'total', (select count(*) from m),
                   'status', (select coalesce(jsonb_object_agg(v, n), '{}') from (select status, count(*) from m group by 1) g (v, n)),
                   'open', (select coalesce(jsonb_object_agg(v, n), '{}') from (select open, count(*) from m group by 1) g (v, n)),
                   'device_type', (select coalesce(jsonb_object_agg(v, n), '{}') from (select device_type, count(*) from m group by 1) g (v, n)),
                   'queue_priority', (select coalesce(jsonb_object_agg(v, n), '{}') from (select queue_priority, count(*) from m group by 1) g (v, n)),
                   'project_id', (select coalesce(jsonb_object_agg(v, n), '{}') from (select project_id, count(*) from m group by 1) g (v, n))))
        $q$, condition,
        array_to_string(filters || array[format('order_by => %L, order_by_direction => %L', key, direction), page], ', '),
        array_to_string(filters, ', '),
        case key when 'complete' then 'not open' when 'device_type' then 'device_type collate "C"' when 'jobs_count' then jobs else key end,
        direction, (regexp_match(page, '"limit" => (\w+)'))[1], (regexp_match(page, '"offset" => (\d+)'))[1])
       into by_index, by_sql, plain;
    if by_index <> plain or by_sql <> plain then
      return next format(E'%s; %s %s, %s:\nindex %s\nsql   %s\nplain %s', array_to_string(filters, ', '), key, direction, page,
                         left(by_index::text, 1000), left(by_sql::text, 1000), left(plain::text, 1000));
    end if;
    perform set_config('batches.user_id', '', true);
  end loop;
end $$;

call public.add_batches(1500);
call public.add_batches(1500);
vacuum analyze;
