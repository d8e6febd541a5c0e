-- Filters, orders and windows of the listing, on ten batches known by number: what each request finds is written here.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local timezone = 'UTC';
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(412);

--
-- The batches. Their numbers are in the order of their ids.
--

create table pg_temp.known (n int, id uuid, jobs int);
insert into pg_temp.known values
  (1, '00000000-0000-0000-0000-000000000001', 0),
  (2, '00000000-0000-0000-0000-000000000002', 1),
  (3, '0abcdef0-1234-4000-8000-000000000003', 3),
  (4, '0abcdef0-1235-4000-8000-000000000004', 0),
  (5, '0abcdef1-1234-4000-8000-000000000005', 10),
  (6, '7fffffff-ffff-ffff-ffff-ffffffffffff', 3),
  (7, '80000000-0000-0000-0000-000000000000', 1),
  (8, 'abcdefab-cdef-abcd-efab-cdefabcdefab', 2),
  (9, 'ffffffff-ffff-ffff-ffff-fffffffffff0', 0),
  (10, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 3);

\set p1 '11111111-1111-1111-1111-111111111111'
\set p2 '22222222-2222-2222-2222-222222222222'
\set p3 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa'
insert into batches.batch (id, project_id, status, open, priority, device_type, user_id, created_at, updated_at,
                           start_datetime, end_datetime, queue_priority, tags)
select k.id, v.project_id::uuid, v.status::batches.batch_status, v.open, v.priority, v.device_type, v.user_id,
       v.created_at::timestamptz, v.updated_at::timestamptz, v.start_datetime::timestamptz, v.end_datetime::timestamptz,
       v.queue_priority::batches.queue_priority, v.tags
  from pg_temp.known k
  join (values
    (1, :'p1', 'PENDING', true, 0, 'FRESNEL', 'ann', '2025-01-01Z', '2025-02-05Z',
     null, null, 'MEDIUM', array[]::text[]),
    (2, :'p2', 'RUNNING', true, 0, 'FRESNEL_CAN1', 'ann', '2025-01-01Z', '2025-02-04Z',
     '2025-01-01 10:00Z', null, 'CRITICAL', array['experiment-1']),
    (3, :'p3', 'DONE', false, 5, 'EMU_FREE', 'Ann', '2025-01-02 12:00Z', '2025-02-03Z',
     '2025-01-02 12:00Z', '2025-01-02 13:00Z', 'HIGH', array['Experiment-1', 'x']),
    (4, :'p1', 'CANCELED', false, -3, 'fresnel', 'bob', '2025-01-03Z', '2025-02-03Z',
     null, '2025-01-02 13:00Z', 'MEDIUM', array['experiment-1 ', '']),
    (5, :'p2', 'CANCELING', true, 5, 'FRESNEL', 'bob', '2025-01-03 00:00:00.000001Z', '2025-02-02Z',
     '2025-01-03 00:00:00.000001Z', null, 'LOW', array['a,b']),
    (6, :'p3', 'TIMED_OUT', false, 0, 'O''Brien "x" \y', 'user-123', '2024-12-31 23:59:59.999999Z', '2025-02-09Z',
     '2025-01-02 12:00Z', '2025-01-02 13:00:00.000001Z', 'FREE', array['a', 'b']),
    (7, :'p1', 'ERROR', false, 2147483647, 'EMU_MPS', 'ann ', '-infinity', '2025-02-08Z',
     null, 'infinity', 'HIGH', array['"quoted\tag"', 'it''s']),
    (8, :'p2', 'PAUSED', true, -2147483648, '', 'ANN', 'infinity', '2025-02-07Z',
     'infinity', null, 'LOW', array['{a}']),
    (9, :'p3', 'DONE', false, 0, ' FRESNEL', '{ann}', '0044-03-15Z BC', '2025-02-06Z',
     '-infinity', '2025-01-01Z', 'MEDIUM', array['NULL']),
    (10, :'p1', 'PENDING', true, 1, 'é', '日本', '2025-01-03Z', '2025-02-06Z',
     null, null, 'CRITICAL', array['experiment-1', '日本'])
    ) v (n, project_id, status, open, priority, device_type, user_id, created_at, updated_at, start_datetime,
         end_datetime, queue_priority, tags) using (n);
insert into batches.job (project_id, batch_id)
select b.project_id, b.id from batches.batch b join pg_temp.known k using (id), generate_series(1, k.jobs);
insert into batches.project_member (project_id, user_id) values (:'p1', 'root'), (:'p2', 'root'), (:'p3', 'root');

-- The numbers of the batches that a call lists, in its order.
create function pg_temp.listed(arguments text) returns int[] language plpgsql as $$
declare
  numbers int[];
begin
  execute 'select array(select (select k.n from pg_temp.known k where k.id = l.id) from batches.list_batches('
          || arguments || ') l)' into numbers;
  return numbers;
