-- The job counts that batches.batch keeps are those of batches.job, whatever statement changes the jobs.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
truncate batches.batch, batches.job, batches.project_member;

select plan(162);

--
-- Helpers
--

create function pg_temp.p(n int) returns uuid language sql immutable
  return ('a0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('b0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.j(n int) returns uuid language sql immutable
  return ('c0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;

-- Batches whose counts are not what the table of jobs says. A batch without jobs has zeros.
create function pg_temp.miscounted() returns table (project_id uuid, id uuid, kept int[], recount int[])
  language sql stable as $$
  select b.project_id, b.id,
         array[b.jobs_count, b.pending_jobs, b.running_jobs, b.done_jobs, b.error_jobs, b.canceled_jobs,
               b.canceling_jobs] as kept,
         r.recount
    from batches.batch b
    cross join lateral (
      select array[count(*), count(*) filter (where j.status = 'PENDING'), count(*) filter (where j.status = 'RUNNING'),
                   count(*) filter (where j.status = 'DONE'), count(*) filter (where j.status = 'ERROR'),
                   count(*) filter (where j.status = 'CANCELED'),
                   count(*) filter (where j.status = 'CANCELING')]::int[] as recount
        from batches.job j
       where j.project_id = b.project_id and j.batch_id = b.id) r
   where array[b.jobs_count, b.pending_jobs, b.running_jobs, b.done_jobs, b.error_jobs, b.canceled_jobs,
               b.canceling_jobs] is distinct from r.recount
$$;

-- Two tests: the extension's own verification and the recount above find nothing wrong.
create function pg_temp.counts_hold(what text) returns setof text language plpgsql as $$
begin
  return next is_empty('select * from batches.verify_job_counts()', 'verify_job_counts() is empty ' || what);
  return next is_empty('select * from pg_temp.miscounted()', 'a recount of the jobs agrees ' || what);
end $$;

-- The seven numbers of one batch: all, PENDING, RUNNING, DONE, ERROR, CANCELED, CANCELING.
create function pg_temp.counts(n int) returns int[] language sql stable
  as $$ select array[jobs_count, pending_jobs, running_jobs, done_jobs, error_jobs, canceled_jobs, canceling_jobs]
          from batches.batch where id = pg_temp.b(n) $$;

-- Runs a statement and says how it ended.
create function pg_temp.sqlstate_of(statement text) returns text language plpgsql as $$
begin
  execute statement;
  return '00000';
exception when others then
  return sqlstate;
end $$;

insert into batches.batch (project_id, id, device_type, user_id)
select pg_temp.p(1 + (n - 1) / 5), pg_temp.b(n), 'FRESNEL', 'ann' from generate_series(1, 10) n;

--
-- Counts belong to the triggers
--

select is(pg_temp.counts(1), array[0,0,0,0,0,0,0], 'a new batch has no jobs');

insert into batches.batch (project_id, id, device_type, user_id, jobs_count, pending_jobs, running_jobs, done_jobs,
                           error_jobs, canceled_jobs, canceling_jobs)
values (pg_temp.p(3), pg_temp.b(11), 'FRESNEL', 'ann', 21, 1, 2, 3, 4, 5, 6);
select is(pg_temp.counts(11), array[0,0,0,0,0,0,0], 'counts given to INSERT are ignored');

copy batches.batch (project_id, id, device_type, user_id, jobs_count, done_jobs) from stdin;
a0000000-0000-0000-0000-000000000003	b0000000-0000-0000-0000-000000000012	FRESNEL	ann	9	9
\.
select is(pg_temp.counts(12), array[0,0,0,0,0,0,0], 'counts given to COPY are ignored');

select is(pg_temp.sqlstate_of(format('update batches.batch set %I = 1', c)), '428C9',
          'a superuser cannot update ' || c || ' either')
  from unnest(array['jobs_count', 'pending_jobs', 'running_jobs', 'done_jobs', 'error_jobs', 'canceled_jobs',
                    'canceling_jobs']) c;
select throws_ok(
  $$ insert into batches.batch (project_id, id, device_type, user_id, jobs_count)
     values (pg_temp.p(1), pg_temp.b(1), 'FRESNEL', 'ann', 5)
     on conflict (id) do update set jobs_count = 5 $$,
  '428C9', null, 'ON CONFLICT DO UPDATE cannot set a count');
select throws_ok(
  $$ merge into batches.batch b using (values (pg_temp.b(1))) v (id) on b.id = v.id
     when matched then update set done_jobs = 5 $$,
  '428C9', null, 'MERGE cannot set a count');
select lives_ok(
  $$ update batches.batch set status = 'RUNNING', updated_at = now(), tags = '{x}' where id = pg_temp.b(1) $$,
  'the other columns can be updated');
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
select is(pg_temp.counts(4), array[80,0,0,30,0,50,0], 'a TRUNCATE that is rolled back resets nothing');
select pg_temp.counts_hold('after a TRUNCATE that was rolled back');

savepoint before_truncate;
truncate batches.batch cascade;
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(1), 'FRESNEL', 'ann');
insert into batches.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(1));
select pg_temp.counts(1) as counts, (select count(*) from batches.verify_job_counts()) as wrong \gset truncated_
rollback to before_truncate;
select is(:'truncated_counts'::int[], array[1,1,0,0,0,0,0], 'counting goes on after TRUNCATE … CASCADE of the batches');
select is(:truncated_wrong, 0, 'verify_job_counts() is empty after TRUNCATE … CASCADE of the batches');
savepoint before_truncate;
truncate batches.job, batches.batch;
select (select count(*) from batches.batch) + (select count(*) from batches.job) as rows \gset truncated_
rollback to before_truncate;
select is(:truncated_rows, 0, 'both tables can be truncated by one statement');

