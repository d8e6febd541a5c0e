-- One query: the total is a window function over all that match.
select json_build_object('status', 'success', 'message', 'OK.', 'code', '200',
         'data', coalesce(json_agg(row_to_json(item) order by item.place), '[]'),
         'pagination', json_build_object('total', coalesce(max(item.total), 0), 'start', @offset@, 'end', @offset@ + count(*)))
  from (select b.*, c.jobs_count_per_status
          from (select *, count(*) over () as total, row_number() over (order by @order@) as place
                  from batches.batch
                 where @condition@
                 order by @order@
                 limit 100 offset @offset@) b
         cross join lateral (
           select json_object_agg(s.status, s.n) as jobs_count_per_status
             from (select j.status, count(*) as n from batches.job j
                    where j.project_id = b.project_id and j.batch_id = b.id
                    group by j.status) s) c) item
