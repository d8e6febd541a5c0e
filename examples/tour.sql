-- Whoever asks, asks as a user, and sees the batches of that user's projects.
set batches.user_id = 'user-1';

-- The newest batch, as the API's document
select batches.get_all_batches("limit" => 1) \g (format=unaligned tuples_only=on)

-- A page of two finished batches of one device, easier to read
select jsonb_pretty(batches.get_all_batches(status => '{DONE}', device_type => '{FRESNEL}', "limit" => 2)::jsonb) \g (format=unaligned tuples_only=on)

-- A filtered listing as rows: what waits or runs, the most jobs first
select id, status, device_type, jobs_count, jobs_count_per_status, tags
  from batches.list_batches(status => '{PENDING,RUNNING,PAUSED}', order_by => 'jobs_count', "limit" => 5);

-- How many batches failed in the last quarter of 2025?
select batches.count_batches(status => '{ERROR,TIMED_OUT}', start_date => '2025-10-01Z', end_date => '2025-12-31Z');

-- What there is to choose from: how many finished batches each device, priority and project has
select jsonb_pretty(batches.batch_facets(status => '{DONE}') - 'status' - 'open') \g (format=unaligned tuples_only=on)

-- The aggregate, for analytics: the jobs of each device. The owner of the
-- tables reads them directly, and sees every project.
select b.device_type, count(*) as jobs, batches.jobs_count_per_status(j.status)
  from batches.batch b
  join batches.job j on j.project_id = b.project_id and j.batch_id = b.id
 group by b.device_type
 order by jobs desc;

-- The counts and the totals are kept by triggers: nothing in them differs from a recount.
select count(*) as differences from batches.verify_counts();
