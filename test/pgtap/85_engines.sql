-- The two engines: where reading by indexes is right it gives what SQL gives, and everywhere else SQL reads.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(122);

create function pg_temp.p(n int) returns uuid language sql immutable return lpad(n::text, 32, 'a')::uuid;
insert into batches.batch (project_id, id, status, open, device_type, user_id, created_at, tags, start_datetime)
select pg_temp.p(n % 7), lpad(n::text, 32, '0')::uuid, (enum_range(null::batches.batch_status))[1 + n % 8], n % 5 = 0,
       'D' || n % 3, 'u' || n % 11, '2025-01-01Z'::timestamptz + (n / 4) * interval '1 hour', array['t' || n % 6],
       case when n % 3 > 0 then '2025-02-01Z'::timestamptz + (n / 9) * interval '1 minute' end
  from generate_series(1, 400) n;
insert into batches.job (project_id, batch_id, status)
select project_id, id, 'DONE' from batches.batch, generate_series(1, 3) k where right(id::text, 1)::int >= k;
insert into batches.project_member select pg_temp.p(n), 'ann' from generate_series(0, 3) n;
analyze batches.batch, batches.project_member;

-- What a statement answers; by SQL where no index can serve it, if that is "mixed".
create function pg_temp.answer_to(statement text, mixed boolean) returns text language plpgsql as $$
declare
  detail text;
  answer text;
begin
  execute statement into answer;
  return answer;
exception when object_not_in_prerequisite_state then
  get stacked diagnostics detail = pg_exception_detail;
  if not mixed or detail !~ '^Reason: it has no (usable index|index on project and batch)\.$' then
    raise;
  end if;
  set local batches.scan = auto;
  execute statement into answer;
  set local batches.scan = index;
  return answer;
end $$;
-- Everything that an engine answers to requests of many shapes.
create function pg_temp.answer(engine text) returns text language plpgsql as $$
declare
  previous constant text := current_setting('batches.scan');
  request text;
  part text;
  answer text := '';
begin
  perform set_config('batches.scan', case engine when 'mixed' then 'index' else engine end, true);
  foreach request in array array[
    '', 'order_by => ''start_datetime''', 'order_by => ''start_datetime'', order_by_direction => ''ASC'', "offset" => 120',
    'order_by => ''start_datetime'', order_by_direction => ''ASC'', "limit" => 40, "offset" => 120',
    'order_by => ''complete''', 'order_by => ''complete'', order_by_direction => ''ASC'', open => false',
    'order_by => ''status'', status => ''{PAUSED,DONE,RUNNING}''', 'order_by => ''project_id'', "offset" => 55',
    'order_by => ''id'', project_id => array[pg_temp.p(1), pg_temp.p(3), pg_temp.p(3), pg_temp.p(77)]',
    'order_by => ''user_id'', user_id => ''{u1,u2,u10,none}'', order_by_direction => ''ASC''',
    'tag => ''t3'', order_by => ''jobs_count''', 'tag => ''t3'', status => ''{ERROR}''', 'min_jobs => 2, max_jobs => 2',
    'min_jobs => 3000000000', 'max_jobs => -3000000000', 'min_jobs => -3000000000', 'min_jobs => 3, max_jobs => 2',
    'id__starts_with => ''000000000000000000000000000001''', 'id__starts_with => ''x''',
    'id => array[lpad(''17'', 32, ''0''), lpad(''17'', 32, ''0''), lpad(''300'', 32, ''0''), lpad(''900'', 32, ''0'')]::uuid[]',
    'id => array[lpad(''17'', 32, ''0''), lpad(''300'', 32, ''0'')]::uuid[], id__starts_with => ''0''',
    'open => true, complete => true', 'start_date => ''2025-02-01 00:10Z'', created_before => ''2025-01-04Z''']
  loop
    part := pg_temp.answer_to(format('select string_agg(l::text, e''\n'') from batches.list_batches(%s) l', request), engine = 'mixed');
    answer := concat_ws(e'\n', answer, part);
    request := regexp_replace(regexp_replace(request, '(order_by|order_by_direction|"limit"|"offset") => (''\w*''|\d+)', '', 'g'), '^[, ]+|[, ]+$|(, )(?=, )', '', 'g');
    part := pg_temp.answer_to(format('select batches.count_batches(%s)', request), engine = 'mixed');
    answer := concat_ws(e'\n', answer, part);
    part := pg_temp.answer_to(format('select batches.batch_facets(%s)', request), engine = 'mixed');
    answer := concat_ws(e'\n', answer, part);
  end loop;
  perform set_config('batches.scan', previous, true);
  return answer;
end $$;

-- Why batches cannot be read by indexes, or null.
create function pg_temp.fallback_reason() returns text language plpgsql as $$
declare
  previous constant text := current_setting('batches.scan');
  detail text;
