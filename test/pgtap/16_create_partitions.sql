-- create_tables() with partitions: what it makes, what is kept and read there, and what becomes of a partition that goes. The tables
-- are made before, as indexes are read with certainty only of tables that are older than the transaction.

\ir include/output.psql

set client_min_messages = warning;
drop table batches.batch, batches.job, batches.project_member, batches.batch_job_count, batches.batch_total;
do $$ begin perform batches.create_tables(4); end $$;
begin;
\ir include/pgtap.psql

select plan(65);

create function pg_temp.p(n int) returns uuid language sql immutable
  return ('a0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('b0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.counts_hold(what text) returns text language sql
  return is_empty('select * from batches.verify_counts()', 'verify_counts() is empty ' || what);

-- Before anything else has locked them
create function pg_temp.partitions_read(call text) returns bigint language plpgsql as $$
declare
  n bigint;
begin
  begin
    execute 'select count(*) from ' || call;
    select count(distinct l.relation) into n from pg_locks l join pg_inherits on inhrelid = l.relation and inhparent = 'batches.batch'::regclass
     where l.pid = pg_backend_pid() and l.mode = 'AccessShareLock';
    raise sqlstate 'ZZZZZ';
  exception when sqlstate 'ZZZZZ' then -- the locks are gone
    return n;
  end;
end $$;
set local batches.scan = index;
select is(pg_temp.partitions_read('batches.list_batches()'), 4::bigint, 'without projects all partitions are read');
select is(pg_temp.partitions_read('batches.list_batches(project_id => array[pg_temp.p(1)])'), 1::bigint, 'for a project, its own');
insert into batches.project_member values (pg_temp.p(1), 'ann');
set local batches.user_id = 'ann';
select is(pg_temp.partitions_read('batches.list_batches()'), 1::bigint, 'for a user of one project, that');
set local batches.user_id = '';

set local batches.scan = auto;

--
-- Making them
--

select throws_ok(format('select batches.create_tables(%s)', n), '22023', 'partitions is ' || n, 'no ' || n || ' partitions')
  from unnest(array[-1, 0, 1, 257]) n;
select is(array(select format('%s %s', inhparent::regclass, count(*)) from pg_inherits
                 where inhparent in ('batches.batch'::regclass, 'batches.job'::regclass, 'batches.batch_job_count'::regclass)
                 group by inhparent order by inhparent::regclass::text),
          array['batches.batch 4', 'batches.batch_job_count 4', 'batches.job 4'], 'three tables have as many partitions as asked for');
select is_empty($$ select c.oid::regclass from pg_class c where c.relispartition and c.relkind = 'r' and c.relnamespace = 'batches'::regnamespace
                     and (not c.relrowsecurity or exists (select from pg_policy where polrelid = c.oid)) $$,
                'of a partition itself nobody but its owner sees a row');
select is((select reloptions from pg_class where oid = 'batches.batch_job_count_3'::regclass), '{fillfactor=50}', 'job counts have room for updates');
select lives_ok('select batches.create_tables(4)', 'once more, nothing is done');
select lives_ok('select batches.create_tables()', 'nor without a number');
select throws_ok('select batches.create_tables(5)', '55000', null, 'another number is an error');

--
-- Writes
--

insert into batches.batch (project_id, id, device_type, user_id, tags)
select pg_temp.p(n % 16), pg_temp.b(n), 'FRESNEL', 'ann', case when n % 50 = 0 then '{rare}' else '{}' end::text[] from generate_series(1, 800) n;
insert into batches.job (project_id, batch_id, status) select project_id, id, 'DONE' from batches.batch, generate_series(1, 2);
select is((select count(distinct tableoid) from batches.batch), 4::bigint, 'all partitions have batches');
select pg_temp.counts_hold('after INSERT');
select throws_ok($$ insert into batches.job (project_id, batch_id) values (pg_temp.p(1), pg_temp.b(2)) $$, '23503', null, 'a job is of a batch');
update batches.batch set status = 'RUNNING' where project_id = pg_temp.p(3);
update batches.job set status = 'ERROR' where project_id = pg_temp.p(4);
select pg_temp.counts_hold('after UPDATE');
-- MERGE's triggers are not told of what goes to another partition.
select throws_ok($$ merge into batches.job using (select pg_temp.p(6)) moved (project_id) on job.project_id = moved.project_id
                      when matched then update set project_id = pg_temp.p(5), batch_id = pg_temp.b(5) $$, '0A000', null, 'a job stays in its project');
select throws_ok($$ update batches.job set project_id = pg_temp.p(5), batch_id = pg_temp.b(5) where project_id = pg_temp.p(6) $$, '0A000', null, 'by UPDATE, too');
merge into batches.job using (select pg_temp.p(6)) moved (project_id) on job.project_id = moved.project_id and job.batch_id = pg_temp.b(6)
  when matched then update set batch_id = pg_temp.b(22);
select is((select jobs_count from batches.batch_job_count where batch_id = pg_temp.b(22)), 4, 'but goes to another batch there');
select pg_temp.counts_hold('after MERGE');
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(1), pg_temp.b(999), 'F', 'ann');
select throws_ok($$ update batches.batch b set project_id = (select o.project_id from batches.batch o where o.tableoid <> b.tableoid limit 1)
                     where id = pg_temp.b(999) $$, '0A000', null, 'a batch stays in its partition');
