-- Sample data: projects with their members, batches of every status and their
-- jobs, over the years 2024 and 2025. Run it in a database where
-- batches.create_tables() was called, as the owner of the tables:
--
--   psql -d demo -v batches=10000 -v jobs=10 -v seed=1 -f examples/sample_data.sql
--
-- "jobs" is about how many a batch has on average, 1 to 20. The same values always
-- give the same rows.

\set saved_on_error_stop :ON_ERROR_STOP
\set saved_quiet :QUIET
\set ON_ERROR_STOP on
\set QUIET on
\if :{?batches}
\else
  \set batches 10000
\endif
\if :{?jobs}
\else
  \set jobs 10
\endif
\if :{?seed}
\else
  \set seed 1
\endif

select :batches < 1 as too_few, :jobs not between 1 and 20 as bad_jobs,
       exists (select from batches.batch union all select from batches.project_member) as loaded \gset
\if :too_few
  do $$ begin raise exception 'batches must be 1 or more'; end $$;
\endif
\if :bad_jobs
  do $$ begin raise exception 'jobs must be 1 to 20'; end $$;
\endif
\if :loaded
  do $$ begin raise exception 'the tables have rows already: truncate them, or take a new database'; end $$;
\endif

-- A number in [0, 1) that depends on nothing but the seed, n and what it is for.
create function pg_temp.chance(n bigint, purpose bigint) returns double precision
  language sql immutable parallel safe
  return (hashint8extended(n, :seed * 1000 + purpose) & 4503599627370495) / 4503599627370496.0::double precision;

create function pg_temp.chance_uuid(kind text, n bigint, k bigint default 0) returns uuid
  language sql immutable parallel safe
  return md5(concat_ws(' ', kind, :seed, n, k))::uuid;

-- What to do for the batches first .. last of total. Returns the progress.
create function pg_temp.load_batches(first bigint, last bigint, total bigint, projects bigint, jobs double precision) returns text
  language plpgsql
