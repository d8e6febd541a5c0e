-- Random requests on random batches: by either engine, every row, its place, the total, the facets and the document are
-- those of a plain formulation of the parameters, for many kinds of viewers, and the job counts those of a recount.
--
-- The seed is printed. BATCHES_TEST_SEED=123 repeats a run; BATCHES_TEST_SIZE=10 makes one ten times as long.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local timezone = 'UTC';
set local datestyle = 'ISO, YMD';
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(14);

-- Fewer may not try everything.
\if :{?size}
\else
  \set size 2000
\endif
\ir include/random.psql
select set_config('test.requests', :'requests', true) as done \gset

--
-- Random values
--

create function pg_temp.chance(p float8) returns boolean language sql volatile return random() < p;
create function pg_temp.upto(n int) returns int language sql volatile return floor(random() * n)::int;
create function pg_temp.pick("values" anyarray) returns anyelement language plpgsql volatile as $$
begin
  return "values"[1 + pg_temp.upto(cardinality("values"))];
end $$;
create function pg_temp.random_uuid() returns uuid language sql volatile
  return md5(random()::text || random()::text)::uuid;
create function pg_temp.random_time() returns timestamptz language plpgsql volatile as $$
begin
  return case
    when pg_temp.chance(0.02) then pg_temp.pick(array['infinity', '-infinity', '0044-03-15Z BC', '0001-01-01Z',
                                                      '9999-12-31 23:59:59.999999Z', '10000-01-01Z']::timestamptz[])
    else '2025-01-01Z'::timestamptz + pg_temp.upto(40) * interval '6 hours'
         + pg_temp.pick(array['0', '0', '0', '0.000001', '0.5', '-0.000001']::interval[])
  end;
end $$;

create table pg_temp.pool (
  projects uuid[], parents uuid[], prefixes text[], users text[], devices text[], tags text[], configurations jsonb[], ids uuid[]);
insert into pg_temp.pool
select array(select pg_temp.random_uuid() from generate_series(1, 12)),
       array(select pg_temp.random_uuid() from generate_series(1, 100)),
       array(select left(pg_temp.random_uuid()::text, 1 + pg_temp.upto(14)) from generate_series(1, 20)),
       array['user-1', 'user-2', 'user-3', 'user-4', 'user-5', 'User-1', '', 'user-1 ', 'é', '日本', '{x,y}', 'o''x\"'],
       array['FRESNEL', 'FRESNEL_CAN1', 'EMU_FREE', 'EMU_MPS', 'EMU_SV', 'fresnel', 'Émulateur', 'a,b', E'x\\y''z"\n'],
       array['a', 'A', 'b', 'b ', 'a,b', '', 'NULL', '日本', '"q"', E'back\\slash'],
       array[null, null, null, '{}', '{"a": null}', '{"n": 1.50, "s": "x\"y", "l": [1, {"m": null}]}']::jsonb[];

--
-- Batches and jobs
--

do $$
declare
  pool pg_temp.pool;
  new_id uuid;
  start_time timestamptz;
begin
  select * into strict pool from pg_temp.pool;
  for n in 1 .. 3000 loop
    new_id := pg_temp.random_uuid();
    if pg_temp.chance(0.5) then
      new_id := overlay(new_id::text placing p from 1 for length(p)) from pg_temp.pick(pool.prefixes) p;
    end if;
    start_time := case when pg_temp.chance(0.6) then pg_temp.random_time() end;
    insert into batches.batch (
      project_id, id, parent_id, status, open, priority, device_type, user_id, created_at, updated_at, tags,
      configuration, backend_configuration, webhook, start_datetime, end_datetime, queue_priority)
    values (
      pg_temp.pick(pool.projects), new_id, case when pg_temp.chance(0.1) then pg_temp.pick(pool.parents) end,
      pg_temp.pick(enum_range(null::batches.batch_status)), pg_temp.chance(0.3),
      pg_temp.pick(array[0, 0, 0, 1, -1, 10, 2147483647, -2147483648]), pg_temp.pick(pool.devices),
      pg_temp.pick(pool.users), pg_temp.random_time(), pg_temp.random_time(),
      array(select t from unnest(pool.tags) t where pg_temp.chance(0.2)),
      pg_temp.pick(pool.configurations),
      case when pg_temp.chance(0.2) then repeat(E'{"x": "\\u00e9\t😀"}\n', pg_temp.upto(20)) end,
      case when pg_temp.chance(0.2) then 'https://example.org/?n=' || n end,
      start_time, case when pg_temp.chance(0.5) then pg_temp.random_time() end,
      pg_temp.pick(enum_range(null::batches.queue_priority)));
  end loop;
  update pg_temp.pool set ids = array(select id from batches.batch order by id);
