-- Batches and jobs partitioned by their project: the triggers find their tables by the foreign key and by what they are
-- partitions of, the counts hold, and requests are answered.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
truncate batches.batch, batches.job, batches.project_member;

select plan(52);

create function pg_temp.p(n int) returns uuid language sql immutable
  return ('a0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;
create function pg_temp.b(n int) returns uuid language sql immutable
  return ('b0000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid;

-- Partitioned tables in the place of those that create_tables() makes, like them in all but the key that is not
-- possible: with their columns, constraints, indexes, triggers and policies
create temp table definition on commit drop as
select 1 as step, pg_get_indexdef(indexrelid) as command from pg_index
 where indrelid in ('batches.batch'::regclass, 'batches.job'::regclass) and not indisunique
union all
select 2, pg_get_triggerdef(oid) from pg_trigger
 where tgrelid in ('batches.batch'::regclass, 'batches.job'::regclass) and not tgisinternal
union all
select 3, format('alter table %s add %s', conrelid::regclass, pg_get_constraintdef(oid)) from pg_constraint
 where conrelid in ('batches.batch'::regclass, 'batches.job'::regclass) and contype in ('p', 'f')
   and conparentid = 0
union all
select 4, format('alter table batches.%I enable row level security', t) from unnest(array['batch', 'job']) t
union all
select 5, format('create policy %I on batches.%I for select using %s', polname, relname, pg_get_expr(polqual, polrelid))
  from pg_policy p join pg_class c on c.oid = p.polrelid
 where polrelid in ('batches.batch'::regclass, 'batches.job'::regclass);
update definition set step = 0 where command like '%PRIMARY KEY%';
create temp table batch_shape (like batches.batch including defaults including constraints including storage) on commit drop;
create temp table job_shape (like batches.job including defaults including constraints) on commit drop;
drop table batches.job, batches.batch;
create schema batches_test_parts; -- another than that of the derived tables
create table batches.batch (like batch_shape including all) partition by hash (project_id);
create table batches.job (like job_shape including all) partition by hash (project_id);
do $$
declare
  command text;
begin
  for i in 0 .. 3 loop
    execute format('create table batches_test_parts.batch_%s partition of batches.batch for values with (modulus 4, remainder %1$s)', i);
    execute format('create table batches_test_parts.job_%s partition of batches.job for values with (modulus 4, remainder %1$s)', i);
  end loop;
  for command in select d.command from definition d order by step loop
    execute command;
  end loop;
end $$;
select is((select array_agg(relkind::text) from pg_class where oid in ('batches.batch'::regclass, 'batches.job'::regclass)),
          array['p', 'p'], 'both tables are partitioned');
select is((select count(*) from pg_trigger where tgrelid in ('batches.batch'::regclass, 'batches.job'::regclass)
              and not tgisinternal), 8::bigint, 'with the triggers of create_tables()');
do $$ begin perform batches.create_tables(); end $$;

-- A recount that knows nothing of the extension's
create function pg_temp.miscounted() returns table (what text, n bigint) language sql stable as $$
  select what, sum(n)::bigint from (
    select concat_ws(' ', 'jobs', project_id, batch_id, status) as what, count(*) as n from batches.job group by project_id, batch_id, status
    union all
    select concat_ws(' ', 'jobs', project_id, batch_id, s.status), -s.n
      from batches.batch_job_count, lateral (values ('PENDING', pending_jobs), ('RUNNING', running_jobs), ('DONE', done_jobs),
        ('ERROR', error_jobs), ('CANCELED', canceled_jobs), ('CANCELING', canceling_jobs)) s (status, n)
    union all
    select concat_ws(' ', 'batch', project_id, id), 1 from batches.batch
    union all
    select concat_ws(' ', 'batch', project_id, batch_id), -1 from batches.batch_job_count
    union all
    select concat_ws(' ', 'total', project_id, d.device_type, status, open, queue_priority), 1
      from batches.batch b, lateral (values (b.device_type), (null)) d (device_type)
    union all
    select concat_ws(' ', 'total', project_id, device_type, (enum_range(null::batches.batch_status))[1 + (i - 1) / 10],
                     (i - 1) / 5 % 2 = 1, (enum_range(null::batches.queue_priority))[1 + (i - 1) % 5]), -c
      from batches.batch_total, unnest(n) with ordinality u (c, i) where c is not null) x
   group by what having sum(n) <> 0
$$;
create function pg_temp.counts_hold(what text) returns setof text language plpgsql as $$
begin
  return next is_empty('select * from batches.verify_counts()', 'verify_counts() is empty ' || what);
  return next is_empty('select * from pg_temp.miscounted()', 'a recount agrees ' || what);
end $$;
create function pg_temp.sqlstate_of(statement text) returns text language plpgsql as $$
begin
  execute statement;
  return '00000';
exception when others then
  return sqlstate;
end $$;

--
-- Writes
--

insert into batches.batch (project_id, id, device_type, user_id, status, open, queue_priority)
select pg_temp.p(n % 8), pg_temp.b(n), 'DEVICE ' || n % 3, 'ann', (enum_range(null::batches.batch_status))[1 + n % 8],
       n % 4 = 0, (enum_range(null::batches.queue_priority))[1 + n % 5]
  from generate_series(1, 200) n;
insert into batches.job (project_id, batch_id, status)
select project_id, id, (enum_range(null::batches.job_status))[1 + (i + hashtext(id::text) % 3 + 3) % 6]
  from batches.batch, generate_series(1, 4) i where id <= pg_temp.b(150);
select cmp_ok((select count(distinct tableoid) from batches.batch), '>', 1::bigint, 'the batches are in several partitions');
select is((select sum(jobs_count) from batches.batch_job_count), 600::bigint, 'their jobs are counted');
select pg_temp.counts_hold('after INSERT');
copy batches.batch (project_id, id, device_type, user_id) from stdin;
a0000000-0000-0000-0000-000000000001	b0000000-0000-0000-0000-000000000301	EMU	ann
a0000000-0000-0000-0000-000000000002	b0000000-0000-0000-0000-000000000302	EMU	ann
a0000000-0000-0000-0000-000000000003	b0000000-0000-0000-0000-000000000303	EMU	ann
\.
copy batches.job (project_id, batch_id, status) from stdin;
a0000000-0000-0000-0000-000000000001	b0000000-0000-0000-0000-000000000301	DONE
a0000000-0000-0000-0000-000000000002	b0000000-0000-0000-0000-000000000302	ERROR
\.
select pg_temp.counts_hold('after COPY');
update batches.job set status = 'DONE' where hashtext(id::text) % 2 = 0;
update batches.batch set status = 'RUNNING', device_type = 'EMU' where id < pg_temp.b(30);
select pg_temp.counts_hold('after UPDATE');
-- To another partition
update batches.job set project_id = pg_temp.p(2), batch_id = pg_temp.b(2), status = 'ERROR' where batch_id = pg_temp.b(1);
update batches.job set project_id = case batch_id when pg_temp.b(3) then pg_temp.p(4) else pg_temp.p(3) end,
                       batch_id = case batch_id when pg_temp.b(3) then pg_temp.b(4) else pg_temp.b(3) end
 where batch_id in (pg_temp.b(3), pg_temp.b(4));
select is((select array_agg(jobs_count order by batch_id) from batches.batch_job_count where batch_id <= pg_temp.b(4)),
          array[0, 8, 4, 4], 'jobs that go to another partition are counted there');
select pg_temp.counts_hold('after jobs went to other partitions');
update batches.batch set project_id = pg_temp.p(9) where id > pg_temp.b(180) and id <= pg_temp.b(200);
update batches.batch set project_id = pg_temp.p(1), id = pg_temp.b(401), status = 'DONE' where id = pg_temp.b(1);
select is((select count(*) from batches.batch_job_count where project_id = pg_temp.p(9)), 20::bigint,
          'batches without jobs can go to another partition');
select is((select count(*) from batches.batch where id = pg_temp.b(401)), 1::bigint, 'and change their ids');
select pg_temp.counts_hold('after batches went to other partitions');
select is(pg_temp.sqlstate_of('update batches.batch set project_id = pg_temp.p(9) where id = pg_temp.b(2)'), '23503',
          'batches with jobs cannot');
select pg_temp.counts_hold('after a batch could not go');
insert into batches.batch (project_id, id, device_type, user_id)
values (pg_temp.p(2), pg_temp.b(2), 'NEW', 'ann'), (pg_temp.p(2), pg_temp.b(402), 'NEW', 'ann')
    on conflict (project_id, id) do update set device_type = excluded.device_type;
merge into batches.batch b using (values (5, 'delete'), (6, 'update'), (403, 'insert')) v (n, wish) on b.id = pg_temp.b(v.n)
 when matched and wish = 'delete' then delete
 when matched then update set status = 'CANCELED', queue_priority = 'FREE'
 when not matched then insert (project_id, id, device_type, user_id) values (pg_temp.p(5), pg_temp.b(403), 'EMU', 'ann');
select pg_temp.counts_hold('after ON CONFLICT and MERGE');
delete from batches.job where status = 'DONE' and project_id = pg_temp.p(6);
delete from batches.batch where hashtext(id::text) % 3 = 0;
select is((select count(*) from batches.job j where not exists (select from batches.batch b where b.id = j.batch_id)), 0::bigint,
          'deleted batches take their jobs with them');
select pg_temp.counts_hold('after DELETE');
with b as (update batches.batch set status = 'CANCELING' where project_id = pg_temp.p(3) returning *),
     n as (insert into batches.batch (project_id, id, device_type, user_id) values (pg_temp.p(4), pg_temp.b(404), 'EMU', 'ann') returning *),
     j as (insert into batches.job (project_id, batch_id) select project_id, id from n, generate_series(1, 3))
update batches.job j set status = 'CANCELING' from b where j.batch_id = b.id;
select pg_temp.counts_hold('after one statement changed both tables');
savepoint s;
delete from batches.batch where project_id = pg_temp.p(2);
truncate batches.job;
select (select count(*) from pg_temp.miscounted()) as wrong, (select sum(jobs_count) from batches.batch_job_count) as jobs \gset truncated_
truncate batches.batch, batches.job;
select (select count(*) from batches.batch_job_count) + (select count(*) from batches.batch_total) as rows \gset truncated_
rollback to s;
select is(array[:truncated_wrong, :truncated_jobs, :truncated_rows], array[0, 0, 0], 'TRUNCATE takes the counts along');
select pg_temp.counts_hold('after a TRUNCATE that was rolled back');
select is(pg_temp.sqlstate_of('update batches.batch_total set n = n'), '428C9', 'the totals are protected');
select is(pg_temp.sqlstate_of('truncate batches.batch_job_count'), '428C9', 'so are the counts');

--
-- One partition by itself
--

-- Statements on a partition fire its own triggers: none, and then the counts need a repair, or the same as above.
insert into batches_test_parts.batch_0 (project_id, id, device_type, user_id)
select project_id, gen_random_uuid(), 'DIRECT', 'ann' from batches_test_parts.batch_0 limit 1;
select isnt_empty('select * from batches.verify_counts()', 'what is written into a partition without triggers is drift');
select is(batches.repair_counts(), 3::bigint, 'which a repair mends');
select pg_temp.counts_hold('after the repair');

do $$
declare
  command text;
begin
  for command in
    select replace(replace(d.command, 'ON batches.batch ', 'ON batches_test_parts.batch_0 '), 'ON batches.job ', 'ON batches_test_parts.job_0 ')
      from definition d where step = 2 and d.command !~ 'TRUNCATE' loop
    execute command;
  end loop;
end $$;
with b as (
  insert into batches_test_parts.batch_0 (project_id, id, device_type, user_id)
  select project_id, gen_random_uuid(), 'DIRECT', 'ann' from batches_test_parts.batch_0 limit 1 returning *)
insert into batches_test_parts.job_0 (project_id, batch_id) select project_id, id from b;
select pg_temp.counts_hold('after INSERT into a partition that has the triggers, too');
update batches_test_parts.job_0 set status = 'ERROR';
update batches_test_parts.batch_0 set status = 'ERROR';
delete from batches_test_parts.batch_0 where hashtext(id::text) % 2 = 0;
select pg_temp.counts_hold('after UPDATE and DELETE there');
update batches.job set status = 'RUNNING';
update batches.batch set status = 'RUNNING';
delete from batches.batch where hashtext(id::text) % 5 = 0;
select pg_temp.counts_hold('after statements on the whole, which count once');
create trigger t after truncate on batches_test_parts.job_0 for each statement execute function batches.count_jobs();
select is(pg_temp.sqlstate_of('truncate batches_test_parts.job_0'), '0A000', 'TRUNCATE of one partition cannot be counted');
drop trigger t on batches_test_parts.job_0;
create trigger t after truncate on batches_test_parts.batch_0 for each statement execute function batches.count_changed_batches();
select is(pg_temp.sqlstate_of('truncate batches_test_parts.batch_0, batches.job'), '0A000', 'nor that of one of the batches');
drop trigger t on batches_test_parts.batch_0;
truncate batches_test_parts.job_0;
select cmp_ok(batches.repair_counts(), '>', 0::bigint, 'without a trigger it is mended afterwards');
select pg_temp.counts_hold('after the TRUNCATE of a partition was mended');

--
-- Reads
--

insert into batches.project_member select pg_temp.p(n), 'ann' from generate_series(1, 3) n;
select results_eq(
  format($$ select id, status, jobs_count, jobs_count_per_status from batches.list_batches(order_by => %L, order_by_direction => %L, "offset" => 3) $$, o, d),
  format($$ select b.id, b.status, c.jobs_count, coalesce(s.counts, '{}')
              from batches.batch b join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id
              left join (select batch_id, batches.jobs_count_per_status(status) as counts from batches.job group by batch_id) s on s.batch_id = b.id
             order by %1$s %2$s, b.id %2$s limit 100 offset 3 $$, o, d),
  'a listing by ' || o || ' ' || d)
  from (values ('created_at', 'DESC'), ('jobs_count', 'DESC'), ('device_type', 'ASC')) v (o, d);
select is(array[batches.count_batches(), batches.count_batches(status => '{RUNNING}'), batches.count_batches(project_id => array[pg_temp.p(1)]),
                batches.count_batches(min_jobs => 1), batches.count_batches(device_type => '{EMU}', open => true)],
          (select array[count(*), count(*) filter (where status = 'RUNNING'), count(*) filter (where project_id = pg_temp.p(1)),
                        count(*) filter (where exists (select from batches.job j where j.batch_id = b.id)),
                        count(*) filter (where device_type = 'EMU' and open)] from batches.batch b), 'counts of batches');
set local batches.user_id = 'ann';
select is((batches.get_all_batches()::jsonb) #> '{pagination,total}',
          to_jsonb((select count(*) from batches.batch where project_id in (pg_temp.p(1), pg_temp.p(2), pg_temp.p(3)))),
          'a user gets the batches of the user''s projects');
set local batches.user_id = '';

select * from finish();
rollback;
