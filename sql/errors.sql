-- What a bad request gets: an error code, the parameter and its value, a hint.
\set SHOW_CONTEXT never
\set VERBOSITY default
create extension batches;
select batches.create_tables();
\set ON_ERROR_STOP off

-- Without an authenticated user there is no document, for the owner neither.
select batches.get_all_batches();
\echo :LAST_ERROR_SQLSTATE
set batches.user_id = 'ada';

select batches.get_all_batches("limit" => 0);
\echo :LAST_ERROR_SQLSTATE
select batches.get_all_batches("limit" => 101);
\echo :LAST_ERROR_SQLSTATE
select * from batches.list_batches("limit" => 0);
select * from batches.list_batches("limit" => -9223372036854775808);
select batches.get_all_batches("offset" => -1);
\echo :LAST_ERROR_SQLSTATE
select * from batches.list_batches("offset" => -1);
select batches.get_all_batches(order_by => 'jobs');
\echo :LAST_ERROR_SQLSTATE
select * from batches.list_batches(order_by => 'id; drop table batch');
select batches.get_all_batches(order_by => '');
select batches.get_all_batches(order_by_direction => 'asc');
\echo :LAST_ERROR_SQLSTATE
select batches.get_all_batches(order_by_direction => 'DESC NULLS LAST');
select batches.get_all_batches(status => '{DONE,NULL}');
\echo :LAST_ERROR_SQLSTATE
select batches.count_batches(id => array[null]::uuid[]);
select batches.count_batches(tag => 'x', queue_priority => '{NULL}');
select batches.count_batches(status => '{FINISHED}');
select batches.count_batches(id => '{42}');

-- Two errors at once: the first in the order of the parameters.
select batches.get_all_batches("limit" => 0, order_by => 'jobs', status => '{NULL}');

-- Not errors.
select batches.count_batches(status => '{}'), batches.count_batches(open => true, complete => true),
       batches.count_batches(min_jobs => 9223372036854775807), batches.count_batches(id__starts_with => '%');
select count(*) from batches.list_batches("limit" => null, "offset" => null, order_by => null, order_by_direction => null);
select count(*) from batches.list_batches("limit" => 9223372036854775807);

-- What keeps the counts cannot be called or told otherwise.
select batches.count_jobs();
\echo :LAST_ERROR_SQLSTATE
select batches.count_changed_batches();
select batches.protect_counts();
create trigger wrong after insert on batches.job for each row execute function batches.count_jobs();
insert into batches.batch (project_id, id, device_type, user_id)
values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', 'FRESNEL', 'ada');
insert into batches.job (project_id, batch_id)
values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002');
drop trigger wrong on batches.job;
create trigger wrong after update of status on batches.batch for each statement execute function batches.count_changed_batches();
update batches.batch set status = 'DONE';
drop trigger wrong on batches.batch;

-- By hand the derived tables cannot be changed; what a restore inserts is passed over.
update batches.batch_job_count set jobs_count = 1, done_jobs = 1;
\echo :LAST_ERROR_SQLSTATE
delete from batches.batch_total;
truncate batches.batch_total;
with hidden as (update batches.batch_job_count set done_jobs = 1 returning batch_id)
update batches.batch set status = 'DONE' where false;
insert into batches.batch_job_count (project_id, batch_id, jobs_count, done_jobs, size_class)
select project_id, id, 7, 7, 7 from batches.batch
on conflict (project_id, batch_id) do update set jobs_count = 7;
insert into batches.batch_total (project_id, n) select project_id, array_fill(5, array[8, 2, 5]) from batches.batch;
-- Changing nothing is no change.
update batches.batch_job_count set jobs_count = 1 where false;
reset batches.user_id;
select jobs_count, batches.count_batches() from batches.batch_job_count;

-- The triggers' functions are for the extension's tables alone.
create temp table trap (project_id text, batch_id text, id text, n text);
create trigger trap before update on trap for each row execute function batches.count_changed_batches();
insert into trap values ('a');
update trap set n = 'b';
drop trigger trap on trap;
create trigger trap after insert on trap referencing new table as new_rows
  for each statement execute function batches.count_changed_batches();
insert into trap values ('a');
drop trigger trap on trap;
create trigger trap after insert on trap referencing new table as new_rows
  for each statement execute function batches.count_jobs();
insert into trap values ('a');
\echo :LAST_ERROR_SQLSTATE
drop trigger trap on trap;
create trigger trap after delete on trap for each statement execute function batches.protect_counts();
delete from trap;
drop table trap;

-- Counts that are not there, or cannot be: whoever meets them says so, and how to mend them.
begin;
set local session_replication_role = replica;
delete from batches.batch_job_count;
set local session_replication_role = origin;
set local batches.scan = sql;
select * from batches.list_batches();
\echo :LAST_ERROR_SQLSTATE
rollback;
begin;
set local session_replication_role = replica;
delete from batches.batch_job_count;
set local session_replication_role = origin;
set local batches.scan = index;
select * from batches.list_batches();
\echo :LAST_ERROR_SQLSTATE
rollback;
begin;
set local session_replication_role = replica;
update batches.batch_total set n = array_fill(-1, array[8, 2, 5]);
set local session_replication_role = origin;
select batches.count_batches();
\echo :LAST_ERROR_SQLSTATE
rollback;
begin;
set local session_replication_role = replica;
update batches.batch_total set n = '{1,2,3}';
set local session_replication_role = origin;
select batches.batch_facets();
\echo :LAST_ERROR_SQLSTATE
rollback;

set batches.user_id = 'ada';
-- Tables are distributed by Citus.
select batches.distribute_tables();
\echo :LAST_ERROR_SQLSTATE
select batches.undistribute_tables();
\echo :LAST_ERROR_SQLSTATE

-- The schema for PostgREST is one of its own.
create role regress_batches_web;
select batches.create_postgrest_api('batches', 'regress_batches_web', 'regress_batches_web');
\echo :LAST_ERROR_SQLSTATE
select batches.create_postgrest_api('pg_catalog', 'regress_batches_web', 'regress_batches_web');
select batches.create_postgrest_api(null, 'regress_batches_web', 'regress_batches_web');
\echo :LAST_ERROR_SQLSTATE
create schema regress_batches_api authorization regress_batches_web;
select batches.create_postgrest_api('regress_batches_api', 'regress_batches_web', 'regress_batches_web');
\echo :LAST_ERROR_SQLSTATE
alter schema regress_batches_api owner to current_user;
create function regress_batches_api.batches() returns json language sql return null::json;
alter function regress_batches_api.batches() owner to regress_batches_web;
select batches.create_postgrest_api('regress_batches_api', 'regress_batches_web', 'regress_batches_web');
drop function regress_batches_api.batches();
create function regress_batches_api.get_all_batches(text) returns json language sql return null::json;
select batches.create_postgrest_api('regress_batches_api', 'regress_batches_web', 'regress_batches_web');
\set VERBOSITY terse
drop schema regress_batches_api cascade;
drop owned by regress_batches_web;
drop role regress_batches_web;

-- A query string that is too long is a 422.
select status, body from batches.http_get_all_batches(repeat('&', 262144 + 1));
select status, body -> 'pagination' as pagination from batches.http_get_all_batches(repeat('&', 262144));

-- Tags are unique; a configuration is an object.
\set VERBOSITY terse
update batches.batch set tags = '{a,b,a}';
update batches.batch set tags = '{a,NULL}';
update batches.batch set tags = '{{a,b},{c,d}}';
update batches.batch set configuration = '[]';

drop table batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member;
drop extension batches;
