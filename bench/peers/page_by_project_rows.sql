-- As page, with the first rows of each project by themselves: each is an ordered index scan.
select batch.*, @stored_counts@
  from (select batch.*
          from unnest(@projects@) as p (project_id)
         cross join lateral (
           select batch.*
             from @from@
            where batch.project_id = p.project_id and @condition@
            order by @order@
            limit @offset@ + 100) batch
         order by @order@
         limit 100 offset @offset@) batch
  join batches.batch_job_count c on c.project_id = batch.project_id and c.batch_id = batch.id
 order by @order@