end $$;

-- What the three functions find for the same filters, each as numbers in the order of the ids or as a number of them.
create function pg_temp.found(filters text, out list int[], out count bigint, out document int[], out total bigint)
  language plpgsql as $$
declare
  in_order constant text := concat_ws(', ', nullif(filters, ''), 'order_by => ''id''', 'order_by_direction => ''ASC''');
begin
  list := pg_temp.listed(in_order);
  execute 'select batches.count_batches(' || filters || ')' into count;
  perform set_config('batches.user_id', 'root', true);
  execute 'select array(select (select k.n from pg_temp.known k where k.id = (i->>''id'')::uuid)
                          from json_array_elements(d->''data'') i), (d->''pagination''->>''total'')::bigint
             from batches.get_all_batches(' || in_order || ') d' into document, total;
  perform set_config('batches.user_id', '', true);
end $$;

create function pg_temp.finds(filters text, expected int[], what text) returns text language sql as $$
  select is(f::text, row(expected, cardinality(expected), expected, cardinality(expected))::text,
            what || case when filters = '' then '' else ': ' || left(regexp_replace(filters, '\s+', ' ', 'g'), 100) end)
    from pg_temp.found(filters) f
$$;

\set all '{1,2,3,4,5,6,7,8,9,10}'
select pg_temp.finds('', :'all', 'no filter finds all');

--
-- Lists
--

select pg_temp.finds(format('id => %L', array[id]), array[n], 'one id finds its batch') from pg_temp.known;
select pg_temp.finds($$ id => '{80000000-0000-0000-0000-000000000000,00000000-0000-0000-0000-000000000002}' $$, '{2,7}',
                     'several ids find each of theirs');
select pg_temp.finds($$ id => '{80000000-0000-0000-0000-000000000000,80000000-0000-0000-0000-000000000000}' $$, '{7}',
                     'an id given twice finds its batch once');
select pg_temp.finds($$ id => '{80000000-0000-0000-0000-000000000000,80000000-0000-0000-0000-000000000001}' $$, '{7}',
                     'an id that no batch has does not keep the others from being found');
select pg_temp.finds($$ id => '{80000000-0000-0000-0000-000000000001}' $$, '{}',
                     'an id that no batch has finds nothing');

select pg_temp.finds($$ project_id => '{11111111-1111-1111-1111-111111111111}' $$, '{1,4,7,10}', 'a project');
select pg_temp.finds($$ project_id => '{22222222-2222-2222-2222-222222222222,aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa,
                                        22222222-2222-2222-2222-222222222222,22222222-2222-2222-2222-222222222223}' $$,
                     '{2,3,5,6,8,9}', 'projects, one of them twice and one unknown');
select pg_temp.finds($$ project_id => '{AAAAAAAA-AAAA-AAAA-AAAA-AAAAAAAAAAAA}' $$, '{3,6,9}', 'a project in capitals');
select pg_temp.finds($$ project_id => '{33333333-3333-3333-3333-333333333333}' $$, '{}', 'an unknown project');

select pg_temp.finds($$ user_id => '{ann}' $$, '{1,2}', 'a user');
select pg_temp.finds($$ user_id => array['ann', 'bob', 'bob', 'nobody'] $$, '{1,2,4,5}',
                     'users, one twice and one unknown');
select pg_temp.finds($$ user_id => array['Ann'] $$, '{3}', 'case matters in users');
select pg_temp.finds($$ user_id => array['ann '] $$, '{7}', 'a space at the end matters in users');
select pg_temp.finds($$ user_id => array['{ann}'] $$, '{9}', 'braces in a user are plain characters');
select pg_temp.finds($$ user_id => array['日本'] $$, '{10}', 'a user of other letters');
select pg_temp.finds($$ user_id => array[''] $$, '{}', 'an empty user is a user like others');
select pg_temp.finds($$ user_id => array['a%', 'ann_', '%'] $$, '{}', 'users are no patterns');
select pg_temp.finds($$ user_id => array['ann''; drop table batches.batch; --'] $$, '{}', 'a user is no SQL');

select pg_temp.finds($$ device_type => '{FRESNEL}' $$, '{1,5}', 'a device');
select pg_temp.finds($$ device_type => '{FRESNEL,EMU_MPS,EMU_SV,FRESNEL,FRESNEL_CAN1}' $$, '{1,2,5,7}', 'devices');
select pg_temp.finds($$ device_type => '{fresnel}' $$, '{4}', 'case matters in devices');
select pg_temp.finds($$ device_type => array[' FRESNEL'] $$, '{9}', 'a space matters in devices');
select pg_temp.finds($$ device_type => array[''] $$, '{8}', 'an empty device is a device like others');
select pg_temp.finds($$ device_type => array['O''Brien "x" \y', 'é'] $$, '{6,10}',
                     'quotes and backslashes in a device');
