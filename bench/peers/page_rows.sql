-- A page without its total, as rows: the page first, then the stored counts of its rows.
select batch.*, @stored_counts@
  from (select batch.*
          from @from@
         where @condition@
         order by @order@
         limit 100 offset @offset@) batch
  join batches.batch_job_count c on c.project_id = batch.project_id and c.batch_id = batch.id
 order by @order@
