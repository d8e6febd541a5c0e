\set n random(1, :keys)
update batches.batch b set status = case b.status when 'DONE' then 'ERROR' else 'DONE' end::batches.batch_status, updated_at = clock_timestamp()
  from bench.job_key k
 where k.counted = :counted and k.n = :n and b.project_id = k.project_id and b.id = k.batch_id;
