-- As page, where it starts from the counts.
select batch.*, @stored_counts@
  from batches.batch_job_count c
 cross join lateral (
   select * from batches.batch where batch.project_id = c.project_id and batch.id = c.batch_id limit 1) batch
 where @count_condition@ and @batch_condition@
 order by @count_order@
 limit 100 offset @offset@
