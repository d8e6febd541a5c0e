-- The page first, then the stored counts of its rows, and the total by a count of its own.
with page as materialized (
  select batch.*
    from @from@
   where @condition@
   order by @order@
   limit 100 offset @offset@
)
select json_build_object('status', 'success', 'message', 'OK.', 'code', '200',
         'data', coalesce(json_agg(row_to_json(item) order by @item_order@), '[]'),
         'pagination', json_build_object('total', (select count(*) from @matching@),
                                         'start', @offset@, 'end', @offset@ + count(*)))
  from (select b.*, @counts@
          from page b
          join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id) item
