-- What batches.batch_job_count and batches.batch_total say is what a recount of the batches and the jobs
-- says, whatever statement changes them.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
truncate batches.batch, batches.job, batches.project_member;

select plan(295);

--
-- Helpers
--

create function pg_temp.p(n int) returns uuid language sql immutable
  return ('a0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('b0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.j(n int) returns uuid language sql immutable
  return ('c0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;

-- What the derived tables have that a recount has not, or the other way round: the jobs of each batch, and the
-- batches of each project by device, status, open and priority, and of all devices. A batch without jobs has zeros.
create function pg_temp.miscounted() returns table (what text, kept text, recount text)
  language sql stable as $$
  with kept_jobs as (
    select c.project_id, c.batch_id,
           array[c.jobs_count, c.pending_jobs, c.running_jobs, c.done_jobs, c.error_jobs, c.canceled_jobs,
                 c.canceling_jobs, c.size_class]::bigint[] as counts
      from batches.batch_job_count c
  ), jobs as (
    select b.project_id, b.id as batch_id,
           array[count(j.id), count(*) filter (where j.status = 'PENDING'), count(*) filter (where j.status = 'RUNNING'),
                 count(*) filter (where j.status = 'DONE'), count(*) filter (where j.status = 'ERROR'),
                 count(*) filter (where j.status = 'CANCELED'), count(*) filter (where j.status = 'CANCELING'),
                 batches.size_class(count(j.id)::int)] as counts
      from batches.batch b left join batches.job j on j.project_id = b.project_id and j.batch_id = b.id
     group by b.project_id, b.id
  ), kept_cells as (
    select t.project_id, coalesce('on ' || t.device_type, 'all') as device,
           (enum_range(null::batches.batch_status))[1 + (c.i - 1) / 10] as status, (c.i - 1) / 5 % 2 = 1 as open,
           (enum_range(null::batches.queue_priority))[1 + (c.i - 1) % 5] as queue_priority, sum(c.n) as n
      from batches.batch_total t cross join unnest(t.n) with ordinality as c (n, i)
     where c.n <> 0
     group by 1, 2, 3, 4, 5
    having sum(c.n) <> 0
  ), cells as (
    select b.project_id, d.device, b.status, b.open, b.queue_priority, count(*)::numeric as n
      from batches.batch b cross join lateral (values ('on ' || b.device_type), ('all')) as d (device)
     group by 1, 2, 3, 4, 5
  )
  select 'jobs of ' || project_id || ' ' || batch_id, k.counts::text, a.counts::text
    from kept_jobs k full join jobs a using (project_id, batch_id)
   where k.counts is distinct from a.counts
  union all
  select concat_ws(' ', 'batches of', project_id, device, status, open, queue_priority), k.n::text, a.n::text
    from kept_cells k full join cells a using (project_id, device, status, open, queue_priority)
   where k.n is distinct from a.n
$$;

-- Two tests: the extension's own verification and the recount above find nothing wrong.
create function pg_temp.counts_hold(what text) returns setof text language plpgsql as $$
begin
  return next is_empty('select * from batches.verify_counts()', 'verify_counts() is empty ' || what);
  return next is_empty('select * from pg_temp.miscounted()', 'a recount agrees ' || what);
end $$;

-- The seven numbers of one batch: all, PENDING, RUNNING, DONE, ERROR, CANCELED, CANCELING.
create function pg_temp.counts(n int) returns int[] language sql stable
  as $$ select array[jobs_count, pending_jobs, running_jobs, done_jobs, error_jobs, canceled_jobs, canceling_jobs]
          from batches.batch_job_count where batch_id = pg_temp.b(n) $$;

-- How many batches of a project the totals have: on a device, or on all.
create function pg_temp.total(n int, device text default null) returns bigint language sql stable
  as $$ select coalesce(sum(c), 0)::bigint from batches.batch_total t, unnest(t.n) c
         where t.project_id = pg_temp.p(total.n) and t.device_type is not distinct from device $$;

-- Runs a statement and says how it ended.
create function pg_temp.sqlstate_of(statement text) returns text language plpgsql as $$
begin
  execute statement;
  return '00000';
exception when others then
  return sqlstate;
end $$;

-- The hint of the error that a statement ends with.
create function pg_temp.hint_of(statement text) returns text language plpgsql as $$
declare
  hint text;
begin
  execute statement;
  return null;
exception when others then
  get stacked diagnostics hint = pg_exception_hint;
  return hint;
end $$;

insert into batches.batch (project_id, id, device_type, user_id)
select pg_temp.p(1 + (n - 1) / 5), pg_temp.b(n), 'FRESNEL', 'ann' from generate_series(1, 10) n;

--
-- Counts belong to the triggers
--

select is(pg_temp.counts(1), array[0,0,0,0,0,0,0], 'a new batch has no jobs');

-- A restore inserts what a dump has of these tables, after or before their triggers have made it.
with row as (
  insert into batches.batch_job_count (project_id, batch_id, jobs_count, done_jobs)
  values (pg_temp.p(1), pg_temp.b(1), 9, 9), (pg_temp.p(9), pg_temp.b(99), 9, 9) returning *
)
select count(*) as jobs from row \gset inserted_
with row as (
  insert into batches.batch_total (project_id, n)
  select pg_temp.p(1), array_fill(5::bigint, array[8, 2, 5]) returning *
)
select count(*) as totals from row \gset inserted_
copy batches.batch_job_count (project_id, batch_id, jobs_count, done_jobs) from stdin;
a0000000-0000-0000-0000-000000000001	b0000000-0000-0000-0000-000000000002	9	9
a0000000-0000-0000-0000-000000000009	b0000000-0000-0000-0000-000000000098	9	9
\.
select is(array[:inserted_jobs, :inserted_totals], array[0, 0], 'INSERT into the derived tables inserts nothing');
insert into batches.batch_job_count (project_id, batch_id, jobs_count) values (pg_temp.p(1), pg_temp.b(1), 9)
    on conflict (project_id, batch_id) do update set jobs_count = 9;
select is(pg_temp.counts(1), array[0,0,0,0,0,0,0], 'nor does ON CONFLICT DO UPDATE set a count');

select is(pg_temp.sqlstate_of(format('update batches.batch_job_count set %I = 1', c)), '428C9',
          'a superuser cannot update ' || c || ' either')
  from unnest(array['jobs_count', 'pending_jobs', 'running_jobs', 'done_jobs', 'error_jobs', 'canceled_jobs',
                    'canceling_jobs', 'size_class']) c;
select is(pg_temp.sqlstate_of(statement), '428C9', 'refused: ' || statement)
  from unnest(array[
    'update batches.batch_job_count set jobs_count = jobs_count',
    'update batches.batch_total set n = n',
    'update batches.batch_total set project_id = pg_temp.p(2) where project_id = pg_temp.p(1)',
    'delete from batches.batch_job_count where batch_id = pg_temp.b(1)',
    'delete from batches.batch_total',
    'truncate batches.batch_job_count',
    'truncate batches.batch_total',
    'truncate batches.batch_total, batches.batch_job_count, batches.job',
    'merge into batches.batch_job_count c using (values (pg_temp.b(1))) v (id) on c.batch_id = v.id
     when matched then update set done_jobs = 5',
    'merge into batches.batch_total t using (values (1)) v (i) on true when matched then delete']) statement;
select is(pg_temp.hint_of('delete from batches.batch_total') like '%batches.repair_counts()%', true,
          'the refusal says what mends them');
select lives_ok(
  $$ update batches.batch set status = 'RUNNING', updated_at = now(), tags = '{x}' where id = pg_temp.b(1) $$,
  'every column of a batch can be updated');
select pg_temp.counts_hold('after attempts to set counts');

--
-- INSERT
--

insert into batches.job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(1), 'DONE');
select is(pg_temp.counts(1), array[1,0,0,1,0,0,0], 'INSERT of one job counts it');

insert into batches.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(1));
select is(pg_temp.counts(1), array[2,1,0,1,0,0,0], 'a job is PENDING by default and is counted so');

insert into batches.job (project_id, batch_id, status) values
  (pg_temp.p(1), pg_temp.b(2), 'PENDING'),
  (pg_temp.p(1), pg_temp.b(2), 'RUNNING'), (pg_temp.p(1), pg_temp.b(2), 'RUNNING'),
  (pg_temp.p(1), pg_temp.b(3), 'ERROR'),
  (pg_temp.p(1), pg_temp.b(2), 'DONE'), (pg_temp.p(1), pg_temp.b(2), 'DONE'), (pg_temp.p(1), pg_temp.b(2), 'DONE'),
  (pg_temp.p(2), pg_temp.b(6), 'CANCELED'), (pg_temp.p(2), pg_temp.b(6), 'CANCELING');
select is(pg_temp.counts(2), array[6,1,2,3,0,0,0], 'a multi-row INSERT counts the jobs of one of its batches');
select is(pg_temp.counts(3), array[1,0,0,0,1,0,0], 'a multi-row INSERT counts the jobs of another batch');
select is(pg_temp.counts(6), array[2,0,0,0,0,1,1], 'a multi-row INSERT counts the jobs of another project');

insert into batches.job (project_id, batch_id, status)
select pg_temp.p(1), pg_temp.b(4), s
  from unnest(enum_range(null::batches.job_status)) with ordinality e (s, o), generate_series(1, 10 * o::int);
select is(pg_temp.counts(4), array[210,10,20,30,40,50,60], 'INSERT … SELECT counts each status for itself');

insert into batches.job (project_id, batch_id, status) select pg_temp.p(1), pg_temp.b(4), 'DONE' where false;
select is(pg_temp.counts(4), array[210,10,20,30,40,50,60], 'INSERT of no rows changes no count');
select pg_temp.counts_hold('after INSERT');

--
-- UPDATE
--