as $$
begin
  truncate pg_temp.chunk;

  insert into pg_temp.chunk
  with numbered as (
    select n,
           -- The cube makes a few projects large and most of them small.
           1 + floor(projects * pg_temp.chance(n, 1) ^ 3)::bigint as project,
           -- The first eight of the newest show one status each.
           case when n > total - 8 then (enum_range(null::batches.batch_status)::text[])[total - n + 1]
                when n > total * 0.97 then                 -- recent: many wait
                  case when c < 0.55 then 'PENDING'
                       when c < 0.63 then 'RUNNING'
                       when c < 0.72 then 'PAUSED'
                       when c < 0.76 then 'CANCELING'
                       when c < 0.90 then 'DONE'
                       when c < 0.95 then 'CANCELED'
                       when c < 0.98 then 'ERROR'
                       else 'TIMED_OUT' end
                else
                  case when c < 0.924 then 'DONE'
                       when c < 0.959 then 'ERROR'
                       when c < 0.989 then 'CANCELED'
                       else 'TIMED_OUT' end
           end::batches.batch_status as status,
           timestamptz '2024-01-01Z' + interval '1 second' * (730 * 86400 * ((n - pg_temp.chance(n, 2)) / total)) as created_at
      from generate_series(first, last) as n, pg_temp.chance(n, 3) as c
  ), timed as (
    select *,
           -- Canceled before it started, or still waiting
           case when status <> 'PENDING' and not (status = 'CANCELED' and pg_temp.chance(n, 4) < 0.5)
             then created_at + interval '10 hours' * pg_temp.chance(n, 5) ^ 6 + interval '1 second' end as start_datetime
      from numbered
  ), ended as (
    select *,
           case when status in ('DONE', 'ERROR', 'CANCELED', 'TIMED_OUT')
             then coalesce(start_datetime, created_at) + interval '12 hours' * pg_temp.chance(n, 6) ^ 8 + interval '3 seconds'
           end as end_datetime
      from timed
  )
  select e.n, p.id, pg_temp.chance_uuid('batch', n), e.status, e.created_at, e.start_datetime, e.end_datetime,
         p.members[1 + floor(cardinality(p.members) * pg_temp.chance(n, 7))::int],
         case when d < 0.30 then 'FRESNEL'
              when d < 0.40 then 'FRESNEL_CAN1'
              when d < 0.75 then 'EMU_FREE'
              when d < 0.85 then 'EMU_MPS'
              when d < 0.95 then 'EMU_SV'
              else 'EMU_TN' end,
         -- 0 to 30 jobs; a batch that ended well has one at least
         case when status in ('PENDING', 'CANCELED') and pg_temp.chance(n, 8) < 0.2 then 0
              else 1 + floor(30 * pg_temp.chance(n, 9) ^ (30 / load_batches.jobs - 1))::int end
    from ended e
    join pg_temp.project p on p.number = e.project
   cross join pg_temp.chance(e.n, 10) as d;

  insert into batches.batch
    (project_id, id, parent_id, status, open, priority, device_type, user_id, created_at, updated_at,
     tags, configuration, backend_configuration, webhook, start_datetime, end_datetime, queue_priority)
  select project_id, id,
         -- The batch that follows one in error in its project may retry it.
         case when lag(status) over project = 'ERROR' and pg_temp.chance(n, 20) < 0.5 then lag(id) over project end,
         status,
         pg_temp.chance(n, 21) < case when status in ('PENDING', 'RUNNING', 'PAUSED') then 0.6 else 0.001 end,
         case when pg_temp.chance(n, 22) < 0.05 then 1 + floor(10 * pg_temp.chance(n, 23))::int else 0 end,
         device_type, user_id, created_at, coalesce(end_datetime, start_datetime, created_at),
         array_remove(array[
           case when pg_temp.chance(n, 24) < 0.25
             then (array['benchmark', 'calibration', 'production', 'test'])[1 + floor(4 * pg_temp.chance(n, 25))::int] end,
           case when pg_temp.chance(n, 26) < 0.15
             then 'experiment-' || 1 + floor((1 + total / 100) * pg_temp.chance(n, 27)) end,
           case when pg_temp.chance(n, 28) < 0.001 then 'golden' end], null),
         case when pg_temp.chance(n, 29) < 0.10
           then jsonb_build_object('dt', 10, 'precision', (array['low', 'normal', 'high'])[1 + floor(3 * pg_temp.chance(n, 30))::int]) end,
         case when device_type like 'EMU%' and pg_temp.chance(n, 31) < 0.15
           then format('{"bond_dimension": %s, "observables": [%s"energy"]}', 2 ^ (4 + floor(7 * pg_temp.chance(n, 32))),
                       -- A few are large.
                       case when pg_temp.chance(n, 33) < 0.005 then repeat('"occupation", ', 2000) end) end,
         case when pg_temp.chance(n, 34) < 0.05 then 'https://hooks.example.com/' || user_id end,
         start_datetime, end_datetime,
         case when device_type = 'EMU_FREE' and q < 0.6 then 'FREE'
              when q < 0.01 then 'CRITICAL'
              when q < 0.10 then 'HIGH'
              when q < 0.80 then 'MEDIUM'
              else 'LOW' end::batches.queue_priority
    from pg_temp.chunk cross join pg_temp.chance(n, 35) as q
  window project as (partition by project_id order by n)
   order by n;

  insert into batches.job (project_id, batch_id, id, status, created_at, updated_at)
  select project_id, c.id, pg_temp.chance_uuid('job', n, k),
         -- The first ones are done; then comes what the batch's status says.
         case when status = 'DONE' or (k <= done and status <> 'PENDING')
                then case when pg_temp.chance(n * 100 + k, 41) < 0.01 then 'ERROR' else 'DONE' end
              when status = 'ERROR' then 'ERROR'
              when status in ('CANCELED', 'TIMED_OUT') then 'CANCELED'
              when status = 'CANCELING' then 'CANCELING'
              when status = 'RUNNING' and k = done + 1 then 'RUNNING'
              else 'PENDING' end::batches.job_status,
         created_at, coalesce(end_datetime, start_datetime, created_at)
    from pg_temp.chunk c
   cross join lateral (select floor(c.jobs * pg_temp.chance(n, 40))::int) as progress (done)
   cross join generate_series(1, c.jobs) as k
   order by n, k;

  return format('loaded %s of %s batches', last, total);
end
$$;

create temp table chunk (n bigint, project_id uuid, id uuid, status batches.batch_status,
  created_at timestamptz, start_datetime timestamptz, end_datetime timestamptz,
  user_id text, device_type text, jobs int);

-- Projects, each with one to six members. Two users are always worth asking
-- for: user-1 is in a large project and in a middle one, user-2 in up to fifty.
select greatest(5, :batches / 1000) as projects \gset
create temp table project as
  select number, pg_temp.chance_uuid('project', number) as id,
         array_agg(distinct user_id order by user_id) as members
    from generate_series(1, :projects) as number
   cross join lateral (
     select 'user-' || 3 + floor(2 * :projects * pg_temp.chance(number * 10 + k, 50))
       from generate_series(1, 1 + floor(6 * pg_temp.chance(number, 51))::int) as k
      union all
     select 'user-1' where number in (1, (:projects + 1) / 2)
      union all
     select 'user-2' where number <= 50
   ) as member (user_id)
   group by number;
create unique index on project (number);
analyze project;
insert into batches.project_member (project_id, user_id)
  select id, unnest(members) from project order by number;

-- One transaction for each chunk: a tenth of the whole, 1000 to 10000 batches.
-- COPY prints the progress as it is, whatever psql's output format.
select least(10000, greatest(1000, :batches / 10)) as chunk \gset
select format('copy (select pg_temp.load_batches(%s, %s, %s, %s, %s)) to stdout',
              first, least(first + :chunk - 1, :batches), :batches, :projects, :jobs)
  from generate_series(1, :batches, :chunk) as first
 order by first \gexec

vacuum (analyze) batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member;

drop table pg_temp.chunk, pg_temp.project;
drop function pg_temp.load_batches, pg_temp.chance_uuid, pg_temp.chance;
\set QUIET :saved_quiet
\set ON_ERROR_STOP :saved_on_error_stop
