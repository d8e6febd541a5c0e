\set n random(1, :keys)
insert into batches.batch (project_id, device_type, user_id, created_at)
select project_id, 'FRESNEL', 'user-' || n % 100, clock_timestamp() from bench.job_key where counted = :counted and n = :n;