begin
  perform set_config('batches.scan', 'index', true);
  perform batches.count_batches();
  perform set_config('batches.scan', previous, true);
  return null;
exception when object_not_in_prerequisite_state then
  get stacked diagnostics detail = pg_exception_detail;
  return detail;
end $$;
create function pg_temp.same(what text, engine text default 'index') returns setof text language plpgsql as $$
begin
  return next is(md5(pg_temp.answer(engine)), md5(pg_temp.answer('sql')), what);
end $$;
-- SQL reads, silently, and an engine chosen by hand says why it does not.
create function pg_temp.left_to_sql(expected text, what text) returns setof text language plpgsql as $$
begin
  return next is(pg_temp.fallback_reason(), 'Reason: ' || expected || '.', what || ' is a reason to read by SQL');
  return next is(md5(pg_temp.answer('auto')), md5(pg_temp.answer('sql')), what || ' leaves the batches to SQL');
end $$;

select is(current_setting('batches.scan'), 'auto', 'either engine reads by default');
select is(pg_temp.fallback_reason(), null, 'the tables as they are made are read by indexes');
select pg_temp.same('both engines answer the same');
select isnt(pg_temp.answer('index'), '', 'and answer something');
set local batches.user_id = 'ann';
select pg_temp.same('both engines answer a user the same');
set local batches.user_id = '';

-- What this transaction does
update batches.batch set status = 'PAUSED', created_at = created_at + interval '1 day' where right(id::text, 1) = '3';
delete from batches.batch where right(id::text, 1) = '4';
select pg_temp.same('rows changed in this transaction are as changed');
savepoint s;
insert into batches.batch (project_id, device_type, user_id) select pg_temp.p(1), 'D', 'u1' from generate_series(1, 50);
delete from batches.batch where right(id::text, 1) = '6';
rollback to s;
select pg_temp.same('what was rolled back is not there');
update batches.job set status = 'ERROR';
select pg_temp.same('counts updated in place are found');

-- Indexes
savepoint s;
drop index batches.batch_created_at_idx, batches.batch_listing_idx;
select pg_temp.same('other indexes do for dropped ones', 'mixed');
drop index batches.batch_status_idx, batches.batch_user_id_idx, batches.batch_tags_idx, batches.batch_parent_id_idx;
select pg_temp.same('the keys do where they can', 'mixed');
alter table batches.job drop constraint job_project_id_batch_id_fkey;
alter table batches.batch drop constraint batch_pkey, drop constraint batch_id_key;
select pg_temp.same('so does an index that few requests ask for', 'mixed');
set local allow_system_table_mods = on;
update pg_catalog.pg_index set indisvalid = false where indexrelid = 'batches.batch_updated_at_idx'::regclass;
select * from pg_temp.left_to_sql('it has no usable index', 'an index that is not valid');
drop index batches.batch_updated_at_idx;
select * from pg_temp.left_to_sql('it has no usable index', 'a table without indexes');
create index on batches.batch (created_at desc, id desc);
create index on batches.batch (created_at, id) where open;
create index on batches.batch (date_part('epoch', created_at at time zone 'UTC'), id);
create index on batches.batch using hash (id);
select exists (select from pg_collation where collname = 'de-x-icu') as has_icu \gset
\if :has_icu
create index on batches.batch (user_id collate "en-x-icu", id);
\endif
create index on batches.batch (device_type text_pattern_ops, id);
select * from pg_temp.left_to_sql('it has no usable index', 'a table with indexes of other orders only');
-- A row's new version beside the old one: a new index has no entry for the version before.
insert into batches.batch (project_id, device_type, user_id) values (pg_temp.p(1), 'D', 'u1');
update batches.batch set webhook = 'x' where id in (select id from batches.batch order by ctid desc limit 3);
select is(pg_stat_get_xact_tuples_hot_updated('batches.batch'::regclass) > 0, true, 'a new version came beside the old one');
create index on batches.batch (created_at, id);
select * from pg_temp.left_to_sql('it has no usable index', 'an index that is too new for this transaction');
rollback to s;

-- Columns
savepoint s;
alter table batches.batch add column note text default 'x';
select pg_temp.same('a new column changes nothing');
alter table batches.batch drop column note, drop column webhook, drop column status;
select is(pg_temp.fallback_reason(), 'Reason: column "status" of "batch" is not as batches.create_tables() makes it.',
          'a column that is missing is a reason to read by SQL');
alter table batches.batch add column webhook text, add column status batches.batch_status not null default 'DONE';
select pg_temp.same('columns that come back are found at their new place', 'mixed');
alter table batches.batch alter column webhook type varchar;
select is(pg_temp.fallback_reason(), 'Reason: column "webhook" of "batch" is not as batches.create_tables() makes it.',
          'a column of another type is a reason to read by SQL');
