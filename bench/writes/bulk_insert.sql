\set n random(1, 4000)
insert into batches.job (project_id, batch_id)
select project_id, batch_id from bench.job_key where counted = :counted and n between :n and :n + 999;
