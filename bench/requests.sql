-- The requests that are measured, in a schema "bench" of the database that has the
-- sample data: what each contender runs for a request is bench.statement().

create schema bench;

-- Who asks: members of one project each, of 50 and of 1,000. Where there are not as
-- many projects with batches, the others are new and empty.
create table bench.project as
  select row_number() over (order by count(*) desc, project_id) as place, project_id, count(*) as batches
    from batches.batch group by project_id;
create table bench.member as
  select 'small' as user_id, project_id from bench.project where place = (select count(*) from bench.project)
   union all
  select 'middle', project_id from bench.project where place = (select (count(*) + 1) / 2 from bench.project)
   union all
  select 'large', project_id from bench.project where place = 1
   union all
  (select 'fifty', project_id from bench.project
    where (place - 1) % greatest(1, (select count(*) / 50 from bench.project)) = 0 order by place limit 50)
   union all
  (select 'thousand', project_id from bench.project order by place limit 1000);
insert into bench.member
  select w.user_id, md5('empty ' || n)::uuid
    from (values ('fifty', 50), ('thousand', 1000)) w (user_id, wanted),
         generate_series(1, w.wanted - (select count(*) from bench.member m where m.user_id = w.user_id)) n;
insert into batches.project_member (user_id, project_id) select 'bench-' || user_id, project_id from bench.member;
vacuum (analyze) batches.project_member;

create table bench.request (
  number integer generated always as identity,
  name text primary key,
  user_id text not null,
  arguments text[] not null default '{}', -- of our functions
  conditions text[] not null default '{}', -- the same in SQL, with the columns of batch,
  count_conditions text[] not null default '{}', -- and with those of batch_job_count
  order_by text not null default 'created_at',
  descending boolean not null default true,
  page_offset integer not null default 0,
  kinds text[] not null default '{total,page}', -- what is asked for: see bench/run
  churned boolean not null default false, -- asked beside writers too
  random boolean not null default false
);

insert into bench.request (name, user_id, arguments, conditions) values
  ('newest, small project', 'small', '{}', '{}'),
  ('newest, middle project', 'middle', '{}', '{}'),
  ('newest, largest project', 'large', '{}', '{}'),
  ('newest, 50 projects', 'fifty', '{}', '{}'),
  ('newest, 1,000 projects', 'thousand', '{}', '{}'),
  ('rare status, 50 projects', 'fifty', array[$$status => '{RUNNING}'$$], array[$$status = 'RUNNING'$$]),
  ('rare status, everything', 'thousand', array[$$status => '{RUNNING}'$$], array[$$status = 'RUNNING'$$]),
  ('rare status, largest project', 'large', array[$$status => '{RUNNING}'$$], array[$$status = 'RUNNING'$$]),
  ('device, 1,000 projects', 'thousand', array[$$device_type => '{EMU_TN}'$$], array[$$device_type = 'EMU_TN'$$]),
  ('status and device', 'fifty', array[$$status => '{ERROR}'$$, $$device_type => '{EMU_TN}'$$],
   array[$$status = 'ERROR'$$, $$device_type = 'EMU_TN'$$]),
  ('tag, rare', 'fifty', array[$$tag => 'golden'$$], array[$$tags @> array['golden']$$]),
  ('tag, common', 'fifty', array[$$tag => 'benchmark'$$], array[$$tags @> array['benchmark']$$]),
  ('a day', 'fifty', array[$$start_date => '2025-01-15Z', end_date => '2025-01-16Z'$$],
   array[$$start_datetime >= '2025-01-15Z'$$, $$end_datetime <= '2025-01-16Z'$$]),
  ('a year', 'fifty', array[$$start_date => '2024-07-01Z', end_date => '2025-07-01Z'$$],
   array[$$start_datetime >= '2024-07-01Z'$$, $$end_datetime <= '2025-07-01Z'$$]);

-- Below 128 a size class holds one number of jobs, so that the index alone tells.
insert into bench.request (name, user_id, arguments, count_conditions) values
  ('min_jobs 30', 'fifty', array[$$min_jobs => 30$$], array[$$c.size_class >= 30$$]),
  ('max_jobs 0', 'fifty', array[$$max_jobs => 0$$], array[$$c.size_class <= 0$$]);

insert into bench.request (name, user_id, arguments, conditions)
  select 'one user', 'fifty', array[format('user_id => array[%L]', user_id)], array[format('user_id = %L', user_id)]
    from batches.batch where project_id in (select project_id from bench.member where user_id = 'middle')
   order by created_at limit 1;
insert into bench.request (name, user_id, arguments, conditions)
  select format('id prefix of %s digits', n), 'fifty', array[format('id__starts_with => %L', left(x.id::text, n))],
         -- A range: what a good programmer would write.
         array[format('id between %L and %L', rpad(left(replace(x.id::text, '-', ''), n), 32, '0'),
                      rpad(left(replace(x.id::text, '-', ''), n), 32, 'f'))]
    from (select b.id from batches.batch b join bench.member m using (project_id) where m.user_id = 'fifty' order by b.id limit 1) x,
         (values (2), (4), (8)) v (n);