update batches.job set status = 'RUNNING' where batch_id = pg_temp.b(1) and status = 'PENDING';
select is(pg_temp.counts(1), array[2,0,1,1,0,0,0], 'UPDATE of a status moves the job to the other count');
update batches.job set status = 'CANCELED' where batch_id in (pg_temp.b(2), pg_temp.b(3));
select is(pg_temp.counts(2), array[6,0,0,0,0,6,0], 'UPDATE of many statuses counts them all');
select is(pg_temp.counts(3), array[1,0,0,0,0,1,0], 'UPDATE of many batches counts in each');
update batches.job set status = status, updated_at = now();
select is(pg_temp.counts(2), array[6,0,0,0,0,6,0], 'UPDATE that changes no status changes no count');
update batches.job set id = gen_random_uuid() where batch_id = pg_temp.b(2);
select is(pg_temp.counts(2), array[6,0,0,0,0,6,0], 'UPDATE of job ids changes no count');
update batches.job set status = 'DONE' where false;
select is(pg_temp.counts(4), array[210,10,20,30,40,50,60], 'UPDATE of no rows changes no count');
update batches.job set status = (case status when 'PENDING' then 'CANCELING' when 'CANCELING' then 'PENDING'
                                             else status::text end)::batches.job_status
 where batch_id = pg_temp.b(4);
select is(pg_temp.counts(4), array[210,60,20,30,40,50,10], 'two statuses can be exchanged in one UPDATE');

update batches.job set batch_id = pg_temp.b(5) where batch_id = pg_temp.b(4) and status in ('PENDING', 'CANCELING');
select is(pg_temp.counts(4), array[140,0,20,30,40,50,0], 'a job that moves away is no longer counted');
select is(pg_temp.counts(5), array[70,60,0,0,0,0,10], 'a job that moves in is counted');
update batches.job set project_id = pg_temp.p(2), batch_id = pg_temp.b(7), status = 'DONE'
 where batch_id = pg_temp.b(5) and status = 'PENDING';
select is(pg_temp.counts(5), array[10,0,0,0,0,0,10], 'a job that moves to another project is no longer counted');
select is(pg_temp.counts(7), array[60,0,0,60,0,0,0],
          'a job that arrives from another project is counted by its new status');
update batches.job set project_id = case batch_id when pg_temp.b(7) then pg_temp.p(1) else pg_temp.p(2) end,
                       batch_id = case batch_id when pg_temp.b(7) then pg_temp.b(5) else pg_temp.b(7) end
 where batch_id in (pg_temp.b(5), pg_temp.b(7));
select is(array[pg_temp.counts(5), pg_temp.counts(7)], array[[60,0,0,60,0,0,0],[10,0,0,0,0,0,10]],
          'two batches can exchange their jobs in one UPDATE');
select throws_ok($$ update batches.batch set id = pg_temp.b(99) where id = pg_temp.b(5) $$,
                 '23503', null, 'a batch with jobs cannot change its id');
select throws_ok($$ update batches.batch set project_id = pg_temp.p(9) where id = pg_temp.b(5) $$,
                 '23503', null, 'a batch with jobs cannot change its project');
select throws_ok($$ update batches.job set batch_id = pg_temp.b(77) where batch_id = pg_temp.b(5) $$,
                 '23503', null, 'a job cannot move to a batch that does not exist');
select pg_temp.counts_hold('after UPDATE');

--
-- DELETE and TRUNCATE
--

delete from batches.job where batch_id = pg_temp.b(4) and status in ('RUNNING', 'ERROR');
select is(pg_temp.counts(4), array[80,0,0,30,0,50,0], 'a deleted job is no longer counted');
delete from batches.job where batch_id = pg_temp.b(7);
select is(pg_temp.counts(7), array[0,0,0,0,0,0,0], 'a batch whose jobs are all deleted has none');
select pg_temp.counts_hold('after DELETE');

delete from batches.batch where id = pg_temp.b(5);
select is((select count(*) from batches.job where batch_id = pg_temp.b(5)), 0::bigint,
          'a deleted batch takes its jobs with it');
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(5), 'FRESNEL', 'ann');
select is(pg_temp.counts(5), array[0,0,0,0,0,0,0], 'a batch with the id of a deleted one starts without jobs');
select pg_temp.counts_hold('after the DELETE of a batch');

savepoint before_truncate;
truncate batches.job;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(1), 'ERROR');
select array_agg(pg_temp.counts(n) order by n) as counts from generate_series(1, 4) n \gset truncated_
rollback to before_truncate;
select is(:'truncated_counts'::int[], array[[1,0,0,0,1,0,0],[0,0,0,0,0,0,0],[0,0,0,0,0,0,0],[0,0,0,0,0,0,0]],
          'TRUNCATE of the jobs resets every count, and counting goes on after it');
-- The batches are locked, and a query has them open, as TRUNCATE of both would.
do $$
declare
  c cursor for select from batches.batch;
begin
  lock table batches.batch;
  open c;
  move c;
  execute 'truncate batches.job';
end $$;
select (select count(*) from batches.verify_counts()) as wrong \gset truncated_
rollback to before_truncate;
select is(:truncated_wrong, 0, 'TRUNCATE of the jobs resets every count while the batches are locked and read');
select is(pg_temp.counts(4), array[80,0,0,30,0,50,0], 'a TRUNCATE that is rolled back resets nothing');
select pg_temp.counts_hold('after a TRUNCATE that was rolled back');

savepoint before_truncate;
truncate batches.batch cascade;
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(1), 'FRESNEL', 'ann');
insert into batches.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(1));
select pg_temp.counts(1) as counts, (select count(*) from batches.verify_counts()) as wrong \gset truncated_
rollback to before_truncate;
select is(:'truncated_counts'::int[], array[1,1,0,0,0,0,0], 'counting goes on after TRUNCATE … CASCADE of the batches');
select is(:truncated_wrong, 0, 'verify_counts() is empty after TRUNCATE … CASCADE of the batches');
savepoint before_truncate;
truncate batches.job, batches.batch;
select (select count(*) from batches.batch) + (select count(*) from batches.job) as rows \gset truncated_
rollback to before_truncate;
select is(:truncated_rows, 0, 'both tables can be truncated by one statement');

truncate batches.job;
select pg_temp.counts_hold('after TRUNCATE');
select is_empty('select batch_id from batches.batch_job_count where jobs_count <> 0', 'no batch counts a job after TRUNCATE');

--
-- COPY, ON CONFLICT, MERGE, data-modifying WITH
--

copy batches.job (project_id, batch_id, id, status) from stdin;
a0000000-0000-0000-0000-000000000001	b0000000-0000-0000-0000-000000000001	c0000000-0000-0000-0000-000000000001	DONE
a0000000-0000-0000-0000-000000000001	b0000000-0000-0000-0000-000000000001	c0000000-0000-0000-0000-000000000002	PENDING
a0000000-0000-0000-0000-000000000001	b0000000-0000-0000-0000-000000000002	c0000000-0000-0000-0000-000000000003	ERROR
a0000000-0000-0000-0000-000000000001	b0000000-0000-0000-0000-000000000002	c0000000-0000-0000-0000-000000000004	ERROR
\.
select is(array[pg_temp.counts(1), pg_temp.counts(2)], array[[2,1,0,1,0,0,0],[2,0,0,0,2,0,0]],
          'COPY counts the jobs that it loads');
select pg_temp.counts_hold('after COPY');

insert into batches.job (project_id, batch_id, id, status) values
  (pg_temp.p(1), pg_temp.b(1), pg_temp.j(1), 'RUNNING'), (pg_temp.p(1), pg_temp.b(1), pg_temp.j(5), 'RUNNING')
  on conflict do nothing;
select is(pg_temp.counts(1), array[3,1,1,1,0,0,0], 'ON CONFLICT DO NOTHING counts only the jobs that are new');
insert into batches.job (project_id, batch_id, id, status) values
  (pg_temp.p(1), pg_temp.b(1), pg_temp.j(1), 'CANCELED'), (pg_temp.p(1), pg_temp.b(1), pg_temp.j(2), 'CANCELED'),
  (pg_temp.p(1), pg_temp.b(1), pg_temp.j(6), 'CANCELING')
  on conflict (project_id, batch_id, id) do update set status = excluded.status;
select is(pg_temp.counts(1), array[4,0,1,0,0,2,1], 'ON CONFLICT DO UPDATE counts new jobs and new statuses');
insert into batches.job (project_id, batch_id, id, status) values
  (pg_temp.p(1), pg_temp.b(1), pg_temp.j(1), 'DONE'), (pg_temp.p(1), pg_temp.b(1), pg_temp.j(7), 'PENDING')
  on conflict (project_id, batch_id, id) do update set batch_id = pg_temp.b(3), status = 'ERROR';
select is(array[pg_temp.counts(1), pg_temp.counts(3)], array[[4,1,1,0,0,1,1],[1,0,0,0,1,0,0]],
          'ON CONFLICT DO UPDATE can move a job to another batch');
select pg_temp.counts_hold('after ON CONFLICT');

merge into batches.job j
using (values (pg_temp.b(1), pg_temp.j(2), 'delete'), (pg_temp.b(1), pg_temp.j(5), 'DONE'),
              (pg_temp.b(1), pg_temp.j(6), 'nothing'), (pg_temp.b(1), pg_temp.j(7), 'move'),
              (pg_temp.b(1), pg_temp.j(8), 'RUNNING'), (pg_temp.b(1), pg_temp.j(9), 'nothing'),
              (pg_temp.b(2), pg_temp.j(10), 'CANCELING')) as v (batch_id, id, wish)
   on j.batch_id = v.batch_id and j.id = v.id
when matched and wish = 'delete' then delete
when matched and wish = 'move' then update set batch_id = pg_temp.b(3)
when matched and wish <> 'nothing' then update set status = wish::batches.job_status
when not matched and wish <> 'nothing' then
  insert (project_id, batch_id, id, status) values (pg_temp.p(1), v.batch_id, v.id, wish::batches.job_status);