select throws_ok($$ update batches.batch b set project_id = (select o.project_id from batches.batch o where o.tableoid <> b.tableoid limit 1)
                     where id = pg_temp.b(17) $$, '0A000', null, 'with its jobs');
select lives_ok($$ update batches.batch set project_id = project_id, id = pg_temp.b(998) where id = pg_temp.b(999) $$, 'its id can change');
delete from batches.batch where id = pg_temp.b(998);
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(2), pg_temp.b(2), 'NEW', 'ann')
    on conflict (project_id, id) do update set device_type = excluded.device_type;
delete from batches.batch where project_id = pg_temp.p(7);
delete from batches.batch_2 where id < pg_temp.b(100);
select is_empty('select * from batches.job j where not exists (select from batches.batch b where (b.project_id, b.id) = (j.project_id, j.batch_id))',
                'jobs go with their batches');
select pg_temp.counts_hold('after DELETE');
savepoint truncating;
truncate batches.batch cascade;
select is(array(select relation::regclass::text collate "C" from pg_locks
                 where pid = pg_backend_pid() and mode = 'AccessExclusiveLock'
                   and relation in ('batches.batch_job_count'::regclass, 'batches.batch_job_count_0'::regclass, 'batches.batch_total'::regclass) order by 1),
          array['batches.batch_job_count', 'batches.batch_job_count_0', 'batches.batch_total'], 'what is derived is locked before it is emptied') as locked \gset
select pg_temp.counts_hold('after TRUNCATE') as result, (select count(*) from batches.job) + (select count(*) from batches.batch_job_count) as left \gset truncate_
rollback to truncating;
select :'locked';
select :'truncate_result';
select is(:truncate_left, 0, 'TRUNCATE has emptied all');
select pg_temp.counts_hold('after it was rolled back');
truncate batches.job_2, batches.job;
select pg_temp.counts_hold('after TRUNCATE of the jobs') as result, (select sum(jobs_count) from batches.batch_job_count) as left \gset truncate_
rollback to truncating;
select :'truncate_result';
select is(:truncate_left, 0, 'TRUNCATE has counted the jobs');
lock batches.batch, batches.job;
select throws_ok('truncate ' || what, state, null, what || ' is not truncated alone, even by who has locked all')
  from (values ('batches.job_1', '0A000'), ('batches.job_0, batches.job_1, batches.job_2, batches.job_3', '0A000'),
               ('batches.batch_1, batches.job_1', '0A000'), ('batches.batch_1, batches.job', '0A000'),
               ('batches.batch_job_count_1', '428C9')) t (what, state);
-- A query that has the whole open, but one partition alone
set local plan_cache_mode = force_generic_plan;
create function pg_temp.truncate_beside_query(what text) returns void language plpgsql as $$
declare
  project uuid := pg_temp.p(1);
  c cursor for select from batches.batch where project_id = project;
