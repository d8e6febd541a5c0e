-- How many match by each value, in one pass.
select json_build_object('total', coalesce(sum(n) filter (where place = 31), 0),
         'status', json_object_agg(status, n) filter (where place = 15),
         'open', json_object_agg(open, n) filter (where place = 23),
         'device_type', json_object_agg(device_type, n) filter (where place = 27),
         'queue_priority', json_object_agg(queue_priority, n) filter (where place = 29),
         'project_id', json_object_agg(project_id, n) filter (where place = 30))
  from (select status, open, device_type, queue_priority, batch.project_id, count(*) as n,
               grouping(status, open, device_type, queue_priority, batch.project_id) as place
          from @matching@
         group by grouping sets ((), (status), (open), (device_type), (queue_priority), (batch.project_id))) f