end $$;

insert into batches.job (project_id, batch_id, id, status)
select b.project_id, b.id, pg_temp.random_uuid(), pg_temp.pick(enum_range(null::batches.job_status))
  from (select project_id, id, case when pg_temp.chance(0.7) then pg_temp.upto(12) else 0 end as jobs
          from (select * from batches.batch order by id) ordered offset 0) b, generate_series(1, b.jobs);
update batches.job set status = pg_temp.pick(enum_range(null::batches.job_status)) where pg_temp.chance(0.2);
delete from batches.job where pg_temp.chance(0.1);
update batches.job j set (project_id, batch_id) = (select project_id, id from batches.batch
                                                    where id = (select pg_temp.pick(ids) from pg_temp.pool where j.id is not null))
 where pg_temp.chance(0.05) and (select relkind = 'r' from pg_class where oid = 'batches.job'::regclass);

-- The totals follow all of this, too. Among batches without jobs some go to other projects.
update batches.batch set status = pg_temp.pick(enum_range(null::batches.batch_status)), open = pg_temp.chance(0.5) where pg_temp.chance(0.1);
update batches.batch set device_type = (select pg_temp.pick(devices) from pg_temp.pool where id is not null),
                         queue_priority = pg_temp.pick(enum_range(null::batches.queue_priority)) where pg_temp.chance(0.05);
update batches.batch b set project_id = (select pg_temp.pick(projects) from pg_temp.pool where b.id is not null)
 where pg_temp.chance(0.3) and not exists (select from batches.job j where j.project_id = b.project_id and j.batch_id = b.id)
   and (select relkind = 'r' from pg_class where oid = 'batches.batch'::regclass); -- In partitions they stay.
delete from batches.batch where pg_temp.chance(0.05);

-- Writers that meet leave several rows for the same project and device, and what is in one of them may be negative.
do $$
begin
  set local session_replication_role = replica;
  create temp table split on commit drop as
    select t.id, t.project_id, t.device_type, array(select coalesce(x, 0) + pg_temp.upto(5) - 2 from unnest(t.n) with ordinality u (x, i) order by i) as first, t.n
      from batches.batch_total t where pg_temp.chance(0.3);
  update batches.batch_total t set n = s.first::bigint[] from split s where t.project_id = s.project_id and t.id = s.id;
  insert into batches.batch_total (project_id, device_type, n)
  select project_id, device_type, array(select nullif(coalesce(x, 0) - y, 0) from unnest(n, first) with ordinality u (x, y, i) order by i) from split;
  set local session_replication_role = origin;
end $$;

-- Who is a member of what: a user of nothing, a user of everything, others of some projects.
insert into batches.project_member (project_id, user_id)
select project, member
  from pg_temp.pool, unnest(projects) project,
       (values ('one', 0.1), ('few', 0.3), ('many', 0.7), ('all', 2)) m (member, share)
 where pg_temp.chance(share);

-- Roles: row-level security as it is made; the same without rights on the totals; with a policy that hides batches, and one
-- that shows some of everybody's; and one that it does not bind.
create role batches_test_reader;
create role batches_test_uncounted;
create role batches_test_restricted;
create role batches_test_permitted;
create role batches_test_analyst bypassrls;
grant usage on schema batches
   to batches_test_reader, batches_test_uncounted, batches_test_restricted, batches_test_permitted, batches_test_analyst;
grant select on batches.batch, batches.batch_job_count, batches.job, batches.project_member
   to batches_test_reader, batches_test_uncounted, batches_test_restricted, batches_test_permitted, batches_test_analyst;