select is(array[pg_temp.counts(1), pg_temp.counts(2), pg_temp.counts(3)],
          array[[3,0,1,1,0,0,1],[3,0,0,0,2,0,1],[2,1,0,0,1,0,0]],
          'MERGE that inserts, updates, moves and deletes counts all of it');
select pg_temp.counts_hold('after MERGE');

with gone as (
  delete from batches.job where batch_id = pg_temp.b(2) and status = 'ERROR' returning *
), copied as (
  insert into batches.job (project_id, batch_id, status) select project_id, pg_temp.b(4), 'PENDING' from gone returning *
), changed as (
  update batches.job set status = 'CANCELED' where batch_id = pg_temp.b(1) and status = 'DONE' returning *
), moved as (
  update batches.job set batch_id = pg_temp.b(4) where batch_id = pg_temp.b(3) and status = 'PENDING' returning *
)
insert into batches.job (project_id, batch_id, status)
select pg_temp.p(2), pg_temp.b(6), 'RUNNING' from copied, changed, moved;
select is(array[pg_temp.counts(1), pg_temp.counts(2), pg_temp.counts(3), pg_temp.counts(4), pg_temp.counts(6)],
          array[[3,0,1,0,0,1,1],[1,0,0,0,0,0,1],[1,0,0,0,1,0,0],[3,3,0,0,0,0,0],[2,0,2,0,0,0,0]],
          'one statement with INSERT, UPDATE and DELETE in WITH counts all of it');
with new_batch as (
  insert into batches.batch (project_id, id, device_type, user_id)
  values (pg_temp.p(4), pg_temp.b(40), 'FRESNEL', 'ann') returning *
)
insert into batches.job (project_id, batch_id, status) select project_id, id, 'DONE' from new_batch, generate_series(1, 3);
select is(pg_temp.counts(40), array[3,0,0,3,0,0,0], 'a batch and its jobs can be inserted by one statement');
with gone as (delete from batches.batch where id = pg_temp.b(40))
update batches.job set status = 'CANCELED' where batch_id = pg_temp.b(1);
select is(pg_temp.counts(1), array[3,0,0,0,0,3,0],
          'a statement that deletes one batch and updates jobs of another counts those');
select pg_temp.counts_hold('after data-modifying WITH');

--
-- Transactions
--

savepoint outer_savepoint;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(8), 'DONE');
savepoint inner_savepoint;
update batches.job set status = 'ERROR' where batch_id = pg_temp.b(8);
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(8), 'DONE');
rollback to inner_savepoint;
select is(pg_temp.counts(8), array[1,0,0,1,0,0,0], 'ROLLBACK TO SAVEPOINT takes the counts back too');
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(8), 'RUNNING');
release outer_savepoint;
select is(pg_temp.counts(8), array[2,0,1,1,0,0,0], 'a released savepoint keeps what it counted');
select pg_temp.counts_hold('after savepoints');

do $$
begin
  for n in 1 .. 50 loop
    insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(9), 'PENDING');
    begin
      update batches.job set status = 'DONE' where batch_id = pg_temp.b(9);
      insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(9), 'ERROR');
      if n % 2 = 0 then
        -- A batch that does not exist.
        insert into batches.job (project_id, batch_id) values (pg_temp.p(2), pg_temp.b(9)), (pg_temp.p(2), pg_temp.b(88));
      end if;
      if n % 5 = 0 then
        raise exception 'never mind';
      end if;
    exception
      when foreign_key_violation or raise_exception then null;
    end;
  end loop;
end $$;
-- 20 rounds, the odd ones that are no multiple of 5, keep all they do; the last is round 49: it makes 68 jobs DONE,
-- then inserts an ERROR. Of round 50 only the PENDING job stays.
select is(pg_temp.counts(9), array[70,1,0,68,1,0,0], 'statements that an exception block undoes are not counted');
select pg_temp.counts_hold('after errors in exception blocks');

-- Triggers of the application's own, among them one that waits for the end of the transaction.
create function pg_temp.change_new_job() returns trigger language plpgsql as $$
begin
  if new.status = 'CANCELING' then
    return null;
  elsif new.status = 'CANCELED' then
    new.status := 'ERROR';
    new.batch_id := pg_temp.b(10);
  end if;
  return new;
end $$;
create function pg_temp.repeat_job() returns trigger language plpgsql as $$
begin
  if new.status = 'DONE' then
    insert into batches.job (project_id, batch_id, status) values (new.project_id, new.batch_id, 'RUNNING');
    update batches.job set status = 'PENDING' where batch_id = new.batch_id and status = 'RUNNING';
  end if;
  return null;
end $$;
create function pg_temp.add_job() returns trigger language plpgsql as $$
begin
  insert into batches.job (project_id, batch_id, status) values (new.project_id, new.id, 'CANCELING');
  return null;
end $$;

create trigger change_new_job before insert on batches.job for each row execute function pg_temp.change_new_job();
insert into batches.job (project_id, batch_id, status)
select pg_temp.p(2), pg_temp.b(8), s from unnest(enum_range(null::batches.job_status)) s;
select is(array[pg_temp.counts(8), pg_temp.counts(10)], array[[6,1,2,2,1,0,0],[1,0,0,0,1,0,0]],
          'jobs are counted as a BEFORE trigger leaves them');
drop trigger change_new_job on batches.job;

create trigger repeat_job after insert on batches.job for each row execute function pg_temp.repeat_job();
insert into batches.job (project_id, batch_id, status) values
  (pg_temp.p(2), pg_temp.b(10), 'DONE'), (pg_temp.p(2), pg_temp.b(10), 'DONE'), (pg_temp.p(2), pg_temp.b(10), 'ERROR');
select is(pg_temp.counts(10), array[6,2,0,2,2,0,0], 'jobs that an AFTER trigger inserts and updates are counted');
drop trigger repeat_job on batches.job;

create constraint trigger add_job after insert on batches.batch deferrable initially deferred
  for each row execute function pg_temp.add_job();
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(41), 'FRESNEL', 'ann');
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(41), 'DONE');
select is(pg_temp.counts(41), array[1,0,0,1,0,0,0], 'a deferred trigger has not inserted its job yet');
set constraints all immediate;
select is(pg_temp.counts(41), array[2,0,0,1,0,0,1], 'a job inserted by a deferred trigger is counted');
drop trigger add_job on batches.batch;
select pg_temp.counts_hold('after jobs changed by triggers');

-- Triggers that others put on the derived tables, or run while jobs are counted, come to nothing.
create function pg_temp.prevent() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger a_prevent before insert or update or delete on batches.batch_job_count
  for each row execute function pg_temp.prevent();
create trigger a_prevent before insert or update or delete on batches.batch_total
  for each row execute function pg_temp.prevent();
savepoint before_counting;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(8), 'DONE');
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(42), 'FRESNEL', 'ann');
select (select count(*) from batches.verify_counts()) + (select count(*) from pg_temp.miscounted()) as wrong \gset prevented_
rollback to before_counting;
drop trigger a_prevent on batches.batch_job_count;
drop trigger a_prevent on batches.batch_total;
select is(:prevented_wrong, 0, 'counts are right when a trigger on the derived tables prevents changes');

create function pg_temp.set_counts() returns trigger language plpgsql as $$
begin
  perform set_config('test.inner_sqlstate',
                     pg_temp.sqlstate_of('update batches.batch_job_count set done_jobs = 1000, jobs_count = 1000'), true);
  return null;
end $$;
create trigger a_set_counts after insert on batches.job for each row execute function pg_temp.set_counts();
create trigger z_set_counts after insert on batches.job for each statement execute function pg_temp.set_counts();
savepoint before_counting;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(8), 'DONE');
select current_setting('test.inner_sqlstate', true) as state,
       (select count(*) from batches.verify_counts()) as wrong \gset inner_
rollback to before_counting;
drop trigger a_set_counts on batches.job;
drop trigger z_set_counts on batches.job;
select is(:'inner_state'::text, '428C9', 'a trigger that runs while jobs are counted cannot set counts');
select is(:inner_wrong, 0, 'verify_counts() is empty after a trigger tried to set counts while counting');

--
-- Keys and batches that change together with their jobs, in one statement or by triggers
--

-- How many batches a statement leaves miscounted, whether it is refused or not. What it did is undone.
create function pg_temp.wrong_after(statement text) returns bigint language plpgsql as $$
declare
  wrong bigint;
begin
  begin
    perform pg_temp.sqlstate_of(statement);
    set constraints all immediate;
    wrong := (select count(*) from batches.verify_counts()) + (select count(*) from pg_temp.miscounted());
    raise exception using errcode = 'P0099';
  exception when sqlstate 'P0099' then
    return wrong;
  end;
end $$;

insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(50), 'FRESNEL', 'ann');
insert into batches.job (project_id, batch_id, status) values
  (pg_temp.p(2), pg_temp.b(50), 'DONE'), (pg_temp.p(2), pg_temp.b(50), 'DONE'), (pg_temp.p(2), pg_temp.b(50), 'ERROR');