rollback to s;
do $$ begin
  alter table batches.batch drop column webhook;
  if current_setting('server_version_num')::int >= 180000 then
    execute 'alter table batches.batch add column webhook text generated always as (device_type) virtual';
  else
    alter table batches.batch add column webhook text;
    update batches.batch set webhook = device_type;
  end if;
end $$;
select is(pg_temp.fallback_reason() = 'Reason: column "webhook" of "batch" is not as batches.create_tables() makes it.',
          case when current_setting('server_version_num')::int >= 180000 then true end, 'a virtual column is a reason to read by SQL, a stored one is not');
select is((select count(*) from batches.list_batches() where webhook = device_type), 100::bigint, 'and listed either way');
rollback to s;
alter table batches.batch_total alter column n type bigint using 5;
select throws_ok(format('select batches.%s()', f), '42804', 'column "n" of "batches.batch_total" has type bigint instead of bigint[]', f || ' needs totals of their type')
  from unnest(array['count_batches', 'batch_facets']) f;
rollback to s;
alter table batches.batch alter column device_type type integer using 5;
select throws_ok('select batches.batch_facets(created_after => ''2000-01-01Z'')', '42804', 'column "device_type" of "batches.batch" has type integer instead of text',
                 'facets need columns of their types');
rollback to s;
alter table batches.batch alter device_type drop not null, disable trigger user;
update batches.batch set device_type = null where right(id::text, 1) = '1';
select throws_ok('select batches.batch_facets(created_after => ''2000-01-01Z'')', '23502', 'null value in column "device_type" of a batch',
                 'facets have no place for a batch without a device');
rollback to s;
\if :has_icu
alter table batches.batch alter column device_type type text collate "de-x-icu";
select pg_temp.same('a column of another collation sorts by code point');
rollback to s;
create collation pg_temp.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
drop index batches.batch_listing_idx;
alter table batches.batch alter column device_type type text collate pg_temp.any_case;
select is(pg_temp.fallback_reason(), 'Reason: column "device_type" of "batch" is not as batches.create_tables() makes it.',
          'a collation that is not deterministic is a reason to read by SQL');
rollback to s;
\else
select skip('this PostgreSQL has no ICU', 2);
\endif

-- Nulls
create index on batches.batch (project_id, start_datetime, id);
create index on batches.batch (project_id, created_at, id) include (tags);
set local batches.user_id = 'ann';
select pg_temp.same('an index of projects by a column with nulls loses none of them');
set local batches.user_id = '';
alter table batches.batch alter open drop not null, disable trigger user;
update batches.batch set open = null where right(id::text, 1) in ('1', '2');
create index on batches.batch (open, id);
select pg_temp.same('batches neither open nor not have the place of the largest');
rollback to s;
alter table batches.batch alter created_at drop not null;
update batches.batch set created_at = null where right(id::text, 1) in ('1', '2');
select pg_temp.same('batches without a date have the place of the largest');
rollback to s;

insert into batches.batch (project_id, device_type, user_id, priority) values (pg_temp.p(1), 'D', 'ghost', 5);
alter table batches.job drop constraint job_project_id_batch_id_fkey;
alter table batches.batch drop constraint batch_pkey, drop constraint batch_id_key, alter id drop not null, disable trigger user;
create index on batches.batch (project_id, id);
insert into batches.batch (project_id, id, device_type, user_id, priority) values (pg_temp.p(1), null, 'D', 'ghost', 1);
set local batches.user_id = 'ann';
set local batches.scan = auto;
select is(batches.get_all_batches(user_id => '{ghost}', order_by => 'priority', "limit" => 1) -> 'pagination' ->> 'total', '2',
          'a batch without an id that is not on the page is counted');
select throws_ok('select * from batches.list_batches(user_id => ''{ghost}'')', 'XX001', 'batch without an id has no job counts', 'and an error on it');
select throws_ok('select * from batches.list_batches(user_id => ''{ghost}'', order_by => ''jobs_count'')', 'XX001', 'batch without an id has no job counts',
                 'and not passed over by job counts');
set local batches.scan = index;
select throws_ok('select * from batches.list_batches(order_by => ''jobs_count'', "limit" => 1)', '55000', null, 'which indexes on them do not have it in');
set local batches.user_id = '';
rollback to s;

