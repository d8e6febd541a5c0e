-- As page, where batches are read in their order and their counts are looked up one by one.
select batch.*, @stored_counts@
  from batches.batch
 cross join lateral (
   select * from batches.batch_job_count c where c.project_id = batch.project_id and c.batch_id = batch.id limit 1) c
 where @condition@
 order by @order@
 limit 100 offset @offset@