grant select on batches.batch_total to batches_test_reader, batches_test_restricted, batches_test_permitted, batches_test_analyst;
create policy not_paused on batches.batch as restrictive for select to batches_test_restricted using (status <> 'PAUSED');
select format('create policy some_projects on batches.%I for select to batches_test_permitted using (project_id = any (%L))',
              name, (select projects[1:4] from pg_temp.pool))
  from unnest(array['batch', 'batch_job_count', 'batch_total']) name \gexec

analyze batches.batch, batches.job, batches.batch_job_count, batches.batch_total, batches.project_member;

--
-- The plain formulation
--

-- The batches as the list shows them, their jobs counted one by one.
create table pg_temp.plain as
  select b.id, b.parent_id, b.status, not b.open as complete, b.open, b.priority, b.device_type, b.user_id, b.project_id,
         b.created_at, b.updated_at, r.jobs_count, r.jobs_count_per_status, b.tags, b.configuration,
         b.backend_configuration, b.webhook, b.start_datetime, b.end_datetime, b.queue_priority
    from batches.batch b
    cross join lateral (
      select coalesce(sum(n), 0)::int as jobs_count,
             coalesce(jsonb_object_agg(status, n) filter (where n > 0), '{}') as jobs_count_per_status
        from (select j.status, count(*) as n from batches.job j
               where j.project_id = b.project_id and j.batch_id = b.id group by j.status) s) r;
create index on pg_temp.plain (id);
analyze pg_temp.plain;

create function pg_temp.plain_rows(
    projects uuid[],  -- those that the caller sees; null: all
    hidden batches.batch_status,  -- of batches that the caller does not see; null: none
    id uuid[] default null, id__starts_with text default null, project_id uuid[] default null, user_id text[] default null,
    device_type text[] default null, status batches.batch_status[] default null, complete boolean default null,
    open boolean default null, min_jobs bigint default null, max_jobs bigint default null,
    start_date timestamptz default null, end_date timestamptz default null,
    queue_priority batches.queue_priority[] default null, tag text default null, created_after timestamptz default null,
    created_before timestamptz default null, parent_id uuid[] default null, updated_after timestamptz default null,
    updated_before timestamptz default null, tags_any text[] default null, tags_all text[] default null,
    exclude_status batches.batch_status[] default null, exclude_device_type text[] default null,
    order_by text default null, order_by_direction text default null)
  returns pg_temp.plain[] language plpgsql as $$
#variable_conflict use_variable
declare
  key constant text := case coalesce(order_by, 'created_at')
    when 'id' then 'id::text collate "C"'
    when 'project_id' then 'project_id::text collate "C"'
    when 'device_type' then 'convert_to(device_type, ''UTF8'')'
    when 'user_id' then 'convert_to(user_id, ''UTF8'')'
    when 'open' then 'case when open then 1 else 0 end'
    when 'complete' then 'case when open then 0 else 1 end'
    when 'status' then 'array_position(array[''PENDING'', ''RUNNING'', ''DONE'', ''CANCELED'', ''CANCELING'', ''TIMED_OUT'',
                                             ''ERROR'', ''PAUSED''], status::text)'
    when 'queue_priority' then 'array_position(array[''CRITICAL'', ''HIGH'', ''MEDIUM'', ''LOW'', ''FREE''],
                                               queue_priority::text)'
    else quote_ident(coalesce(order_by, 'created_at'))
  end;
  direction constant text := coalesce(order_by_direction, 'DESC');
  found pg_temp.plain[];