-- What stands in for the table
alter table batches.batch rename to stored_batch;
create view batches.batch as select * from batches.stored_batch where not open;
select * from pg_temp.left_to_sql('it is not an ordinary table', 'a view');
drop view batches.batch;
create table batches.batch (like batches.stored_batch, primary key (project_id, id)) partition by range (project_id);
create table batches.batch_0 partition of batches.batch default;
insert into batches.batch select * from batches.stored_batch;
select * from pg_temp.left_to_sql('it is partitioned by another key than a hash of the project', 'a table that is partitioned otherwise');
rollback to s;
create table batches.more (check (id <> lpad('0', 32, '0')::uuid)) inherits (batches.batch);
insert into batches.more select * from batches.batch where open;
select * from pg_temp.left_to_sql('other tables inherit from it', 'a table with heirs');
rollback to s;
alter table batches.batch rename to stored_batch;
create foreign data wrapper batches_test;
create server batches_test foreign data wrapper batches_test;
create foreign table batches.batch (id uuid) server batches_test;
select is(pg_temp.fallback_reason(), 'Reason: it is not an ordinary table.', 'a foreign table is a reason to read by SQL');
rollback to s;
set local allow_system_table_mods = on;
create table pg_catalog.pg_dist_partition (logicalrelid oid);
insert into pg_catalog.pg_dist_partition values ('batches.job'::regclass);
select is(pg_temp.fallback_reason(), null, 'where Citus has distributed other tables, indexes are read');
insert into pg_catalog.pg_dist_partition values ('batches.batch'::regclass);
select * from pg_temp.left_to_sql('its rows are distributed by Citus; at this isolation level a page and its total may be of two moments',
                                  'a table that Citus has distributed');
rollback to s;

-- Rights
create role batches_test_reader;
grant usage on schema batches to batches_test_reader;
grant select on batches.project_member, batches.batch_job_count to batches_test_reader;
set local batches.user_id = 'ann';
set local role batches_test_reader;
set local batches.scan = index;
select throws_ok('select batches.count_batches()', '42501', 'permission denied for table batch', 'a count needs rights');
select throws_ok('select batches.list_batches()', '42501', 'permission denied for table batch', 'a list needs rights');
reset role;
grant select (project_id, status) on batches.batch to batches_test_reader;
set local role batches_test_reader;
select is(batches.count_batches(status => '{DONE}'), (select count(*) from batches.batch where status = 'DONE'),
          'a count takes the rights on the columns of its filters');
select throws_ok($$select batches.count_batches(device_type => '{D1}')$$, '42501', 'permission denied for table batch',
                 'and on all of them');
