-- A page without its total, as rows: the page first, then the stored counts of its rows.
select b.*, @stored_counts@
  from (select batch.*
          from @from@
         where @condition@
         order by @order@
         limit 100 offset @offset@) b
  join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id
 order by @order@