truncate batches.job;
select pg_temp.counts_hold('after TRUNCATE');
select is_empty('select id from batches.batch where jobs_count <> 0', 'no batch counts a job after TRUNCATE');

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

-- A count that an error interrupts leaves no way to set counts.
alter table batches.batch add constraint few_jobs check (jobs_count < 100) not valid;
select throws_ok(
  $$ insert into batches.job (project_id, batch_id) select pg_temp.p(2), pg_temp.b(10) from generate_series(1, 100) $$,
  '23514', null, 'a constraint on the counts holds for what the triggers count');
select is(pg_temp.sqlstate_of('update batches.batch set jobs_count = 1'), '428C9',
          'the counts are protected after an error while counting');
alter table batches.batch drop constraint few_jobs;

create function pg_temp.set_counts() returns trigger language plpgsql as $$
begin
  perform set_config('test.inner_sqlstate',
                     pg_temp.sqlstate_of('update batches.batch set done_jobs = 1000, jobs_count = 1000'), true);
  return null;
end $$;
create trigger set_counts after update on batches.batch for each row when (pg_trigger_depth() < 2)
  execute function pg_temp.set_counts();
savepoint before_counting;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(8), 'DONE');
select current_setting('test.inner_sqlstate', true) as state,
       (select count(*) from batches.verify_job_counts()) as wrong \gset inner_
rollback to before_counting;
drop trigger set_counts on batches.batch;
select is(:'inner_state'::text, '428C9', 'a trigger that runs while jobs are counted cannot set counts');
select is(:inner_wrong, 0, 'verify_job_counts() is empty after a trigger tried to set counts while counting');

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
    wrong := (select count(*) from batches.verify_job_counts()) + (select count(*) from pg_temp.miscounted());
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

create function pg_temp.prevent() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger prevent before update on batches.batch for each row execute function pg_temp.prevent();
select is(pg_temp.wrong_after(statement), 0::bigint, 'the counts hold when a trigger prevents updates of batches: ' || statement)
  from unnest(array['insert into batches.job (project_id, batch_id) values (pg_temp.p(2), pg_temp.b(50))',
                    'update batches.job set status = ''RUNNING'' where batch_id = pg_temp.b(50)',
                    'update batches.job set batch_id = pg_temp.b(6) where batch_id = pg_temp.b(50)',
                    'delete from batches.job where batch_id = pg_temp.b(50)', 'truncate batches.job',
                    'delete from batches.batch where id = pg_temp.b(50)']) statement;
drop trigger prevent on batches.batch;
select pg_temp.counts_hold('after changes of batches with their jobs');

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
select cmp_ok((select jobs_count from batches.batch where id = pg_temp.b(1001)), '>', 200,
              'there were many jobs to count');
delete from batches.batch where id > pg_temp.b(1000);

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
grant select on batches.batch, batches.project_member to batches_test_writer;
set local role batches_test_writer;
select (select count(*) from batches.batch) as visible \gset
update batches.job set status = 'RUNNING' where id = pg_temp.j(1);
update batches.job set batch_id = pg_temp.b(2) where id = pg_temp.j(2);
delete from batches.job where id = pg_temp.j(3);
reset role;
select is(:visible, 0, 'the writer does not see the batches');
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
select throws_ok('select batches.protect_job_counts()', '39P01', null, 'protect_job_counts() is no function to call');

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