select is(pg_temp.wrong_after(statement), 0::bigint, 'the counts hold when one statement ' || what)
  from (values
    ('changes the id of a batch and of its jobs',
     'with b as (update batches.batch set id = pg_temp.b(51) where id = pg_temp.b(50))
      update batches.job set batch_id = pg_temp.b(51) where batch_id = pg_temp.b(50)'),
    ('changes the project of a batch and of its jobs',
     'with b as (update batches.batch set project_id = pg_temp.p(9) where id = pg_temp.b(50))
      update batches.job set project_id = pg_temp.p(9), status = ''PENDING'' where batch_id = pg_temp.b(50)'),
    ('changes the id of a batch and deletes its jobs',
     'with b as (update batches.batch set id = pg_temp.b(51) where id = pg_temp.b(50))
      delete from batches.job where batch_id = pg_temp.b(50)'),
    ('changes the id of a batch and makes another with its id',
     'with b as (update batches.batch set id = pg_temp.b(51) where id = pg_temp.b(50) returning *)
      insert into batches.batch (project_id, id, device_type, user_id)
      select project_id, pg_temp.b(50), device_type, user_id from b'),
    ('deletes a batch and inserts it again',
     'with b as (delete from batches.batch where id = pg_temp.b(50) returning *)
      insert into batches.batch select * from b'),
    ('deletes a batch and inserts it again with other jobs',
     'with b as (delete from batches.batch where id = pg_temp.b(50) returning *),
           n as (insert into batches.batch select * from b returning *)
      insert into batches.job (project_id, batch_id, status) select project_id, id, ''DONE'' from n, generate_series(1, 5)'),
    ('deletes a batch and its jobs',
     'with j as (delete from batches.job where batch_id = pg_temp.b(50))
      delete from batches.batch where id = pg_temp.b(50)')) v (what, statement);

create function pg_temp.move_jobs() returns trigger language plpgsql as $$
begin
  update batches.job set project_id = new.project_id, batch_id = new.id
   where project_id = old.project_id and batch_id = old.id;
  return null;
end $$;
create trigger "A_move_jobs" after update of project_id, id on batches.batch for each row
  execute function pg_temp.move_jobs();
select is(pg_temp.wrong_after('update batches.batch set id = pg_temp.b(51) where id = pg_temp.b(50)'), 0::bigint,
          'the counts hold when a trigger moves the jobs of a batch along with its key');
drop trigger "A_move_jobs" on batches.batch;

create function pg_temp.insert_again() returns trigger language plpgsql as $$
begin
  insert into batches.batch select old.*;
  return null;
end $$;
create trigger "A_insert_again" after delete on batches.batch for each row execute function pg_temp.insert_again();
select is(pg_temp.wrong_after('delete from batches.batch where id = pg_temp.b(50)'), 0::bigint,
          'the counts hold when a trigger inserts a deleted batch again');
drop trigger "A_insert_again" on batches.batch;

create trigger prevent before insert or update or delete on batches.batch
  for each row execute function pg_temp.prevent();
select is(pg_temp.wrong_after(statement), 0::bigint, 'the counts hold when a trigger prevents changes of batches: ' || statement)
  from unnest(array['update batches.batch set status = ''ERROR'', id = pg_temp.b(53)',
                    'insert into batches.batch (project_id, id, device_type, user_id)
                     values (pg_temp.p(2), pg_temp.b(52), ''F'', ''ann'')',
                    'delete from batches.batch where id = pg_temp.b(50)']) statement;
drop trigger prevent on batches.batch;

-- A batch without jobs, of this transaction, that ends before the statement that inserts it does
create function pg_temp.undo() returns trigger language plpgsql as $$
begin
  delete from batches.batch where id = new.id;
  return null;
end $$;
create function pg_temp.rename() returns trigger language plpgsql as $$
begin
  update batches.batch set id = pg_temp.b(56) where id = new.id and id <> pg_temp.b(56);
  return null;
end $$;
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(54), 'FRESNEL', 'ann');
create function pg_temp.statement_with_54(what text) returns text language sql immutable return
  'with d as (delete from batches.batch where id = pg_temp.b(54) returning *)
   insert into batches.batch select * from d ' || what;
select is(pg_temp.wrong_after(pg_temp.statement_with_54(what)), 0::bigint,
          'the counts hold when one statement deletes a batch without jobs and inserts it again: ' || what)
  from unnest(array['', 'limit 1']) what;
create trigger "A_insert_again" after delete on batches.batch for each row execute function pg_temp.insert_again();
select is(pg_temp.wrong_after('delete from batches.batch where id = pg_temp.b(54)'), 0::bigint,
          'the counts hold when a trigger inserts a deleted batch without jobs again');
drop trigger "A_insert_again" on batches.batch;
create function pg_temp.insert_55() returns text language sql immutable return
  'insert into batches.batch (project_id, id, device_type, user_id)
   values (pg_temp.p(2), pg_temp.b(55), ''FRESNEL'', ''ann'')';
create trigger undo after insert on batches.batch for each row execute function pg_temp.undo();
select is(pg_temp.wrong_after(pg_temp.insert_55()), 0::bigint, 'the counts hold when a trigger deletes a new batch');
drop trigger undo on batches.batch;
create trigger rename after insert on batches.batch for each row execute function pg_temp.rename();
select is(pg_temp.wrong_after(pg_temp.insert_55()), 0::bigint, 'the counts hold when a trigger changes a new batch''s id');
drop trigger rename on batches.batch;
create function pg_temp.only_newest() returns trigger language plpgsql as $$
begin
  delete from batches.batch where user_id = new.user_id and id <> new.id;
  return new;
end $$;
create trigger only_newest before insert on batches.batch for each row execute function pg_temp.only_newest();
select is(pg_temp.wrong_after('insert into batches.batch (project_id, id, device_type, user_id)
                               select pg_temp.p(2), pg_temp.b(n), ''FRESNEL'', ''newest'' from generate_series(56, 58) n'), 0::bigint,
          'the counts hold when a trigger deletes what the same statement has inserted');
drop trigger only_newest on batches.batch;
create trigger undo after update of id on batches.batch for each row execute function pg_temp.undo();
select is(pg_temp.wrong_after('update batches.batch set id = pg_temp.b(56) where id = pg_temp.b(54)'), 0::bigint,
          'the counts hold when a trigger deletes a batch that has got another id');
drop trigger undo on batches.batch;

-- A job that a trigger changes before the statement that has written it is counted
create function pg_temp.finish() returns trigger language plpgsql as $$
begin
  update batches.job set status = 'DONE' where id = new.id and status <> 'DONE';
  return null;
end $$;
create function pg_temp.archive() returns trigger language plpgsql as $$
begin
  delete from batches.job where id = new.id;
  return null;
end $$;
create trigger finish after insert or update on batches.job for each row execute function pg_temp.finish();
select lives_ok('insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(54), ''RUNNING'')',
                'a trigger may change a new job');
select is(pg_temp.counts(54), array[1, 0, 0, 1, 0, 0, 0], 'the job is counted as the trigger leaves it');
drop trigger finish on batches.job;
create trigger archive after update on batches.job for each row execute function pg_temp.archive();
select lives_ok('update batches.job set status = ''CANCELED'' where batch_id = pg_temp.b(54)',
                'a trigger may delete the job that was updated');
select is(pg_temp.counts(54), array[0, 0, 0, 0, 0, 0, 0], 'the job is not counted any more');
drop trigger archive on batches.job;

-- Wrong counts that a statement within a trigger meets: no page shows them.
create function pg_temp.cancel() returns trigger language plpgsql as $$
begin
  update batches.job set status = 'CANCELED' where batch_id = new.id;
  return null;
end $$;
savepoint before_cancel;
insert into batches.job (project_id, batch_id) values (pg_temp.p(2), pg_temp.b(54));
set local session_replication_role = replica;
update batches.batch_job_count set pending_jobs = 0, jobs_count = 0, size_class = 0 where batch_id = pg_temp.b(54);
set local session_replication_role = origin;
create trigger cancel after update on batches.batch for each row execute function pg_temp.cancel();
update batches.batch set status = 'CANCELED' where id = pg_temp.b(54);
select throws_ok(format('set local batches.scan = %s; select * from batches.list_batches(id => array[pg_temp.b(54)])', engine), 'XX001',
                 format('the job counts of batch %s in "batches.batch_job_count" are wrong', pg_temp.b(54)), 'a negative count is on no page: ' || engine)
  from unnest(array['index', 'sql']) engine;
rollback to before_cancel;
select pg_temp.counts_hold('after changes of batches with their jobs');

-- Jobs whose batch was deleted while nothing kept them from that
savepoint before_orphans;
set local session_replication_role = replica;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(59), 'DONE'), (pg_temp.p(2), pg_temp.b(59), 'ERROR');
set local session_replication_role = origin;
select lives_ok($$delete from batches.job where batch_id = pg_temp.b(59) and status = 'DONE'$$, 'jobs without a batch can be deleted one by one');
rollback to before_orphans;

-- Many at once.
insert into batches.batch (project_id, id, device_type, user_id)
select pg_temp.p(5 + n % 3), pg_temp.b(n), 'FRESNEL', 'ann' from generate_series(1001, 1300) n;
insert into batches.job (project_id, batch_id, status)
select pg_temp.p(5 + n % 3), pg_temp.b(n), (enum_range(null::batches.job_status))[1 + (n * i) % 6]
  from generate_series(1001, 1300) n, generate_series(1, n % 100) i;
select pg_temp.counts_hold('after an INSERT into hundreds of batches');
update batches.job set status = (enum_range(null::batches.job_status))[1 + abs(hashtext(id::text)) % 6],
                       batch_id = case when batch_id < pg_temp.b(1050) then pg_temp.b(1001) else batch_id end
 where project_id = pg_temp.p(5 + 1001 % 3);
select pg_temp.counts_hold('after an UPDATE in hundreds of batches');
delete from batches.job where hashtext(id::text) % 3 = 0;
select pg_temp.counts_hold('after a DELETE in hundreds of batches');
select cmp_ok((pg_temp.counts(1001))[1], '>', 200,
              'there were many jobs to count');
delete from batches.batch where id > pg_temp.b(1000);
select pg_temp.counts_hold('after a DELETE of hundreds of batches with their jobs');

--
-- Writers
--

-- A writer may change jobs, has no right on the table of batches, and the policies there hide every row.
create role batches_test_writer;
grant usage on schema batches to batches_test_writer;
grant select, insert, update, delete, truncate on batches.job to batches_test_writer;
create policy writer on batches.job to batches_test_writer using (true) with check (true);
select is(has_table_privilege('batches_test_writer', 'batches.batch', 'select, insert, update, delete, truncate')
          or has_any_column_privilege('batches_test_writer', 'batches.batch', 'select, insert, update, references'),
          false, 'the writer has no right on the table of batches');
truncate batches.job;
set local role batches_test_writer;
insert into batches.job (project_id, batch_id, id, status) values
  (pg_temp.p(1), pg_temp.b(1), pg_temp.j(1), 'PENDING'), (pg_temp.p(1), pg_temp.b(1), pg_temp.j(2), 'PENDING'),
  (pg_temp.p(1), pg_temp.b(1), pg_temp.j(3), 'DONE'), (pg_temp.p(1), pg_temp.b(2), pg_temp.j(4), 'DONE');
reset role;
select is(array[pg_temp.counts(1), pg_temp.counts(2)], array[[3,2,0,1,0,0,0],[1,0,0,1,0,0,0]],
          'jobs are counted when who inserts them has no right on batches');
grant select on batches.batch, batches.batch_job_count, batches.project_member to batches_test_writer;
set local role batches_test_writer;
select (select count(*) from batches.batch) + (select count(*) from batches.batch_job_count) as visible \gset
update batches.job set status = 'RUNNING' where id = pg_temp.j(1);
update batches.job set batch_id = pg_temp.b(2) where id = pg_temp.j(2);
delete from batches.job where id = pg_temp.j(3);
reset role;
select is(:visible, 0, 'the writer sees neither the batches nor their counts');
select is(array[pg_temp.counts(1), pg_temp.counts(2)], array[[1,0,1,0,0,0,0],[2,1,0,1,0,0,0]],
          'jobs are counted when who updates and deletes them does not see the batches');
select pg_temp.counts_hold('after the changes of a writer without rights on batches');

-- What a writer's session defines does not reach the counting.
create schema batches_test_trap authorization batches_test_writer;
set local role batches_test_writer;
create function batches_test_trap.never(uuid, uuid) returns boolean language sql immutable return false;
create operator batches_test_trap.= (leftarg = uuid, rightarg = uuid, function = batches_test_trap.never);
create function batches_test_trap.zero(int, int) returns int language sql immutable return 0;
create operator batches_test_trap.+ (leftarg = int, rightarg = int, function = batches_test_trap.zero);
create operator batches_test_trap.- (leftarg = int, rightarg = int, function = batches_test_trap.zero);
create temp table batch (like batches.batch);
create temp table job (like batches.job);
create temp table new_jobs (like batches.job);
create temp table old_jobs (like batches.job);
set local search_path = pg_temp, batches_test_trap, pg_catalog, batches;
insert into batches.job (project_id, batch_id, id, status) values
  (pg_temp.p(1), pg_temp.b(1), pg_temp.j(5), 'ERROR'), (pg_temp.p(1), pg_temp.b(1), pg_temp.j(6), 'DONE');
update batches.job set status = 'CANCELED' where status = 'ERROR';
delete from batches.job where status = 'RUNNING';
reset role;
set local search_path = :"pgtap", pg_temp;
drop table pg_temp.batch, pg_temp.job, pg_temp.new_jobs, pg_temp.old_jobs;
select is(array[pg_temp.counts(1), pg_temp.counts(2)], array[[2,0,0,1,0,1,0],[2,1,0,1,0,0,0]],
          'operators and tables of the writer''s own do not change the counts');
select pg_temp.counts_hold('after the changes of a writer with operators of its own');

set local role batches_test_writer;
truncate batches.job;
reset role;
select is(array[pg_temp.counts(1), pg_temp.counts(2)], array[[0,0,0,0,0,0,0],[0,0,0,0,0,0,0]],
          'TRUNCATE by a writer without rights on batches resets the counts');
select pg_temp.counts_hold('after a TRUNCATE by a writer without rights on batches');

--
-- The trigger functions do nothing but their work
--

insert into batches.job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(1), 'DONE');
select throws_ok('select batches.count_jobs()', '39P01', null, 'count_jobs() is no function to call');
select throws_ok('select batches.count_changed_batches()', '39P01', null, 'nor is count_changed_batches()');
select throws_ok('select batches.protect_counts()', '39P01', null, 'nor is protect_counts()');

create table pg_temp.other_job (like batches.job including defaults);
create trigger t after insert on pg_temp.other_job referencing new table as new_jobs
  for each statement execute function batches.count_jobs();
create schema batches_test_other;
create table batches_test_other.job (like batches.job including all);
create trigger t1 after insert on batches_test_other.job referencing new table as new_jobs
  for each statement execute function batches.count_jobs();
create trigger t2 after delete on batches_test_other.job referencing old table as old_jobs
  for each statement execute function batches.count_jobs();
create trigger t3 after truncate on batches_test_other.job for each statement execute function batches.count_jobs();
select throws_ok(
  $$ insert into pg_temp.other_job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(1), 'DONE') $$,
  '39P01', null, 'count_jobs() refuses another table');
select throws_ok(
  $$ insert into batches_test_other.job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(1), 'DONE') $$,
  '39P01', null, 'count_jobs() refuses another table of the same name');
select throws_ok('delete from batches_test_other.job', '39P01', null, 'count_jobs() refuses DELETE on another table');
select throws_ok('truncate batches_test_other.job', '39P01', null, 'count_jobs() refuses TRUNCATE on another table');

-- One trigger at a time on the table of jobs, each wrong in its way.
create function pg_temp.job_trigger_sqlstate(definition text, statement text) returns text language plpgsql as $$
declare
  state text;
begin
  execute 'create trigger wrong ' || definition || ' execute function batches.count_jobs()';
  state := pg_temp.sqlstate_of(statement);
  drop trigger wrong on batches.job;
  return state;
end $$;
select is(pg_temp.job_trigger_sqlstate(definition, statement), '39P01', 'count_jobs() refuses to be ' || what)
  from (values
    ('a row trigger', 'after insert on batches.job for each row',
     'insert into batches.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(1))'),
    ('a row trigger with transition tables',
     'after delete on batches.job referencing old table as old_jobs for each row', 'delete from batches.job'),
    ('a BEFORE statement trigger', 'before delete on batches.job for each statement', 'delete from batches.job'),
    ('a BEFORE row trigger', 'before update on batches.job for each row', 'update batches.job set status = ''ERROR'''),
    ('a BEFORE TRUNCATE trigger', 'before truncate on batches.job for each statement', 'truncate batches.job'),
    ('a trigger on INSERT without transition table', 'after insert on batches.job for each statement',
     'insert into batches.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(1))'),
    ('a trigger on DELETE without transition table', 'after delete on batches.job for each statement',
     'delete from batches.job'),
    ('a trigger on UPDATE without transition tables', 'after update on batches.job for each statement',
     'update batches.job set status = ''ERROR'''),
    ('a trigger on UPDATE with the old transition table alone',
     'after update on batches.job referencing old table as old_jobs for each statement',
     'update batches.job set status = ''ERROR'''),
    ('a trigger on UPDATE with the new transition table alone',
     'after update on batches.job referencing new table as new_jobs for each statement',
     'update batches.job set status = ''ERROR''')) v (what, definition, statement);


-- A table of somebody else's that references the batches cannot write their counts.
create role batches_test_stranger;
grant usage on schema batches to batches_test_stranger;
grant references on batches.batch to batches_test_stranger;
create schema batches_test_stranger authorization batches_test_stranger;
set local role batches_test_stranger;
create table batches_test_stranger.job (
  project_id uuid, batch_id uuid, id uuid default gen_random_uuid(), status batches.job_status default 'DONE',
  foreign key (project_id, batch_id) references batches.batch (project_id, id));
create trigger t1 after insert on batches_test_stranger.job referencing new table as new_jobs
  for each statement execute function batches.count_jobs();
create trigger t2 after truncate on batches_test_stranger.job for each statement execute function batches.count_jobs();
reset role;
grant insert, truncate on batches_test_stranger.job to current_user;
select throws_ok(
  $$ insert into batches_test_stranger.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(1)) $$,
  '39P01', null, 'count_jobs() refuses a table of another owner');
select throws_ok('truncate batches_test_stranger.job', '39P01', null, 'count_jobs() refuses its TRUNCATE, too');

-- The same of a table of jobs that references other batches.
create table batches_test_other.batch (like batches.batch including defaults, primary key (project_id, id));
create table batches_test_other.referencing_job (
  project_id uuid, batch_id uuid, id uuid default gen_random_uuid(), status batches.job_status default 'DONE',
  foreign key (project_id, batch_id) references batches_test_other.batch (project_id, id));
create trigger t after insert on batches_test_other.referencing_job referencing new table as new_jobs
  for each statement execute function batches.count_jobs();
insert into batches_test_other.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(1), 'F', 'ann');
select throws_ok(
  $$ insert into batches_test_other.referencing_job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(1)) $$,
  '39P01', null, 'count_jobs() refuses jobs of batches in another schema');

create trigger t1 after insert on batches_test_other.batch referencing new table as new_rows
  for each statement execute function batches.count_changed_batches();
create trigger t2 after truncate on batches_test_other.batch
  for each statement execute function batches.count_changed_batches();
select throws_ok(
  $$ insert into batches_test_other.batch (project_id, id, device_type, user_id)
     values (pg_temp.p(1), pg_temp.b(2), 'F', 'ann') $$,
  '39P01', null, 'count_changed_batches() refuses a table of another schema');
select throws_ok('truncate batches_test_other.batch cascade', '39P01', null,
                 'count_changed_batches() refuses TRUNCATE on a table of another schema');

create function pg_temp.batch_trigger_sqlstate(definition text, statement text) returns text language plpgsql as $$
declare
  state text;
begin
  execute 'create trigger wrong ' || definition || ' execute function batches.count_changed_batches()';
  state := pg_temp.sqlstate_of(statement);
  drop trigger wrong on batches.batch;
  return state;
end $$;
select is(pg_temp.batch_trigger_sqlstate(definition, statement), '39P01', 'count_changed_batches() refuses to be ' || what)
  from (values
    ('a row trigger', 'after update on batches.batch for each row', 'update batches.batch set status = ''ERROR'''),
    ('a BEFORE trigger', 'before delete on batches.batch for each statement', 'delete from batches.batch'),
    ('a trigger on INSERT without transition table', 'after insert on batches.batch for each statement',
     'insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(42), ''F'', ''ann'')'),
    ('a trigger on UPDATE with the new transition table alone',
     'after update on batches.batch referencing new table as new_rows for each statement',
     'update batches.batch set status = ''ERROR'''),
    ('a trigger on DELETE without transition table', 'after delete on batches.batch for each statement',
     'delete from batches.batch')) v (what, definition, statement);

-- The derived tables' own guard
create table batches_test_other.batch_total (like batches.batch_total);
create trigger wrong after insert on batches_test_other.batch_total for each row execute function batches.protect_counts();
select throws_ok('insert into batches_test_other.batch_total select * from batches.batch_total', '39P01', null,
                 'protect_counts() refuses to be an AFTER trigger');
create trigger wrong2 before truncate on batches_test_other.batch_total
  for each statement execute function batches.protect_counts();
select throws_ok('truncate batches_test_other.batch_total', '39P01', null,
                 'protect_counts() refuses to be a BEFORE TRUNCATE trigger');
drop table batches_test_stranger.job;
select is(pg_temp.counts(1), array[1,0,0,1,0,0,0], 'no trigger out of place changed a count');
select pg_temp.counts_hold('after triggers out of place');

--
-- Verification and repair
--

-- Drift of each kind: a count that is wrong, or right in all but not by status; jobs that came and went; counts that
-- are missing, or of a batch that is not there; a class that belies its count; totals that are wrong, missing, of
-- another device, of a project that is not there.
create function pg_temp.drift() returns void language plpgsql as $$
begin
  truncate batches.batch, batches.job;
  insert into batches.batch (project_id, id, device_type, user_id, status)
  select pg_temp.p(1 + (n - 1) / 5), pg_temp.b(n), case when n < 10 then 'FRESNEL' else 'EMU' end, 'ann',
         case when n = 4 then 'DONE' else 'PENDING' end::batches.batch_status
    from generate_series(1, 10) n;
  insert into batches.job (project_id, batch_id, status) values
    (pg_temp.p(1), pg_temp.b(1), 'DONE'), (pg_temp.p(1), pg_temp.b(2), 'DONE'), (pg_temp.p(1), pg_temp.b(2), 'DONE'),
    (pg_temp.p(1), pg_temp.b(3), 'ERROR'), (pg_temp.p(2), pg_temp.b(8), 'RUNNING');
  set local session_replication_role = replica;
  update batches.batch_job_count set jobs_count = 7 where batch_id = pg_temp.b(1);
  update batches.batch_job_count set done_jobs = 1, canceled_jobs = 1 where batch_id = pg_temp.b(2);
  delete from batches.job where batch_id = pg_temp.b(3);
  insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(6), 'CANCELING');
  update batches.batch_job_count set size_class = 9 where batch_id = pg_temp.b(7);
  delete from batches.batch_job_count where batch_id = pg_temp.b(8);
  insert into batches.batch_job_count (project_id, batch_id, jobs_count, done_jobs, size_class)
  values (pg_temp.p(3), pg_temp.b(99), 1, 1, 1);
  update batches.batch set status = 'ERROR' where id = pg_temp.b(4);
  update batches.batch set device_type = 'NEW', open = true where id = pg_temp.b(5);
  delete from batches.batch_total where project_id = pg_temp.p(2) and device_type = 'EMU';
  insert into batches.batch_total (project_id, device_type, n)
  values (pg_temp.p(3), 'FRESNEL', array_fill(null::bigint, array[8, 2, 5]));
  update batches.batch_total set n[3][2][1] = 5 where project_id = pg_temp.p(3);
  set local session_replication_role = origin;