select pg_temp.finds($$ device_type => array['e', 'É'] $$, '{}', 'accents matter in devices');

select pg_temp.finds(format('status => %L', array[s]), expected::int[], 'a status')
  from (values ('PENDING', '{1,10}'), ('RUNNING', '{2}'), ('DONE', '{3,9}'), ('CANCELED', '{4}'), ('CANCELING', '{5}'),
               ('TIMED_OUT', '{6}'), ('ERROR', '{7}'), ('PAUSED', '{8}')) v (s, expected);
select pg_temp.finds($$ status => '{PAUSED,DONE,PAUSED,RUNNING}' $$, '{2,3,8,9}', 'statuses');
select pg_temp.finds(format('status => %L', enum_range(null::batches.batch_status)), :'all', 'every status');

select pg_temp.finds(format('queue_priority => %L', array[s]), expected::int[], 'a queue priority')
  from (values ('CRITICAL', '{2,10}'), ('HIGH', '{3,7}'), ('MEDIUM', '{1,4,9}'), ('LOW', '{5,8}'), ('FREE', '{6}'))
    v (s, expected);
select pg_temp.finds($$ queue_priority => '{FREE,CRITICAL,FREE}' $$, '{2,6,10}', 'queue priorities');

select pg_temp.finds(name || ' => ''{}''', :'all', 'an empty list filters nothing')
  from unnest(array['id', 'project_id', 'user_id', 'device_type', 'status', 'queue_priority']) name;
select pg_temp.finds(name || ' => null', :'all', 'null filters nothing')
  from unnest(array['id', 'id__starts_with', 'project_id', 'user_id', 'device_type', 'status', 'complete', 'open',
                    'min_jobs', 'max_jobs', 'start_date', 'end_date', 'queue_priority', 'tag', 'created_after',
                    'created_before']) name;
select pg_temp.finds($$ user_id => (select array_agg('user-' || i) from generate_series(1, 10000) i) $$, '{6}',
                     'a list of ten thousand');

--
-- The start of an id
--

