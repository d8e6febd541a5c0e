\set n random(1, greatest(1, :keys - 999))
insert into batches.job (project_id, batch_id)
select project_id, batch_id from bench.job_key where counted = :counted and n between :n and :n + 999;
