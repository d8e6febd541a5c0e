-- A bulk load in one transaction that begins with small tables: the plans that are kept for the session, the counts' and
-- the foreign key's, do not stay those of small tables.

\ir include/output.psql

begin;
\ir include/pgtap.psql
truncate batches.batch, batches.job, batches.project_member;

select plan(4);

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
              'plans made on a small table use its keys, in the triggers and in the foreign key');
select is_empty('select * from batches.verify_job_counts()', 'the counts equal a recount');

-- Enough statements on a small table that was analyzed: its plans scan the table.
truncate batches.batch, batches.job;
select pg_temp.add_batches(1, 20) \g /dev/null
analyze batches.batch;
update batches.job set status = 'ERROR';
select pg_temp.add_batches(101, 2100) \g /dev/null
select pg_stat_get_xact_tuples_returned('batches.batch'::regclass) as before \gset
delete from batches.job;
select cmp_ok(pg_stat_get_xact_tuples_returned('batches.batch'::regclass) - :before, '<', 20 * 2000::bigint,
              'plans of the triggers do not outlive a table that has grown');
select is_empty('select * from batches.verify_job_counts()', 'the counts equal a recount again');

select * from finish();
rollback;