end $$;

select pg_temp.drift();
select results_eq(
  'select * from batches.verify_counts()',
  $$ values
    ('batch_job_count', pg_temp.p(1), pg_temp.b(1), null,
     '{"DONE": 1, "jobs_count": 7, "size_class": 1}'::jsonb, '{"DONE": 1, "jobs_count": 1, "size_class": 1}'::jsonb),
    ('batch_job_count', pg_temp.p(1), pg_temp.b(2), null,
     '{"DONE": 1, "CANCELED": 1, "jobs_count": 2, "size_class": 2}', '{"DONE": 2, "jobs_count": 2, "size_class": 2}'),
    ('batch_job_count', pg_temp.p(1), pg_temp.b(3), null,
     '{"ERROR": 1, "jobs_count": 1, "size_class": 1}', '{"jobs_count": 0, "size_class": 0}'),
    ('batch_job_count', pg_temp.p(2), pg_temp.b(6), null,
     '{"jobs_count": 0, "size_class": 0}', '{"CANCELING": 1, "jobs_count": 1, "size_class": 1}'),
    ('batch_job_count', pg_temp.p(2), pg_temp.b(7), null,
     '{"jobs_count": 0, "size_class": 9}', '{"jobs_count": 0, "size_class": 0}'),
    ('batch_job_count', pg_temp.p(2), pg_temp.b(8), null,
     null, '{"RUNNING": 1, "jobs_count": 1, "size_class": 1}'),
    ('batch_job_count', pg_temp.p(3), pg_temp.b(99), null,
     '{"DONE": 1, "jobs_count": 1, "size_class": 1}', null),
    ('batch_total', pg_temp.p(1), null, 'FRESNEL',
     '{"DONE closed MEDIUM": 1, "PENDING closed MEDIUM": 4}', '{"ERROR closed MEDIUM": 1, "PENDING closed MEDIUM": 3}'),
    ('batch_total', pg_temp.p(1), null, 'NEW', '{}', '{"PENDING open MEDIUM": 1}'),
    ('batch_total', pg_temp.p(1), null, null,
     '{"DONE closed MEDIUM": 1, "PENDING closed MEDIUM": 4}',
     '{"ERROR closed MEDIUM": 1, "PENDING open MEDIUM": 1, "PENDING closed MEDIUM": 3}'),
    ('batch_total', pg_temp.p(2), null, 'EMU', '{}', '{"PENDING closed MEDIUM": 1}'),
    ('batch_total', pg_temp.p(3), null, 'FRESNEL', '{"DONE open CRITICAL": 5}', '{}') $$,
  'verify_counts() reports everything that is wrong, and nothing else');