begin
  found := array(
    select p from pg_temp.plain p
     where (projects is null or p.project_id = any (projects))
       and (hidden is null or p.status <> hidden)
       and (coalesce(cardinality(id), 0) = 0 or p.id = any (id))
       and (id__starts_with is null or left(p.id::text, length(id__starts_with)) = lower(id__starts_with))
       and (coalesce(cardinality(project_id), 0) = 0 or p.project_id = any (project_id))
       and (coalesce(cardinality(user_id), 0) = 0 or p.user_id = any (user_id))
       and (coalesce(cardinality(device_type), 0) = 0 or p.device_type = any (device_type))
       and (coalesce(cardinality(status), 0) = 0 or p.status = any (status))
       and (complete is null or p.open <> complete)
       and (open is null or p.open = open)
       and (min_jobs is null or p.jobs_count >= min_jobs)
       and (max_jobs is null or p.jobs_count <= max_jobs)
       and (start_date is null or coalesce(p.start_datetime >= start_date, false))
       and (end_date is null or coalesce(p.end_datetime <= end_date, false))
       and (coalesce(cardinality(queue_priority), 0) = 0 or p.queue_priority = any (queue_priority))
       and (tag is null or exists (select from unnest(p.tags) t where t = tag collate "C"))
       and (created_after is null or p.created_at >= created_after)
       and (created_before is null or p.created_at <= created_before)
       and (coalesce(cardinality(parent_id), 0) = 0 or coalesce(p.parent_id = any (parent_id), false))
       and (updated_after is null or p.updated_at >= updated_after)
       and (updated_before is null or p.updated_at <= updated_before)
       and (coalesce(cardinality(tags_any), 0) = 0
            or exists (select from unnest(p.tags) t join unnest(tags_any) w on t = w collate "C"))
       and (coalesce(cardinality(tags_all), 0) = 0
            or not exists (select from unnest(tags_all) w where not exists (select from unnest(p.tags) t where t = w collate "C")))
       and (coalesce(cardinality(exclude_status), 0) = 0 or not p.status = any (exclude_status))
       and (coalesce(cardinality(exclude_device_type), 0) = 0 or not p.device_type = any (exclude_device_type)));
  execute format(
    'select array(select f from unnest($1) f order by (%1$s) is null %2$s, %1$s %2$s, id::text collate "C" %2$s)',
    key, direction) into found using found;
  return found;
end $$;

create function pg_temp.plain_time(t timestamptz) returns text language sql as $$
  select case
    when not isfinite(t) then t::text
    else case
           when year between 0 and 9999 then lpad(year::text, 4, '0')
           else case when year < 0 then '-' else '+' end || lpad(abs(year)::text, 6, '0')
         end || to_char(utc, '-MM-DD"T"HH24:MI:SS') || replace(to_char(utc, '.US'), '.000000', '') || 'Z'
  end
  from (select t at time zone 'UTC' as utc) u,
       lateral (select extract(year from utc)::int + case when extract(year from utc) < 0 then 1 else 0 end as year) y
$$;

create function pg_temp.plain_document(rows pg_temp.plain[], total bigint, start bigint, omitted text[]) returns jsonb language sql as $$
  select jsonb_build_object(
    'status', 'success', 'message', 'OK.', 'code', '200',
    'data', coalesce((
      select jsonb_agg(
               (jsonb_build_object(
                 'id', r.id, 'status', r.status, 'complete', not r.open, 'open', r.open, 'priority', r.priority,
                 'device_type', r.device_type, 'user_id', r.user_id, 'project_id', r.project_id,
                 'created_at', pg_temp.plain_time(r.created_at), 'updated_at', pg_temp.plain_time(r.updated_at),
                 'jobs_count', r.jobs_count, 'jobs_count_per_status', r.jobs_count_per_status, 'tags', to_jsonb(r.tags),
                 'queue_priority', r.queue_priority)
               || jsonb_strip_nulls(jsonb_build_object(
                 'parent_id', r.parent_id, 'backend_configuration', r.backend_configuration, 'webhook', r.webhook,
                 'start_datetime', pg_temp.plain_time(r.start_datetime), 'end_datetime', pg_temp.plain_time(r.end_datetime)))
               || case when r.configuration is null then '{}' else jsonb_build_object('configuration', r.configuration) end)
               - omitted
               order by n)
        from unnest(rows) with ordinality r (
          id, parent_id, status, complete, open, priority, device_type, user_id, project_id, created_at, updated_at,
          jobs_count, jobs_count_per_status, tags, configuration, backend_configuration, webhook, start_datetime,
          end_datetime, queue_priority, n)), '[]'),
    'pagination', jsonb_build_object('total', total, 'start', start, 'end', start + cardinality(rows)))
$$;

