\echo Use "CREATE EXTENSION batches" to load this file. \quit

-- Who owns the schema, or has put a function into it, could have the functions
-- below mean something else.
do $check$
declare
  owner constant regrole := (select nspowner from pg_catalog.pg_namespace where nspname = '@extschema@');
begin
  if owner <> pg_catalog.quote_ident(current_user)::pg_catalog.regrole
     and not (select rolsuper from pg_catalog.pg_roles where oid = owner) then
    raise exception 'schema "@extschema@" belongs to role "%"', owner
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Drop the schema, or make a superuser its owner: ALTER SCHEMA @extschema@ OWNER TO ...';
  end if;
  if exists (select from pg_catalog.pg_class where relnamespace = '@extschema@'::regnamespace)
     or exists (select from pg_catalog.pg_proc where pronamespace = '@extschema@'::regnamespace)
     or exists (select from pg_catalog.pg_type where typnamespace = '@extschema@'::regnamespace) then
    raise exception 'schema "@extschema@" is not empty'
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Drop what is in it. Tables that DROP EXTENSION ... CASCADE left behind have lost columns: restore them from a dump.';
  end if;
end
$check$;

--
-- Types. The order of the labels is the order the listing sorts by.
--

create type @extschema@.batch_status as enum
  ('PENDING', 'RUNNING', 'DONE', 'CANCELED', 'CANCELING', 'TIMED_OUT', 'ERROR', 'PAUSED');
comment on type @extschema@.batch_status is 'Status of a batch.';

create type @extschema@.job_status as enum
  ('PENDING', 'RUNNING', 'DONE', 'ERROR', 'CANCELED', 'CANCELING');
comment on type @extschema@.job_status is 'Status of a job.';

create type @extschema@.queue_priority as enum
  ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW', 'FREE');
comment on type @extschema@.queue_priority is 'Priority of a batch in its device''s queue, most urgent first.';

-- Filters take labels as text[]: that is what drivers send for a list of strings, and
-- an error about a label can name the parameter. Arrays of the types are taken, too.
create cast (@extschema@.batch_status[] as text[]) with inout as implicit;
comment on cast (@extschema@.batch_status[] as text[]) is 'The labels, as filters take them.';
create cast (@extschema@.queue_priority[] as text[]) with inout as implicit;
comment on cast (@extschema@.queue_priority[] as text[]) is 'The labels, as filters take them.';

--
-- The authenticated user
--

create function @extschema@.current_user_id() returns text
  language c stable parallel safe
  as 'MODULE_PATHNAME', 'batches_current_user_id';
comment on function @extschema@.current_user_id() is
  'The authenticated user: the setting batches.user_id, or else, with batches.trust_jwt_claims, the "sub" of request.jwt.claims; null where there is none.';

create function @extschema@.require_user() returns boolean
  language c stable parallel safe
  as 'MODULE_PATHNAME', 'batches_require_user';
comment on function @extschema@.require_user() is
  'True, or an error 28000 if there is no authenticated user.';

--
-- What the tables' constraints and triggers call
--

create function @extschema@.are_valid_tags(tags text[]) returns boolean
  language c immutable strict parallel safe
  as 'MODULE_PATHNAME', 'batches_are_valid_tags';
comment on function @extschema@.are_valid_tags(text[]) is
  'Whether an array can be the tags of a batch: one dimension or empty, no null, no value twice.';

create function @extschema@.count_jobs() returns trigger
  language c
  as 'MODULE_PATHNAME', 'batches_count_jobs';
comment on function @extschema@.count_jobs() is
  'Trigger on batches.job, after each statement: keeps the job counts in batches.batch_job_count.';

create function @extschema@.count_changed_batches() returns trigger
  language c
  as 'MODULE_PATHNAME', 'batches_count_changed_batches';
comment on function @extschema@.count_changed_batches() is
  'Trigger on batches.batch, after each statement: gives each batch its row in batches.batch_job_count, and keeps batches.batch_total.';

create function @extschema@.protect_counts() returns trigger
  language c
  as 'MODULE_PATHNAME', 'batches_protect_counts';
comment on function @extschema@.protect_counts() is
  'Trigger on the derived tables: passes over what an insert brings, as a restore does, and refuses other changes by hand.';

create function @extschema@.size_class(jobs_count integer) returns smallint
  language c immutable strict parallel safe
  as 'MODULE_PATHNAME', 'batches_size_class';
comment on function @extschema@.size_class(integer) is
  'The number of jobs as the index of batches.batch_job_count has it: as it is below 128, in 64 steps for each doubling from there on. Larger numbers have no smaller class.';

--
-- Analytics
--

create function @extschema@.jobs_count_per_status_accum(counts bigint[], status @extschema@.job_status)
  returns bigint[]
  language c stable strict parallel safe
  as 'MODULE_PATHNAME', 'batches_jobs_count_accum';
comment on function @extschema@.jobs_count_per_status_accum(bigint[], @extschema@.job_status) is
  'Transition function of the aggregate jobs_count_per_status.';

create function @extschema@.jobs_count_per_status_combine(counts bigint[], more bigint[])
  returns bigint[]
  language c immutable strict parallel safe
  as 'MODULE_PATHNAME', 'batches_jobs_count_combine';
comment on function @extschema@.jobs_count_per_status_combine(bigint[], bigint[]) is
  'Combine function of the aggregate jobs_count_per_status.';

create function @extschema@.jobs_count_per_status_final(counts bigint[])
  returns jsonb
  language c immutable strict parallel safe
  as 'MODULE_PATHNAME', 'batches_jobs_count_final';
comment on function @extschema@.jobs_count_per_status_final(bigint[]) is
  'Final function of the aggregate jobs_count_per_status.';

create aggregate @extschema@.jobs_count_per_status(status @extschema@.job_status)
(
  sfunc = @extschema@.jobs_count_per_status_accum,
  stype = bigint[],
  sspace = 72,
  finalfunc = @extschema@.jobs_count_per_status_final,
  finalfunc_modify = read_only,
  combinefunc = @extschema@.jobs_count_per_status_combine,
  initcond = '{0,0,0,0,0,0}',
  parallel = safe
);
comment on aggregate @extschema@.jobs_count_per_status(@extschema@.job_status) is
  'Number of jobs by status as a jsonb object, only statuses that occur; {} without jobs. Nulls are not counted.';

--
-- The tables. They are made by a function, not by this script, so that they
-- belong to its caller: pg_dump keeps their rows, and DROP EXTENSION is refused
-- while they use the extension's types.
--

create function @extschema@.complete_tables(distributed boolean) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $complete_tables$
declare
  in_parts constant boolean := (select c.relkind = 'p' from pg_class c where c.oid = '@extschema@.batch'::regclass);
  name text;
