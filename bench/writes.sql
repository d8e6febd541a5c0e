-- What the scripts of bench/writes need: batches as there are, to be inserted.
create table bench.new_batch as select * from batches.batch order by md5(id::text) limit 5000;
vacuum analyze bench.new_batch;

-- And jobs to change, each of another batch; half of them
-- for when the triggers count, half for when they do not.
create table bench.job_key as
  select n % 2 = 0 as counted, (n + 1) / 2 as n, project_id, batch_id, id
    from (select row_number() over (order by b.place) as n, j.*
            from (select md5(id::text) as place, project_id, id from batches.batch order by 1 limit 30000) b
           cross join lateral (
             select * from batches.job j where j.project_id = b.project_id and j.batch_id = b.id limit 1) j
           limit 10000) k;
alter table bench.job_key add primary key (counted, n);
vacuum analyze bench.job_key;

create procedure bench.set_triggers(enabled boolean) language plpgsql as $$
begin
  execute format('alter table batches.batch %s trigger user', case when enabled then 'enable' else 'disable' end);
  execute format('alter table batches.job %s trigger user', case when enabled then 'enable' else 'disable' end);
end $$;

create procedure bench.insert_jobs(counted boolean, n integer, rows integer) language plpgsql as $$
declare
  k bench.job_key := (select k from bench.job_key k where k.counted = insert_jobs.counted and k.n = insert_jobs.n);
begin
  for i in 1 .. rows loop
    insert into batches.job (project_id, batch_id) values (k.project_id, k.batch_id);
  end loop;
end $$;

create procedure bench.insert_one_by_one() language plpgsql as $$
declare
  b bench.new_batch;
begin
  for b in select * from bench.new_batch loop
    insert into batches.batch (project_id, status, open, priority, device_type, user_id, tags, start_datetime, end_datetime, queue_priority)
      values (b.project_id, b.status, b.open, b.priority, b.device_type, b.user_id, b.tags, b.start_datetime, b.end_datetime, b.queue_priority);
  end loop;
end $$;

-- One batch and a job of it, anywhere, are run again and end as before, so that requests find
-- what they found. Each change is a transaction of its own.
create procedure bench.churn() language plpgsql as $$
declare
  start constant uuid := gen_random_uuid();
  b batches.batch;
  j batches.job;
begin
  select * into b from batches.batch where id >= start order by id limit 1;
  select * into j from batches.job where project_id = b.project_id and batch_id = b.id limit 1;
  for ended in 0 .. 1 loop
    update batches.batch set status = case ended when 0 then 'RUNNING' else b.status end, updated_at = clock_timestamp()
     where project_id = b.project_id and id = b.id;
    commit;
    update batches.job set status = case ended when 0 then 'RUNNING' else j.status end, updated_at = clock_timestamp()
     where project_id = j.project_id and batch_id = j.batch_id and id = j.id;
    commit;
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
