-- As page_then_count, where the page starts from the counts: in the order of the index on the
-- size class, or with what it finds for a condition on it. The limit 1 keeps the planner from
-- reading batches first.
with page as materialized (
  select batch.*, @counts@
    from batches.batch_job_count c
   cross join lateral (
     select * from batches.batch where batch.project_id = c.project_id and batch.id = c.batch_id limit 1) batch
   where @count_condition@ and @batch_condition@
   order by @count_order@
   limit 100 offset @offset@
)
select json_build_object('status', 'success', 'message', 'OK.', 'code', '200',
         'data', coalesce(json_agg(row_to_json(item) order by @item_order@), '[]'),
         'pagination', json_build_object('total', (select count(*) from @matching@),
                                         'start', @offset@, 'end', @offset@ + count(*)))
  from page item
