-- As page_then_count, with the first rows of each project by themselves: each is an ordered index scan.
with page as materialized (
  select b.*
    from unnest(@projects@) as p (project_id)
   cross join lateral (
     select *
       from batches.batch
      where batch.project_id = p.project_id and @condition@
      order by @order@
      limit @offset@ + 100) b
   order by @order@
   limit 100 offset @offset@
)
select json_build_object('status', 'success', 'message', 'OK.', 'code', '200',
         'data', coalesce(json_agg(row_to_json(item) order by @item_order@), '[]'),
         'pagination', json_build_object('total', (select count(*) from batches.batch where @condition@),
                                         'start', @offset@, 'end', @offset@ + count(*)))
  from (select b.*, c.jobs_count_per_status
          from page b
         cross join lateral (
           select json_object_agg(s.status, s.n) as jobs_count_per_status
             from (select j.status, count(*) as n from batches.job j
                    where j.project_id = b.project_id and j.batch_id = b.id
                    group by j.status) s) c) item
