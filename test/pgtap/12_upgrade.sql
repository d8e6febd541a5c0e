-- Tables of an older version are brought to the present one. The older versions are made up.

\ir include/output.psql

begin;
\ir include/pgtap.psql
set local client_min_messages = warning;
set local batches.user_id = '';
truncate batches.batch, batches.job, batches.project_member;

select plan(25);

create function pg_temp.version() returns text language sql
  as $$ select obj_description(t.oid, 'pg_trigger') from pg_trigger t
         where t.tgrelid = 'batches.batch'::regclass and t.tgname = 'count_inserted_batches' $$;
create function pg_temp.set_version(version text) returns void language plpgsql
  as $$ begin execute format('comment on trigger count_inserted_batches on batches.batch is %L', version); end $$;

select is(pg_temp.version(), 'Tables of version ' || (select extversion from pg_extension where extname = 'batches'),
          'new tables are of the extension''s version');
select is(batches.upgrade_tables(), (select extversion from pg_extension where extname = 'batches'), 'there is nothing to upgrade');

-- Version 0.8 had no priorities of queues; version 0.9 had them, and no webhook.
insert into batches.batch (project_id, id, device_type, user_id, webhook, queue_priority)
select lpad('1', 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'ann', 'https://example.org', 'HIGH' from generate_series(1, 5) n;
insert into batches.job (project_id, batch_id) select project_id, id from batches.batch;
create temporary table listed as select * from batches.list_batches();
create function pg_temp.make_old() returns void language plpgsql as $$
begin
  alter table batches.batch disable trigger user;
  drop index batches.batch_listing_idx;
  alter table batches.batch drop column webhook;
  alter table batches.batch drop column queue_priority;
  alter table batches.batch enable trigger user;
  perform pg_temp.set_version('Tables of version 0.8');
end $$;
create or replace function batches.table_upgrades() returns table (old_version text, new_version text, statements text)
  language sql immutable as $f$
    values ('0.9', '1.0', $s$
              alter table batches.batch add column webhook text default 'https://example.org';
              create index batch_listing_idx on batches.batch (project_id, created_at, id)
                include (status, open, queue_priority, priority, start_datetime, end_datetime, device_type)$s$),
           ('0.8', '0.9', $s$
              alter table batches.batch add column queue_priority batches.queue_priority not null default 'HIGH'$s$),
           ('0.7', '0.8', 'create table batches.other (id uuid); alter table batches.no_such_table add column a int') $f$;
select pg_temp.make_old();
select throws_ok('select * from batches.list_batches()', '42703', null, 'older tables lack a column');
select is(batches.upgrade_tables(), '1.0', 'they are upgraded, version by version');
select is(pg_temp.version(), 'Tables of version 1.0', 'and say so');
select results_eq('select * from batches.list_batches()', 'select * from listed', 'what was in them is still there');
select is_empty('select * from batches.verify_counts()', 'with its counts');
set local batches.scan = index;
select results_eq('select * from batches.list_batches(order_by => ''queue_priority'')', 'select * from listed order by id desc', 'and read by indexes');
set local batches.scan = auto;
insert into batches.batch (project_id, device_type, user_id, queue_priority) values (lpad('1', 32, '0')::uuid, 'FRESNEL', 'ann', 'LOW');
select is(batches.count_batches(queue_priority => '{LOW}'), 1::bigint, 'new batches are counted');
select is(batches.upgrade_tables(), '1.0', 'again: harmless');

-- All or nothing
select pg_temp.set_version('Tables of version 0.7');
select throws_ok('select batches.upgrade_tables()', '42P01', null, 'an upgrade that fails');
select hasnt_table('batches', 'other', 'leaves nothing behind');
select is(pg_temp.version(), 'Tables of version 0.7', 'and the version as it was');

-- Refused
select pg_temp.set_version('Tables of version 0.5');
select throws_ok('select batches.upgrade_tables()', '55000', 'tables of version 0.5 cannot be upgraded to version 1.0', 'a version that nobody knows');
select pg_temp.set_version('Tables of version 2.0');
select throws_ok('select batches.upgrade_tables()', '55000', 'tables of version 2.0 cannot be upgraded to version 1.0', 'a newer version');
select pg_temp.set_version('My trigger');
select throws_ok('select batches.upgrade_tables()', '55000', 'the tables of "batches" do not say which version they are of', 'no version');
select pg_temp.set_version('Tables of version 0.9');
create role batches_test_other;
grant usage on schema batches to batches_test_other;
set local role batches_test_other;
select throws_ok('select batches.upgrade_tables()', '42501', null, 'somebody else''s tables');
reset role;
savepoint s;
create role batches_test_owner;
grant usage, create on schema batches to batches_test_owner;
alter table batches.batch drop column webhook;
drop index batches.batch_listing_idx;
alter table batches.batch owner to batches_test_owner;
select throws_ok('select batches.upgrade_tables()', '42501', 'the tables of "batches" belong to role "batches_test_owner"',
                 'nobody else, be it a superuser, upgrades them');
set local role batches_test_owner;
select is(batches.upgrade_tables(), '1.0', 'their owner may upgrade them');
reset role;
rollback to s;
savepoint s;
alter table batches.batch drop column webhook;
drop index batches.batch_listing_idx;
-- What a name without a schema would find
create function pg_temp.format(text, text) returns text language sql as $$ select 'create table batches.decoy ()' $$;
create function pg_temp.obj_description(oid, name) returns text language sql as $$ select 'Tables of version 1.0' $$;
set local search_path = pg_temp, pg_catalog;
select batches.upgrade_tables() as version \gset
reset search_path;
select is(:'version'::text, '1.0', 'in any search_path');
select has_column('batches', 'batch', 'webhook', 'with the statements of the upgrade');
select hasnt_table('batches', 'decoy', 'and no others');
rollback to s;

-- No tables
drop table batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member;
select throws_ok('select batches.upgrade_tables()', '55000', null, 'before there are tables');
select lives_ok('select batches.create_tables()', 'tables can be made');
select is(batches.upgrade_tables(), '1.0', 'and are of this version');

select * from finish();
rollback;
