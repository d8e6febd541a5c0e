\set n random(1, :keys)
update batches.job j set status = case j.status when 'DONE' then 'ERROR' else 'DONE' end::batches.job_status
  from bench.job_key k
 where k.counted = :counted and k.n = :n and j.project_id = k.project_id and j.batch_id = k.batch_id and j.id = k.id;
