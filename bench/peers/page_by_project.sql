-- As page_then_count, with the first rows of each project by themselves: each is an ordered index scan.
with page as materialized (
  select batch.*
    from unnest(@projects@) as p (project_id)
   cross join lateral (
     select batch.*
       from @from@
      where batch.project_id = p.project_id and @condition@
      order by @order@
      limit @offset@ + 100) batch
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
