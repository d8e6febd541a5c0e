-- The document, byte for byte.
create extension batches;
select batches.create_tables();
\pset format unaligned
\pset tuples_only on
set batches.user_id = 'user-123';

-- A user of no project: an empty page.
select batches.get_all_batches();

insert into batches.project_member values ('00000000-0000-0000-0000-000000000001', 'user-123');
insert into batches.batch (project_id, id, status, device_type, user_id, created_at, updated_at,
                           tags, start_datetime, end_datetime)
values ('00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', 'DONE', 'FRESNEL',
        'user-123', '2025-01-15T10:30:00Z', '2025-01-15T10:35:00Z',
        '{experiment-1}', '2025-01-15T10:31:00Z', '2025-01-15T10:35:00Z');
insert into batches.job (project_id, batch_id, status)
select project_id, id, 'DONE' from batches.batch, generate_series(1, 3);

-- The API page's example.
select batches.get_all_batches();

-- Every key, and what needs escaping.
insert into batches.batch (project_id, id, parent_id, status, open, priority, device_type, user_id,
                           created_at, updated_at, tags, configuration, backend_configuration, webhook,
                           start_datetime, end_datetime, queue_priority)
values ('00000000-0000-0000-0000-000000000001', 'fedcba98-7654-3210-fedc-ba9876543210',
        '00000000-0000-0000-0000-000000000002', 'TIMED_OUT', true, -7, E'dev"ice\\', E'user\n\t\r\b\f\x01\x1f\x7f',
        '2025-01-15T12:30:00.12+02:00', '1899-12-31T23:59:59.000001Z',
        array['', 'a,b', '"', E'\\', 'ß€𝄞😀', '</script>'], '{"b": [1, 2.50, null], "a": {"x": "\"\u2028"}}',
        '{"backend": "emu"}', 'https://example.com/hook?a=1&b=2',
        '-infinity', 'infinity', 'CRITICAL');
insert into batches.job (project_id, batch_id, status)
select b.project_id, b.id, s.status
  from batches.batch b, unnest(enum_range(null::batches.job_status)) with ordinality s(status, n),
       generate_series(1, n)
 where b.status = 'TIMED_OUT';
select batches.get_all_batches(status => '{TIMED_OUT}');

-- Years that four digits cannot hold.
update batches.batch
   set created_at = '10000-01-01T00:00:00Z', updated_at = '0001-12-31T23:59:59Z BC',
       start_datetime = '0044-03-15T12:00:00.5Z BC', end_datetime = '294276-12-31T23:59:59.999999Z'
 where status = 'TIMED_OUT';
select d ->> 'created_at', d ->> 'updated_at', d ->> 'start_datetime', d ->> 'end_datetime'
  from json_array_elements(batches.get_all_batches(status => '{TIMED_OUT}') -> 'data') d;

-- Pages: full, partly full, past the end.
select batches.get_all_batches("limit" => 1, order_by => 'id', order_by_direction => 'ASC') -> 'pagination';
select batches.get_all_batches("limit" => 1, "offset" => 1) -> 'pagination';
select batches.get_all_batches("limit" => 3, "offset" => 1) -> 'pagination';
select batches.get_all_batches("offset" => 2);
select batches.get_all_batches("offset" => 9223372036854775807) -> 'pagination';

drop table batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member;
drop extension batches;
