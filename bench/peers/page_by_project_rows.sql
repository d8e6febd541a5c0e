-- As page, with the first rows of each project by themselves: each is an ordered index scan.
select b.*, @stored_counts@
  from (select b.*
          from unnest(@projects@) as p (project_id)
         cross join lateral (
           select batch.*
             from @from@
            where batch.project_id = p.project_id and @condition@
            order by @order@
            limit @offset@ + 100) b
         order by @order@
         limit 100 offset @offset@) b
  join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id
 order by @order@