begin
  -- The keys come last. While the table is small all its indexes cost the same, and
  -- of these the planner takes the newest; a foreign key keeps such a plan for as
  -- long as a bulk load lasts.
  if distributed or in_parts then
    create index batch_id_idx on @extschema@.batch (id);
  else
    alter table @extschema@.batch add unique (id);
  end if;
  if not distributed then
    alter table @extschema@.batch add primary key (project_id, id);

    -- A user sees what belongs to the user's projects. The projects are an array
    -- of an uncorrelated subquery: looked up once, and an index can use them.
    alter table @extschema@.project_member enable row level security;
    create policy own_membership on @extschema@.project_member for select
      using (user_id = (select @extschema@.current_user_id()));
    foreach name in array array['batch', 'job', 'batch_job_count', 'batch_total'] loop
      execute format('alter table @extschema@.%I enable row level security', name);
      execute format('create policy member_of_project on @extschema@.%I for select
        using (project_id = any (array(
          select m.project_id from @extschema@.project_member m
           where m.user_id = (select @extschema@.current_user_id()))))', name);
    end loop;
  end if;
  if not in_parts then
    alter table @extschema@.job add foreign key (project_id, batch_id)
      references @extschema@.batch (project_id, id) on delete cascade;
  end if;
end
$complete_tables$;
comment on function @extschema@.complete_tables(boolean) is
  'Makes what tables have at the end: keys, and policies unless Citus has distributed the tables. Then, and with partitions, the id of a batch has an index, but is no key.';

create function @extschema@.keep_project() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $keep_project$
begin
  raise exception '% % cannot go from project % to %', tg_argv[0], old.id, old.project_id, new.project_id
    using errcode = 'feature_not_supported', table = tg_table_name, schema = tg_table_schema, column = 'project_id',
          hint = 'Tables with partitions have a batch, with its jobs, where its project is. Insert it into the other project, then its jobs, and delete it here.';
end
$keep_project$;
comment on function @extschema@.keep_project() is
  'The trigger of tables with partitions that a change of a batch''s or a job''s project fires: an error.';

create function @extschema@.create_tables(partitions integer default null) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $create_tables$
declare
  wanted constant text[] := array['batch', 'batch_job_count', 'batch_total', 'job', 'project_member'];
  derived constant text[] := array['batch_job_count', 'batch_total'];
  partitioned constant text[] := array['batch', 'job', 'batch_job_count'];
  by_project constant text := case when partitions is not null then 'partition by hash (project_id)' else '' end;
  half_full constant text := 'with (fillfactor = 50)';
  name text;
  partition text;
  command text;
  present text[];
begin
  if partitions not between 2 and 256 then
    raise exception 'partitions is %', partitions
      using errcode = 'invalid_parameter_value', hint = 'It is 2 to 256, or null for tables without partitions.';
  end if;
  -- Two first calls at once: the second waits, then finds the tables.
  perform pg_advisory_xact_lock('@extschema@.create_tables'::regproc::oid::bigint);

  select coalesce(array_agg(c.relname::text order by c.relname), '{}') into present
    from pg_class c
   where c.relnamespace = '@extschema@'::regnamespace and c.relname = any (wanted)
     and c.relkind in ('r', 'p', 'v', 'm', 'f');
  if present = wanted then
    if partitions <> (select count(*) from pg_inherits where inhparent = '@extschema@.batch'::regclass) then
      raise exception 'the tables exist, and "batch" does not have % partitions', partitions
        using errcode = 'object_not_in_prerequisite_state',
              hint = 'Tables are made with partitions, or without: create others, and copy the rows.';
    end if;
    return;
  elsif present <> '{}' then
    raise exception 'only some of the tables of "batches" exist: %', array_to_string(present, ', ')
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Restore the missing tables, or drop these too and call batches.create_tables() again.';
  end if;

  execute $batch$
  create table @extschema@.batch (
    project_id uuid not null,
    id uuid not null default gen_random_uuid(),
    parent_id uuid,
    status @extschema@.batch_status not null default 'PENDING',
    open boolean not null default false,
    priority integer not null default 0,
    device_type text collate "C" not null,
    user_id text collate "C" not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    tags text[] collate "C" not null default '{}' check (@extschema@.are_valid_tags(tags)),
    configuration jsonb check (jsonb_typeof(configuration) = 'object'),
    backend_configuration text,
    webhook text,
    start_datetime timestamptz,
    end_datetime timestamptz,
    queue_priority @extschema@.queue_priority not null default 'MEDIUM'
  ) $batch$ || by_project;

  -- The listing of projects: newest first, with what else filters or orders it, so that
  -- rows that do not match are passed over, and all are sorted, without fetching them.
  create index batch_listing_idx on @extschema@.batch (project_id, created_at, id)
    include (status, open, queue_priority, priority, start_datetime, end_datetime, device_type);
  -- Across projects
  create index batch_created_at_idx on @extschema@.batch (created_at, id) include (project_id);
  create index batch_updated_at_idx on @extschema@.batch (updated_at, id) include (project_id);
  -- What waits or runs, and one's own: few rows, the newest of them without fetching the others.
  create index batch_status_idx on @extschema@.batch (status, id) include (project_id, created_at);
  create index batch_user_id_idx on @extschema@.batch (user_id, id) include (project_id, created_at);
  create index batch_tags_idx on @extschema@.batch using gin (tags);
  -- Retries. Without included columns, all the batches that are none take a byte each.
  create index batch_parent_id_idx on @extschema@.batch (parent_id);

  execute $job$
  create table @extschema@.job (
    project_id uuid not null,
    batch_id uuid not null,
    id uuid not null default gen_random_uuid(),
    status @extschema@.job_status not null default 'PENDING',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (project_id, batch_id, id)
  ) $job$ || by_project;

  create table @extschema@.project_member (
    project_id uuid not null,
    user_id text collate "C" not null,
    primary key (user_id, project_id)
  );

  -- Half of each page is free: an update of every row finds room beside it, and no index
  -- gets a new entry but for a new size class.
  execute $counts$
  create table @extschema@.batch_job_count (
    project_id uuid not null,
    batch_id uuid not null,
    jobs_count integer not null default 0,
    pending_jobs integer not null default 0,
    running_jobs integer not null default 0,
    done_jobs integer not null default 0,
    error_jobs integer not null default 0,
    canceled_jobs integer not null default 0,
    canceling_jobs integer not null default 0,
    size_class smallint not null default 0,
    primary key (project_id, batch_id) include (size_class)
  ) $counts$ || case when partitions is null then half_full else by_project end;
  create index batch_job_count_size_class_idx on @extschema@.batch_job_count (size_class, batch_id) include (project_id);

  -- Several rows may have the same project and device: their sum counts.
  create table @extschema@.batch_total (
    project_id uuid not null,
    id uuid not null default gen_random_uuid(),
    device_type text collate "C",
    n bigint[] not null,
    primary key (project_id, id)
  )
  with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.1);
  create index batch_total_device_type_idx on @extschema@.batch_total (device_type, project_id);

  create trigger count_inserted_jobs after insert on @extschema@.job
    referencing new table as new_rows
    for each statement execute function @extschema@.count_jobs();
  create trigger count_updated_jobs after update on @extschema@.job
    referencing old table as old_rows new table as new_rows
    for each statement execute function @extschema@.count_jobs();
  create trigger count_deleted_jobs after delete on @extschema@.job
    referencing old table as old_rows
    for each statement execute function @extschema@.count_jobs();
  create trigger count_truncated_jobs after truncate on @extschema@.job
    for each statement execute function @extschema@.count_jobs();
  create trigger count_inserted_batches after insert on @extschema@.batch
    referencing new table as new_rows
    for each statement execute function @extschema@.count_changed_batches();
  create trigger count_updated_batches after update on @extschema@.batch
    referencing old table as old_rows new table as new_rows
    for each statement execute function @extschema@.count_changed_batches();
  create trigger count_deleted_batches after delete on @extschema@.batch
    referencing old table as old_rows
    for each statement execute function @extschema@.count_changed_batches();
  create trigger count_truncated_batches after truncate on @extschema@.batch
    for each statement execute function @extschema@.count_changed_batches();
  foreach name in array derived loop
    execute format('create trigger protect_rows before insert or update or delete on @extschema@.%I
      for each row execute function @extschema@.protect_counts()', name);
    execute format('create trigger protect_from_truncate after truncate on @extschema@.%I
      for each statement execute function @extschema@.protect_counts()', name);
  end loop;

  perform @extschema@.complete_tables(false);

  if partitions is not null then
    foreach name in array partitioned loop
      for i in 0 .. partitions - 1 loop
        partition := name || '_' || i;
        execute format('create table @extschema@.%I partition of @extschema@.%I for values with (modulus %s, remainder %s) %s',
                       partition, name, partitions, i, case name when 'batch_job_count' then half_full end);
        -- A right on all tables of the schema is one on these, too. Policies are those of the whole table: here, none
        -- lets anybody see a row.
        execute format('alter table @extschema@.%I enable row level security', partition);
        -- A statement on a partition, as a restore has them, counts as one on the whole. TRUNCATE of one is an error.
        for command in
          select replace(pg_get_triggerdef(t.oid), format(' ON @extschema@.%I ', name), format(' ON @extschema@.%I ', partition))
            from pg_trigger t
           where t.tgrelid = format('@extschema@.%I', name)::regclass and not t.tgisinternal
             and t.tgtype & 1 = 0 loop -- not for each row: PostgreSQL makes those of partitions
          execute command;
        end loop;
      end loop;
    end loop;
    -- The jobs of a partition are those of the batches of one. Each row of a key to the whole table would be looked for
    -- with locks on all partitions. A batch that went to another one would leave its jobs, and they would be deleted.
    for i in 0 .. partitions - 1 loop
      execute format('alter table @extschema@.%I add foreign key (project_id, batch_id)
        references @extschema@.%I (project_id, id) on delete cascade', 'job_' || i, 'batch_' || i);
    end loop;
    -- MERGE would tell nobody of a job that it moves to another partition.
    foreach name in array '{batch,job}'::text[] loop
      execute format('create trigger keep_project before update on @extschema@.%1$I
        for each row when (old.project_id <> new.project_id) execute function @extschema@.keep_project(%1$L)', name);
    end loop;
  end if;

  comment on trigger count_inserted_batches on @extschema@.batch is 'Tables of version 1.0';
  comment on table @extschema@.batch is 'Batches: jobs that run together on one device.';
  comment on column @extschema@.batch.start_datetime is 'When processing started; null before.';
  comment on column @extschema@.batch.end_datetime is 'When the batch finished, failed or was canceled; null before.';
  comment on column @extschema@.batch.parent_id is 'The batch that this one retries.';
  comment on table @extschema@.job is 'Jobs, each in one batch.';
  comment on table @extschema@.project_member is 'Which users see the batches of which projects.';
  comment on table @extschema@.batch_job_count is 'Derived: the number of jobs of each batch, in all and by status. Kept by triggers on batches.job and batches.batch.';
  comment on column @extschema@.batch_job_count.size_class is 'jobs_count as batches.size_class() has it, for the index.';
  comment on table @extschema@.batch_total is 'Derived: the number of batches by project and device, or of all devices. Kept by triggers on batches.batch.';
  comment on column @extschema@.batch_total.device_type is 'Null: all devices together.';
  comment on column @extschema@.batch_total.n is 'How many batches, n[status][open][queue_priority]: subscripts in the order of the enumerations, open is 1 for false and 2 for true; null is 0. Rows of the same project and device add up.';
end
$create_tables$;
comment on function @extschema@.create_tables(integer) is
  'Creates the tables batch, job and project_member, and the derived batch_job_count and batch_total, with their indexes, triggers and policies, owned by the caller. With a number of partitions, 2 to 256, batch, job and batch_job_count have so many, by hash of project_id, and the id of a batch is unique within its project alone. Does nothing when the tables exist; an error 55000 when only some do, or with another number of partitions than is asked for; 22023 for a number out of range.';

--
-- Tables of an older version. Which one they are of is said by the comment on a trigger.
--

create function @extschema@.table_upgrades()
  returns table (old_version text, new_version text, statements text)
  language sql immutable parallel safe
  as $table_upgrades$ select null::text, null::text, null::text where false $table_upgrades$;
comment on function @extschema@.table_upgrades() is
  'The statements by which upgrade_tables() brings tables of one version to the next one.';

create function @extschema@.upgrade_tables() returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $upgrade_tables$
declare
  wanted constant text := '1.0';
  owner constant name := (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = to_regclass('@extschema@.batch'));
  present text;
  upgrade record;
begin
  -- What belongs to the owner, triggers too, is not to run with another one's rights.
  if owner <> current_user then
    raise exception 'the tables of "batches" belong to role "%"', owner
      using errcode = 'insufficient_privilege', hint = format('First: SET ROLE %I.', owner);
  end if;
  perform pg_advisory_xact_lock('@extschema@.create_tables'::regproc::oid::bigint);
  select substring(obj_description(t.oid, 'pg_trigger') from 'Tables of version (.*)') into present
    from pg_trigger t
   where t.tgrelid = to_regclass('@extschema@.batch') and t.tgname = 'count_inserted_batches';
  if present is null then
    raise exception 'the tables of "batches" do not say which version they are of'
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Only tables that batches.create_tables() has made are upgraded. The version is in the comment on the trigger count_inserted_batches of batches.batch.';
  end if;
  while present <> wanted loop
    select * into upgrade from @extschema@.table_upgrades() u where u.old_version = present;
    if not found then
      raise exception 'tables of version % cannot be upgraded to version %', present, wanted
        using errcode = 'object_not_in_prerequisite_state',
              hint = 'If they are of a newer version than the extension: ALTER EXTENSION batches UPDATE.';
    end if;
    execute upgrade.statements;
    present := upgrade.new_version;
    execute format('comment on trigger count_inserted_batches on @extschema@.batch is %L', 'Tables of version ' || present);
  end loop;
  return present;
end
$upgrade_tables$;
comment on function @extschema@.upgrade_tables() is
  'Brings the tables to the form that this version of the extension makes, in the calling transaction, and returns that version. Harmless when they have it. For the owner of the tables; an error 55000 when there is no way from their version.';

--
-- What is derived, compared with a recount
--

create function @extschema@.total_cell(status @extschema@.batch_status, open boolean, queue_priority @extschema@.queue_priority)
  returns integer
  language c stable strict parallel safe
  as 'MODULE_PATHNAME', 'batches_total_cell';
comment on function @extschema@.total_cell(@extschema@.batch_status, boolean, @extschema@.queue_priority) is
  'The element of batch_total.n, from 1 on, in which such batches are counted; null for labels that are not the extension''s.';

create function @extschema@.require_table(name text) returns regclass
  language c stable strict parallel safe
  as 'MODULE_PATHNAME', 'batches_require_table';
comment on function @extschema@.require_table(text) is
  'The table of that name; an error 42P01 if there is none, 42809 if that is something else.';

create function @extschema@.differing_counts()
  returns table (project_id uuid, batch_id uuid, device_type text, kept bigint[], actual bigint[])
  language plpgsql stable parallel restricted
  set search_path = pg_catalog, pg_temp
  as $differing_counts$
#variable_conflict use_column
begin
  perform @extschema@.require_table(name) from unnest(array['batch', 'job', 'batch_job_count', 'batch_total']) name;
  return query
    with kept as (
      select c.project_id, c.batch_id,
             array[c.pending_jobs, c.running_jobs, c.done_jobs, c.error_jobs, c.canceled_jobs, c.canceling_jobs,
                   c.jobs_count, c.size_class]::bigint[] as counts
        from @extschema@.batch_job_count c
    ), counted as (
      select j.project_id, j.batch_id,
             array[count(*) filter (where j.status = 'PENDING'), count(*) filter (where j.status = 'RUNNING'),
                   count(*) filter (where j.status = 'DONE'), count(*) filter (where j.status = 'ERROR'),
                   count(*) filter (where j.status = 'CANCELED'), count(*) filter (where j.status = 'CANCELING'),
                   count(*), @extschema@.size_class(count(*)::integer)] as counts
        from @extschema@.job j
       group by j.project_id, j.batch_id
    ), actual as (
      select b.project_id, b.id as batch_id, coalesce(c.counts, array_fill(0::bigint, array[8])) as counts
        from @extschema@.batch b left join counted c on c.project_id = b.project_id and c.batch_id = b.id
    )
    select project_id, batch_id, null::text, k.counts, a.counts
      from kept k full join actual a using (project_id, batch_id)
     where k.counts is distinct from a.counts
     order by project_id, batch_id;

  return query
    with counted as (
      select b.project_id, b.device_type, @extschema@.total_cell(b.status, b.open, b.queue_priority) as cell, count(*) as n
        from @extschema@.batch b
       group by b.project_id, b.device_type, b.status, b.open, b.queue_priority
    ), cells as (
      select t.project_id, t.device_type, u.cell, u.n as kept, 0::bigint as actual
        from @extschema@.batch_total t cross join unnest(t.n) with ordinality as u (n, cell)
      union all
      select c.project_id, d.device_type, c.cell, 0, c.n
        from counted c cross join unnest(array[c.device_type, null]) as d (device_type)
    ), differing as (
      select project_id, device_type, cell, sum(kept)::bigint as kept, sum(actual)::bigint as actual
        from cells
       group by project_id, device_type, cell
      having coalesce(sum(kept), 0) <> sum(actual)
    )
    select d.project_id, null::uuid, d.device_type,
           array_agg(coalesce(x.kept, 0) order by c), array_agg(coalesce(x.actual, 0) order by c)
      from (select distinct project_id, device_type from differing) d
     cross join generate_series(1, 80) c
      left join differing x on x.project_id = d.project_id and x.device_type is not distinct from d.device_type
                           and x.cell = c
     group by d.project_id, d.device_type
     order by d.project_id, d.device_type;
end
$differing_counts$;
comment on function @extschema@.differing_counts() is
  'What verify_counts() shows and repair_counts() mends, as arrays: of a batch the jobs by status, all of them, and their size class; of a project and device the cells of batch_total.n that differ.';

create function @extschema@.shown_counts(batch_id uuid, counts bigint[]) returns jsonb
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $shown_counts$
begin
  if batch_id is not null then
    return @extschema@.jobs_count_per_status_final(counts[1:6])
      || jsonb_build_object('jobs_count', counts[7], 'size_class', counts[8]);
  end if;
  return (
    select coalesce(jsonb_object_agg(concat_ws(' ', s.status, o.name, q.priority), c.n), '{}')
      from unnest(enum_range(null::@extschema@.batch_status)) as s (status)
     cross join (values ('closed', false), ('open', true)) as o (name, open)
     cross join unnest(enum_range(null::@extschema@.queue_priority)) as q (priority)
      join unnest(counts) with ordinality as c (n, cell) on c.cell = @extschema@.total_cell(s.status, o.open, q.priority)
     where c.n <> 0);
end
$shown_counts$;
comment on function @extschema@.shown_counts(uuid, bigint[]) is
  'Counts of differing_counts(), with their names.';

create function @extschema@.verify_counts()
  returns table (table_name text, project_id uuid, batch_id uuid, device_type text, kept jsonb, actual jsonb)
  language plpgsql stable parallel restricted
  set search_path = pg_catalog, pg_temp
  as $verify_counts$
#variable_conflict use_column
begin
  return query
    select case when batch_id is null then 'batch_total' else 'batch_job_count' end,
           project_id, batch_id, device_type, k.shown, a.shown
      from @extschema@.differing_counts() d
     cross join lateral (select @extschema@.shown_counts(d.batch_id, d.kept) as shown) k
     cross join lateral (select @extschema@.shown_counts(d.batch_id, d.actual) as shown) a;
end
$verify_counts$;
comment on function @extschema@.verify_counts() is
  'What in the derived tables batch_job_count and batch_total differs from a recount of batches.batch and batches.job: nothing, always. "kept" is null where a row is missing, "actual" where its batch is. For a caller who sees all of these rows.';

create function @extschema@.repair_counts() returns bigint
  language c
  as 'MODULE_PATHNAME', 'batches_repair_counts';
comment on function @extschema@.repair_counts() is
  'Makes the derived tables batch_job_count and batch_total right again, beside running writers, and returns the number of their rows that it mended. For the owner of the tables: others get an error 42501.';

--
-- The listing. The functions take the parameters of src/parameter.c, which the
-- library finds by their names, and list_batches() returns columns of src/row.c.
--

create function @extschema@.list_batches_support(internal) returns internal
  language c strict parallel safe
  as 'MODULE_PATHNAME', 'batches_list_batches_support';
comment on function @extschema@.list_batches_support(internal) is
  'Tells the planner about how many rows list_batches() returns: the limit, or what the statistics say of the filters.';

do $listing$
declare
  filters constant text := $$
    id uuid[] default null,
    id__starts_with text default null,
    project_id uuid[] default null,
    user_id text[] default null,
    device_type text[] default null,
    status text[] default null,
    complete boolean default null,
    open boolean default null,
    min_jobs bigint default null,
    max_jobs bigint default null,
    start_date timestamptz default null,
    end_date timestamptz default null,
    queue_priority text[] default null,
    tag text default null,
    created_after timestamptz default null,
    created_before timestamptz default null$$;
  page constant text := $$,
    order_by text default 'created_at',
    order_by_direction text default 'DESC',
    "limit" bigint default 100,
    "offset" bigint default null$$;
  more_filters constant text := $$,
    parent_id uuid[] default null,
    updated_after timestamptz default null,
    updated_before timestamptz default null,
    tags_any text[] default null,
    tags_all text[] default null,
    exclude_status text[] default null,
    exclude_device_type text[] default null$$;
  listing constant text := filters || page || more_filters || $$,
    after text default null,
    omit text[] default null$$;
  document constant text := listing || $$,
    total text default 'exact'$$;
begin
  execute format($create$
    create function @extschema@.list_batches(%s)
      returns table (
        id uuid,
        parent_id uuid,
        status @extschema@.batch_status,
        complete boolean,
        open boolean,
        priority integer,
        device_type text,
        user_id text,
        project_id uuid,
        created_at timestamptz,
        updated_at timestamptz,
        jobs_count integer,
        jobs_count_per_status jsonb,
        tags text[],
        configuration jsonb,
        backend_configuration text,
        webhook text,
        start_datetime timestamptz,
        end_datetime timestamptz,
        queue_priority @extschema@.queue_priority)
      language c stable parallel restricted cost 1000 rows 100 support @extschema@.list_batches_support
      as 'MODULE_PATHNAME', 'batches_list_batches'
    $create$, listing);
  execute format($create$
    create function @extschema@.count_batches(%s) returns bigint
      language c stable parallel restricted cost 1000
      as 'MODULE_PATHNAME', 'batches_count_batches'
    $create$, filters || more_filters);
  execute format($create$
    create function @extschema@.next_cursor(last_id uuid, %s,
        order_by text default 'created_at', order_by_direction text default 'DESC') returns text
      language c stable parallel restricted cost 1000
      as 'MODULE_PATHNAME', 'batches_next_cursor'
    $create$, filters || more_filters);
  execute format($create$
    create function @extschema@.batch_facets(%s) returns jsonb
      language c stable parallel restricted cost 1000
      as 'MODULE_PATHNAME', 'batches_batch_facets'
    $create$, filters || more_filters);
  execute format($create$
    create function @extschema@.explain_batches(%s,
        out engine text, out reason text, out path text, out work bigint, out detail jsonb)
      language c stable parallel restricted cost 2000
      as 'MODULE_PATHNAME', 'batches_explain_batches'
    $create$, document);
  execute format($create$
    create function @extschema@.batches_document(%s) returns json
      language c stable parallel restricted cost 1000
      as 'MODULE_PATHNAME', 'batches_document'
    $create$, document);
  execute format($create$
    create function @extschema@.get_all_batches(%s) returns json
      language plpgsql stable parallel restricted cost 2000
      as $get_all_batches$
begin
  return @extschema@.batches_document(%s);
end
$get_all_batches$
    $create$, document,
    (select pg_catalog.string_agg(pg_catalog.quote_ident(name), ', ')
       from pg_catalog.pg_proc p, pg_catalog.unnest(p.proargnames) name
      where p.pronamespace = '@extschema@'::pg_catalog.regnamespace and p.proname = 'batches_document'));
end
$listing$;

comment on function @extschema@.list_batches is
  'A page of batches, one row each, filtered, ordered and paginated by the arguments; "limit" => null returns all. Dates are inclusive. A page begins behind "offset" rows, or behind the cursor "after"; columns that "omit" lists are null. A bad value is an error 22023, 22004, 2201W or 2201X.';
comment on function @extschema@.count_batches is
  'The exact number of batches that match the filters. A null in a list is an error 22004.';
comment on function @extschema@.next_cursor is
  'The cursor behind a batch in the listing with these filters and this order, for "after" of the next page of list_batches() with the same; null if there is no such batch. Errors as of list_batches().';
comment on function @extschema@.batch_facets is
  'How many batches match the filters, and of these how many have each status, open or not, device, queue priority and project, only what occurs: {"total": n, "status": {"DONE": n, ...}, "open": ..., "device_type": ..., "queue_priority": ..., "project_id": ...}. A null in a list is an error 22004.';
comment on function @extschema@.explain_batches is
  'Reads the page and the total of the same request as list_batches(), and says how: the engine, index, shards or sql, and the reason for the latter two; the path that the page was read by, the work of all paths (in index entries passed over), and what each did. To a role that row-level security applies to, the engine and the reason only. Errors as of list_batches().';
comment on function @extschema@.batches_document is
  'What get_all_batches() returns: a page of batches, its total and its job counts as one JSON document. Call get_all_batches().';
comment on function @extschema@.get_all_batches is
  'A page of the authenticated user''s batches as the API''s JSON document. "limit" is 1 to 100. With a cursor, "after", the pagination has "next" for the one of the next page. total => ''none'' counts nothing; "omit" lists keys to leave out. Without a user an error 28000, for a bad value an error 22023, 22004, 2201W or 2201X.';

create function @extschema@.engine_requests(out engine text, out reason text, out requests bigint)
  returns setof record
  language c volatile parallel restricted
  as 'MODULE_PATHNAME', 'batches_engine_requests';
comment on function @extschema@.engine_requests() is
  'How many requests of this session each engine has read since it began, by the reason for sql: pages, documents and counts, without those that ended in an error. Nothing to a role that row-level security applies to.';

--
-- The endpoint
--

create function @extschema@.http_get_all_batches(
    query_string text, extended boolean default false, if_none_match text default null,
    out status integer, out headers json, out body json)
  language c stable parallel restricted cost 2000
  as 'MODULE_PATHNAME', 'batches_http_get_all_batches';
comment on function @extschema@.http_get_all_batches is
  'The endpoint GET /api/v1/batches: from a query string (without "?") the HTTP status 200, 304, 401 or 422, the headers as a JSON object, and the body. If "extended", the query string can also give what get_all_batches() takes beyond the endpoint: cursors, more filters, "total" and "omit". With "if_none_match", the request''s header or an empty text, a 200 has a header ETag, and the status is 304 and the body null if the header has that tag. What the request says never raises an error.';

--
-- Schemas of functions that call those of this one
--

create function @extschema@.begin_api(schema name, names name[])
  returns table (name name, has_rows boolean, result text, parameters text, types text, arguments text)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $begin_api$
#variable_conflict use_column
declare
  outdated regprocedure;
begin
  if schema is null or schema = '@extschema@' or schema = 'information_schema' or schema like 'pg\_%' then
    raise exception 'schema % cannot be the schema of an API', coalesce('"' || schema || '"', 'null')
      using errcode = 'invalid_parameter_value',
            hint = 'Name a schema of its own, such as "api": what is in it is exposed.';
  end if;
  if not exists (select from pg_namespace where nspname = schema) then
    execute format('create schema %I', schema);
  end if;
  -- Another owner could replace what is called there.
  if exists (select from pg_namespace n where n.nspname = schema and n.nspowner <> quote_ident(current_user)::regrole)
     or exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                 where n.nspname = schema and p.proname = any (names)
                   and p.proowner <> quote_ident(current_user)::regrole) then
    raise exception 'schema "%" or a function in it belongs to another role', schema
      using errcode = 'insufficient_privilege',
            hint = 'Name a new schema, or make the calling role the owner.';
  end if;
  -- Of another version, where arguments or results are others
  for outdated in
    select o.oid::regprocedure
      from pg_proc p
      join pg_proc o on o.proname = p.proname and o.prokind = 'f'
      join pg_namespace n on n.oid = o.pronamespace
     where p.pronamespace = '@extschema@'::regnamespace and p.proname = any (names) and n.nspname = schema
       and (o.proargnames, o.proargtypes, o.proallargtypes, o.prorettype)
           is distinct from (p.proargnames, p.proargtypes, p.proallargtypes, p.prorettype)
  loop
    execute format('drop function %s', outdated);
  end loop;
  return query
    select p.proname, p.proretset, pg_get_function_result(p.oid), pg_get_function_arguments(p.oid), oidvectortypes(p.proargtypes),
           (select string_agg('$' || n, ', ' order by n) from generate_series(1, p.pronargs) n)
      from pg_proc p
     where p.pronamespace = '@extschema@'::regnamespace and p.proname = any (names);
end
$begin_api$;
comment on function @extschema@.begin_api(name, name[]) is
  'Makes a schema for functions of the same names as some of the extension''s, unless it is there, and drops those with other arguments or results from it. Returns what their definitions take. An error if the schema is not the caller''s own.';

--
-- The tables on several machines, by Citus
--

create function @extschema@.present_tables() returns regclass[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $present_tables$
    select array_remove(array[to_regclass('@extschema@.batch'), to_regclass('@extschema@.job'), to_regclass('@extschema@.batch_job_count'),
                              to_regclass('@extschema@.batch_total'), to_regclass('@extschema@.project_member')], null)
  $present_tables$;
comment on function @extschema@.present_tables() is
  'The tables that create_tables() makes, as far as they are there.';

create function @extschema@.distributed_tables() returns regclass[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $distributed_tables$
begin
  if to_regclass('pg_catalog.pg_dist_partition') is null then
    return '{}';
  end if;
  return array(select logicalrelid from pg_dist_partition
                where logicalrelid = any (@extschema@.present_tables()) order by logicalrelid::text);
end
$distributed_tables$;
comment on function @extschema@.distributed_tables() is
  'Those of the tables that create_tables() makes whose rows Citus has distributed.';

create function @extschema@.read_shards(key uuid, request text) returns setof bytea
  language c stable strict parallel restricted cost 1000
  as 'MODULE_PATHNAME', 'batches_read_shards';
comment on function @extschema@.read_shards(uuid, text) is
  'What a server answers to the one that a request has come to: rows and the total of shards that it has, in the library''s own form. Only the library calls it.';

create function @extschema@.shard_keys() returns uuid[]
  language c stable
  as 'MODULE_PATHNAME', 'batches_shard_keys';
comment on function @extschema@.shard_keys() is
  'A project for each shard of batches.batch, by whose row in batch_shard the server is found that has the shard, but for one of too few hash values; null when the table is not distributed.';

create function @extschema@.check_coordinator() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $check_coordinator$
declare
  owner constant name := (select pg_get_userbyid(relowner) from pg_class where oid = to_regclass('@extschema@.batch'));
begin
  if cardinality(@extschema@.present_tables()) < 5 then
    raise exception 'the tables of "batches" do not exist'
      using errcode = 'undefined_table', hint = 'Create the tables: SELECT @extschema@.create_tables().';
  elsif owner <> current_user then
    raise exception 'the tables of "batches" belong to role "%"', owner
      using errcode = 'insufficient_privilege', hint = format('First: SET ROLE %I.', owner);
  elsif not exists (select from pg_extension where extname = 'citus')
        or not exists (select from pg_settings where name = 'citus.shard_count') then
    raise exception 'there is no Citus in this database'
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Have "citus" in shared_preload_libraries, and CREATE EXTENSION citus, here and on each worker. Then add the workers: SELECT citus_add_node(...).';
  elsif (select groupid from pg_dist_local_group) <> 0 then
    raise exception 'this is a worker of Citus'
      using errcode = 'object_not_in_prerequisite_state', hint = 'Connect to the coordinator.';
  end if;
end
$check_coordinator$;
comment on function @extschema@.check_coordinator() is
  'Checks that there are tables, that they belong to the caller, and that this is a coordinator of Citus. An error says what is not so.';

create function @extschema@.check_distributable() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $check_distributable$
declare
  tables constant regclass[] := @extschema@.present_tables();
  version constant text := (select extversion from pg_extension where extname = 'batches');
  obstacle record;
begin
  for obstacle in
    select oid::regclass as table from pg_class c
     where oid = any (tables)
       and (relkind <> 'r' or relispartition or exists (select from pg_inherits where c.oid in (inhrelid, inhparent)))
  loop
    raise exception 'table "%" is not as create_tables() makes it', obstacle.table
      using errcode = 'wrong_object_type',
            hint = 'Only ordinary tables are distributed: no views, no partitions, none that inherits from another.';
  end loop;

  -- Rules of somebody else's would be lost, or hold for each shard by itself.
  for obstacle in
    select c.oid::regclass as table, x.what
      from pg_class c
     cross join lateral (
       select format('policy "%s"', polname) from pg_policy
        where polrelid = c.oid and polname not in ('own_membership', 'member_of_project')
       union all
       select 'forced row-level security' where c.relforcerowsecurity
       union all
       select format('trigger "%s"', tgname) from pg_trigger
        where tgrelid = c.oid and not tgisinternal
          and tgfoid not in ('@extschema@.count_jobs()'::regprocedure, '@extschema@.count_changed_batches()'::regprocedure,
                             '@extschema@.protect_counts()'::regprocedure)
       union all
       select format('disabled trigger "%s"', tgname) from pg_trigger
        where tgrelid = c.oid and not tgisinternal and tgenabled <> 'O') x (what)
     where c.oid = any (tables)
  loop
    raise exception 'table "%" has a %', obstacle.table, obstacle.what
      using errcode = 'object_not_in_prerequisite_state',
            hint = 'Distributed tables have the triggers of create_tables(), and no policies. Drop or enable it first.';
  end loop;

  for obstacle in
    select conname, conrelid::regclass as table, confrelid::regclass as referenced
      from pg_constraint
     where contype = 'f' and confrelid = any (tables)
       and not (conrelid = '@extschema@.job'::regclass and confrelid = '@extschema@.batch'::regclass)
  loop
    raise exception 'table "%" references rows of "%"', obstacle.table, obstacle.referenced
      using errcode = 'dependent_objects_still_exist',
            hint = format('First: ALTER TABLE %s DROP CONSTRAINT %I. Only tables that are distributed by project_id, too, can reference batches.',
                          obstacle.table, obstacle.conname);
  end loop;

  for obstacle in
    select c.oid::regclass as table, r.rolname as role
      from pg_class c
     cross join (select oid, rolname from pg_roles where not rolsuper and not rolbypassrls and rolname !~ '^pg_'
                  union all
                 select 0, 'public') r
     where c.oid = any (tables) and (r.oid = 0 or not pg_has_role(r.oid, c.relowner, 'usage'))
       and (has_any_column_privilege(r.oid, c.oid, 'select, insert, update') or has_table_privilege(r.oid, c.oid, 'delete'))
  loop
    raise exception 'role "%" has rights on table "%"', obstacle.role, obstacle.table
      using errcode = 'object_not_in_prerequisite_state',
            detail = 'Row-level security, which says what it sees there, ends when the tables are distributed.',
            hint = 'Revoke them. Applications call the functions that distribute_tables() makes; who may see everything gets the rights again afterwards.';
  end loop;

  for obstacle in
    select w.nodename, w.nodeport, w.success, w.result
      from run_command_on_workers($$select coalesce((select extversion from pg_extension where extname = 'batches'), '')$$) w
     where not w.success or w.result not in ('', version)
  loop
    if not obstacle.success then
      raise exception 'worker %:% does not answer: %', obstacle.nodename, obstacle.nodeport, obstacle.result
        using errcode = 'connection_failure', hint = 'All workers have to be up, and to let the owner of the tables in.';
    end if;
    raise exception 'worker %:% has version % of the extension, not %', obstacle.nodename, obstacle.nodeport, obstacle.result, version
      using errcode = 'object_not_in_prerequisite_state', hint = format('There: ALTER EXTENSION batches UPDATE TO ''%s''.', version);
  end loop;

  if exists (select from @extschema@.differing_counts()) then
    raise exception 'the derived tables are wrong'
      using errcode = 'object_not_in_prerequisite_state', hint = 'First: SELECT @extschema@.repair_counts().';
  end if;
end
$check_distributable$;
comment on function @extschema@.check_distributable() is
  'Checks that nothing stands in the way of distribute_tables(). An error says what does.';

create function @extschema@.create_api(schema name) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $create_api$
declare
  function record;
begin
  for function in
    select * from @extschema@.begin_api(schema, '{get_all_batches,http_get_all_batches,list_batches,count_batches,batch_facets}')
  loop
    execute format($create$
      create or replace function %1$I.%2$I(%3$s) returns %4$s language sql stable parallel restricted cost 2000
        security definer set search_path = pg_catalog, pg_temp
      begin atomic
        select * from @extschema@.%2$I(%5$s)%6$s;
      end
      $create$, schema, function.name, function.parameters, function.result, function.arguments,
      -- Without a user the endpoint answers 401.
      case when function.name = 'http_get_all_batches' then '' else ' where @extschema@.require_user()' end);
    execute format('comment on function %I.%I(%s) is %L', schema, function.name, function.types,
                   format('@extschema@.%I() for the authenticated user, read as the owner of the tables.', function.name));
    execute format('revoke execute on function %I.%I(%s) from public', schema, function.name, function.types);
    perform create_distributed_function(format('%I.%I(%s)', schema, function.name, function.types)::regprocedure);
  end loop;
end
$create_api$;
comment on function @extschema@.create_api(name) is
  'Makes the functions of distribute_tables().';

create function @extschema@.mark_shards() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $mark_shards$
declare
  key uuid;
begin
  if (select count(*) <> 2 or count(distinct colocationid) <> 1 from pg_dist_partition
       where logicalrelid in (to_regclass('@extschema@.batch'), to_regclass('@extschema@.batch_shard'))) then
    drop table if exists @extschema@.batch_shard;
    create table @extschema@.batch_shard (project_id uuid primary key);
    comment on table @extschema@.batch_shard is 'A row in each shard, by which the functions of batches have it read. The ids say nothing.';
    grant select on @extschema@.batch_shard to public;
    perform create_distributed_table('@extschema@.batch_shard', 'project_id', colocate_with => '@extschema@.batch');
  end if;
  -- One by one, as for many rows Citus has a session for each shard.
  foreach key in array @extschema@.shard_keys() loop
    insert into @extschema@.batch_shard values (key) on conflict do nothing;
  end loop;
end
$mark_shards$;
comment on function @extschema@.mark_shards() is
  'Gives each shard its row in batch_shard.';

create function @extschema@.distribute_tables(schema name default 'batches_api') returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set client_min_messages = warning
  set citus.enable_unsafe_triggers = on
  set citus.multi_shard_modify_mode = sequential
  as $distribute_tables$
declare
  tables constant regclass[] := @extschema@.present_tables();
  distributed constant regclass[] := @extschema@.distributed_tables();
  part record;
  name regclass;
begin
  perform pg_advisory_xact_lock('@extschema@.create_tables'::regproc::oid::bigint);
  perform @extschema@.check_coordinator();
  if distributed @> tables then
    perform @extschema@.mark_shards();
    perform @extschema@.create_api(schema);
    return;
  elsif distributed <> '{}' then
    raise exception 'only some of the tables of "batches" are distributed: %', array_to_string(distributed, ', ')
      using errcode = 'object_not_in_prerequisite_state', hint = 'First: SELECT @extschema@.undistribute_tables().';
  end if;
  lock table @extschema@.batch, @extschema@.job, @extschema@.batch_job_count, @extschema@.batch_total, @extschema@.project_member
    in access exclusive mode;
  perform @extschema@.check_distributable();

  -- What a distributed table cannot have, and the key that would tie a distributed table to one that is not yet
  for part in
    select k.conrelid::regclass as table, format('drop constraint %I', k.conname) as removal
      from pg_constraint k left join pg_attribute a on a.attrelid = k.conrelid and k.conkey = array[a.attnum]
     where (k.contype = 'f' and k.conrelid = any (tables) and k.confrelid = any (tables))
        or (k.contype = 'u' and k.conrelid = '@extschema@.batch'::regclass and a.attname = 'id')
  loop
    execute format('alter table %s %s', part.table, part.removal);
  end loop;
  for part in select polrelid::regclass as table, polname as name from pg_policy where polrelid = any (tables) loop
    execute format('drop policy %I on %s', part.name, part.table);
    execute format('alter table %s disable row level security', part.table);
  end loop;
  -- The rows that are copied to the shards have been counted.
  foreach name in array tables loop
    execute format('alter table %s disable trigger user', name);
  end loop;
  perform create_reference_table('@extschema@.project_member');
  perform create_distributed_table('@extschema@.batch', 'project_id', colocate_with => 'none');
  foreach name in array '{@extschema@.job,@extschema@.batch_job_count,@extschema@.batch_total}'::regclass[] loop
    perform create_distributed_table(name, 'project_id', colocate_with => '@extschema@.batch');
  end loop;
  foreach name in array tables loop
    perform truncate_local_data_after_distributing_table(name);
    execute format('alter table %s enable trigger user', name);
  end loop;
  perform @extschema@.complete_tables(true);
  perform @extschema@.mark_shards();
  perform @extschema@.create_api(schema);
end
$distribute_tables$;
comment on function @extschema@.distribute_tables(name) is
  'Lets Citus distribute the tables, empty or filled: batch, job and the derived ones by project_id, project_member on all nodes. Makes a schema of security definer functions for applications: get_all_batches(...), http_get_all_batches(...), list_batches(...), count_batches(...) and batch_facets(...), for the authenticated user alone. All or nothing; can be called again. Given up are the uniqueness of a batch''s id alone, and row-level security: a role with rights on the tables sees everything. For the owner of the tables, on the coordinator. An error says what stands in the way.';

create function @extschema@.undistribute_tables() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set client_min_messages = warning
  set citus.enable_unsafe_triggers = on
  set citus.multi_shard_modify_mode = sequential
  as $undistribute_tables$
declare
  tables constant regclass[] := @extschema@.present_tables();
  distributed constant regclass[] := @extschema@.distributed_tables();
  -- Citus forgets them.
  comments constant text[] := array(
    select case when d.classoid = 'pg_trigger'::regclass then format('comment on trigger %I on %s is %L', t.tgname, t.tgrelid::regclass, d.description)
             when d.objsubid = 0 then format('comment on table %s is %L', d.objoid::regclass, d.description)
             else format('comment on column %s.%I is %L', d.objoid::regclass, a.attname, d.description) end
      from pg_description d
      left join pg_trigger t on d.classoid = 'pg_trigger'::regclass and t.oid = d.objoid
      left join pg_attribute a on a.attrelid = d.objoid and a.attnum = d.objsubid
     where (d.classoid = 'pg_class'::regclass and d.objoid = any (tables)) or t.tgrelid = any (tables));
  part record;
  name regclass;
  statement text;
begin
  perform pg_advisory_xact_lock('@extschema@.create_tables'::regproc::oid::bigint);
  perform @extschema@.check_coordinator();
  if distributed = '{}' then
    return;
  end if;
  lock table @extschema@.batch, @extschema@.job, @extschema@.batch_job_count, @extschema@.batch_total, @extschema@.project_member
    in access exclusive mode;
  foreach name in array tables loop
    execute format('alter table %s disable trigger user', name);
  end loop;
  -- Its keys are made anew.
  for part in
    select conrelid::regclass as table, conname as name from pg_constraint
     where (contype = 'f' and conrelid = any (tables) and confrelid = any (tables))
        or (contype = 'p' and conrelid = '@extschema@.batch'::regclass)
     order by contype
  loop
    execute format('alter table %s drop constraint %I', part.table, part.name);
  end loop;
  drop index @extschema@.batch_id_idx;
  drop table if exists @extschema@.batch_shard;
  foreach name in array distributed loop
    perform undistribute_table(name);
  end loop;
  -- They are other tables now, by the same names.
  foreach name in array @extschema@.present_tables() loop
    execute format('alter table %s enable trigger user', name);
  end loop;
  perform @extschema@.complete_tables(false);
  foreach statement in array comments loop
    execute statement;
  end loop;
end
$undistribute_tables$;
comment on function @extschema@.undistribute_tables() is
  'Brings the rows of all tables back to this server, and keys and policies as create_tables() makes them. All or nothing; harmless when they are not distributed. For the owner of the tables, on the coordinator.';

--
-- PostgREST
--

create function @extschema@.postgrest_get_all_batches(extended boolean default false) returns json
  language plpgsql stable cost 2000
  set search_path = pg_catalog, pg_temp
  as $postgrest_get_all_batches$
declare
  headers constant json := nullif(current_setting('request.headers', true), '');
  response record;
begin
  select * into response
    from @extschema@.http_get_all_batches(headers ->> 'x-query-string', extended, coalesce(headers ->> 'if-none-match', ''));
  perform set_config('response.status', response.status::text, true),
          set_config('response.headers', coalesce(
            (select json_agg(json_build_object(h.key, h.value)) from json_each_text(response.headers) h),
            '[]')::text, true);
  return response.body;
exception
  -- PostgreSQL's own words would name a table: they are for the log.
  when insufficient_privilege then
    raise log '%', sqlerrm;
    perform set_config('response.status', '403', true);
    return '{"status":"error","message":"Forbidden","code":"403","data":{"description":"The user''s role may not read batches."}}';
  when query_canceled or lock_not_available then
    -- Of PostgREST's requests this is the only statement: another one is to end.
    if coalesce(current_setting('request.method', true), '') = '' then
      raise;
    end if;
    raise log '%', sqlerrm;
    perform set_config('response.status', '504', true);
    return '{"status":"error","message":"Gateway Timeout","code":"504","data":{"description":"The database did not answer in time."}}';
end
$postgrest_get_all_batches$;
comment on function @extschema@.postgrest_get_all_batches(boolean) is
  'The endpoint for PostgREST: takes the query string from the header X-Query-String, and If-None-Match, sets status and headers of the response, returns the body, null with a 304. If "extended", the query string can give more than the endpoint takes, as in http_get_all_batches(). Where the role may not read batches the status is 403, and 504 where the statement is canceled or a lock is not had in time.';

create function @extschema@.check_postgrest_request(only_post boolean) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $check_postgrest_request$
begin
  if only_post and current_setting('request.method', true) in ('GET', 'HEAD') then
    raise exception 'Method Not Allowed'
      using errcode = 'PT405',
            detail = 'PostgREST keeps "limit", "offset" and other keys of a query string to itself.',
            hint = 'POST the parameters as a JSON object.';
  elsif @extschema@.current_user_id() is null then
    raise exception 'Unauthorized'
      using errcode = 'PT401',
            detail = 'There is no authenticated user.',
            hint = 'Send a token with the user''s id as "sub".';
  elsif exists (
    select from unnest(array['batch', 'batch_job_count', 'batch_total', 'project_member']) name
     where not has_any_column_privilege(to_regclass(format('@extschema@.%I', name)), 'select')) then
    raise exception 'Forbidden'
      using errcode = 'PT403',
            detail = 'The user''s role may not read batches.',
            hint = 'Send a token with the web role of the API as "role".';
  end if;
  return true;
end
$check_postgrest_request$;
comment on function @extschema@.check_postgrest_request(boolean) is
  'Whether PostgREST may answer the request: true, or an error PT405 (a GET or HEAD where only POST is right), PT401 (no authenticated user) or PT403 (the role may not read batches), which PostgREST answers with the status of these digits.';

create function @extschema@.create_postgrest_api(
    schema name, anonymous_role name, web_role name, extended boolean default false)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $create_postgrest_api$
declare
  filters constant text := format($help$- `id`, `project_id`, `user_id`, `device_type`: lists of values, of which the batch has one
- `status`: list of %s
- `queue_priority`: list of %s
- `id__starts_with`: the first characters of the id
- `tag`: a tag that the batch carries
- `open`: `true` or `false`; `complete`, its opposite, is deprecated
- `min_jobs`, `max_jobs`: bounds on the number of jobs, inclusive
- `start_date`: started then or later
- `end_date`: ended then or earlier
- `created_after`, `created_before`: created then, or later or earlier
- `updated_after`, `updated_before`: the same of the last update
- `parent_id`: list of batches that these retry
- `tags_any`, `tags_all`: lists of tags, of which the batch carries one, or all
- `exclude_status`, `exclude_device_type`: lists of values, of which the batch has none
$help$,
    (select string_agg(format('`%s`', label), ' ') from unnest(enum_range(null::@extschema@.batch_status)) label),
    (select string_agg(format('`%s`', label), ' ') from unnest(enum_range(null::@extschema@.queue_priority)) label));
  page constant text := $help$- `order_by`: `created_at` (default) `updated_at` `start_datetime` `end_datetime` `id` `status` `open` `complete` `priority` `device_type` `user_id` `project_id` `jobs_count` `queue_priority`
- `order_by_direction`: `DESC` (default) or `ASC`
- `offset`: how many batches to skip
- `after`: instead of `offset`, a cursor: `next` of the last page; empty for the first one
- `omit`: list of what to leave out: `configuration` `backend_configuration` `webhook` `tags` `jobs_count_per_status`
$help$;
  kept constant name[] := array['get_all_batches', 'list_batches', 'count_batches', 'batch_facets', 'batches'];
  distributed constant boolean := @extschema@.distributed_tables() <> '{}';
  -- Then no policy shows the web role what is the user's: the functions read as the owner of the tables.
  rights constant text := case when distributed then 'security definer set search_path = pg_catalog, pg_temp' else '' end;
  function record;
  functions text;
  lacks record;
begin
  if schema is null or anonymous_role is null or web_role is null then
    raise exception 'the schema and the roles of the PostgREST API must not be null'
      using errcode = 'null_value_not_allowed',
            hint = 'For example: SELECT @extschema@.create_postgrest_api(''api'', ''web_anonymous'', ''web_user'').';
  elsif 'public' in (anonymous_role, web_role) then
    raise exception 'role "public" cannot be a role of the PostgREST API'
      using errcode = 'invalid_parameter_value',
            hint = 'It stands for all roles. Name roles of the API''s own, such as "web_anonymous" and "web_user".';
  end if;
  if distributed then
    perform @extschema@.check_coordinator();
  end if;
  for function in
    select f.name, f.has_rows, f.result, f.types, f.arguments,
           -- A limit would cut off rows that PostgREST's own filters and orders have not seen.
           case when f.has_rows then regexp_replace(f.parameters, '("limit" bigint DEFAULT) \d+', '\1 NULL::bigint')
             else f.parameters end as parameters
      from @extschema@.begin_api(schema, kept) f
  loop
    if function.has_rows then
      -- In one piece with PostgREST's query, so that no row is kept twice.
      execute format($create$
        create or replace function %1$I.%2$I(%3$s) returns %4$s language sql stable rows 100 %6$s
        begin atomic
          select * from @extschema@.%2$I(%5$s) where @extschema@.check_postgrest_request(false);
        end
        $create$, schema, function.name, function.parameters, function.result, function.arguments, rights);
    else
      execute format($create$
        create or replace function %1$I.%2$I(%3$s) returns %4$s language plpgsql stable %7$s as $body$
begin
  perform @extschema@.check_postgrest_request(%6$L);
  return @extschema@.%2$I(%5$s);
exception
  when query_canceled or lock_not_available then
    raise exception 'Gateway Timeout'
      using errcode = 'PT504', detail = 'The database did not answer in time.';
end
$body$
        $create$, schema, function.name, function.parameters, function.result, function.arguments,
        function.name = 'get_all_batches', rights);
    end if;
    execute format('comment on function %I.%I(%s) is %L', schema, function.name, function.types,
      case function.name
        when 'get_all_batches' then $comment$Get All Batches
A page of the user's batches with job counts by status, and the total, as the endpoint's document. POST the parameters as a JSON object.$comment$
        when 'list_batches' then $comment$Batches as rows
All of the user's batches that match, or a page of them. Narrow them by these parameters, which indexes serve; what PostgREST filters, orders and counts itself, it does on all rows that are left.$comment$
        when 'count_batches' then $comment$Number of batches
How many of the user's batches match, exactly.$comment$
        when 'batch_facets' then $comment$Batches by value
How many of the user's batches match, in all and by status, open or not, device, queue priority and project.$comment$
      end || E' A list is an array. All parameters may be left out; they are joined by AND, and dates are inclusive.\n\n'
      || filters || case when function.name in ('get_all_batches', 'list_batches') then page else '' end
      || case function.name
           when 'get_all_batches' then E'- `limit`: 1 to 100, default 100\n- `total`: `exact` (default), or `none`: nothing is counted'
           when 'list_batches' then '- `limit`: at most so many batches; by default all'
           else '' end);
  end loop;
  execute format(
    'create or replace function %I.batches() returns json language sql stable %s
     return @extschema@.postgrest_get_all_batches(%L)', schema, rights, coalesce(extended, false));

  -- PostgREST shows them in its OpenAPI page: the first line is a title.
  if obj_description((select oid from pg_namespace where nspname = schema), 'pg_namespace') is null then
    execute format('comment on schema %I is %L', schema,
$comment$Batches
Batches of jobs that run on quantum devices, of the projects of the authenticated user. As JSON documents:

- `GET /rpc/batches` is the endpoint Get All Batches itself. The query string comes in the header `X-Query-String`, which a reverse proxy sets.
- `POST /rpc/get_all_batches` answers with the same document; the parameters are a JSON object.

As rows and numbers, by GET or POST:

- `/rpc/list_batches`: the batches, all or a page
- `/rpc/count_batches`: how many there are
- `/rpc/batch_facets`: how many, by value$comment$);
  end if;
  execute format('comment on function %I.batches() is %L', schema,
$comment$Get All Batches, as GET /api/v1/batches answers it
Reads the query string from the header X-Query-String, which a reverse proxy sets. Answers 200, 401, 403, 422 or 504 with the API's own body, and the headers Content-Range and ETag; or 304 without a body if the request's If-None-Match has the tag.$comment$
    || case when extended then ' Knows the parameters that `get_all_batches` has beyond the endpoint, too.' else '' end);

  execute format('grant usage on schema %I, @extschema@ to %I, %I', schema, anonymous_role, web_role);
  select string_agg(p.oid::regprocedure::text, ', ') into functions
    from pg_proc p join pg_namespace n on n.oid = p.pronamespace
   where n.nspname = schema and p.proname = any (kept) and p.prokind = 'f'
     and (p.pronargs = 0 or p.proname <> 'batches');
  execute format('grant execute on function %s to %I, %I', functions, anonymous_role, web_role);
  if distributed then
    execute format('revoke execute on function %s from public', functions);
  else
    execute format('grant select on @extschema@.batch, @extschema@.batch_job_count, @extschema@.batch_total, @extschema@.job, @extschema@.project_member to %I', web_role);
  end if;
  -- Who may not grant is only warned.
  for lacks in
    select r.role, x.what
      from unnest(array[anonymous_role, web_role]) r (role)
     cross join lateral (
       select 'schema @extschema@' where not has_schema_privilege(r.role, '@extschema@', 'usage')
        union all
       select format('table %s', t) from unnest(@extschema@.present_tables()) t
        where r.role = web_role and not distributed and not has_table_privilege(r.role, t, 'select')) x (what)
  loop
    raise exception 'role "%" has no rights on %', lacks.role, lacks.what
      using errcode = 'insufficient_privilege', hint = 'Its owner has to grant them, to this role or, with grant option, to the calling one.';
  end loop;
  -- A PostgREST that runs already learns of it.
  notify pgrst, 'reload schema';
end
$create_postgrest_api$;
comment on function @extschema@.create_postgrest_api(name, name, name, boolean) is
  'Makes a schema for PostgREST to expose, with the functions batches(), get_all_batches(...), list_batches(...), count_batches(...) and batch_facets(...), and grants an anonymous and a web role what they need. If "extended", batches() takes query strings with more than the endpoint''s parameters, as http_get_all_batches() does. Functions of these names with other arguments or results, as another version has made them, are dropped from it. Tells PostgREST to reload its schema. Can be called again. A role public, a schema that is not the caller''s own, or a role that the caller cannot give the rights is an error.';