select throws_ok('select batches.list_batches()', '42501', 'permission denied for table batch', 'a list those on all columns');
reset role;
savepoint s;
set local batches.user_id = '';
alter role batches_test_reader bypassrls;
revoke select (project_id) on batches.batch from batches_test_reader;
set local role batches_test_reader;
select throws_ok($$select batches.count_batches(status => '{DONE}', min_jobs => $$ || n || ', max_jobs => 2)', '42501', 'permission denied for table batch',
                 'a count by jobs takes the rights on the key, too: at least ' || n) from unnest(array[0, 5]) n;
reset role;
rollback to s;
grant select (webhook) on batches.batch to batches_test_reader;
revoke select (project_id, status) on batches.batch from batches_test_reader;
set local batches.user_id = '';
alter role batches_test_reader bypassrls;
set local role batches_test_reader;
select is(batches.count_batches(), (select count(webhook is null) from batches.batch), 'a count without a filter takes the rights on any column');
reset role;
rollback to s;
grant select on batches.batch to batches_test_reader;

-- Row-level security
set local role batches_test_reader;
select is(pg_temp.fallback_reason(), null, 'the policies as they are made are no reason to read by SQL');
select pg_temp.same('both engines answer a user with row-level security the same');
select is(batches.count_batches(), (select count(*) from batches.batch), 'which is what the user sees');
set local batches.scan = auto;
reset role;
set local batches.user_id = '';
set local role batches_test_reader;
select is(pg_temp.fallback_reason(), 'Reason: row-level security applies, and there is no authenticated user.',
          'nobody''s rows are left to SQL');
reset role;
set local batches.user_id = 'ann';
create table pg_temp.visible as
  select id from batches.batch where project_id in (select project_id from batches.project_member where user_id = 'ann');
grant select on pg_temp.visible to batches_test_reader;
savepoint s;
alter table batches.project_member add column role text;
alter table batches.batch add column note text;
set local role batches_test_reader;
select is(pg_temp.fallback_reason(), null, 'the policies of tables with a new column are no reason to read by SQL');
reset role;
alter table batches.batch rename project_id to old_project_id;
alter table batches.batch add column project_id uuid not null default pg_temp.p(1);
set local role batches_test_reader;
select is(pg_temp.fallback_reason(), 'Reason: it has policies of row-level security beyond its own.',
          'a policy on another column of that name before is none of ours');
reset role;
rollback to s;
revoke execute on function batches.current_user_id() from public;
set local role batches_test_reader;
select throws_ok('select batches.count_batches()', '42501', 'permission denied for function current_user_id',
                 'who may not call what a policy calls does not count');
reset role;
rollback to s;
create function pg_temp.count_for(text) returns bigint language sql begin atomic select batches.count_batches(user_id => array[$1]); end;
revoke usage on schema batches from batches_test_reader;
set local role batches_test_reader;
select throws_ok($$select pg_temp.count_for('u1')$$, '42501', 'permission denied for schema batches',
                 'who may not use the schema does not count');
reset role;
rollback to s;
create policy closed on batches.batch as restrictive for select using (not open);
set local role batches_test_reader;
select * from pg_temp.left_to_sql('it has policies of row-level security beyond its own', 'a policy more');
select is(batches.count_batches(), (select count(*) from batches.batch), 'what it hides is not counted');
reset role;
rollback to s;
create policy others on batches.batch as restrictive for select to pg_monitor using (false);
create policy writers on batches.batch for update using (true);
set local role batches_test_reader;
select is(pg_temp.fallback_reason(), null, 'policies for other roles and commands are no reason to read by SQL');
reset role;
grant pg_monitor to batches_test_reader;
set local role batches_test_reader;
select is(pg_temp.fallback_reason(), 'Reason: it has policies of row-level security beyond its own.',
          'a policy for a role that the role belongs to is one');
select is(batches.count_batches(), 0::bigint, 'and holds');
reset role;
rollback to s;
alter policy member_of_project on batches.batch using (status = 'DONE');
set local role batches_test_reader;
select is(pg_temp.fallback_reason(), 'Reason: it has policies of row-level security beyond its own.',
          'a policy of our name and another sense is none of ours');
reset role;
rollback to s;
alter table batches.batch owner to batches_test_reader;
alter table batches.batch force row level security;
set local role batches_test_reader;
select is(batches.count_batches(), (select count(*) from pg_temp.visible), 'an owner whom row-level security binds sees no more');
select pg_temp.same('and gets the same by both engines');
reset role;
rollback to s;
create policy nobody on batches.project_member as restrictive for select using (false);
set local role batches_test_reader;
select is(batches.count_batches(), 0::bigint, 'a policy on the members holds');
reset role;
rollback to s;

-- Indexes with many entries for a value, and more tuples to fetch than there is memory for their places
set local batches.user_id = '';
insert into batches.batch (project_id, id, status, open, device_type, user_id)
select pg_temp.p(n % 3), ('b' || lpad(n::text, 31, '0'))::uuid, (enum_range(null::batches.batch_status))[1 + n % 5], n % 2 = 0, 'D', 'many'
  from generate_series(1, 15000) n;
set local batches.scan = index;
drop index batches.batch_listing_idx, batches.batch_status_idx, batches.batch_created_at_idx;
create index on batches.batch (status);
create index on batches.batch (open, id);
select is(batches.count_batches(status => array[(enum_range(null::batches.batch_status))[1], (enum_range(null::batches.batch_status))[4]]),
          (select count(*) from batches.batch where status = (enum_range(null::batches.batch_status))[1]
                                                 or status = (enum_range(null::batches.batch_status))[4]),
          'an index on the status alone, where one entry is for many rows, counts them all');
set local work_mem = '64kB';
select is(batches.count_batches(user_id => '{many}', open => true), 7500::bigint, 'all are counted when memory is short');
select results_eq(
  $$select id from batches.list_batches(user_id => '{many}', open => true, order_by => 'updated_at', "offset" => 7300, "limit" => 400)$$,
  $$select id from batches.batch where user_id = 'many' and open order by updated_at desc, id desc offset 7300$$,
  'and the last page is the right one');
set local work_mem = '128kB';
select is((select count(*) from batches.list_batches(user_id => '{many}', open => true, order_by => 'updated_at', "limit" => null)), 7500::bigint,
          'and all are listed');
set local work_mem = '64kB';
select results_eq($$select id from batches.list_batches(order_by => 'updated_at', "limit" => null, "offset" => 7)$$,
                  'select id from batches.batch order by updated_at desc, id desc offset 7',
                  'a merge that finds more rows than it can keep lists them part by part');
select throws_ok($$select batches.list_batches(order_by => 'priority', "offset" => 9000)$$, '55000', 'table "batches.batch" cannot be read by its indexes',
                 'what cannot be sorted in memory is not read by indexes');
set local batches.scan = auto;
select results_eq($$select id from batches.list_batches(order_by => 'priority', "offset" => 9000)$$,
                  'select id from batches.batch order by priority desc, id desc offset 9000 limit 100', 'but by SQL');
reset work_mem;
rollback to s;

-- Long lists, and all filters at once
set local batches.user_id = '';
savepoint lists;
create function pg_temp.engines_agree(arguments text, condition text, what text, at_least int default 1) returns setof text language plpgsql as $$
declare
  plain uuid[];
  got uuid[];
  total bigint;
  engine text;
begin
  execute format('select array_agg(id order by updated_at desc, id desc) from batches.batch where %s', condition) into plain;
  foreach engine in array array['index', 'sql'] loop
    perform set_config('batches.scan', engine, true);
    execute format('select array(select id from batches.list_batches(%s, order_by => ''updated_at'', "limit" => null))', arguments) into got;
    execute format('select batches.count_batches(%s)', arguments) into total;
    return next ok(got = plain and total = cardinality(plain) and total >= at_least, format('%s, by %s', what, engine));
  end loop;
  perform set_config('batches.scan', 'auto', true);
end $$;
insert into batches.batch (project_id, device_type, user_id, updated_at)
select md5('project' || n % 6000)::uuid, 'D', 'many', '2025-01-01Z'::timestamptz + n % 977 * interval '1 hour' from generate_series(1, 12000) n;
create table pg_temp.wanted as
  select array(select md5('project' || n % 5000)::uuid from generate_series(0, 9999) n) as projects,
         array(select id from (select id from batches.batch where user_id = 'many' order by id limit 5000) b, generate_series(1, 2)) as ids;
select pg_temp.engines_agree('project_id => (select projects from pg_temp.wanted)', 'project_id = any ((select projects from pg_temp.wanted)::uuid[])',
                             '5,000 projects, each given twice', 10000);
select pg_temp.engines_agree('id => (select ids from pg_temp.wanted)', 'id = any ((select ids from pg_temp.wanted)::uuid[])', '10,000 ids, each given twice', 5000);
select pg_temp.engines_agree('id => (select ids from pg_temp.wanted), project_id => (select projects from pg_temp.wanted)',
                             'id = any ((select ids from pg_temp.wanted)::uuid[]) and project_id = any ((select projects from pg_temp.wanted)::uuid[])',
                             'both lists', 4000);
update batches.batch set tags = '{all,of,them}', start_datetime = '2025-03-01Z', end_datetime = '2025-03-02Z', created_at = '2025-02-28Z' where user_id = 'many';
select pg_temp.engines_agree($$id => (select ids from pg_temp.wanted), id__starts_with => '3', project_id => (select projects from pg_temp.wanted), user_id => '{u1,many}',
  device_type => '{D,E}', status => '{PENDING,DONE}', complete => true, open => false, min_jobs => 0, max_jobs => 0, start_date => '2025-02-28Z',
  end_date => '2025-03-02Z', queue_priority => '{MEDIUM,LOW}', tag => 'of', created_after => '2025-02-28Z', created_before => '2025-02-28Z'$$,
  $$id = any ((select ids from pg_temp.wanted)::uuid[]) and starts_with(id::text, '3') and project_id = any ((select projects from pg_temp.wanted)::uuid[])
  and user_id in ('u1', 'many') and device_type in ('D', 'E') and status in ('PENDING', 'DONE') and not open and not exists (select from batches.job j where j.batch_id = batch.id) and start_datetime >= '2025-02-28Z'
  and end_datetime <= '2025-03-02Z' and queue_priority in ('MEDIUM', 'LOW') and 'of' = any (tags) and created_at = '2025-02-28Z'$$, 'all filters at once', 100);
rollback to lists;

-- How much is read: entries of an index
create function pg_temp.entries_read(statement text) returns bigint language plpgsql as $$
declare
  before constant bigint := (select sum(pg_stat_get_xact_tuples_returned(indexrelid)) from pg_index where indrelid = 'batches.batch'::regclass);
begin
  set local batches.scan = index;
  execute statement;
  set local batches.scan = auto;
  return (select sum(pg_stat_get_xact_tuples_returned(indexrelid)) from pg_index where indrelid = 'batches.batch'::regclass) - before;
end $$;
savepoint entries;
insert into batches.batch (project_id, device_type, user_id, created_at)
select pg_temp.p(50 + n % 2), 'D', 'many', '2025-01-01Z' from generate_series(1, 20000) n;
drop index batches.batch_created_at_idx;
set local work_mem = '64kB';
select cmp_ok(pg_temp.entries_read('select count(*) from batches.list_batches(project_id => array[pg_temp.p(50), pg_temp.p(51)], "limit" => null)'),
              '<', 60000::bigint, 'rows of one date are not read again and again');
select results_eq('select id from batches.list_batches(project_id => array[pg_temp.p(50), pg_temp.p(51)], "limit" => null, order_by_direction => ''ASC'')',
                  'select id from batches.batch where project_id = any (array[pg_temp.p(50), pg_temp.p(51)]) order by created_at, id', 'nor left out');
rollback to entries;
truncate batches.batch cascade;
analyze batches.batch;
insert into batches.batch (project_id, status, device_type, user_id, created_at)
select pg_temp.p(50 + n % 2), case when n % 100 = 0 then 'ERROR' else 'DONE' end::batches.batch_status, 'D', 'many', '2025-01-01Z'::timestamptz + n * interval '1 second'
  from generate_series(1, 20000) n;
select cmp_ok(pg_temp.entries_read($$select count(*) from batches.list_batches(project_id => array[pg_temp.p(50), pg_temp.p(51)], status => '{ERROR}', max_jobs => 0)$$),
              '<', 12000::bigint, 'statistics of an empty table do not keep a better index out');
rollback to lists;

-- A walk that has paused within a page begins anew when the tag's tuples are known. The user's projects are neighbours
-- in the index, with another one's batches between them.
truncate batches.batch, batches.job;
alter table batches.batch set (fillfactor = 10);
insert into batches.batch (project_id, id, device_type, user_id, status, tags)
select pg_temp.p(case when n <= 20 then 100 when n <= 25 then 101 when n <= 35 then 102 else 103 end),
       ('d' || lpad(n::text, 31, '0'))::uuid, 'D', 'many', 'PAUSED', case when n % 8 = 0 or n between 26 and 35 then '{x}' else '{}' end::text[]
  from generate_series(1, 1500) n;
analyze batches.batch;
create temporary view neighbours as select * from batches.batch where project_id in (pg_temp.p(101), pg_temp.p(103)) and 'x' = any (tags);
set local batches.scan = index;
select is(batches.count_batches(tag => 'x', project_id => array[pg_temp.p(101), pg_temp.p(103)]), (select count(*) from neighbours),
          'a count that begins anew has its own projects'' batches, once each');
select results_eq($$select id from batches.list_batches(tag => 'x', order_by => 'id', "limit" => 300, project_id => array[pg_temp.p(101), pg_temp.p(103)])$$,
                  'select id from neighbours order by id desc', 'so has a list in the order of the id');
select results_eq($$select id from batches.list_batches(tag => 'x', status => '{PAUSED}', "limit" => 300, project_id => array[pg_temp.p(101), pg_temp.p(103)])$$,
                  'select id from neighbours order by created_at desc, id desc', 'and a list by status');
rollback to lists;

-- A tag that more pages have than there is memory for their tuples
create index on batches.batch (project_id);
alter table batches.batch set (fillfactor = 10);
insert into batches.batch (project_id, id, device_type, user_id, tags)
select pg_temp.p(60), ('c' || lpad(n::text, 31, '0'))::uuid, 'D', 'many', case when n % 2 = 0 then '{a,b}' else '{b}' end::text[] from generate_series(1, 9000) n;
update batches.batch set tags = '{b}' where user_id = 'many' and id < ('c' || lpad('100', 31, '0'))::uuid;
set local work_mem = '64kB';
set local batches.scan = index;
select is(batches.count_batches(tag => 'a'), (select count(*) from batches.batch where 'a' = any (tags)), 'a tag on more pages than there is memory for is counted');
select results_eq($$select id from batches.list_batches(tag => 'a', order_by => 'id', "offset" => 2000)$$,
                  $$select id from batches.batch where 'a' = any (tags) order by id desc offset 2000 limit 100$$, 'and listed');
rollback to lists;

-- What does not fit into the memory of the whole request leaves the competition: the key ranges of a long list. Of the tag's
-- tuples that do not, the pages are kept, however large the table is.
alter table batches.batch set (fillfactor = 10);
insert into batches.batch (project_id, device_type, user_id, tags)
select md5('project' || n % 10)::uuid, 'D', 'many', case when n % 4000 = 0 then '{a,rare}' else '{a}' end::text[] from generate_series(1, 40000) n;
analyze batches.batch;
create function pg_temp.outcomes(request text, pattern text) returns setof text language plpgsql as $$
begin
  return query execute format($q$select distinct p ->> 'outcome' from batches.explain_batches(%s), jsonb_array_elements(detail -> 'paths') p where p ->> 'path' ~ %L order by 1$q$,
                              request, pattern);
end $$;
create table pg_temp.wanted as select array(select md5('project' || n)::uuid from generate_series(1, 5000) n) as projects;
set local work_mem = '64kB';
select is(batches.count_batches(tag => 'a'), 40000 + (select count(*) from batches.batch where 'a' = any (tags) and user_id <> 'many'),
          'the number of a tag on all pages is right');
select set_eq($$select pg_temp.outcomes('tag => ''rare'', order_by => ''priority''', 'batch_tags_idx')$$, $$values ('won')$$,
              'little memory is enough for a rare tag, in a large table, too');
select results_eq($$select id from batches.list_batches(tag => 'rare', order_by => 'priority')$$,
                  $$select id from batches.batch where 'rare' = any (tags) order by priority desc, id desc$$, 'and it is listed');
select results_eq($$select pg_temp.outcomes('project_id => (select projects from pg_temp.wanted)', '^merge of 5000')$$, $$values ('out of memory')$$,
                  'more key ranges than there is memory for leave it');
select results_eq($$select id from batches.list_batches(project_id => (select projects from pg_temp.wanted), order_by => 'id')$$,
                  $$select id from batches.batch where project_id = any ((select projects from pg_temp.wanted)::uuid[]) order by id desc limit 100$$, 'the page is right');
set local work_mem = '64MB';
select is_empty($$select pg_temp.outcomes('project_id => (select projects from pg_temp.wanted)', '^merge of 5000') intersect values ('out of memory')$$,
                'with more memory they do not');
rollback to lists;

-- Totals: both engines read them where they can tell, and count rows where they cannot. To see which, they are wrong here:
-- twice what there is.
set local batches.scan = auto;
set local batches.user_id = '';
set local session_replication_role = replica;
update batches.batch_total set n = array(select 2 * x from unnest(n) with ordinality u (x, i) order by i);
set local session_replication_role = origin;
grant select on batches.batch_total to batches_test_reader;
create role batches_test_uncounted;
grant usage on schema batches to batches_test_uncounted;
grant select on batches.batch, batches.batch_job_count, batches.project_member to batches_test_uncounted;
-- How many times as many as there are the count, the document and the facets say.
create function pg_temp.factors(engine text, who text, as_role text, filters text, condition text) returns text language plpgsql as $$
declare
  factors text;
  actual numeric;
begin
  execute format('select count(*) from batches.batch where %s%s', condition,
                 case when who <> '' then format(' and project_id in (select project_id from batches.project_member where user_id = %L)', who) end)
     into actual;
  perform set_config('batches.scan', engine, true), set_config('batches.user_id', who, true), set_config('role', as_role, true);
  execute format('select concat_ws('' '', batches.count_batches(%1$s) / %2$s, (batches.batch_facets(%1$s) ->> ''total'')::numeric / %2$s)', filters, nullif(actual, 0))
     into factors;
  if who <> '' then
    execute format('select concat_ws('' '', $1, (batches.get_all_batches(%s) #>> ''{pagination,total}'')::numeric / %s)',
                   concat_ws(', ', nullif(filters, ''), '"limit" => 1'), actual) into factors using factors;
  end if;
  perform set_config('role', 'none', true), set_config('batches.user_id', '', true), set_config('batches.scan', 'auto', true);
  return (select string_agg(trim_scale(f::numeric)::text, ' ') from regexp_split_to_table(factors, ' ') f);
end $$;
create table pg_temp.totalled (filters text, condition text, by_totals boolean);
insert into pg_temp.totalled values
  ('', 'true', true),
  ('project_id => array[pg_temp.p(1), pg_temp.p(2), pg_temp.p(77), pg_temp.p(1)]', 'project_id in (pg_temp.p(1), pg_temp.p(2))', true),
  ('device_type => ''{D1,D2,none}''', 'device_type in (''D1'', ''D2'')', true), ('status => ''{PAUSED,DONE}''', 'status in (''PAUSED'', ''DONE'')', true),
  ('open => true', 'open', true), ('complete => true', 'not open', true), ('open => false, complete => true', 'not open', true),
  ('queue_priority => ''{MEDIUM,LOW}''', 'true', true),
  ('project_id => array[pg_temp.p(3)], device_type => ''{D1}'', status => ''{DONE,PAUSED,ERROR}'', open => false, queue_priority => ''{MEDIUM}''',
   'project_id = pg_temp.p(3) and device_type = ''D1'' and status in (''DONE'', ''PAUSED'', ''ERROR'') and not open', true),
  ('project_id => ''{}'', tag => null', 'true', true),
  ('id__starts_with => ''0''', 'id < ''10000000-0000-0000-0000-000000000000''', false), ('user_id => ''{u1,u2}''', 'user_id in (''u1'', ''u2'')', false),
  ('min_jobs => 0', 'true', false), ('max_jobs => 2147483647, status => ''{DONE}''', 'status = ''DONE''', false),
  ('start_date => ''-infinity''', 'start_datetime is not null', false), ('tag => ''t3''', '''t3'' = any (tags)', false),
  ('created_after => ''-infinity''', 'true', false), ('created_before => ''infinity'', open => true', 'open', false);
select is((select string_agg(distinct f.factors, ' ') from pg_temp.totalled t,
                  lateral (select pg_temp.factors(engine, who, as_role, t.filters, t.condition) as factors offset 0) f where t.by_totals = kind),
          case when not by_totals then case when who = '' then '1 1' else '1 1 1' end
               when who = '' then '2 2' else '2 2 2' end,
          format('%s by %s as %s, %s', case when by_totals then 'totals tell' else 'rows are counted' end, engine, as_role, coalesce(nullif(who, ''), 'nobody')))
  from unnest(array['sql', 'index']) engine,
       (values ('', 'none'), ('ann', 'none'), ('ann', 'batches_test_reader'), ('ann', 'batches_test_uncounted')) v (who, as_role),
       unnest(array[true, false]) kind,
       lateral (select kind and as_role <> 'batches_test_uncounted' as by_totals) b;

-- A vacuum is needed for what the visibility map says: see the test with several sessions. The setting is anybody's.
set local role batches_test_reader;
select lives_ok('set local batches.scan = sql', 'anybody may choose an engine');
select throws_ok('set local batches.scan = fast', '22023', 'invalid value for parameter "batches.scan": "fast"',
                 'but not one that there is not');

select * from finish();
rollback;