create function pg_temp.plain_facets(rows pg_temp.plain[]) returns jsonb language sql as $$
  select jsonb_build_object(
    'total', cardinality(rows),
    'status', (select coalesce(jsonb_object_agg(v, n), '{}') from (select status as v, count(*) as n from unnest(rows) group by 1) g),
    'open', (select coalesce(jsonb_object_agg(v, n), '{}') from (select open as v, count(*) as n from unnest(rows) group by 1) g),
    'device_type', (select coalesce(jsonb_object_agg(v, n), '{}') from (select device_type as v, count(*) as n from unnest(rows) group by 1) g),
    'queue_priority', (select coalesce(jsonb_object_agg(v, n), '{}') from (select queue_priority as v, count(*) as n from unnest(rows) group by 1) g),
    'project_id', (select coalesce(jsonb_object_agg(v, n), '{}') from (select project_id as v, count(*) as n from unnest(rows) group by 1) g))
$$;

--
-- The requests
--

create table pg_temp.request (
  n int, who text, role text, filters text, ordering text, "offset" bigint,
  omitted text[], without_total boolean, list_limit bigint, list_window text, document_who text, document_limit bigint, document_window text);

create function pg_temp.random_list("values" text[], unknown text) returns text[] language plpgsql volatile as $$
begin
  return case
    when pg_temp.chance(0.05) then '{}'
    else array(select case when pg_temp.chance(0.1) then unknown else pg_temp.pick("values") end
                 from generate_series(0, case when pg_temp.chance(0.1) then pg_temp.upto(200) else pg_temp.upto(8) end))
  end;
end $$;

create function pg_temp.random_filter(name text, pool pg_temp.pool) returns text language plpgsql volatile as $$
declare
  value text;