insert into bench.request (name, user_id, arguments, conditions)
  select '100 ids', 'fifty', array[format('id => %L', array_agg(id))], array[format('id = any (%L)', array_agg(id))]
    from (select b.id from batches.batch b join bench.member m using (project_id)
           where m.user_id = 'fifty' order by md5(b.id::text) limit 100) x;
insert into bench.request (name, user_id, order_by)
  select 'order_by ' || c, 'fifty', c
    from unnest(array['updated_at', 'start_datetime', 'end_datetime', 'id', 'status', 'open', 'complete', 'priority',
                      'device_type', 'user_id', 'project_id', 'jobs_count', 'queue_priority']) c;
insert into bench.request (name, user_id, page_offset) values
  ('offset 1,000', 'thousand', 1000), ('offset 100,000', 'thousand', 100000);

update bench.request set kinds = kinds || '{count,facets}'
 where name like 'newest, %' or name in ('rare status, 50 projects', 'device, 1,000 projects', 'min_jobs 30', 'tag, rare');
update bench.request set churned = true
 where 'count' = any (kinds) or name in ('status and device', 'order_by updated_at');

-- Random requests: whom, which filters, which order, which page.
create function bench.pick(what text[]) returns text language sql volatile
  return what[1 + floor(random() * cardinality(what))];
select setseed(0.42) as seeded \gset
do $$
declare
  filters constant text[] := '{status,device_type,user_id,open,queue_priority,min_jobs,max_jobs,start_date,end_date,tag,created_after,id__starts_with}';
  orders constant text[] := '{created_at,created_at,created_at,updated_at,start_datetime,end_datetime,id,status,open,complete,priority,device_type,user_id,project_id,jobs_count,queue_priority}';
  filter text;
  value text;
  time text;
  arguments text[];
  conditions text[];
  count_conditions text[];
begin
  for n in 1 .. 1000 loop
    arguments := '{}';
    conditions := '{}';
    count_conditions := '{}';
    foreach filter in array filters loop
      continue when random() > 0.15;
      time := to_char('2024-01-01Z'::timestamptz + random() * interval '2 years', 'YYYY-MM-DD"Z"');
      case filter
        when 'status' then
          value := (select array_agg(distinct bench.pick('{PENDING,RUNNING,DONE,DONE,ERROR,CANCELED,TIMED_OUT}'))
                      from generate_series(1, 1 + floor(random() * 2)::int));
          conditions := conditions || format('status = any (%L)', value);
        when 'device_type' then
          value := array[bench.pick('{FRESNEL,FRESNEL_CAN1,EMU_FREE,EMU_MPS,EMU_TN,NONE}')];
          conditions := conditions || format('device_type = any (%L)', value);
        when 'user_id' then
          value := md5(random()::text);
          value := (select array_agg(u) from (select b.user_id from batches.batch b
                                               where b.id >= value::uuid order by b.id limit 1) x (u));
          conditions := conditions || format('user_id = any (%L)', value);
        when 'open' then
          value := random() < 0.5;
          conditions := conditions || format('open = %L', value);
        when 'queue_priority' then
          value := array[bench.pick('{CRITICAL,HIGH,MEDIUM,LOW,FREE}')];
          conditions := conditions || format('queue_priority = any (%L)', value);
        when 'min_jobs' then
          value := floor(random() * 31);
          count_conditions := count_conditions || format('c.size_class >= %s', value);
        when 'max_jobs' then
          value := floor(random() * 31);
          count_conditions := count_conditions || format('c.size_class <= %s', value);
        when 'start_date' then
          value := time;
          conditions := conditions || format('start_datetime >= %L', value);
        when 'end_date' then
          value := time;
          conditions := conditions || format('end_datetime <= %L', value);
        when 'created_after' then
          value := time;
          conditions := conditions || format('created_at >= %L', value);
        when 'tag' then
          value := bench.pick('{benchmark,calibration,golden,experiment-7,none}');
          conditions := conditions || format('tags @> array[%L]', value);
        when 'id__starts_with' then
          value := left(md5(random()::text), 1 + floor(random() * 3)::int);
          conditions := conditions || format('id between %L and %L', rpad(value, 32, '0'), rpad(value, 32, 'f'));
      end case;
      arguments := arguments || format('%s => %L', filter, value);
    end loop;
    insert into bench.request (name, user_id, arguments, conditions, count_conditions, order_by, descending, page_offset, random)
      values ('random ' || n, bench.pick('{small,middle,large,fifty,thousand}'), arguments, conditions, count_conditions, bench.pick(orders),
              random() < 0.7, case when random() < 0.1 then floor(random() * 5000) else 0 end, true);
  end loop;
end $$;

-- What is finished: the documents, and the rows of a page.
create table bench.document (number integer primary key, document text);
create table bench.page as select 0 as number, * from batches.list_batches("limit" => 1) with no data;
create index on bench.page (number);

create function bench.filters(r bench.request) returns text language sql stable
  return array_to_string(r.arguments, ', ');
