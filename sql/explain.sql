-- How a request was read, as psql shows it, and the line that a session gets at DEBUG1.
\set SHOW_CONTEXT never
\set VERBOSITY terse
create extension batches;
select batches.create_tables();
insert into batches.batch (project_id, id, device_type, user_id, tags)
select lpad((n % 3)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'ada', '{a}' from generate_series(1, 300) n;
insert into batches.project_member values (lpad('1', 32, '0')::uuid, 'ada');
vacuum analyze batches.batch, batches.batch_job_count;

\x on
select engine, reason, path, work > 0 as works, detail - 'paths' as detail from batches.explain_batches();
select engine, reason, path, work from batches.explain_batches(id__starts_with => 'no id');
set batches.scan = sql;
select * from batches.explain_batches();
reset batches.scan;
\x off

set client_min_messages = debug1;
select count(*) from batches.list_batches();
select batches.count_batches(created_after => '-infinity');
set batches.user_id = 'ada';
select length(batches.http_get_all_batches('limit=2')::text) > 100 as answers;
reset batches.user_id;
create role regress_batches_reader;
grant usage on schema batches to regress_batches_reader;
grant select on all tables in schema batches to regress_batches_reader;
set batches.user_id = 'ada';
set role regress_batches_reader;
select count(*) from batches.list_batches("limit" => 10);
reset role;
reset client_min_messages;

drop owned by regress_batches_reader;
drop role regress_batches_reader;
drop table batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member;
drop extension batches;
