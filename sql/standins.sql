-- What is not as create_tables() made it: it works, or says what is wrong.
\set SHOW_CONTEXT never
\set VERBOSITY default
create extension batches;
select batches.create_tables();
insert into batches.project_member values ('00000000-0000-0000-0000-000000000001', 'ada');
insert into batches.batch (project_id, id, device_type, user_id, created_at)
select '00000000-0000-0000-0000-000000000001', lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'ada', '2025-01-01Z'
  from generate_series(1, 3) n;
insert into batches.job (project_id, batch_id, status)
select project_id, id, 'DONE' from batches.batch;

-- Nulls that the constraints would not let in
begin;
alter table batches.job drop constraint job_pkey, alter batch_id drop not null;
insert into batches.job (project_id) values ('00000000-0000-0000-0000-000000000001');
rollback;
begin;
alter table batches.job alter status drop not null;
insert into batches.job (project_id, batch_id, status)
select project_id, id, null from batches.batch;
rollback;

-- A view in place of a table
begin;
alter table batches.batch rename to stored_batch;
create view batches.batch as select * from batches.stored_batch where id <> lpad('2', 32, '0')::uuid;
select id, jobs_count, jobs_count_per_status from batches.list_batches(order_by => 'id');
select batches.count_batches();
rollback;
begin;
alter table batches.batch rename to stored_batch;
create view batches.batch as
select id, parent_id, status, open, priority, device_type, user_id, project_id, created_at, updated_at,
       jobs_count, null::integer as pending_jobs, running_jobs, done_jobs, error_jobs, canceled_jobs,
       canceling_jobs, tags, configuration, backend_configuration, webhook, start_datetime, end_datetime,
       queue_priority
  from batches.stored_batch;
select id, jobs_count_per_status from batches.list_batches("limit" => 1, order_by => 'id');
rollback;
begin;
alter table batches.batch alter webhook type integer using 5;
select * from batches.list_batches();
rollback;
begin;
alter table batches.batch drop webhook;
select * from batches.list_batches();
rollback;
begin;
alter table batches.project_member rename to stored_member;
create view batches.project_member as select 5 as project_id, 'ada'::text as user_id;
set local batches.user_id = 'ada';
select batches.count_batches();
rollback;
begin;
alter table batches.project_member rename to stored_member;
create view batches.project_member as select null::uuid as project_id, 'ada'::text as user_id;
set local batches.user_id = 'ada';
select batches.count_batches(), batches.count_batches(project_id => '{00000000-0000-0000-0000-000000000001}');
rollback;

-- A partitioned table
begin;
alter table batches.batch rename to stored_batch;
create table batches.batch (like batches.stored_batch) partition by hash (project_id);
create table batches.batch_0 partition of batches.batch for values with (modulus 2, remainder 0);
create table batches.batch_1 partition of batches.batch for values with (modulus 2, remainder 1);
insert into batches.batch select * from batches.stored_batch;
select id, jobs_count from batches.list_batches(order_by => 'id', "limit" => 2);
rollback;

-- A trigger or a rule that keeps the counts from being updated
begin;
create function pg_temp.skip() returns trigger language plpgsql as 'begin return null; end';
create trigger skip before update on batches.batch for each row execute function pg_temp.skip();
update batches.job set status = 'ERROR';
rollback;
-- A batch that a trigger deletes while it gets a job takes the job with it.
begin;
create function pg_temp.remove() returns trigger language plpgsql
as 'begin delete from batches.batch where id = new.batch_id; return null; end';
create trigger remove after insert on batches.job for each row execute function pg_temp.remove();
insert into batches.job (project_id, batch_id) select project_id, id from batches.batch limit 1;
select count(*) from batches.batch;
select * from batches.verify_job_counts();
rollback;
-- A foreign key that lets a job come before its batch
begin;
alter table batches.job alter constraint job_project_id_batch_id_fkey deferrable initially deferred;
insert into batches.job (project_id, batch_id)
values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000009');
rollback;

-- What a trigger on "batch" does while jobs are counted, it does as the owner: with
-- a search_path that who writes the job has not chosen.
begin;
create function pg_temp.show_path() returns trigger language plpgsql
as $$ begin raise info 'search_path %', current_setting('search_path'); return null; end $$;
create trigger show_path after update on batches.batch for each statement execute function pg_temp.show_path();
set local search_path = 'evil', 'pg_catalog';
update batches.job set status = 'ERROR' where batch_id = '00000000-0000-0000-0000-000000000001';
show search_path;
rollback;

-- Writes through a table that "batch" inherits from
begin;
create table batches.parent (like batches.batch);
alter table batches.batch inherit batches.parent;
update batches.parent set jobs_count = 5;
rollback;

-- Tables that DROP EXTENSION ... CASCADE has left behind
begin;
set local client_min_messages = warning;
drop extension batches cascade;
create extension batches;
rollback;

select * from batches.verify_job_counts();
drop table batches.batch, batches.job, batches.project_member;
drop extension batches;
