-- As page_then_count, where batches are read in their order and the counts that a condition
-- needs are looked up one by one: right when many match.
with page as materialized (
  select batch.*, @counts@
    from batches.batch
   cross join lateral (
     select * from batches.batch_job_count c where c.project_id = batch.project_id and c.batch_id = batch.id limit 1) c
   where @condition@
   order by @order@
   limit 100 offset @offset@
)
select json_build_object('status', 'success', 'message', 'OK.', 'code', '200',
         'data', coalesce(json_agg(row_to_json(item) order by @item_order@), '[]'),
         'pagination', json_build_object('total', (select count(*) from @matching@),
                                         'start', @offset@, 'end', @offset@ + count(*)))
  from page item
