-- Whoever asks, asks as a user, and sees the batches of that user's projects.
set batches.user_id = 'user-1';

-- The newest batch, as the API's document
select batches.get_all_batches("limit" => 1) \g (format=unaligned tuples_only=on)

-- As rows: what waits or runs, the most jobs first
select id, status, device_type, jobs_count, jobs_count_per_status, tags
  from batches.list_batches(status => '{PENDING,RUNNING,PAUSED}', order_by => 'jobs_count', "limit" => 5);

-- How many batches failed in the last quarter of 2025?
select batches.count_batches(status => '{ERROR,TIMED_OUT}', start_date => '2025-10-01Z', end_date => '2025-12-31Z');

-- What there is to choose from: how many finished batches each device, priority and project has
select jsonb_pretty(batches.batch_facets(status => '{DONE}') - 'status' - 'open') \g (format=unaligned tuples_only=on)

-- Page by page with a cursor, which new batches do not shift: each page names the next one.
select batches.get_all_batches(status => '{DONE}', "limit" => 2, after => '') -> 'pagination' as first_page;
select batches.get_all_batches(status => '{DONE}', "limit" => 2, after => '') #>> '{pagination,next}' as next \gset
select batches.get_all_batches(status => '{DONE}', "limit" => 2, after => :'next') -> 'pagination' as second_page;

-- The endpoint itself: a query string in; status, headers and body out. A bad one gets the API's 422.
select * from batches.http_get_all_batches('status=DONE&tag=calibration&limit=1') \gx
select status, jsonb_pretty(body::jsonb) as body from batches.http_get_all_batches('limit=101') \gx

-- What follows is for the owner of the tables, who sees every project.
reset batches.user_id;

-- How is a request read? The paths that the indexes allow take turns, and the first to finish wins; "work" is how many
-- index entries they passed over in all. The total comes with a page that has read all that matches, or is added up.
select engine, path, work, detail ->> 'total_source' as total_from
  from batches.explain_batches(status => '{DONE}', device_type => '{FRESNEL}', "limit" => 10);

-- The aggregate, for analytics: the jobs of each device
select b.device_type, count(*) as jobs, batches.jobs_count_per_status(j.status)
  from batches.batch b
  join batches.job j on j.project_id = b.project_id and j.batch_id = b.id
 group by b.device_type
 order by jobs desc;

-- The jobs of a batch fail, by any statement, and its counts are right at once. The batch itself is not written.
select project_id, batch_id from batches.batch_job_count order by jobs_count desc, batch_id limit 1 \gset
begin;
select jobs_count, done_jobs, error_jobs from batches.batch_job_count where project_id = :'project_id' and batch_id = :'batch_id';
update batches.job set status = 'ERROR' where project_id = :'project_id' and batch_id = :'batch_id';
select jobs_count, done_jobs, error_jobs from batches.batch_job_count where project_id = :'project_id' and batch_id = :'batch_id';
rollback;

-- Nothing in what is kept differs from a recount.
select count(*) as differences from batches.verify_counts();
