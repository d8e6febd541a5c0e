-- A page without its total, as rows.
select b.*, c.jobs_count_per_status
  from (select *
          from batches.batch
         where @condition@
         order by @order@
         limit 100 offset @offset@) b
 cross join lateral (
   select json_object_agg(s.status, s.n) as jobs_count_per_status
     from (select j.status, count(*) as n from batches.job j
            where j.project_id = b.project_id and j.batch_id = b.id
            group by j.status) s) c
 order by @order@