begin
  if pg_temp.chance(0.04) then
    return name || ' => null';
  end if;
  value := case name
    when 'id' then pg_temp.random_list(pool.ids::text[], pg_temp.random_uuid()::text)::text
    when 'id__starts_with' then
      case when pg_temp.chance(0.1) then pg_temp.pick(array['', '-', '%', '_', 'g', '0%', '0_', ' ', 'é', '\', '0g', 'ffffffffff'])
           when pg_temp.chance(0.3) then left(upper(pg_temp.pick(pool.ids)::text), pg_temp.upto(38))
           when pg_temp.chance(0.3) then pg_temp.pick(pool.prefixes)
           else left(pg_temp.pick(pool.ids)::text, 1 + pg_temp.upto(2)) end
    when 'project_id' then pg_temp.random_list(pool.projects::text[], pg_temp.random_uuid()::text)::text
    when 'user_id' then pg_temp.random_list(pool.users, 'nobody')::text
    when 'device_type' then pg_temp.random_list(pool.devices, 'NO_DEVICE')::text
    when 'status' then
      pg_temp.random_list(enum_range(null::batches.batch_status)::text[], 'DONE')::text
    when 'queue_priority' then
      pg_temp.random_list(enum_range(null::batches.queue_priority)::text[], 'FREE')::text
    when 'parent_id' then pg_temp.random_list(pool.parents::text[], pg_temp.random_uuid()::text)::text
    when 'exclude_status' then (pg_temp.random_list(enum_range(null::batches.batch_status)::text[], 'DONE'))[1 : 1 + pg_temp.upto(8)]::text
    when 'exclude_device_type' then pg_temp.random_list(pool.devices, 'NO_DEVICE')::text
    when 'tags_any' then pg_temp.random_list(pool.tags, 'no-tag')::text
    when 'tags_all' then (pg_temp.random_list(pool.tags, 'a'))[1 : 1 + pg_temp.upto(3)]::text
    when 'tag' then case when pg_temp.chance(0.1) then 'no-tag' else pg_temp.pick(pool.tags) end
    when 'complete' then pg_temp.chance(0.5)::text
    when 'open' then pg_temp.chance(0.5)::text
    when 'min_jobs' then pg_temp.pick(array[-1, 0, 1, 2, 3, 4, 5, 6, 12, 4294967296])::text
    when 'max_jobs' then pg_temp.pick(array[-1, 0, 1, 2, 3, 4, 5, 6, 12, 4294967296])::text
    else pg_temp.random_time()::text
  end;
  return format('%I => %L', name, value);
end $$;

do $$
declare
  names constant text[] := array[
    'id', 'id__starts_with', 'project_id', 'user_id', 'device_type', 'status', 'complete', 'open', 'min_jobs', 'max_jobs',
    'start_date', 'end_date', 'queue_priority', 'tag', 'created_after', 'created_before', 'parent_id', 'updated_after',
    'updated_before', 'tags_any', 'tags_all', 'exclude_status', 'exclude_device_type'];
  -- What totals can tell alone
  cell_names constant text[] := array['project_id', 'device_type', 'status', 'complete', 'open', 'queue_priority', 'exclude_status', 'exclude_device_type'];
  orders constant text[] := array[
    'created_at', 'updated_at', 'start_datetime', 'end_datetime', 'id', 'status', 'open', 'complete', 'priority',
    'device_type', 'user_id', 'project_id', 'jobs_count', 'queue_priority'];
  pool pg_temp.pool;
  share float8;
  page_limit bigint;
  only_cells boolean;
begin
  select * into strict pool from pg_temp.pool;
  for i in 1 .. current_setting('test.requests')::int loop
    -- Most requests have few filters, some have all.
    share := pg_temp.pick(array[0, 0, 1, 1, 1, 1, 2, 2, 3, 5, 23]) / 23.0;
    only_cells := pg_temp.chance(0.2);
    page_limit := case when pg_temp.chance(0.1) then 1 else 1 + pg_temp.upto(100) end;
    insert into pg_temp.request
    select i, who, role, filters, ordering, "offset", omitted, pg_temp.chance(0.1),
           case l when 'null' then 9223372036854775807 when '' then 100 else l::bigint end,
           concat_ws(', ', '"limit" => ' || nullif(l, ''),
                     case when "offset" > 0 or pg_temp.chance(0.5) then '"offset" => ' || "offset" end),
           case when who = '' then 'all' else who end,
           case d when 'null' then 100 when '' then 100 else d::bigint end,
           concat_ws(', ', '"limit" => ' || nullif(d, ''),
                     case when "offset" > 0 or pg_temp.chance(0.5) then '"offset" => ' || "offset" end)
      from (select case when pg_temp.chance(0.5) then ''
                        else pg_temp.pick(array['nobody', 'one', 'few', 'many', 'all']) end as who,
                   pg_temp.pick(array['none', 'none', 'batches_test_analyst', 'batches_test_reader', 'batches_test_reader',
                                      'batches_test_uncounted', 'batches_test_restricted', 'batches_test_permitted']) as role,
                   (select string_agg(pg_temp.random_filter(name, pool), ', ') from unnest(case when only_cells then cell_names else names end) name
                     where pg_temp.chance(case when only_cells then 0.3 else share end)) as filters,
                   concat_ws(', ',
                     case when pg_temp.chance(0.03) then 'order_by => null'
                          when pg_temp.chance(0.95) then format('order_by => %L', pg_temp.pick(orders)) end,
                     case when pg_temp.chance(0.03) then 'order_by_direction => null'
                          when pg_temp.chance(0.8) then format('order_by_direction => %L', pg_temp.pick(array['ASC', 'DESC'])) end)
                     as ordering,
                   case when pg_temp.chance(0.6) then 0 when pg_temp.chance(0.7) then pg_temp.upto(30)
                        else pg_temp.upto(4000) end as "offset",
                   case when pg_temp.chance(0.3) then
                     array(select key from unnest(array['configuration', 'backend_configuration', 'webhook', 'tags', 'jobs_count_per_status']) key
                            where pg_temp.chance(0.5)) else '{}' end as omitted,
                   case when pg_temp.chance(0.1) then 'null' when pg_temp.chance(0.1) then ''
                        when pg_temp.chance(0.1) then pg_temp.pick(array['101', '250', '3000', '9223372036854775807'])
                        else page_limit::text end as l,
                   case when pg_temp.chance(0.1) then 'null' when pg_temp.chance(0.1) then '' else page_limit::text end as d
              offset 0) r;
  end loop;
end $$;

--
-- The comparison
--

create table pg_temp.outcome (n int, total bigint, list_rows int, document_total bigint, document_rows int);
create table pg_temp.mismatch (n int, what text, call text, answer text, plain text);

create function pg_temp.projects_of(who text, role text) returns uuid[] language sql as $$
  select case
    when who <> '' then array(select m.project_id from batches.project_member m where m.user_id = who)
    when role = 'batches_test_permitted' then (select projects[1:4] from pg_temp.pool)
    when role not in ('none', 'batches_test_analyst') then '{}'
  end
$$;
create function pg_temp.hidden_from(role text) returns batches.batch_status language sql as $$
  select case when role = 'batches_test_restricted' then 'PAUSED'::batches.batch_status end
$$;
-- Indexes read what row-level security leaves to one user, as it is made; what other policies show is left to SQL.
create function pg_temp.engine_for(engine text, who text, role text) returns text language sql as $$
  select case when engine = 'sql' or role in ('none', 'batches_test_analyst')
                or (who <> '' and role in ('batches_test_reader', 'batches_test_uncounted')) then engine else 'auto' end
$$;

do $$
declare
  r pg_temp.request;
  engine text;
  omission text;
  nothing jsonb; -- of what is left out
  filters_and_order text;
  call text;
  answers text[];
  plains text[];
  answered bigint;
  document json;
  facets jsonb;
  found pg_temp.plain[];
  list_page pg_temp.plain[];
  document_found pg_temp.plain[];
  document_page pg_temp.plain[];
  plain_facets jsonb;
  plain_document jsonb;
begin
  for r in select * from pg_temp.request order by n loop
    filters_and_order := concat_ws(', ', r.filters, nullif(r.ordering, ''));
    execute format('select pg_temp.plain_rows(%s)', concat_ws(', ', '$1', '$2', nullif(filters_and_order, '')))
       into found using pg_temp.projects_of(r.who, r.role), pg_temp.hidden_from(r.role);
    document_found := found;
    if r.who <> r.document_who then
      execute format('select pg_temp.plain_rows(%s)', concat_ws(', ', '$1', '$2', nullif(filters_and_order, '')))
         into document_found using pg_temp.projects_of(r.document_who, r.role), pg_temp.hidden_from(r.role);
    end if;
    nothing := coalesce((select jsonb_object_agg(key, null) from unnest(r.omitted) key), '{}');
    list_page := array(select (f.*)::pg_temp.plain from unnest(found) f limit r.list_limit offset r."offset");
    document_page := array(select (f.*)::pg_temp.plain from unnest(document_found) f limit r.document_limit offset r."offset");
    insert into pg_temp.outcome values (r.n, cardinality(found), cardinality(list_page), cardinality(document_found),
                                        cardinality(document_page));
    plains := array(select jsonb_populate_record(p, nothing)::text from unnest(list_page) p);
    plain_facets := pg_temp.plain_facets(found);
    plain_document := pg_temp.plain_document(document_page, case when not r.without_total then cardinality(document_found) end, r."offset",
                                             r.omitted);

    foreach engine in array array['index', 'sql'] loop
      perform set_config('batches.scan', pg_temp.engine_for(engine, r.who, r.role), true);
      perform set_config('batches.user_id', r.who, true), set_config('role', r.role, true);
      omission := case when r.omitted <> '{}' then format('omit => %L', r.omitted) end;
      call := format('batches.list_batches(%s)',
                     concat_ws(', ', nullif(filters_and_order, ''), nullif(r.list_window, ''), omission));
      execute format('select array(select l::text from %s l)', call) into answers;
      perform set_config('role', 'none', true);
      if answers is distinct from plains then
        insert into pg_temp.mismatch
        select r.n, engine || ' list', call, a, p from unnest(answers, plains) u (a, p) where a is distinct from p limit 1;
      end if;

      perform set_config('role', r.role, true);
      call := format('batches.count_batches(%s)', r.filters);
      execute 'select ' || call into answered;
      perform set_config('role', 'none', true);
      if answered is distinct from cardinality(found) then
        insert into pg_temp.mismatch values (r.n, engine || ' count', call, answered::text, cardinality(found)::text);
      end if;

      perform set_config('role', r.role, true);
      call := format('batches.batch_facets(%s)', r.filters);
      execute 'select ' || call into facets;
      perform set_config('role', 'none', true);
      if facets is distinct from plain_facets then
        insert into pg_temp.mismatch values (r.n, engine || ' facets', call, facets::text, plain_facets::text);
      end if;

      perform set_config('batches.scan', pg_temp.engine_for(engine, r.document_who, r.role), true);
      perform set_config('batches.user_id', r.document_who, true), set_config('role', r.role, true);
      call := format('batches.get_all_batches(%s)',
                     concat_ws(', ', nullif(filters_and_order, ''), nullif(r.document_window, ''), omission,
                               case when r.without_total then 'total => ''none''' end));
      execute 'select ' || call into document;
      perform set_config('role', 'none', true);
      if document::jsonb is distinct from plain_document then
        insert into pg_temp.mismatch
        select r.n, engine || ' document', call, coalesce(a::text, document->>'pagination'), coalesce(p::text, plain_document->>'pagination')
          from jsonb_array_elements(document::jsonb->'data') with ordinality x (a, i)
          full join jsonb_array_elements(plain_document->'data') with ordinality y (p, i) using (i)
         where a is distinct from p
         union all
        select r.n, engine || ' document', call, left(document::text, 200), left(plain_document::text, 200)
         limit 1;
      end if;
    end loop;
    perform set_config('batches.user_id', '', true);
    exit when (select count(*) from pg_temp.mismatch) >= 10;
  end loop;
end $$;

select diag(format(E'request %s as user "%s", role %s, seed %s\n%s\nanswered: %s\nplain:    %s', m.n,
                   case when m.what ~ 'document' then r.document_who else r.who end, r.role, :seed, m.call,
                   left(m.answer, 1500), left(m.plain, 1500)))
  from pg_temp.mismatch m join pg_temp.request r using (n) order by n, what;

select is((select count(*) from pg_temp.mismatch where what ~ ' list$'), 0::bigint,
          'every list has the rows of the plain formulation, in its order');
select is((select count(*) from pg_temp.mismatch where what ~ ' count$'), 0::bigint,
          'every count is that of the plain formulation');
select is((select count(*) from pg_temp.mismatch where what ~ ' document$'), 0::bigint,
          'every document has the items, the total and the page of the plain formulation');
select is((select count(*) from pg_temp.mismatch where what ~ ' facets$'), 0::bigint,
          'all facets are those of the plain formulation');
select is((select count(*) from pg_temp.mismatch), 0::bigint, 'nothing else is another thing either');
select is_empty('select * from batches.verify_counts()', 'the job counts and the totals are those of a recount');

-- The requests were worth making.
select is((select count(*) from pg_temp.outcome), :requests::bigint, 'every request was made');
select cmp_ok((select count(*) from pg_temp.outcome where list_rows > 1), '>', (:requests / 5)::bigint,
              'many lists have several rows');
select cmp_ok((select count(*) from pg_temp.outcome where document_rows > 1 and document_rows < document_total), '>',
              (:requests / 20)::bigint, 'many documents are a part of what there is');
select cmp_ok((select count(*) from pg_temp.outcome where total = 0), '>', (:requests / 20)::bigint,
              'many requests find nothing');
select cmp_ok((select count(*) from pg_temp.outcome o join pg_temp.request r using (n)
                where o.total > 0 and r.role in ('none', 'batches_test_reader', 'batches_test_analyst')
                  and not exists (select from regexp_matches(r.filters, '(\w+) => ''', 'g') f
                                   where f[1] not in ('project_id', 'device_type', 'status', 'complete', 'open', 'queue_priority', 'exclude_status', 'exclude_device_type'))),
              '>', (:requests / 10)::bigint, 'many requests find what totals can tell');
select case when :requests < 500 then skip('so few requests do not come from every role') else
  is((select count(distinct (r.role, r.who = '')) from pg_temp.outcome o join pg_temp.request r using (n) where o.total > 1), 9::bigint,
     'every role has found batches, with a user and without one where it may') end;
select cmp_ok((select count(distinct (order_by[1], direction[1]))
             from pg_temp.request r join pg_temp.outcome o using (n),
                  regexp_match(ordering, 'order_by => ''(\w+)''') order_by,
                  regexp_match(ordering, 'order_by_direction => ''(\w+)''') direction
            where o.list_rows > 1 and order_by is not null and direction is not null), '>=', least(28, :requests / 28)::bigint,
          'every order in both directions put several rows in order');
select cmp_ok((select count(distinct name[1])
             from pg_temp.request r join pg_temp.outcome o using (n), regexp_matches(filters, '(\w+) => ''', 'g') name
            where o.total between 1 and 2000), '>=', least(23, :requests / 33)::bigint,
          'every filter left some of the batches out');

select * from finish();
rollback;
