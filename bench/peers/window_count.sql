-- One query: the total is a window function over all that match.
select json_build_object('status', 'success', 'message', 'OK.', 'code', '200',
         'data', coalesce(json_agg(row_to_json(item) order by item.place), '[]'),
         'pagination', json_build_object('total', coalesce(max(item.total), 0), 'start', @offset@, 'end', @offset@ + count(*)))
  from (select b.*, @counts@
          from (select batch.*, count(*) over () as total, row_number() over (order by @order@) as place
                  from @from@
                 where @condition@
                 order by @order@
                 limit 100 offset @offset@) b
          join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id) item