select is(batches.repair_counts(), 12::bigint, 'repair_counts() mends each of these rows');
select pg_temp.counts_hold('after repair_counts()');
select is(batches.repair_counts(), 0::bigint, 'then nothing is left to mend');
update batches.job set status = 'CANCELED';
update batches.batch set status = 'CANCELED';
select pg_temp.counts_hold('after changes that follow a repair');

-- Without any of the rows, and with all of them twice over
set local session_replication_role = replica;
delete from batches.batch_total;
delete from batches.batch_job_count;
set local session_replication_role = origin;
select cmp_ok(batches.repair_counts(), '>=', 10::bigint, 'repair_counts() makes rows anew');
select pg_temp.counts_hold('after the rows were made anew');
set local session_replication_role = replica;
insert into batches.batch_total (project_id, device_type, n) select project_id, device_type, n from batches.batch_total;
set local session_replication_role = origin;
select isnt_empty('select * from batches.verify_counts()', 'batches counted twice are found');
select cmp_ok(batches.repair_counts(), '>', 0::bigint, 'and mended');
select pg_temp.counts_hold('after batches were counted twice');
savepoint before_repair;
select pg_temp.drift();
select batches.repair_counts() > 0 as mended \gset drift_
rollback to before_repair;
select is(:'drift_mended'::boolean, true, 'a repair can be rolled back');
select pg_temp.counts_hold('after a repair that was rolled back');

-- Totals without their cells, and counts that only an attack or a fault of the disk leaves
set local session_replication_role = replica;
update batches.batch_total set n = case when device_type is null then '{1,2,3}' else '{}' end::bigint[];
update batches.batch_job_count set done_jobs = -2147483648 where batch_id = pg_temp.b(1);
set local session_replication_role = origin;
select throws_ok('select batches.count_batches()', 'XX001', 'the totals in "batches.batch_total" are wrong',
                 'totals without their cells are a fault');
select cmp_ok(batches.repair_counts(), '>=', 6::bigint, 'repair_counts() mends whatever stands there');
select is(batches.count_batches(), (select count(*) from batches.batch), 'and they tell again');
select pg_temp.counts_hold('after rows were malformed');

-- A disabled trigger
alter table batches.job disable trigger count_inserted_jobs;
alter table batches.batch disable trigger count_inserted_batches;
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(4), pg_temp.b(60), 'FRESNEL', 'ann');
insert into batches.job (project_id, batch_id) values (pg_temp.p(4), pg_temp.b(60));
alter table batches.job enable trigger count_inserted_jobs;
alter table batches.batch enable trigger count_inserted_batches;
select is(batches.repair_counts(), 3::bigint, 'what disabled triggers have missed is mended');
select pg_temp.counts_hold('after triggers were disabled');

grant execute on function batches.repair_counts() to batches_test_writer;
set local role batches_test_writer;
select is(pg_temp.sqlstate_of('select batches.repair_counts()'), '42501', 'repair_counts() is for the owner of the tables');
reset role;

select pg_temp.drift();
truncate batches.batch, batches.job;
select is((select count(*) from batches.batch_job_count) + (select count(*) from batches.batch_total), 0::bigint,
          'TRUNCATE of the batches leaves no row in the derived tables');

--
-- Totals
--

insert into batches.batch (project_id, id, device_type, user_id, status, open, queue_priority)
select pg_temp.p(n % 3), pg_temp.b(n), (array['FRESNEL', 'EMU', ''])[1 + n % 2 + (n % 7 = 0)::int], 'ann',
       (enum_range(null::batches.batch_status))[1 + n % 8], n % 4 = 0, (enum_range(null::batches.queue_priority))[1 + n % 5]
  from generate_series(1, 500) n;
