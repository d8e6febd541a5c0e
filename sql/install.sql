-- What the extension installs, and the life of its tables.
\set SHOW_CONTEXT never
\set VERBOSITY default

-- A schema that somebody else has prepared is refused.
create role regress_batches_mallory;
create schema batches authorization regress_batches_mallory;
create extension batches;
alter schema batches owner to current_user;
create function batches.count_batches(status text) returns bigint language sql return 0;
create extension batches;
drop schema batches cascade;
drop role regress_batches_mallory;

create extension batches;

-- Before create_tables() the functions say what to do.
select count(*) from batches.list_batches();
select batches.count_batches();
set batches.user_id = 'ada';
select batches.get_all_batches();
reset batches.user_id;

select batches.create_tables();
-- Again: harmless.
select batches.create_tables();

\d batches.batch
\d batches.job
\d batches.batch_job_count
\d batches.batch_total
\d batches.project_member

-- The tables are not part of the extension, so pg_dump keeps their rows.
select c.relname, d.refobjid is not null as in_extension
  from pg_class c
  left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
 where c.relnamespace = 'batches'::regnamespace and c.relkind = 'r'
 order by c.relname collate "C";

-- Every function with its arguments; every object of the extension has a comment.
\pset format unaligned
select p.proname, p.provolatile as volatility, p.proparallel as parallel, p.proisstrict as strict,
       p.prosecdef as security_definer, pg_get_function_identity_arguments(p.oid) as arguments,
       pg_get_function_result(p.oid) as result
  from pg_proc p where p.pronamespace = 'batches'::regnamespace
 order by p.proname collate "C";
\pset format aligned
select pg_describe_object(classid, objid, 0) as without_comment
  from pg_depend
 where refclassid = 'pg_extension'::regclass
   and refobjid = (select oid from pg_extension where extname = 'batches') and deptype = 'e'
   and coalesce(obj_description(objid, classid::regclass::name), '') = ''
   and pg_describe_object(classid, objid, 0) not like '%[]';

-- Strings sort by code point; only what is neither filtered nor sorted need not.
select a.attrelid::regclass as "table", a.attname as other_collation
  from pg_attribute a join pg_class c on c.oid = a.attrelid
 where c.relnamespace = 'batches'::regnamespace and c.relkind = 'r' and a.attnum > 0 and a.attcollation not in (0, '"C"'::regcollation)
 order by a.attrelid::regclass::text collate "C", a.attnum;

-- Only a superuser, or a role that was granted it, sets the user.
select context, setting, boot_val from pg_settings where name = 'batches.user_id';
create role regress_batches_user;
set role regress_batches_user;
set batches.user_id = 'ada';
reset role;
grant set on parameter batches.user_id to regress_batches_user;
set role regress_batches_user;
set batches.user_id = 'ada';
select current_setting('batches.user_id');
reset batches.user_id;
reset role;
revoke set on parameter batches.user_id from regress_batches_user;
drop role regress_batches_user;
-- No other setting has the prefix.
set batches.tenant = 'ada';

-- Dropping the extension while the tables use it is refused.
\set VERBOSITY terse
drop extension batches;
\set VERBOSITY default

-- Some of the tables are not enough.
drop table batches.job;
select batches.create_tables();

-- Without the tables the extension can go, and come again in the same session.
drop table batches.batch, batches.batch_job_count, batches.batch_total, batches.project_member;
select batches.count_batches(status => '{DONE}');
drop extension batches;
create extension batches;
select batches.create_tables();
select batches.count_batches(status => '{DONE}', queue_priority => '{LOW}');
drop table batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member;
drop extension batches;