select pg_temp.finds(format('id__starts_with => %L', prefix), expected::int[], what)
  from (values
    ('', '{1,2,3,4,5,6,7,8,9,10}', 'nothing is the start of every id'),
    ('0', '{1,2,3,4,5}', 'one digit'),
    ('00', '{1,2}', 'two digits'),
    ('0a', '{3,4,5}', 'a digit and a letter'),
    ('7', '{6}', 'a digit next to another batch''s'),
    ('8', '{7}', 'a digit next to another batch''s'),
    ('7f', '{6}', 'two digits'),
    ('80', '{7}', 'two digits'),
    ('9', '{}', 'no id starts so'),
    ('f', '{9,10}', 'the last letter'),
    ('F', '{9,10}', 'a capital'),
    ('aBcD', '{8}', 'mixed case'),
    ('0abcdef', '{3,4,5}', '7 characters'),
    ('0abcdef0', '{3,4}', '8 characters'),
    ('0abcdef0-', '{3,4}', '9 characters, the last a hyphen'),
    ('0ABCDEF0-123', '{3,4}', '12 characters'),
    ('0ABCDEF0-1234', '{3}', '13 characters'),
    ('0abcdef0-1235-', '{4}', '14 characters, the last a hyphen'),
    ('0abcdef0-1234-4000-8000-00000000000', '{3}', '35 characters'),
    ('0abcdef0-1234-4000-8000-000000000003', '{3}', 'all 36 characters'),
    ('0ABCDEF0-1234-4000-8000-000000000003', '{3}', 'all 36 characters in capitals'),
    ('0abcdef0-1234-4000-8000-000000000004', '{}', '36 characters of no batch'),
    ('0abcdef0-1234-4000-8000-0000000000030', '{}', '37 characters'),
    ('0abcdef0-1234-4000-8000-000000000003-', '{}', 'a whole id and a hyphen'),
    ('ffffffff', '{9,10}', 'the largest 8 characters'),
    ('ffffffff-ffff-ffff-ffff-fffffffffff', '{9,10}', 'the largest 35 characters'),
    ('ffffffff-ffff-ffff-ffff-ffffffffffff', '{10}', 'the largest id'),
    ('ffffffff-ffff-ffff-ffff-fffffffffff0', '{9}', 'the largest id but few'),
    ('00000000-0000-0000-0000-00000000000', '{1,2}', 'the smallest 35 characters'),
    ('00000000-0000-0000-0000-000000000000', '{}', 'the smallest id'),
    ('0abcdef01', '{}', '9 characters without the hyphen'),
    ('fffffffff', '{}', '9 letters without the hyphen'),
    ('0abcdef0123440008000000000000003', '{}', 'an id without hyphens'),
    ('ffffffffffffffffffffffffffffffff', '{}', 'an id without hyphens'),
    ('0abcdef-', '{}', 'a hyphen too early'),
    ('0abcdef0-12-', '{}', 'a hyphen too early'),
    ('0abcdef0--', '{}', 'two hyphens'),
    ('-', '{}', 'a hyphen alone'),
    ('{0abcdef0', '{}', 'a brace'),
    ('{0abcdef0-1234-4000-8000-000000000003}', '{}', 'an id in braces'),
    ('%', '{}', '% is a plain character'),
    ('0%', '{}', '% is a plain character'),
    ('_', '{}', '_ is a plain character'),
    ('0_', '{}', '_ is a plain character'),
    ('\', '{}', 'a backslash is a plain character'),
    ('\0', '{}', 'a backslash is a plain character'),
    ('''', '{}', 'a quote is a plain character'),
    ('g', '{}', 'a letter that no id has'),
    ('0abcdef0-1234-4000-8000-00000000000g', '{}', 'a letter that no id has, at the end'),
    ('0g', '{}', 'a letter that no id has'),
    ('fg', '{}', 'a letter that no id has'),
    (' 0', '{}', 'a space before'),
    ('0 ', '{}', 'a space after'),
    (E'0\n', '{}', 'a line feed after'),
    (' ', '{}', 'a space'),
    ('é', '{}', 'a letter of two bytes'),
    ('0é', '{}', 'a letter of two bytes after a digit'),
    ('０', '{}', 'a wide digit'),
    ('ａ', '{}', 'a wide letter'),
    ('😀', '{}', 'a character of four bytes'),
    (repeat('f', 100000), '{}', 'a hundred thousand characters'),
    (repeat('é', 36), '{}', '36 characters of two bytes')) v (prefix, expected, what);

select is_empty(
  $$ select k.id, l from pg_temp.known k, generate_series(0, 36) l
      where (select array_agg(b.id order by b.id) from batches.list_batches(id__starts_with => left(k.id::text, l)) b)
            is distinct from
            (select array_agg(o.id order by o.id) from pg_temp.known o where left(o.id::text, l) = left(k.id::text, l)) $$,
  'every start of every id finds the batches whose text starts so');
select is_empty(
  $$ select k.id, l from pg_temp.known k, generate_series(0, 36) l
      where batches.count_batches(id__starts_with => upper(left(k.id::text, l)))
            <> (select count(*) from pg_temp.known o where left(o.id::text, l) = left(k.id::text, l)) $$,
  'every start of every id, in capitals, counts the batches whose text starts so');

--
-- Booleans and numbers
--

select pg_temp.finds('open => true', '{1,2,5,8,10}', 'open batches');
select pg_temp.finds('open => false', '{3,4,6,7,9}', 'closed batches');
select pg_temp.finds('complete => true', '{3,4,6,7,9}', 'complete is the opposite of open');
select pg_temp.finds('complete => false', '{1,2,5,8,10}', 'incomplete is open');
select pg_temp.finds('open => true, complete => false', '{1,2,5,8,10}', 'open and complete that agree');
select pg_temp.finds('open => true, complete => true', '{}', 'open and complete that contradict each other');
select pg_temp.finds('open => false, complete => false', '{}', 'open and complete that contradict each other');

select pg_temp.finds('min_jobs => ' || bound, expected::int[], 'at least so many jobs')
  from (values ('-9223372036854775808', '{1,2,3,4,5,6,7,8,9,10}'), ('-1', '{1,2,3,4,5,6,7,8,9,10}'),
               ('0', '{1,2,3,4,5,6,7,8,9,10}'), ('1', '{2,3,5,6,7,8,10}'), ('2', '{3,5,6,8,10}'), ('3', '{3,5,6,10}'),
               ('4', '{5}'), ('10', '{5}'), ('11', '{}'), ('2147483648', '{}'), ('4294967299', '{}'),
               ('9223372036854775807', '{}')) v (bound, expected);
select pg_temp.finds('max_jobs => ' || bound, expected::int[], 'at most so many jobs')
  from (values ('-9223372036854775808', '{}'), ('-4294967291', '{}'), ('-1', '{}'), ('0', '{1,4,9}'), ('1', '{1,2,4,7,9}'),
               ('2', '{1,2,4,7,8,9}'), ('3', '{1,2,3,4,6,7,8,9,10}'), ('9', '{1,2,3,4,6,7,8,9,10}'),
               ('10', '{1,2,3,4,5,6,7,8,9,10}'), ('4294967296', '{1,2,3,4,5,6,7,8,9,10}'),
               ('9223372036854775807', '{1,2,3,4,5,6,7,8,9,10}')) v (bound, expected);
select pg_temp.finds('min_jobs => 1, max_jobs => 2', '{2,7,8}', 'a range of jobs');
select pg_temp.finds('min_jobs => 3, max_jobs => 3', '{3,6,10}', 'exactly so many jobs');
select pg_temp.finds('min_jobs => 4, max_jobs => 9', '{}', 'a range that no batch is in');
select pg_temp.finds('min_jobs => 3, max_jobs => 2', '{}', 'a range upside down');

--
-- Dates
--

select pg_temp.finds(format('start_date => %L', bound), expected::int[], 'started at or after')
  from (values ('-infinity', '{2,3,5,6,8,9}'), ('4713-01-01Z BC', '{2,3,5,6,8}'), ('2025-01-01 10:00Z', '{2,3,5,6,8}'),
               ('2025-01-01 10:00:00.000001Z', '{3,5,6,8}'), ('2025-01-02 12:00Z', '{3,5,6,8}'),
               ('2025-01-02 12:00:00.000001Z', '{5,8}'), ('2025-01-02 13:00+01', '{3,5,6,8}'),
               ('2025-01-02 12:00+01', '{3,5,6,8}'), ('2025-01-02 11:00-02', '{5,8}'),
               ('2025-01-03 00:00:00.000001Z', '{5,8}'), ('2025-01-03 00:00:00.000002Z', '{8}'),
               ('294276-12-31Z', '{8}'), ('infinity', '{8}')) v (bound, expected);
select pg_temp.finds(format('end_date => %L', bound), expected::int[], 'ended at or before')
  from (values ('-infinity', '{}'), ('2024-12-31 23:59:59.999999Z', '{}'), ('2025-01-01Z', '{9}'),
               ('2025-01-02 12:59:59.999999Z', '{9}'), ('2025-01-02 13:00Z', '{3,4,9}'),
               ('2025-01-02 13:00:00.000001Z', '{3,4,6,9}'), ('2025-01-02 15:00+02', '{3,4,9}'),
               ('294276-12-31Z', '{3,4,6,9}'), ('infinity', '{3,4,6,7,9}')) v (bound, expected);
select pg_temp.finds($$ start_date => '2025-01-02Z', end_date => '2025-01-02 13:00Z' $$, '{3}',
                     'started and ended within');
select pg_temp.finds($$ start_date => '2025-01-04Z', end_date => '2025-01-02 13:00Z' $$, '{}', 'dates upside down');
select pg_temp.finds(format('created_after => %L', bound), expected::int[], 'created at or after')
  from (values ('-infinity', '{1,2,3,4,5,6,7,8,9,10}'), ('0044-03-15Z BC', '{1,2,3,4,5,6,8,9,10}'),
               ('0044-03-15 00:00:00.000001Z BC', '{1,2,3,4,5,6,8,10}'), ('2024-12-31 23:59:59.999999Z', '{1,2,3,4,5,6,8,10}'),
               ('2025-01-01Z', '{1,2,3,4,5,8,10}'), ('2025-01-01 00:00:00.000001Z', '{3,4,5,8,10}'),
               ('2025-01-03Z', '{4,5,8,10}'), ('infinity', '{8}')) v (bound, expected);
select pg_temp.finds(format('created_before => %L', bound), expected::int[], 'created at or before')
  from (values ('-infinity', '{7}'), ('2024-12-31 23:59:59.999998Z', '{7,9}'), ('2024-12-31 23:59:59.999999Z', '{6,7,9}'),
               ('2025-01-01Z', '{1,2,6,7,9}'), ('2025-01-03Z', '{1,2,3,4,6,7,9,10}'),
               ('2025-01-03 00:00:00.000001Z', '{1,2,3,4,5,6,7,9,10}'), ('infinity', '{1,2,3,4,5,6,7,8,9,10}'))
    v (bound, expected);
select pg_temp.finds($$ created_after => '2025-01-01Z', created_before => '2025-01-02 12:00Z' $$, '{1,2,3}',
                     'created within');

--
-- Tags
--

select pg_temp.finds(format('tag => %L', tag), expected::int[], what)
  from (values
    ('experiment-1', '{2,10}', 'a tag'),
    ('x', '{3}', 'the second tag of a batch'),
    ('Experiment-1', '{3}', 'case matters in tags'),
    ('EXPERIMENT-1', '{}', 'case matters in tags'),
    ('experiment-1 ', '{4}', 'a space at the end matters in tags'),
    (' experiment-1', '{}', 'a space at the start matters in tags'),
    ('experiment', '{}', 'a tag is matched as a whole'),
    ('', '{4}', 'an empty tag is a tag like others'),
    ('a', '{6}', 'a tag of one letter'),
    ('a,b', '{5}', 'a comma is a plain character'),
    ('{a}', '{8}', 'braces are plain characters'),
    ('{}', '{}', 'no tags are no tag'),
    ('NULL', '{9}', 'the word NULL is a tag like others'),
    ('"quoted\tag"', '{7}', 'quotes and backslashes are plain characters'),
    ('quoted\tag', '{}', 'quotes are part of the tag'),
    ('it''s', '{7}', 'an apostrophe is a plain character'),
    ('日本', '{10}', 'a tag of other letters'),
    ('%', '{}', 'a tag is no pattern'),
    ('a%', '{}', 'a tag is no pattern')) v (tag, expected, what);

--
-- Several filters
--

select pg_temp.finds($$ status => '{PENDING,DONE}', open => true, tag => 'experiment-1' $$, '{10}',
                     'filters are joined by AND');
select pg_temp.finds($$ id__starts_with => '0', user_id => '{ann,bob}', min_jobs => 1 $$, '{2,5}',
                     'filters are joined by AND');
select pg_temp.finds($$ id => '{00000000-0000-0000-0000-000000000001,ffffffff-ffff-ffff-ffff-ffffffffffff}',
                        id__starts_with => 'F' $$, '{10}', 'an id and the start of an id');
select pg_temp.finds($$ id => '{00000000-0000-0000-0000-000000000001}', id__starts_with => 'f' $$, '{}',
                     'an id and the start of another');
select pg_temp.finds($$ project_id => '{22222222-2222-2222-2222-222222222222}', device_type => '{FRESNEL,FRESNEL_CAN1}',
                        queue_priority => '{LOW,CRITICAL}', complete => false, start_date => '2025-01-01 10:00Z' $$, '{2,5}',
                     'many filters');

-- All filters at once find batch 3; with any one of them another, nothing.
create table pg_temp.filter (position serial, name text, holds text, fails text);
insert into pg_temp.filter (name, holds, fails) values
  ('id', '{0abcdef0-1234-4000-8000-000000000003}', '{0abcdef0-1235-4000-8000-000000000004}'),
  ('id__starts_with', '0ABCdef0-1234', '0ABCdef0-1235'),
  ('project_id', '{aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa}', '{11111111-1111-1111-1111-111111111111}'),
  ('user_id', '{Ann,bob}', '{ann,bob}'),
  ('device_type', '{EMU_FREE,FRESNEL}', '{FRESNEL}'),
  ('status', '{DONE,ERROR}', '{ERROR}'),
  ('complete', 'true', 'false'),
  ('open', 'false', 'true'),
  ('min_jobs', '3', '4'),
  ('max_jobs', '3', '2'),
  ('start_date', '2025-01-02 12:00Z', '2025-01-02 12:00:00.000001Z'),
  ('end_date', '2025-01-02 13:00Z', '2025-01-02 12:59:59.999999Z'),
  ('queue_priority', '{HIGH}', '{LOW}'),
  ('tag', 'x', 'y'),
  ('created_after', '2025-01-02 12:00Z', '2025-01-02 12:00:00.000001Z'),
  ('created_before', '2025-01-02 12:00Z', '2025-01-02 11:59:59.999999Z');
select pg_temp.finds((select string_agg(format('%I => %L', f.name, f.holds), ', ' order by f.position) from pg_temp.filter f),
                     '{3}', 'all filters at once');
select pg_temp.finds((select string_agg(format('%I => %L', f.name, case when f.name = w.name then f.fails else f.holds end),
                                        ', ' order by f.position desc) from pg_temp.filter f),
                     '{}', 'all filters at once, where ' || w.name || ' does not hold')
  from pg_temp.filter w order by w.position;
select is(
  array(select (select k.n from pg_temp.known k where k.id = l.id) from batches.list_batches(
    array['0abcdef0-1234-4000-8000-000000000003', '0abcdef0-1235-4000-8000-000000000004']::uuid[], '0a',
    array['aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa', '11111111-1111-1111-1111-111111111111']::uuid[], array['Ann', 'bob'],
    array['EMU_FREE', 'fresnel'], '{DONE,CANCELED}', true, false, 0, 3, null, '2025-01-02 13:00Z', '{HIGH,MEDIUM}', null,
    '2025-01-01Z', '2025-01-03Z', 'jobs_count', 'ASC', 2, 0) l),
  array[4, 3], 'arguments by position are the parameters in their order');

--
-- Orders
--

create table pg_temp.expected_order (position serial, name text, numbers int[]);
insert into pg_temp.expected_order (name, numbers) values
  ('created_at', '{7,9,6,1,2,3,4,10,5,8}'),
  ('updated_at', '{5,3,4,2,1,9,10,8,7,6}'),
  ('start_datetime', '{9,2,3,6,5,8,1,4,7,10}'),
  ('end_datetime', '{9,3,4,6,7,1,2,5,8,10}'),
  ('id', '{1,2,3,4,5,6,7,8,9,10}'),
  ('status', '{1,10,2,3,9,4,5,6,7,8}'),
  ('open', '{3,4,6,7,9,1,2,5,8,10}'),
  ('complete', '{1,2,5,8,10,3,4,6,7,9}'),
  ('priority', '{8,4,1,2,6,9,10,3,5,7}'),
  ('device_type', '{8,9,3,7,1,5,2,6,4,10}'),
  ('user_id', '{8,3,1,2,7,4,5,6,9,10}'),
  ('project_id', '{1,4,7,10,2,5,8,3,6,9}'),
  ('jobs_count', '{1,4,9,2,7,8,3,6,10,5}'),
  ('queue_priority', '{2,10,3,7,1,4,9,5,8,6}');

-- Ties follow the direction and nulls are the largest, so one direction is the other from the end.
create view pg_temp.request as
  select position, name, direction,
         case direction when 'ASC' then numbers
                        else array(select e from unnest(numbers) with ordinality u (e, o) order by o desc) end as numbers,
         format('order_by => %L, order_by_direction => %L', name, direction) as arguments
    from pg_temp.expected_order, unnest(array['ASC', 'DESC']) direction;
select is(pg_temp.listed(arguments), numbers, 'order by ' || name || ' ' || direction) from pg_temp.request
 order by position, direction;
select is((select array_agg(w.n order by start, w.o) from generate_series(0, 12, 3) start
             cross join lateral unnest(pg_temp.listed(arguments || ', "limit" => 3, "offset" => ' || start))
               with ordinality w (n, o)),
          numbers, 'pages of three are the whole, in order by ' || name || ' ' || direction)
  from pg_temp.request order by position, direction;
select is(pg_temp.listed(arguments || ', id__starts_with => ''0'''), array(select e from unnest(numbers) e where e <= 5),
          'filtered batches are in order by ' || name || ' ' || direction)
  from pg_temp.request order by position, direction;

select is(pg_temp.listed(arguments), '{8,5,10,4,3,2,1,6,9,7}', what)
  from (values ('', 'the newest come first by default'),
               ('order_by => null, order_by_direction => null', 'null is the default order'),
               ('order_by => ''created_at'', order_by_direction => null', 'null is the default direction'),
               ('order_by => null, order_by_direction => ''DESC''', 'null is the default column')) v (arguments, what);
select is(pg_temp.listed('order_by => ''jobs_count'''), '{5,10,6,3,8,7,2,9,4,1}', 'the direction is DESC by default');

--
-- Windows
--

select is(pg_temp.listed('order_by => ''id'', order_by_direction => ''ASC'', ' || arguments), expected::int[],
          'a window: ' || arguments)
  from (values
    ('"limit" => 1', '{1}'),
    ('"limit" => 4', '{1,2,3,4}'),
    ('"limit" => 10', '{1,2,3,4,5,6,7,8,9,10}'),
    ('"limit" => 11', '{1,2,3,4,5,6,7,8,9,10}'),
    ('"limit" => null', '{1,2,3,4,5,6,7,8,9,10}'),
    ('"limit" => 1000', '{1,2,3,4,5,6,7,8,9,10}'),
    ('"limit" => 9223372036854775807', '{1,2,3,4,5,6,7,8,9,10}'),
    ('"offset" => 0', '{1,2,3,4,5,6,7,8,9,10}'),
    ('"offset" => null', '{1,2,3,4,5,6,7,8,9,10}'),
    ('"offset" => 7', '{8,9,10}'),
    ('"offset" => 9', '{10}'),
    ('"offset" => 10', '{}'),
    ('"offset" => 11', '{}'),
    ('"offset" => 9223372036854775807', '{}'),
    ('"limit" => 3, "offset" => 4', '{5,6,7}'),
    ('"limit" => 3, "offset" => 8', '{9,10}'),
    ('"limit" => null, "offset" => 8', '{9,10}'),
    ('"limit" => 9223372036854775807, "offset" => 8', '{9,10}'),
    ('"limit" => 9223372036854775807, "offset" => 9223372036854775807', '{}'),
    ('"limit" => 2, "offset" => 1, status => ''{DONE,PENDING,PAUSED}''', '{3,8}'),
    ('"limit" => 2, "offset" => 1, id__starts_with => ''0abc''', '{4,5}')) v (arguments, expected);

-- More than a default page.
insert into batches.batch (project_id, device_type, user_id, tags)
select :'p1', 'FRESNEL', 'carl', '{many}' from generate_series(1, 1205);
select is((select count(*) from batches.list_batches(tag => 'many')), 100::bigint, 'a page has 100 batches by default');
select is((select count(*) from batches.list_batches(tag => 'many', "limit" => null)), 1205::bigint,
          'without a limit all are listed');
select is((select count(*) from batches.list_batches(tag => 'many', "limit" => 1000)), 1000::bigint,
          'a list can be longer than a page');
select is((select count(*) from batches.list_batches(tag => 'many', "limit" => null, "offset" => 1200)), 5::bigint,
          'the last rows without a limit');
select is((select count(distinct l.id) from generate_series(0, 1200, 100) start,
             lateral batches.list_batches(tag => 'many', order_by => 'device_type', "offset" => start) l), 1205::bigint,
          'pages ordered by equal values hold every batch once');
select is(batches.count_batches(tag => 'many'), 1205::bigint, 'the count is that of all pages');
set local batches.user_id = 'root';
select is((select array[json_array_length(d->'data'), (d->'pagination'->>'total')::int]
             from batches.get_all_batches(tag => 'many') d), array[100, 1205], 'a document has 100 batches by default');
set local batches.user_id = '';

--
-- Columns of the list
--

update batches.batch set parent_id = '80000000-0000-0000-0000-000000000000', configuration = '{"a": {"b": [1, null]}}',
                         backend_configuration = E'line\n"x"\\', webhook = 'https://example.org/?a=b&c=d'
 where id = '0abcdef0-1234-4000-8000-000000000003';
update batches.job set status = 'ERROR' where batch_id = '0abcdef0-1234-4000-8000-000000000003' and ctid in (
  select min(ctid) from batches.job where batch_id = '0abcdef0-1234-4000-8000-000000000003');
select results_eq(
  $$ select * from batches.list_batches(id__starts_with => '0abcdef0', order_by => 'id', order_by_direction => 'ASC') $$,
  $$ values ('0abcdef0-1234-4000-8000-000000000003'::uuid, '80000000-0000-0000-0000-000000000000'::uuid,
             'DONE'::batches.batch_status, true, false, 5, 'EMU_FREE', 'Ann', 'aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa'::uuid,
             '2025-01-02 12:00Z'::timestamptz, '2025-02-03Z'::timestamptz, 3, '{"ERROR": 1, "PENDING": 2}'::jsonb,
             '{Experiment-1,x}'::text[], '{"a": {"b": [1, null]}}'::jsonb, E'line\n"x"\\', 'https://example.org/?a=b&c=d',
             '2025-01-02 12:00Z'::timestamptz, '2025-01-02 13:00Z'::timestamptz, 'HIGH'::batches.queue_priority),
            ('0abcdef0-1235-4000-8000-000000000004', null, 'CANCELED', true, false, -3, 'fresnel', 'bob',
             '11111111-1111-1111-1111-111111111111', '2025-01-03Z', '2025-02-03Z', 0, '{}', array['experiment-1 ', ''],
             null, null, null, null, '2025-01-02 13:00Z', 'MEDIUM') $$,
  'the list has every column of the document');

--
-- Lists of labels as drivers send them: 3 and 9 are DONE, 7 is ERROR
--

create function pg_temp.executed(statement text) returns bigint language plpgsql as $$
declare
  answer bigint;
begin
  execute statement into answer;
  return answer;
end $$;
create function pg_temp.called(call text) returns text language plpgsql as $$
declare
  answer text;
begin
  execute 'select batches.' || call into answer;
  return answer;
end $$;
select is(pg_temp.called(format(call, status, priority)), expected, format(call, status, priority))
  from (values ('count_batches(status => %s, queue_priority => %s)', '2'),
               ('count_batches(null, null, null, null, null, %s, queue_priority => %s)', '2'),
               ('batch_facets(status => %s, queue_priority => %s) ->> ''total''', '2'),
               ('list_batches(status => %s, queue_priority => %s, order_by => ''id'', "limit" => 1)::text ~ ''^.80000000-0''', 'true'),
               ('explain_batches(status => %s, queue_priority => %s)::text ~ ''"total"": 2''', 'true')) f (call, expected),
       (values ('''{DONE,ERROR}''', '''{HIGH}'''),
               ('array[''DONE'', ''ERROR'']', 'array[''HIGH'']'),
               ('array[''DONE'', ''ERROR'']::varchar[]', 'array[''HIGH'']::varchar(10)[]'),
               ('array[''DONE'', ''ERROR'']::batches.batch_status[]', '''{HIGH}''::batches.queue_priority[]'),
               ('array[''DONE''::batches.batch_status, ''ERROR'']', 'array[''HIGH''::batches.queue_priority]'),
               ('(select array_agg(b.status) from batches.batch b where b.status in (''DONE'', ''ERROR''))', 'array[''HIGH'', ''HIGH'']'),
               ('''{{DONE},{ERROR}}''', '''{{HIGH}}''')) l (status, priority);
prepare as_text (text[]) as select batches.count_batches(status => $1);
prepare as_type (batches.batch_status[]) as select batches.count_batches(status => $1);
prepare as_unknown as select batches.count_batches(status => $1);
select is(pg_temp.executed(format('execute %s (%s)', statement, list)), 3::bigint, format('%s of %s is bound', list, statement))
  from unnest(array['as_text', 'as_type', 'as_unknown']) statement, unnest(array['''{DONE,ERROR}''', 'array[''DONE'', ''ERROR'']']) list
 where statement <> 'as_type' or list like '''%';

select * from finish();
rollback;