select is(array[pg_temp.total(0), pg_temp.total(1), pg_temp.total(2)], array[166, 167, 167]::bigint[],
          'batches are counted by project');
select pg_temp.counts_hold('after batches of every kind');
update batches.batch set status = (enum_range(null::batches.batch_status))[1 + abs(hashtext(id::text)) % 8];
select pg_temp.counts_hold('after new statuses');
update batches.batch set open = not open, queue_priority = 'HIGH' where hashtext(id::text) % 2 = 0;
select pg_temp.counts_hold('after batches were closed, and put first');
update batches.batch set device_type = 'EMU_FREE' where id < pg_temp.b(100);
select is((select sum(pg_temp.total(n, 'EMU_FREE')) from generate_series(0, 2) n), 99::numeric,
          'batches on another device are counted there');
update batches.batch set device_type = 'emu_free' where id < pg_temp.b(10);
select is((select sum(pg_temp.total(n, 'emu_free')) from generate_series(0, 2) n), 9::numeric,
          'devices are told apart as strings are');
select pg_temp.counts_hold('after batches went to other devices');
update batches.batch set project_id = pg_temp.p(7) where id <= pg_temp.b(10);
select is(pg_temp.total(7), 10::bigint, 'batches without jobs can go to another project');
select is((select count(*) from batches.batch_job_count where project_id = pg_temp.p(7)), 10::bigint,
          'and their job counts with them');
update batches.batch set project_id = case project_id when pg_temp.p(1) then pg_temp.p(2) else pg_temp.p(1) end,
                         status = 'TIMED_OUT', device_type = 'OTHER'
 where project_id in (pg_temp.p(1), pg_temp.p(2));
update batches.batch set id = gen_random_uuid() where project_id = pg_temp.p(1);
select pg_temp.counts_hold('after batches changed projects, ids, statuses and devices at once');
update batches.batch set updated_at = now(), tags = '{a}', priority = 5, user_id = 'eve';
update batches.batch set status = 'DONE' where false;
select pg_temp.counts_hold('after changes that no total has to do with');
delete from batches.batch where hashtext(id::text) % 3 = 0;
with gone as (delete from batches.batch where project_id = pg_temp.p(7) returning *),
     came as (insert into batches.batch (project_id, device_type, user_id) select pg_temp.p(8), 'NEW', 'ann' from gone)
update batches.batch set status = 'PAUSED' where project_id = pg_temp.p(1);
select pg_temp.counts_hold('after deletions, insertions and updates in one statement');
select is(pg_temp.total(7), 0::bigint, 'a project without batches has none');
savepoint before_truncate;
truncate batches.batch, batches.job;
insert into batches.batch (project_id, device_type, user_id) values (pg_temp.p(1), 'FRESNEL', 'ann');
select (select count(*) from batches.verify_counts()) as wrong, pg_temp.total(1) as total \gset truncated_
rollback to before_truncate;
select is(array[:truncated_wrong, :truncated_total], array[0, 1], 'TRUNCATE empties the totals, and counting goes on');
select pg_temp.counts_hold('after a TRUNCATE of the batches that was rolled back');
delete from batches.batch;
select is((select count(*) from batches.batch_job_count) + (select count(*) from batches.batch_total), 0::bigint,
          'when all batches are deleted, no row is left in the derived tables');

-- As many cells as a statement can have at once, and more than it keeps before it writes them
insert into batches.batch (project_id, device_type, user_id)
select pg_temp.p(n), 'DEVICE ' || n % 100, 'ann' from generate_series(1, 5100) n;
select is((select count(*) from batches.batch_total), 10200::bigint, 'two totals each for batches of 5,100 projects');
update batches.batch set device_type = 'ANOTHER', status = 'DONE';
select pg_temp.counts_hold('after a statement that changes thousands of totals');
truncate batches.batch, batches.job;

-- Sizes of batches, as the index has them
select is((select array_agg(n order by n) from generate_series(0, 128) n where batches.size_class(n) <> n), null,
          'a size up to 128 is a class of its own');
select is((select count(*) from generate_series(1, 100000) n where batches.size_class(n) < batches.size_class(n - 1)), 0::bigint,
          'larger sizes have no smaller class');
select is(array[batches.size_class(256) - batches.size_class(128), batches.size_class(65536) - batches.size_class(32768)]::int[],
          array[64, 64], 'there are 64 classes for each doubling');
select cmp_ok(batches.size_class(2147483647), '>', batches.size_class(1073741823), 'up to the largest integer');

--
-- What applications do
--

insert into batches.batch (project_id, id, device_type, user_id)
select pg_temp.p(1), pg_temp.b(n), 'FRESNEL', 'ann' from generate_series(1, 3) n;
create temp table stale on commit drop as select * from batches.batch;
insert into batches.job (project_id, batch_id, status)
select project_id, id, 'DONE' from batches.batch, generate_series(1, 5);
update batches.batch set status = 'RUNNING';

select columns_are('batches', 'batch', array['project_id', 'id', 'parent_id', 'status', 'open', 'priority', 'device_type',
  'user_id', 'created_at', 'updated_at', 'tags', 'configuration', 'backend_configuration', 'webhook', 'start_datetime',
  'end_datetime', 'queue_priority'], 'select * from batch shows only what the application wrote');
-- All the columns, as an application that maps rows to objects writes them
select string_agg(format('%I', attname), ', ' order by attnum) as columns,
       string_agg(format('%I = excluded.%1$I', attname), ', ' order by attnum) as excluded,
       string_agg(format('%I = s.%1$I', attname), ', ' order by attnum) as assigned,
       string_agg(format('s.%I', attname), ', ' order by attnum) as sources
  from pg_attribute where attrelid = 'batches.batch'::regclass and attnum > 0 and not attisdropped \gset
create function pg_temp.stale_batches() returns bigint language sql stable
  as $$ select count(*) from batches.batch where status = 'PENDING' $$;

update batches.batch b set :assigned from stale s where b.id = s.id;
select is(array[pg_temp.stale_batches(), (pg_temp.counts(1))[1]], array[3, 5]::bigint[],
          'a stale row that is saved with every column is taken, and disturbs no count');
select pg_temp.counts_hold('after a stale row was saved');
update batches.batch set status = 'ERROR';
insert into batches.batch (:columns) select :columns from stale on conflict (id) do update set :excluded;
select is(array[pg_temp.stale_batches(), (pg_temp.counts(2))[1]], array[3, 5]::bigint[],
          'insert … on conflict (id) do update of every column is taken, and disturbs no count');
insert into batches.batch (:columns) select :columns from stale
    on conflict (project_id, id) do update set :excluded;
insert into batches.batch (:columns) select :columns from stale on conflict do nothing;
insert into batches.batch (project_id, id, device_type, user_id)
values (pg_temp.p(1), pg_temp.b(3), 'EMU', 'ann'), (pg_temp.p(1), pg_temp.b(4), 'EMU', 'ann')
    on conflict (id) do update set device_type = excluded.device_type;
select is(array[pg_temp.total(1), pg_temp.total(1, 'FRESNEL'), pg_temp.total(1, 'EMU')], array[4, 2, 2]::bigint[],
          'ON CONFLICT counts what is new, and what has changed');
select pg_temp.counts_hold('after ON CONFLICT on batches');
merge into batches.batch b using stale s on b.id = s.id
 when matched then update set :assigned
 when not matched then insert (:columns) values (:sources);
select is(array[pg_temp.stale_batches(), (pg_temp.counts(3))[1], pg_temp.total(1)], array[4, 5, 4]::bigint[],
          'MERGE of every column is taken, and disturbs no count');
merge into batches.batch b using (values (1, 'delete'), (2, 'update'), (70, 'insert')) v (n, wish) on b.id = pg_temp.b(v.n)
 when matched and wish = 'delete' then delete
 when matched then update set status = 'CANCELED', queue_priority = 'FREE'
 when not matched then insert (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(70), 'EMU', 'ann');
select pg_temp.counts_hold('after MERGE on batches');
copy batches.batch (project_id, id, device_type, user_id, status) from stdin;
a0000000-0000-0000-0000-000000000002	b0000000-0000-0000-0000-000000000071	EMU	ann	DONE
a0000000-0000-0000-0000-000000000003	b0000000-0000-0000-0000-000000000072	EMU	ann	DONE
\.
select is(array[pg_temp.total(2, 'EMU'), pg_temp.total(3)], array[2, 1]::bigint[], 'COPY counts the batches that it loads');
select pg_temp.counts_hold('after COPY into batches');
-- One statement may change a batch, its jobs, and so its counts.
with b as (update batches.batch set status = 'CANCELING' where id = pg_temp.b(2) returning *)
update batches.job j set status = 'CANCELING' from b where j.project_id = b.project_id and j.batch_id = b.id;
select is(pg_temp.counts(2), array[5,0,0,0,0,0,5], 'a batch and its jobs can be changed by one statement');
select pg_temp.counts_hold('after a batch and its jobs were changed by one statement');

--
-- Savepoints and errors, for totals
--

savepoint outer_savepoint;
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(80), 'EMU', 'ann');
savepoint inner_savepoint;
delete from batches.batch where project_id = pg_temp.p(2);
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(81), 'NEW', 'ann');
select pg_temp.total(2) as total \gset inner_
rollback to inner_savepoint;
select is(array[:inner_total, pg_temp.total(2)], array[1, 3]::bigint[], 'ROLLBACK TO SAVEPOINT takes the totals back, too');
release outer_savepoint;
select pg_temp.counts_hold('after savepoints around changes of batches');

--
-- What a change costs
--

truncate batches.batch, batches.job;
insert into batches.batch (project_id, id, device_type, user_id)
select pg_temp.p(n % 4), pg_temp.b(n), 'DEVICE ' || n % 3, 'ann' from generate_series(1, 100) n;