create function bench.arguments(r bench.request) returns text language sql stable
  return concat_ws(', ', nullif(bench.filters(r), ''), format('order_by => %L', r.order_by),
                   format('order_by_direction => %L', case when r.descending then 'DESC' else 'ASC' end),
                   format('"offset" => %s', r.page_offset));

-- What a contender runs: a function of ours, what is stored, or a peer's text of bench/peers with
-- the request in its places. Null where that form is not for this request.
create function bench.statement(r bench.request, contender text, template text default null) returns text
  language plpgsql stable as $$
declare
  direction constant text := case when r.descending then 'desc' else 'asc' end;
  counted constant boolean := r.count_conditions <> '{}'; -- which batches match is for their jobs to say
  projects constant uuid[] := array(select project_id from bench.member m where m.user_id = r.user_id);
  project constant text := case cardinality(projects) when 1 then format('= %L', projects[1]) else format('= any (%L::uuid[])', projects) end;
  key constant text := case r.order_by when 'complete' then '(not batch.open)'
                         when 'jobs_count' then format('c.size_class %s, c.jobs_count', direction) else 'batch.' || r.order_by end;
  place text;
  value text;
begin
  case contender
    when 'document' then
      return format('select batches.get_all_batches(%s);', bench.arguments(r));
    when 'rows' then
      return format('select * from batches.list_batches(%s);', bench.arguments(r));
    when 'count' then
      return format('select batches.count_batches(%s);', bench.filters(r));
    when 'facets' then
      return format('select batches.batch_facets(%s);', bench.filters(r));
    when 'stored_document' then
      return format('select document from bench.document where number = %s;', r.number);
    when 'stored_rows' then
      return format('select * from bench.page where number = %s;', r.number);
    else
      null;
  end case;
  if contender = 'page_by_project' and (cardinality(projects) = 1 or r.order_by = 'jobs_count')
     or contender = 'page_from_counts' and not counted and r.order_by <> 'jobs_count'
     or contender = 'page_from_batches' and (not counted or r.order_by = 'jobs_count') then
    return null;
  end if;
  template := regexp_replace(template, '^(--[^\n]*\n)*', '') || ';';
  for place, value in values
    ('from', 'batches.batch' || case when counted or r.order_by = 'jobs_count' then
       ' join batches.batch_job_count c on c.project_id = batch.project_id and c.batch_id = batch.id' else '' end),
    ('condition', array_to_string(('batch.project_id ' || project) || r.conditions || r.count_conditions, ' and ')),
    ('count_condition', array_to_string(('c.project_id ' || project) || r.count_conditions, ' and ')),
    ('batch_condition', coalesce(nullif(array_to_string(r.conditions, ' and '), ''), 'true')),
    -- How all that match are read for a total. The planner leaves out a left join that nothing is taken from.
    ('matching', case when counted then
       format('batches.batch_job_count c left join batches.batch on batch.project_id = c.project_id and batch.id = c.batch_id where %s',
              array_to_string(('c.project_id ' || project) || r.conditions || r.count_conditions, ' and '))
       else format('batches.batch where %s', array_to_string(('batch.project_id ' || project) || r.conditions, ' and ')) end),
    ('order', format('%2$s %1$s, batch.id %1$s', direction, key)),
    -- Of batch_job_count alone, so that its rows can be sorted before their batches are looked up
    ('count_order', format('%2$s %1$s, %3$s %1$s', direction, key, case r.order_by when 'jobs_count' then 'c.batch_id' else 'batch.id' end)),
    ('item_order', format('%2$s %1$s, item.id %1$s', direction,
                          case r.order_by when 'jobs_count' then 'item.jobs_count' else replace(key, 'batch.', 'item.') end)),
    ('offset', r.page_offset::text),
    ('projects', format('%L::uuid[]', projects)),
    -- The counts of a page's row, as the document has them and as they are stored
    ('counts', $counts$c.jobs_count, json_strip_nulls(json_build_object('PENDING', nullif(c.pending_jobs, 0), 'RUNNING', nullif(c.running_jobs, 0),
      'DONE', nullif(c.done_jobs, 0), 'ERROR', nullif(c.error_jobs, 0), 'CANCELED', nullif(c.canceled_jobs, 0),
      'CANCELING', nullif(c.canceling_jobs, 0))) as jobs_count_per_status$counts$),
    ('stored_counts', 'c.jobs_count, c.pending_jobs, c.running_jobs, c.done_jobs, c.error_jobs, c.canceled_jobs, c.canceling_jobs')
  loop
    template := replace(template, '@' || place || '@', value);
  end loop;
  return template;
end $$;

-- Stores what is finished.
do $$
declare
  r bench.request;
begin
  for r in select * from bench.request where not random loop
    perform set_config('batches.user_id', 'bench-' || r.user_id, true);
    execute format('insert into bench.document %s', replace(bench.statement(r, 'document'), 'select ', format('select %s, ', r.number)));
    execute format('insert into bench.page %s', replace(bench.statement(r, 'rows'), 'select ', format('select %s, ', r.number)));
  end loop;
end $$;
vacuum (analyze) bench.document, bench.page;
