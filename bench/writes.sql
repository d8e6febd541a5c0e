-- What the scripts of bench/writes need: batches as there are, to be inserted.
create table bench.new_batch as select * from batches.batch order by md5(id::text) limit 5000;
vacuum analyze bench.new_batch;

-- And jobs to change, each of another batch; half of them
-- for when the triggers count, half for when they do not.
create table bench.job_key as
  select n % 2 = 0 as counted, (n + 1) / 2 as n, j.project_id, j.batch_id, j.id
    from (select row_number() over (order by md5(id::text)) as n, project_id, id
            from batches.batch where jobs_count > 0 order by 1 limit 10000) b
   cross join lateral (
     select * from batches.job j where j.project_id = b.project_id and j.batch_id = b.id limit 1) j;
alter table bench.job_key add primary key (counted, n);
vacuum analyze bench.job_key;

create procedure bench.set_triggers(enabled boolean) language plpgsql as $$
declare
  t name;
begin
  for t in select tgname from pg_trigger where tgrelid = 'batches.job'::regclass and not tgisinternal loop
    execute format('alter table batches.job %s trigger %I', case when enabled then 'enable' else 'disable' end, t);
  end loop;
end $$;

-- Leaves the keys.
create procedure bench.drop_indexes() language plpgsql as $$
declare
  i regclass;
begin
  for i in select indexrelid from pg_index
            where indrelid = 'batches.batch'::regclass and not indisunique loop
    execute format('drop index %s', i);
  end loop;
end $$;