begin
  open c;
  move c;
  execute (select 'truncate ' || string_agg(format('batches.%s_%s', n, substring(relname from '[0-9]+$')), ', ')
             from pg_class, regexp_split_to_table(what, ' ') n
            where oid in (select inhrelid from pg_inherits where inhparent = 'batches.batch'::regclass)
              and not exists (select from batches.batch b where b.tableoid = pg_class.oid and b.project_id = project));
  close c;
end $$;
select throws_ok(format('select pg_temp.truncate_beside_query(%L)', what), '0A000', null, what || ' of other partitions is not truncated beside a query')
  from unnest(array['batch job', 'job']) what;
reset plan_cache_mode;

--
-- Reads
--

analyze batches.batch, batches.job, batches.batch_job_count, batches.batch_total;
set local batches.scan = index;
select is((select engine from batches.explain_batches()), 'index', 'indexes are read');
select results_eq($$ select id from batches.list_batches(order_by => 'id') $$, $$ select id from batches.batch order by id desc limit 100 $$, 'all projects');
select results_eq($$ select id from batches.list_batches(tag => 'rare', order_by => 'id') $$,
                  $$ select id from batches.batch where tags @> '{rare}' order by id desc limit 100 $$, 'a tag');
select results_eq($$ select id from batches.list_batches(project_id => array[pg_temp.p(1)], order_by => 'jobs_count') $$,
                  $$ select id from batches.batch where project_id = pg_temp.p(1) order by id desc limit 100 $$, 'a project');
select is(batches.count_batches(status => '{RUNNING}'), 50::bigint, 'a count');
-- The same id in two projects
insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(9), pg_temp.b(8), 'TWIN', 'ann'), (pg_temp.p(10), pg_temp.b(8), 'TWIN', 'ann');
select set_eq($$ select project_id from batches.list_batches(id => array[pg_temp.b(8)]) $$, array[pg_temp.p(8), pg_temp.p(9), pg_temp.p(10)],
              'an id is found in each project that has it');

-- One partition has nearly all rows of a page, and what the others have comes late: that these took long says little of the rest.
-- The numbers of rows are such that the estimate decides, with the units of work as they are.
savepoint sparse;
insert into batches.batch (project_id, device_type, user_id, created_at)
select project_id, 'F', 'ann', '2099-12-31Z'::timestamptz - n * interval '1 minute'
  from (select tableoid, (array_agg(project_id order by project_id))[1] from batches.batch group by 1) p (partition, project_id), generate_series(1, 3000) n
 union all
select pg_temp.p(16), 'F', 'ann', '2099-12-31Z'::timestamptz - n * interval '2 minutes' - interval '30 seconds' from generate_series(1, 1500) n
 union all
select pg_temp.p(100 + n), 'F', 'ann', '2099-12-31Z'::timestamptz - n * interval '1 second' - interval '120 minutes' from generate_series(1, 50) n;
analyze batches.batch;
select is((select path from batches.explain_batches(project_id => array(select pg_temp.p(n) from unnest(array[16] || array(select generate_series(101, 150))) n))),
          'merge of 4 key ranges of batch_created_at_idx', 'a merge is not given up for what it meets first');
rollback to sparse;

-- The other tables are not read in parts: SQL reads them.
savepoint others;
alter table batches.project_member rename to member_without_partitions;
create table batches.project_member (like batches.member_without_partitions including all) partition by hash (project_id);
create table batches.project_member_0 partition of batches.project_member for values with (modulus 1, remainder 0);
insert into batches.project_member values (pg_temp.p(3), 'ann'), (pg_temp.p(4), 'bob');
set local batches.user_id = 'ann';
select is(batches.count_batches(), 50::bigint, 'members in partitions');
set local batches.user_id = '';
alter table batches.batch_total rename to total_without_partitions;
create table batches.batch_total (like batches.total_without_partitions including all) partition by hash (project_id);
create table batches.batch_total_0 partition of batches.batch_total for values with (modulus 1, remainder 0);
insert into batches.batch_total select * from batches.total_without_partitions;
select is(batches.count_batches(), (select count(*) from batches.batch), 'totals in partitions');
rollback to others;

