-- A bulk load in one transaction: plans that the foreign key keeps for the session do not stay those of small tables,
-- and what is written besides the batches themselves follows the number of projects and devices.

\ir include/output.psql

begin;
\ir include/pgtap.psql
truncate batches.batch, batches.job, batches.project_member;

select plan(13);

create function pg_temp.add_batches(first int, last int) returns void language sql volatile as $$
  insert into batches.batch (project_id, id, device_type, user_id)
  select '00000000-0000-0000-0000-000000000001', lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'ada'
    from generate_series(first, last) n;
  insert into batches.job (project_id, batch_id)
  select project_id, id from batches.batch
   where id between lpad(first::text, 32, '0')::uuid and lpad(last::text, 32, '0')::uuid;
$$;

-- How often the index has been used whose columns are a key's and one between them.
create function pg_temp.detours() returns bigint language sql volatile
  return pg_stat_get_xact_numscans('batches.batch_listing_idx'::regclass);

-- Enough statements on a table never analyzed for generic plans
select pg_temp.add_batches(n, n) from generate_series(1, 20) n \g /dev/null
select pg_temp.detours() as before \gset
select pg_temp.add_batches(101, 2100) \g /dev/null
update batches.job set status = 'DONE';
select cmp_ok(pg_temp.detours() - :before, '<', 10::bigint,
              'plans made on a small table use its keys');
select is_empty('select * from batches.verify_counts()', 'the counts equal a recount');

-- Jobs of many batches
create function pg_temp.writes(name text) returns bigint language sql volatile as $$
  select pg_stat_get_xact_tuples_inserted(t) + pg_stat_get_xact_tuples_updated(t) + pg_stat_get_xact_tuples_deleted(t)
    from cast('batches.' || name as regclass) t $$;
select pg_temp.writes('batch') + pg_temp.writes('batch_total') as writes, pg_temp.writes('batch_job_count') as counts \gset before_
update batches.job set status = 'ERROR';
select is(pg_temp.writes('batch') + pg_temp.writes('batch_total') - :before_writes, 0::bigint, 'a change of many jobs writes no batch and no total');
select is(pg_temp.writes('batch_job_count') - :before_counts, 2020::bigint, 'it writes the counts of each batch once');

-- Many batches: of 3 projects, on 2 devices in 16 states
truncate batches.batch, batches.job;
select pg_temp.writes('batch_total') as writes \gset before_
insert into batches.batch (project_id, id, device_type, user_id, status, open)
select lpad((n % 3)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, (array['FRESNEL', 'EMU'])[1 + n % 2], 'ada',
       (enum_range(null::batches.batch_status))[1 + n % 8], n % 5 = 0
  from generate_series(1, 10000) n;
select is(pg_temp.writes('batch_total') - :before_writes, 9::bigint,
          'ten thousand batches write a total for each project and device, and for each project');
select is_empty('select * from batches.verify_counts()', 'which are those of a recount');
select pg_temp.writes('batch_total') as writes \gset before_
copy batches.batch (project_id, id, device_type, user_id)
  from program 'seq -f "00000000-0000-0000-0000-000000000001 00000000-0000-0000-0001-%012.0f FRESNEL ada" 5000'
  with (delimiter ' ');
select is(pg_temp.writes('batch_total') - :before_writes, 2::bigint, 'COPY of five thousand batches of a project writes two totals');
select pg_temp.writes('batch_total') as writes \gset before_
update batches.batch set status = 'CANCELED';
select is(pg_temp.writes('batch_total') - :before_writes, 9::bigint, 'so does a change of all batches: each total once');
select pg_temp.writes('batch_total') as writes \gset before_
update batches.batch set device_type = 'EMU_FREE' where project_id = lpad('1', 32, '0')::uuid;
select is(pg_temp.writes('batch_total') - :before_writes, 3::bigint,
          'batches of a project that go to another device write the totals of three devices, and none of all');
select is_empty('select * from batches.verify_counts()', 'the counts equal a recount again');
select pg_temp.writes('batch_total') as writes \gset before_
delete from batches.batch where project_id = lpad('1', 32, '0')::uuid;
select is(pg_temp.writes('batch_total') - :before_writes, 2::bigint, 'deleting thousands removes their totals');
select is((select count(*) from batches.batch_total), 6::bigint, 'two projects on two devices are left');
select is_empty('select * from batches.verify_counts()', 'the counts equal a recount after all');

select * from finish();
rollback;