-- How many rows the transaction has updated in a table, and how many of them heap-only: no index got an entry.
create function pg_temp.updates(name text) returns bigint[] language sql volatile as $$
  select array[pg_stat_get_xact_tuples_updated(('batches.' || name)::regclass),
               pg_stat_get_xact_tuples_hot_updated(('batches.' || name)::regclass)] $$;
create function pg_temp.batch_writes() returns bigint language sql volatile as $$
  select pg_stat_get_xact_tuples_inserted('batches.batch'::regclass) + pg_stat_get_xact_tuples_updated('batches.batch'::regclass)
       + pg_stat_get_xact_tuples_deleted('batches.batch'::regclass) + pg_stat_get_xact_tuples_updated('batches.batch_total'::regclass)
       + pg_stat_get_xact_tuples_inserted('batches.batch_total'::regclass)
       + pg_stat_get_xact_tuples_deleted('batches.batch_total'::regclass) $$;
create function pg_temp.single_statements(statement text, n int) returns void language plpgsql as $$
begin
  for i in 1 .. n loop
    execute statement using i;
  end loop;
end $$;

select pg_temp.batch_writes() as writes \gset before_
insert into batches.job (project_id, batch_id, id) select project_id, id, id from batches.batch;
update batches.job set status = 'RUNNING';
update batches.job set batch_id = pg_temp.b(4), project_id = pg_temp.p(0) where batch_id = pg_temp.b(8);
delete from batches.job where batch_id = pg_temp.b(12);
merge into batches.job j using (values (pg_temp.b(16))) v (id) on j.id = v.id
 when matched then update set status = 'DONE' when not matched then do nothing;
select is(pg_temp.batch_writes() - :before_writes, 0::bigint,
          'statements that write jobs change no row of batch, nor of batch_total');
select is(pg_temp.counts(4), array[2,0,2,0,0,0,0], 'they change the counts');

select pg_temp.updates('batch_job_count') as u \gset before_
update batches.job set status = 'DONE' where batch_id = pg_temp.b(4);
select is((select array_agg(a - b) from unnest(pg_temp.updates('batch_job_count'), :'before_u'::bigint[]) u (a, b)),
          array[1, 1]::bigint[], 'a statement that changes two jobs of a batch updates its counts once, heap-only');
select pg_temp.updates('batch_job_count') as u \gset before_
update batches.job set status = status, updated_at = now();
select is(pg_temp.updates('batch_job_count'), :'before_u'::bigint[], 'a statement that changes no status updates no counts');
select pg_temp.updates('batch_total') as u \gset before_
update batches.batch set updated_at = now(), status = status, tags = '{b}';
select is(pg_temp.updates('batch_total'), :'before_u'::bigint[], 'a statement that changes no cell updates no total');

-- Single statements on one batch: a page that is full gives an index entry, and so does a new class.
insert into batches.job (project_id, batch_id, id)
select pg_temp.p(1), pg_temp.b(1), pg_temp.j(100000 + n) from generate_series(1, 1000) n;
select pg_temp.updates('batch_job_count') as u \gset before_
select pg_temp.single_statements('insert into batches.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(1))', 1000);
select is(pg_temp.counts(1), array[2001,2000,1,0,0,0,0], 'a thousand single-row inserts are counted');
select cmp_ok((pg_temp.updates('batch_job_count'))[2] - (:'before_u'::bigint[])[2], '>=', 900::bigint,
              'of a thousand single-row inserts into one batch nine in ten are heap-only in its counts');
select pg_temp.updates('batch_job_count') as u \gset before_
select pg_temp.single_statements('update batches.job set status = ''DONE'' where project_id = pg_temp.p(1)
                                  and batch_id = pg_temp.b(1) and id = pg_temp.j(100000 + $1)', 1000);
select is(pg_temp.counts(1), array[2001,1000,1,1000,0,0,0], 'a thousand single changes of status are counted');
select cmp_ok((pg_temp.updates('batch_job_count'))[2] - (:'before_u'::bigint[])[2], '>=', 970::bigint,
              'of a thousand changes of status in one batch nearly all are heap-only in its counts');

-- The totals stay as few as there are projects and devices, whoever writes how often.
select pg_temp.single_statements('insert into batches.batch (project_id, device_type, user_id)
                                  values (pg_temp.p($1 % 4), ''DEVICE '' || $1 % 3, ''ann'')', 300);
select pg_temp.single_statements('update batches.batch set status = (enum_range(null::batches.batch_status))[1 + $1 % 8],
                                  device_type = ''DEVICE '' || ($1 + 1) % 3 where id = pg_temp.b(1 + $1 % 100)', 500);
select pg_temp.single_statements('delete from batches.batch where id = pg_temp.b($1)', 50);
select is((select count(*) from batches.batch_total), 16::bigint,
          'single statements leave one total for each project and device, and one for each project');
select pg_temp.counts_hold('after many single statements');

-- Savepoints that are rolled back
do $$
begin
  for i in 1 .. 200 loop
    begin
      insert into batches.batch (project_id, device_type, user_id) values (pg_temp.p(i % 4), 'DEVICE ' || i % 3, 'ann');
      if i % 2 = 0 then
        raise exception 'never mind';
      end if;
    exception when raise_exception then null;
    end;
  end loop;
end $$;
select is((select count(*) from batches.batch_total), 16::bigint, 'so do savepoints, kept or rolled back');
select pg_temp.counts_hold('after many savepoints');

--
-- Tables of an ordinary owner
--

drop table batches.job, batches.batch, batches.project_member, batches.batch_job_count, batches.batch_total;
create role batches_test_owner;
grant usage, create on schema batches to batches_test_owner;
set local role batches_test_owner;
do $$ begin perform batches.create_tables(); end $$;
insert into batches.batch (project_id, id, device_type, user_id)
select pg_temp.p(1), pg_temp.b(n), 'FRESNEL', 'ann' from generate_series(1, 3) n;
insert into batches.job (project_id, batch_id, status) values
  (pg_temp.p(1), pg_temp.b(1), 'DONE'), (pg_temp.p(1), pg_temp.b(1), 'ERROR'), (pg_temp.p(1), pg_temp.b(2), 'DONE');
update batches.job set batch_id = pg_temp.b(3) where batch_id = pg_temp.b(2);
delete from batches.job where status = 'ERROR';
select pg_temp.sqlstate_of('update batches.batch_job_count set jobs_count = 1') as state \gset
reset role;
select is((select tableowner from pg_tables where schemaname = 'batches' and tablename = 'job'), 'batches_test_owner',
          'the tables belong to whoever calls create_tables()');
select is(array[pg_temp.counts(1), pg_temp.counts(2), pg_temp.counts(3)],
          array[[1,0,0,1,0,0,0],[0,0,0,0,0,0,0],[1,0,0,1,0,0,0]], 'jobs are counted in the tables of an ordinary owner');
select is(:'state'::text, '428C9', 'an ordinary owner cannot set counts');
alter table batches.batch force row level security;
alter table batches.batch_job_count force row level security;
alter table batches.batch_total force row level security;
alter table batches.job force row level security;
create policy writer on batches.job using (true) with check (true);
create policy writer on batches.batch for insert with check (true);
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(2), 'PENDING');
select is(pg_temp.counts(2), array[1,1,0,0,0,0,0], 'jobs are counted where row-level security is forced on the owner');
set local role batches_test_owner;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(2), 'RUNNING');
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(4), 'FRESNEL', 'ann');
select (select count(*) from batches.batch) + (select count(*) from batches.batch_job_count)
       + (select count(*) from batches.batch_total) as visible \gset
reset role;
select is(:visible, 0, 'an owner for whom row-level security is forced sees no batch, and nothing derived');
select is(pg_temp.counts(2), array[2,1,1,0,0,0,0],
          'jobs that an owner inserts who does not see the batch are counted');
select pg_temp.counts_hold('in the tables of an ordinary owner');

-- A repair must not take what policies hide for what is not there, nor trust a plan that was made under them.
set local session_replication_role = replica;
update batches.batch_job_count set jobs_count = 7, done_jobs = 7 where batch_id = pg_temp.b(1);
set local session_replication_role = origin;
set local role batches_test_owner;
select count(*) as found from batches.verify_counts() \gset
select batches.repair_counts() as mended \gset
reset role;
select is(:mended, 1, 'an owner for whom row-level security is forced can mend the counts');
select pg_temp.counts_hold('after this owner''s repair');
alter table batches.batch_job_count no force row level security;
alter table batches.batch_total no force row level security;
set local role batches_test_owner;
select batches.repair_counts() as mended \gset
select (select count(*) from batches.batch) as visible \gset
reset role;
select is(array[:mended, :visible], array[0, 0], 'also where it is forced on some of the tables');
select pg_temp.counts_hold('after a repair where it is forced on some of the tables');

--
-- Jobs of a batch before the statement ends that inserts it
--

create function pg_temp.first_job() returns trigger language plpgsql as $$
begin
  insert into batches.job (project_id, batch_id) values (new.project_id, new.id);
  return null;
end $$;
create trigger first_job after insert on batches.batch for each row execute function pg_temp.first_job();
select lives_ok($$insert into batches.batch (project_id, device_type, user_id) select pg_temp.p(1), 'EARLY', 'ann' from generate_series(1, 3)$$,
                'a trigger may give a new batch its first job');
drop trigger first_job on batches.batch;
select lives_ok($$with b as (insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(901), 'EARLY', 'ann'))
                  insert into batches.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(901))$$,
                'jobs may be inserted beside their batch, by one statement that names both');
select is_empty('select * from batches.verify_counts()', 'and they are counted');
select throws_ok($$with d as (delete from batches.batch where id = pg_temp.b(901) returning *) insert into batches.batch select * from d$$,
                 '27000', null, 'a statement that deletes a batch and inserts it again is refused for what it is');
declare totals_in_use cursor for select * from batches.batch_total;
move 1 in totals_in_use;
select throws_ok('truncate batches.batch cascade', '55006', null, 'totals that a cursor reads are not truncated with the batches');

select * from finish();
rollback;