-- The partitions do not go to another owner with the whole.
savepoint owned;
create role batches_test_owner;
grant usage on schema batches to batches_test_owner;
select format('alter table batches.%I owner to batches_test_owner', name) from unnest(array['batch', 'job', 'batch_job_count', 'batch_total', 'project_member']) name \gexec
create function pg_temp.hint_of(command text) returns text language plpgsql as $$
declare
  hint text;
begin
  execute command;
  return null;
exception when sqlstate '39P01' then
  get stacked diagnostics hint = pg_exception_hint;
  return hint;
end $$;
select matches(pg_temp.hint_of('delete from batches.batch'), 'ALTER TABLE batches\.job_\d OWNER TO batches_test_owner', 'the hint says what is missing');
select format('alter table %s owner to batches_test_owner', inhrelid::regclass) from pg_inherits where inhparent::regclass::text like 'batches.%' and inhrelid::regclass::text !~ 'idx|key' \gexec
select is(pg_temp.hint_of('delete from batches.batch'), null, 'with all partitions, it goes on');
select pg_temp.counts_hold('for the other owner');
rollback to owned;

delete from batches.batch;
delete from batches.project_member;

--
-- A partition goes
--

insert into batches.batch (project_id, id, device_type, user_id) select pg_temp.p(n % 16), pg_temp.b(n), 'FRESNEL', 'ann' from generate_series(1, 160) n;
insert into batches.job (project_id, batch_id) select project_id, id from batches.batch;
select count(*) as batches from batches.batch_1 \gset detached_
alter table batches.job detach partition batches.job_1;
alter table batches.batch detach partition batches.batch_1;
alter table batches.batch_job_count detach partition batches.batch_job_count_1;
select isnt(:detached_batches, 0, 'it had rows');
select cmp_ok(batches.repair_counts(), '>', 0::bigint, 'its totals are taken away');
select pg_temp.counts_hold('without the partition');
select is(batches.count_batches(), 160::bigint - :detached_batches, 'its batches are not counted');
select is((select count(*) from batches.list_batches("limit" => null)), 160::bigint - :detached_batches, 'nor listed');
select is((select count(*) from batches.list_batches(project_id => array(select project_id from batches.batch_1))), 0::bigint, 'its projects have none');
select throws_ok($$ insert into batches.batch (project_id, device_type, user_id) select project_id, 'F', 'ann' from batches.batch_1 limit 1 $$, '23514',
                 null, 'there is no place for more');
-- What is written to it is its own affair.
insert into batches.batch_1 (project_id, device_type, user_id) select project_id, 'F', 'ann' from batches.batch_1 limit 1;
update batches.batch_1 set status = 'DONE';
insert into batches.job_1 (project_id, batch_id) select project_id, id from batches.batch_1;
delete from batches.batch_1 where device_type = 'F';
select pg_temp.counts_hold('after writes to the one that is gone');
savepoint emptied;
truncate batches.batch_1, batches.job_1, batches.batch_job_count_1;
select pg_temp.counts_hold('after it was emptied') as result, batches.count_batches() as left \gset emptied_
rollback to emptied;
select :'emptied_result';
select is(:emptied_left, 160 - :detached_batches, 'and nothing else');
-- Attached, it gets others: what the session knows of the old ones is forgotten.
select format('drop index %s', indexrelid::regclass) from pg_index where indrelid = 'batches.batch_1'::regclass and not indisunique \gexec
alter table batches.batch attach partition batches.batch_1 for values with (modulus 4, remainder 1);
alter table batches.batch_job_count attach partition batches.batch_job_count_1 for values with (modulus 4, remainder 1);
alter table batches.job attach partition batches.job_1 for values with (modulus 4, remainder 1);
select cmp_ok(batches.repair_counts(), '>', 0::bigint, 'attached, it is counted again');
select is((select count(*) from batches.list_batches("limit" => null)), batches.count_batches(), 'all batches are there');
select pg_temp.counts_hold('with the partition');
set local session_replication_role = replica;
truncate batches.batch_job_count;
reset session_replication_role;
select throws_like('select batches.count_batches(min_jobs => 0)', '%has no job counts', 'that there are no job counts at all is an error');

select * from finish();
rollback;
drop table batches.batch, batches.job, batches.project_member, batches.batch_job_count, batches.batch_total;
do $$ begin perform batches.create_tables(); end $$;
