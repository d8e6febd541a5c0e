insert into batches.batch (project_id, status, open, priority, device_type, user_id, tags, start_datetime, end_datetime, queue_priority)
select project_id, status, open, priority, device_type, user_id, tags, start_datetime, end_datetime, queue_priority from bench.new_batch;
