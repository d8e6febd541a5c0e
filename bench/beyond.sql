-- What is beyond the endpoint, in pairs and rows to be compared with one another: who asks, and what.

-- 100 batches of a megabyte each, which does not compress, and 100 without it
insert into batches.project_member (project_id, user_id) select md5(kind)::uuid, 'bench-' || kind from unnest('{heavy,light}'::text[]) kind;
insert into batches.batch (project_id, device_type, user_id, backend_configuration)
select md5(kind)::uuid, 'EMU_MPS', 'heavy',
       case kind when 'heavy' then (select string_agg(md5(format('%s %s', n, k)), '') from generate_series(1, 32768) k) end
  from unnest('{heavy,light}'::text[]) kind, generate_series(1, 100) n;
vacuum (analyze) batches.batch, batches.batch_job_count, batches.batch_total, batches.project_member;

create table bench.beyond (
  number integer generated always as identity,
  name text not null,
  contender text not null,
  user_id text not null,
  statement text not null
);
set batches.user_id = 'bench-thousand';
insert into bench.beyond (name, contender, user_id, statement)
  select format('depth %s', depth), contender, 'thousand', format('select batches.get_all_batches(%s, total => ''none'')', case contender
           when 'cursor' then format('after => %L', case depth when 0 then '' else batches.next_cursor(
             (select id from batches.list_batches("limit" => 1, "offset" => depth - 1))) end)
           else format('"offset" => %s', depth) end)
    from unnest(array[0, 1000, 10000, 100000, 900000]) depth, unnest('{cursor,offset}'::text[]) contender
   where depth < batches.count_batches();
reset batches.user_id;
insert into bench.beyond (name, contender, user_id, statement) values
  ('newest, 1,000 projects', 'with its total', 'thousand', 'select batches.get_all_batches()'),
  ('newest, 1,000 projects', 'total=none', 'thousand', $$select batches.get_all_batches(total => 'none')$$),
  ('tag, common, 1,000 projects', 'with its total', 'thousand', $$select batches.get_all_batches(tag => 'benchmark')$$),
  ('tag, common, 1,000 projects', 'total=none', 'thousand', $$select batches.get_all_batches(tag => 'benchmark', total => 'none')$$),
  ('100 batches of 1 MB each', 'all of it', 'heavy', 'select length(batches.get_all_batches()::text)'),
  ('100 batches of 1 MB each', 'omit=backend_configuration', 'heavy', $$select length(batches.get_all_batches(omit => '{backend_configuration}')::text)$$),
  ('100 batches of 1 MB each', 'as many without it', 'light', 'select length(batches.get_all_batches()::text)'),
  ('two tags, 50 projects', 'tags_any', 'fifty', $$select batches.get_all_batches(tags_any => '{golden,calibration}')$$),
  ('two tags, 50 projects', 'tags_all', 'fifty', $$select batches.get_all_batches(tags_all => '{golden,calibration}')$$),
  ('two tags, 50 projects', 'one tag', 'fifty', $$select batches.get_all_batches(tag => 'calibration')$$),
  ('ETag, 100 batches', 'without', 'thousand', $$select * from batches.http_get_all_batches('')$$),
  ('ETag, 100 batches', 'with', 'thousand', $$select * from batches.http_get_all_batches('', if_none_match => '')$$),
  ('ETag, 100 batches', '304', 'thousand', $$select * from batches.http_get_all_batches('', if_none_match => '*')$$);
