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

-- A view in place of a table. Its rows are counted: the totals are those of the table behind it.
begin;
alter table batches.batch rename to stored_batch;
create view batches.batch as select * from batches.stored_batch where id <> lpad('2', 32, '0')::uuid;
select id, jobs_count, jobs_count_per_status from batches.list_batches(order_by => 'id');
select batches.count_batches(), batches.count_batches(status => '{PENDING}', device_type => '{FRESNEL}'),
       batches.batch_facets() -> 'device_type' as devices;
set local batches.user_id = 'ada';
select batches.count_batches(), batches.get_all_batches() -> 'pagination' as pagination;
rollback;
begin;
alter table batches.batch_job_count rename to stored_count;
create view batches.batch_job_count as
select size_class, canceling_jobs, canceled_jobs, error_jobs, done_jobs, running_jobs, null::integer as pending_jobs,
       jobs_count, batch_id, project_id
  from batches.stored_count;
select id, jobs_count, jobs_count_per_status from batches.list_batches("limit" => 1, order_by => 'id');
select count(*) from batches.list_batches(min_jobs => 1, order_by => 'jobs_count');
set local batches.scan = index;
select count(*) from batches.list_batches();
rollback;
begin;
alter table batches.batch_job_count rename to stored_count;
create view batches.batch_job_count as select * from batches.stored_count where batch_id <> lpad('2', 32, '0')::uuid;
select count(*) from batches.list_batches();
rollback;
begin;
alter table batches.batch_job_count alter jobs_count type bigint;
select count(*) from batches.list_batches();
rollback;
begin;
alter table batches.batch_total rename to stored_total;
create view batches.batch_total as
select project_id, id, device_type, array_fill(5::bigint, array[8, 2, 5]) as n from batches.stored_total;
select batches.count_batches(), batches.batch_facets() -> 'total' as total;
rollback;
begin;
drop table batches.batch_job_count;
select batches.count_batches();
set local batches.scan = index;
select count(*) from batches.list_batches();
rollback;
begin;
drop table batches.batch_total;
select batches.count_batches(), batches.batch_facets() -> 'total' as total;
rollback;

-- Totals that nothing keeps, or not in all statements, are not read. Those here are wrong on purpose: 5 of each kind.
create function pg_temp.counted() returns text language sql as $$
  select concat_ws(' ', batches.count_batches(), batches.count_batches(status => '{PENDING}'),
                   batches.batch_facets() -> 'total', batches.batch_facets(device_type => '{FRESNEL}') -> 'project_id');
$$;
begin;
select pg_temp.counted() as kept;
set local session_replication_role = replica;
update batches.batch_total set n = array_fill(5, array[8, 2, 5]);
set local session_replication_role = origin;
select pg_temp.counted() as wrong;
savepoint s;
alter table batches.batch disable trigger user;
select pg_temp.counted() as "all disabled";
rollback to s;
alter table batches.batch disable trigger count_updated_batches;
select pg_temp.counted() as "disabled";
rollback to s;
alter table batches.batch enable replica trigger count_inserted_batches;
select pg_temp.counted() as "for replicas";
rollback to s;
alter table batches.batch enable always trigger count_inserted_batches;
select pg_temp.counted() as "enabled always: wrong";
rollback to s;
drop trigger count_truncated_batches on batches.batch;
select pg_temp.counted() as "one dropped";
rollback to s;
drop trigger count_deleted_batches on batches.batch;
create trigger count_deleted_batches after delete on batches.batch
  for each statement execute function pg_catalog.suppress_redundant_updates_trigger();
select pg_temp.counted() as "another's function";
rollback to s;
drop trigger count_deleted_batches on batches.batch;
create trigger count_deleted_batches after delete on batches.batch referencing old table as old_rows
  for each statement when (false) execute function batches.count_changed_batches();
select pg_temp.counted() as "fired never";
rollback to s;
create table batches.more () inherits (batches.batch);
select pg_temp.counted() as "inherited from";
rollback;
begin;
alter table batches.batch rename to stored_batch;
create table batches.batch (like batches.stored_batch);
insert into batches.batch select * from batches.stored_batch limit 2;
select pg_temp.counted() as "another table";
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

-- A trigger of another's on "batch" that skips changes: nothing of "batch" changes when its jobs are counted.
begin;
create function pg_temp.skip() returns trigger language plpgsql as 'begin return null; end';
create trigger skip before update on batches.batch for each row execute function pg_temp.skip();
update batches.job set status = 'ERROR';
select * from batches.verify_counts();
rollback;
-- Nor does one on the derived tables keep counts from being kept, or a rule.
begin;
create function pg_temp.skip() returns trigger language plpgsql as 'begin return null; end';
create trigger skip before insert or update or delete on batches.batch_job_count for each row execute function pg_temp.skip();
create rule skip as on update to batches.batch_total do instead nothing;
update batches.job set status = 'ERROR';
insert into batches.batch (project_id, device_type, user_id) values (md5('new')::uuid, 'FRESNEL', 'ada');
update batches.batch set status = 'DONE';
select * from batches.verify_counts();
rollback;
-- A batch that a trigger deletes while it gets a job takes the job with it.
begin;
create function pg_temp.remove() returns trigger language plpgsql
as 'begin delete from batches.batch where id = new.batch_id; return null; end';
create trigger remove after insert on batches.job for each row execute function pg_temp.remove();
insert into batches.job (project_id, batch_id) select project_id, id from batches.batch limit 1;
select count(*) from batches.batch;
select * from batches.verify_counts();
rollback;
-- A foreign key that lets a job come before its batch
begin;
alter table batches.job alter constraint job_project_id_batch_id_fkey deferrable initially deferred;
insert into batches.job (project_id, batch_id)
values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000009');
rollback;

-- What is counted is written by no trigger of another's: none sees it.
begin;
create function pg_temp.show() returns trigger language plpgsql
as $$ begin raise info '% on %', tg_op, tg_table_name; return null; end $$;
create trigger show after insert or update or delete on batches.batch for each statement execute function pg_temp.show();
create trigger show after insert or update or delete on batches.batch_job_count for each statement execute function pg_temp.show();
create trigger show after insert or update or delete on batches.batch_total for each statement execute function pg_temp.show();
set local search_path = 'evil', 'pg_catalog';
update batches.job set status = 'ERROR' where batch_id = '00000000-0000-0000-0000-000000000001';
update batches.batch set status = 'ERROR' where id = '00000000-0000-0000-0000-000000000001';
rollback;

-- Writes through a table that others inherit from
begin;
create table batches.parent (like batches.batch_job_count);
alter table batches.batch_job_count inherit batches.parent;
update batches.parent set jobs_count = 5;
rollback;
-- Tables that DROP EXTENSION ... CASCADE has left behind
begin;
set local client_min_messages = warning;
drop extension batches cascade;
create extension batches;
rollback;

select * from batches.verify_counts();
drop table batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member;
drop extension batches;