create table pg_temp.other_batch (like batches.batch);
create trigger t before insert on pg_temp.other_batch for each row execute function batches.protect_job_counts();
select throws_ok('insert into pg_temp.other_batch select * from batches.batch', '39P01', null,
                 'protect_job_counts() refuses another table');
create trigger wrong after insert on batches.batch for each row execute function batches.protect_job_counts();
select throws_ok(
  $$ insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(42), 'F', 'ann') $$,
  '39P01', null, 'protect_job_counts() refuses to be an AFTER trigger');
drop trigger wrong on batches.batch;
select is(pg_temp.counts(1), array[1,0,0,1,0,0,0], 'no trigger out of place changed a count');
select pg_temp.counts_hold('after triggers out of place');

--
-- Verification
--

insert into batches.job (project_id, batch_id, status) values
  (pg_temp.p(1), pg_temp.b(2), 'DONE'), (pg_temp.p(1), pg_temp.b(2), 'DONE'), (pg_temp.p(1), pg_temp.b(3), 'ERROR');
set local session_replication_role = replica;
update batches.batch set jobs_count = 7 where id = pg_temp.b(1);
update batches.batch set done_jobs = 1, canceled_jobs = 1 where id = pg_temp.b(2);
delete from batches.job where batch_id = pg_temp.b(3);
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(2), pg_temp.b(6), 'CANCELING');
set local session_replication_role = origin;
select results_eq(
  'select * from batches.verify_job_counts()',
  $$ values (pg_temp.p(1), pg_temp.b(1), 7::bigint, 1::bigint, '{"DONE": 1}'::jsonb, '{"DONE": 1}'::jsonb),
            (pg_temp.p(1), pg_temp.b(2), 2, 2, '{"DONE": 1, "CANCELED": 1}', '{"DONE": 2}'),
            (pg_temp.p(1), pg_temp.b(3), 1, 0, '{"ERROR": 1}', '{}'),
            (pg_temp.p(2), pg_temp.b(6), 0, 1, '{}', '{"CANCELING": 1}') $$,
  'verify_job_counts() reports every batch whose counts are wrong, and no other');
truncate batches.job;
select pg_temp.counts_hold('after TRUNCATE repaired wrong counts');

--
-- Cost of a change
--

-- A page without dead rows.
truncate batches.batch cascade;
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(1), 'FRESNEL', 'ann');
insert into batches.job (project_id, batch_id, status) values
  (pg_temp.p(1), pg_temp.b(1), 'PENDING'), (pg_temp.p(1), pg_temp.b(1), 'PENDING');
select pg_stat_get_xact_tuples_updated('batches.batch'::regclass) as updated,
       pg_stat_get_xact_tuples_hot_updated('batches.batch'::regclass) as hot \gset before_
update batches.job set status = 'RUNNING' where batch_id = pg_temp.b(1);
select pg_stat_get_xact_tuples_updated('batches.batch'::regclass) - :before_updated as updated,
       pg_stat_get_xact_tuples_hot_updated('batches.batch'::regclass) - :before_hot as hot \gset
select is(pg_temp.counts(1), array[2,0,2,0,0,0,0], 'two jobs changed their status');
select is(array[:updated, :hot], array[1, 1], 'a statement that changes jobs of one batch updates it once, heap-only');

--
-- Tables of an ordinary owner
--

drop table batches.job, batches.batch, batches.project_member;
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
select pg_temp.sqlstate_of('update batches.batch set jobs_count = 1') as state \gset
reset role;
select is((select tableowner from pg_tables where schemaname = 'batches' and tablename = 'job'), 'batches_test_owner',
          'the tables belong to whoever calls create_tables()');
select is(array[pg_temp.counts(1), pg_temp.counts(2), pg_temp.counts(3)],
          array[[1,0,0,1,0,0,0],[0,0,0,0,0,0,0],[1,0,0,1,0,0,0]], 'jobs are counted in the tables of an ordinary owner');
select is(:'state'::text, '428C9', 'an ordinary owner cannot set counts');
alter table batches.batch force row level security;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(2), 'PENDING');
select is(pg_temp.counts(2), array[1,1,0,0,0,0,0], 'jobs are counted where row-level security is forced on the owner');
set local role batches_test_owner;
insert into batches.job (project_id, batch_id, status) values (pg_temp.p(1), pg_temp.b(2), 'RUNNING');
select (select count(*) from batches.batch) as visible \gset
reset role;
select is(:visible, 0, 'an owner for whom row-level security is forced sees no batch');
select is(pg_temp.counts(2), array[2,1,1,0,0,0,0],
          'jobs that an owner inserts who does not see the batch are counted');
select pg_temp.counts_hold('in the tables of an ordinary owner');

select * from finish();
rollback;
