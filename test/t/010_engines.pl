# Both engines and a plain query give the same rows, totals and facets for random requests
# in the same snapshot, at every isolation level, while eight clients write, and while
# the tables are vacuumed, rewritten and get their indexes anew.
#
# The seed is printed; BATCHES_TEST_SEED repeats the requests, though not the writes.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{BATCHES_TEST_SEED} || time % 1_000_000;
note("seed $seed");
my $requests = 360;
my $per_snapshot = 20;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "synchronous_commit = off\nautovacuum_naptime = 1\nmax_connections = 30");
$node->start;
$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member
	select lpad(n::text, 32, '0')::uuid, u from generate_series(0, 12) n, unnest(array['one', 'few', 'all']) u
	 where u = 'all' or (u = 'few' and n % 4 = 0) or n = 5;
});

# A function each for what writers and readers do
$node->safe_psql('postgres', q{
create function public.pick("values" anyarray) returns anyelement language sql volatile
  as $$ select "values"[1 + floor(random() * cardinality("values"))::int] $$;

create procedure public.add_batches(batches int) language sql as $$
  insert into batches.batch (project_id, status, open, priority, device_type, user_id, created_at, updated_at, tags,
                             start_datetime, end_datetime, queue_priority)
  select lpad((floor(random() ^ 2 * 14)::int)::text, 32, '0')::uuid, public.pick(array_remove(enum_range(null::batches.batch_status)::text[], 'BLOCKED'))::batches.batch_status,
         random() < 0.2, floor(random() * 3), public.pick(array['A', 'B', 'b', 'EMU']), 'user-' || floor(random() * 9),
         t, t + floor(random() * 20) * interval '1 minute',
         array_remove(array[case when random() < 0.3 then 'common' end, case when random() < 0.02 then 'rare' end], null),
         case when random() < 0.7 then t + floor(random() * 20) * interval '1 minute' end,
         case when random() < 0.5 then t + floor(random() * 20) * interval '1 minute' end,
         public.pick(enum_range(null::batches.queue_priority))
    from generate_series(1, batches),
         lateral (select '2025-01-01Z'::timestamptz + floor(random() * 2000) * interval '10 minutes') c (t);
  insert into batches.job (project_id, batch_id, status)
  select project_id, id, public.pick(enum_range(null::batches.job_status))
    from (select b.project_id, b.id from batches.batch b join batches.batch_job_count c on c.project_id = b.project_id and c.batch_id = b.id
           where c.jobs_count = 0 limit batches for key share of b) b,
         lateral generate_series(1, floor(random() * 4)::int + (project_id is null)::int);
$$;

-- What an engine answers, in the snapshot of the statement that asks
create function public.answer(engine text, arguments text, filters text) returns jsonb language plpgsql stable as $$
declare
  answer jsonb;
begin
  perform set_config('batches.scan', engine, true);
  execute format('select jsonb_build_array(array(select id from batches.list_batches(%s)), batches.count_batches(%s), batches.batch_facets(%2$s))',
                 arguments, filters) into answer;
  return answer;
end $$;

-- How many of so many random requests get another answer by an engine or by a plain query
create function public.compare(seed float8, requests int) returns setof text language plpgsql as $$
declare
  jobs constant text := '(select count(*) from batches.job j where j.project_id = b.project_id and j.batch_id = b.id)';
  filters text[];
  conditions text[];
  value text;
  key text;
  direction text;
  page text;
  condition text;
  plain jsonb;
  by_index jsonb;
  by_sql jsonb;
  who text;
begin
  perform setseed(seed);
  for n in 1 .. requests loop
    filters := '{}';
    conditions := '{true}';
    who := pick(array['', 'one', 'few', 'all']);
    if who <> '' then
      conditions := conditions || format('project_id = any (array(select m.project_id from batches.project_member m where m.user_id = %L))', who);
    end if;
    if random() < 0.3 then
      value := (select array_agg(lpad(floor(random() * 15)::int::text, 32, '0')::uuid) from generate_series(1, 1 + floor(random() * 8)::int));
      filters := filters || format('project_id => %L', value);
      conditions := conditions || format('project_id = any (%L)', value);
    end if;
    if random() < 0.2 then
      value := (select array_agg(pick(array_remove(enum_range(null::batches.batch_status)::text[], 'BLOCKED'))) from generate_series(1, 1 + floor(random() * 3)::int));
      filters := filters || format('status => %L', value);
      conditions := conditions || format('status = any (%L)', value);
    end if;
    if random() < 0.2 then
      value := array['user-' || floor(random() * 10), 'user-' || floor(random() * 10)];
      filters := filters || format('user_id => %L', value);
      conditions := conditions || format('user_id = any (%L)', value);
    end if;
    if random() < 0.2 then
      value := array[pick(array['A', 'B', 'b', 'EMU', 'x'])];
      filters := filters || format('device_type => %L', value);
      conditions := conditions || format('device_type = any (%L)', value);
    end if;
    if random() < 0.2 then
      value := array[pick(enum_range(null::batches.queue_priority))];
      filters := filters || format('queue_priority => %L', value);
      conditions := conditions || format('queue_priority = any (%L)', value);
    end if;
    if random() < 0.1 then
      value := random() < 0.5;
      filters := filters || format('complete => %L', value);
      conditions := conditions || format('not open = %L', value);
    end if;
    if random() < 0.15 then
      value := floor(random() * 4);
      filters := filters || format('min_jobs => %s', value);
      conditions := conditions || format('%s >= %s', jobs, value);
    end if;
    if random() < 0.15 then
      value := floor(random() * 4);
      filters := filters || format('max_jobs => %s', value);
      conditions := conditions || format('%s <= %s', jobs, value);
    end if;
    if random() < 0.15 then
      value := pick(array['common', 'rare', 'none']);
      filters := filters || format('tag => %L', value);
      conditions := conditions || format('%L = any (tags)', value);
    end if;
    if random() < 0.15 then
      value := '2025-01-01Z'::timestamptz + random() * interval '14 days';
      filters := filters || format('start_date => %L', value);
      conditions := conditions || format('start_datetime >= %L', value);
    end if;
    if random() < 0.15 then
      value := '2025-01-01Z'::timestamptz + random() * interval '14 days';
      filters := filters || format('end_date => %L', value);
      conditions := conditions || format('end_datetime <= %L', value);
    end if;
    if random() < 0.15 then
      value := '2025-01-01Z'::timestamptz + random() * interval '14 days';
      filters := filters || format('created_before => %L', value);
      conditions := conditions || format('created_at <= %L', value);
    end if;
    if random() < 0.15 then
      value := left(md5(random()::text), 1 + floor(random() * 2)::int);
      filters := filters || format('id__starts_with => %L', value);
      conditions := conditions || format('starts_with(id::text, %L)', value);
    end if;
    if random() < 0.05 then
      value := (select array_agg(id) from (select id from batches.batch order by id limit floor(random() * 60)) x);
      filters := filters || format('id => %L', value);
      conditions := conditions || format('coalesce(%1$L::uuid[] = ''{}'', true) or id = any (%1$L)', value);
    end if;
    key := pick('{created_at,updated_at,start_datetime,end_datetime,id,status,open,complete,priority,device_type,user_id,project_id,jobs_count,queue_priority}'::text[]);
    direction := pick(array['ASC', 'DESC']);
    page := format('"limit" => %s, "offset" => %s', pick(array['null', '1', '10', '100']),
                   case when random() < 0.5 then 0 else floor(random() * random() * 2000) end);
    condition := '(' || array_to_string(conditions, ') and (') || ')';
    perform set_config('batches.user_id', who, true);
    -- One statement, one snapshot, at READ COMMITTED too
    execute format($q$
        with m as materialized (select project_id, status, open, device_type, queue_priority from batches.batch b where %1$s)
        select public.answer('index', %2$L, %3$L), public.answer('sql', %2$L, %3$L),
               jsonb_build_array(
                 array(select id from batches.batch b where %1$s order by %4$s %5$s, id %5$s limit %6$s offset %7$s),
                 (select count(*) from m),
                 jsonb_build_object(
                   'total', (select count(*) from m),
                   'status', (select coalesce(jsonb_object_agg(v, n), '{}') from (select status, count(*) from m group by 1) g (v, n)),
                   'open', (select coalesce(jsonb_object_agg(v, n), '{}') from (select open, count(*) from m group by 1) g (v, n)),
                   'device_type', (select coalesce(jsonb_object_agg(v, n), '{}') from (select device_type, count(*) from m group by 1) g (v, n)),
                   'queue_priority', (select coalesce(jsonb_object_agg(v, n), '{}') from (select queue_priority, count(*) from m group by 1) g (v, n)),
                   'project_id', (select coalesce(jsonb_object_agg(v, n), '{}') from (select project_id, count(*) from m group by 1) g (v, n))))
        $q$, condition,
        array_to_string(filters || array[format('order_by => %L, order_by_direction => %L', key, direction), page], ', '),
        array_to_string(filters, ', '),
        case key when 'complete' then 'not open' when 'device_type' then 'device_type collate "C"' when 'jobs_count' then jobs else key end,
        direction, (regexp_match(page, '"limit" => (\w+)'))[1], (regexp_match(page, '"offset" => (\d+)'))[1])
       into by_index, by_sql, plain;
    if by_index <> plain or by_sql <> plain then
      return next format(E'%s; %s %s, %s:\nindex %s\nsql   %s\nplain %s', array_to_string(filters, ', '), key, direction, page,
                         left(by_index::text, 1000), left(by_sql::text, 1000), left(plain::text, 1000));
    end if;
    perform set_config('batches.user_id', '', true);
  end loop;
end $$;
});
$node->safe_psql('postgres', 'call public.add_batches(1500)') for 1 .. 2;
$node->safe_psql('postgres', 'vacuum analyze');
is($node->safe_psql('postgres', "select public.compare(0.$seed, 500)"), '', 'the same on a table all visible');

# Eight writers: new batches, batches that change, move or are deleted; jobs that move. They
# use all isolation levels, and savepoints.
my $writes = $node->basedir . '/writes.sql';
append_to_file($writes, q{
\set kind random(1, 10)
\set digit random(0, 255)
\set level random(1, 4)
\if :level = 1
begin isolation level serializable;
\elif :level = 2
begin isolation level repeatable read;
\else
begin;
\endif
\if :kind = 1
call public.add_batches(20);
\elif :kind = 2
delete from batches.batch where id in (select id from batches.batch where left(id::text, 2) = lpad(to_hex(:digit), 2, '0') limit 3);
\elif :kind < 6
update batches.batch set status = public.pick(enum_range(null::batches.batch_status)), updated_at = updated_at + interval '1 minute',
       tags = case when random() < 0.5 then tags else '{common}' end
 where left(id::text, 2) = lpad(to_hex(:digit), 2, '0');
savepoint s;
update batches.batch set device_type = public.pick(array['A', 'B', 'b', 'EMU']), queue_priority = public.pick(enum_range(null::batches.queue_priority)),
       open = not open
 where left(id::text, 2) = lpad(to_hex(:digit), 2, '0');
\if :digit < 100
rollback to s;
\endif
\if :level > 2
-- Locked, no batch gets a job before it moves.
select quote_literal(coalesce(array_agg(id), '{}')) as locked
  from (select id from batches.batch where left(id::text, 2) = lpad(to_hex(:digit), 2, '0') order by id for update) b \gset
update batches.batch b set project_id = lpad((floor(random() * 14)::int)::text, 32, '0')::uuid
 where id = any (:locked::uuid[])
   and not exists (select from batches.job j where j.project_id = b.project_id and j.batch_id = b.id);
\endif
\elif :kind < 9
update batches.job set status = public.pick(enum_range(null::batches.job_status))
 where left(id::text, 2) = lpad(to_hex(:digit), 2, '0');
\else
update batches.job set (project_id, batch_id) = (select project_id, id from batches.batch order by id offset :digit limit 1 for key share)
 where left(id::text, 2) = lpad(to_hex(:digit), 2, '0') and (select count(*) > 300 from batches.batch);
\endif
\if :kind = 4
rollback;
\else
commit;
\endif
});
my ($out, $err) = ('', '');
my $pgbench = IPC::Run::start(
	['pgbench', '-n', '-c', 8, '-j', 2, '-T', 1800, '--max-tries=10', '-f', $writes, $node->connstr('postgres')],
	'>', \$out, '2>', \$err);
my ($reindex_out, $reindex_err) = ('', '');
my $maintenance = $node->basedir . '/maintenance.sql';
append_to_file($maintenance, q{
reindex table concurrently batches.batch;
reindex table concurrently batches.batch_job_count;
vacuum analyze batches.batch, batches.batch_job_count, batches.batch_total;
drop index concurrently batches.batch_updated_at_idx;
create index concurrently batch_updated_at_idx on batches.batch (updated_at, id);
});
my $maintainer = IPC::Run::start(
	['pgbench', '-n', '-c', 1, '-T', 1800, '-f', $maintenance, $node->connstr('postgres')],
	'>', \$reindex_out, '2>', \$reindex_err);

# A serializable reader may be asked to try again.
my @levels = ('read committed', 'repeatable read', 'serializable');
my @mismatches;
my %compared;
my $snapshots = $requests / $per_snapshot;
for my $i (1 .. $snapshots)
{
	my $part = ($seed * 1000 + $i) % 1_000_000;
	my $level = $levels[ $i % @levels ];
	for (my $tries = 0; $tries < 30; $tries++)
	{
		my ($code, $stdout, $stderr) = $node->psql('postgres', qq{
			begin isolation level $level;
			select public.compare(0.@{[sprintf '%06d', $part]}, $per_snapshot);
			commit});
		next if $code != 0 && $stderr =~ /could not serialize/;
		push @mismatches, "$level: $stdout$stderr" if $code != 0 || $stdout ne '';
		$compared{$level}++;
		last;
	}
}
is(join(' ', map { "$_: " . ($compared{$_} // 0) } @levels),
	join(' ', map { "$_: " . $snapshots / @levels } @levels), 'requests were made at every isolation level');
is(join("\n", @mismatches), '', "the same for $requests requests while eight clients write");
ok($pgbench->pumpable, 'the writers have written all the while') or diag($err);
ok($maintainer->pumpable, 'and the indexes were made anew') or diag($reindex_err);
$pgbench->signal('TERM');
$pgbench->finish;
$maintainer->signal('TERM');
$maintainer->finish;
unlike($err, qr/aborted/, 'no writer has stopped');
is($node->safe_psql('postgres', 'select count(*) from batches.verify_counts()'), 0, 'afterwards counts and totals are those of a recount');

# What one session sees of what another does to the table
for my $change (
	'vacuum full batches.batch', 'cluster batches.batch using batch_created_at_idx',
	'reindex index batches.batch_listing_idx', 'drop index if exists batches.batch_status_idx',
	'create index batch_status_idx on batches.batch (status, id)', 'alter table batches.batch add column note text',
	'alter table batches.batch drop column note', 'alter table batches.batch set logged',
	"delete from batches.batch where id < ('a' || repeat('0', 31))::uuid", 'vacuum batches.batch', 'call public.add_batches(300)',
	"alter type batches.batch_status add value 'BLOCKED' before 'DONE'", 'call public.add_batches(200)')
{
	is($node->safe_psql('postgres', qq{
		select public.compare(0.5, 20);
		\\! psql -X -q -d "@{[$node->connstr('postgres')]}" -c "$change"
		select public.compare(0.6, 60);}), '', "the same in a session that another's \"$change\" goes on");
}

my ($code, $stdout, $stderr) = $node->psql('postgres', q{
	insert into batches.batch (project_id, device_type, user_id, status) values (gen_random_uuid(), 'A', 'user-1', 'BLOCKED')});
like($stderr, qr/unknown label of batches.batch_status: "BLOCKED"\n.*HINT: .*none is added or renamed/s,
	'a status that the totals do not know is refused');

# Rights on all columns are as good as the right on the table.
$node->safe_psql('postgres', q{
	create role column_reader bypassrls;
	grant usage on schema batches to column_reader;
	grant select (project_id, batch_id, jobs_count, size_class, pending_jobs, running_jobs, done_jobs, error_jobs, canceled_jobs, canceling_jobs)
	   on batches.batch_job_count to column_reader;
	do $$ begin
	  execute (select format('grant select (%s) on batches.batch to column_reader', string_agg(quote_ident(attname), ', '))
	             from pg_attribute where attrelid = 'batches.batch'::regclass and attnum > 0 and not attisdropped);
	end $$});
my $listing = 'set role column_reader; set batches.scan = index; select count(*) from batches.list_batches()';
is($node->safe_psql('postgres', $listing), 100, 'rights on all columns do for a list');
$node->safe_psql('postgres', 'revoke select (done_jobs) on batches.batch_job_count from column_reader');
my ($status, $output, $error) = $node->psql('postgres', $listing);
like($error, qr/permission denied for table batch_job_count/, 'on all but one they do not');
$node->safe_psql('postgres', 'grant select (done_jobs) on batches.batch_job_count to column_reader; revoke select (webhook) on batches.batch from column_reader');
($status, $output, $error) = $node->psql('postgres', $listing);
like($error, qr/permission denied for table batch$/m, 'nor on all but one of the other table');

# A batch neither open nor not, and one without an id, before that was forbidden: an older
# snapshot has them.
$node->safe_psql('postgres', q{
	alter table batches.batch alter open drop not null;
	insert into batches.batch (project_id, device_type, user_id) values (gen_random_uuid(), 'D', 'nobody');
	-- which the counts would refuse
	alter table batches.batch disable trigger user;
	update batches.batch set open = null where user_id = 'nobody'});
my $old = $node->background_psql('postgres', on_error_stop => 0);
$old->query_safe('begin isolation level repeatable read; select');
$node->safe_psql('postgres', q{
	delete from batches.batch where open is null;
	alter table batches.batch alter open set not null});
foreach my $engine ('index', 'sql')
{
	$old->query_safe("set batches.scan = $engine");
	is($old->query_safe(q{select count(*), count(*) filter (where complete is null) from (select * from batches.list_batches(order_by => 'complete', "limit" => 50)) l}),
		'50|1', "a null that must not be any more is listed for a snapshot that has it ($engine)");
}
$old->query_safe('commit');
$node->safe_psql('postgres', q{
	alter table batches.job drop constraint job_project_id_batch_id_fkey;
	alter table batches.batch drop constraint batch_pkey, drop constraint batch_id_key, alter id drop not null;
	insert into batches.batch (project_id, id, device_type, user_id) values (gen_random_uuid(), null, 'D', 'nobody')});
$old->query_safe('begin isolation level repeatable read; select');
$node->safe_psql('postgres', q{
	delete from batches.batch where id is null;
	alter table batches.batch add unique (id), add primary key (project_id, id)});
$old->query_safe('set batches.scan = auto');
$old->query(q{select count(*) from batches.list_batches(user_id => '{nobody}')});
like($old->{stderr}, qr/batch without an id has no job counts/, 'a batch without an id is an error');
$old->quit;
is($node->safe_psql('postgres', q{set batches.scan = index; select count(*) from batches.list_batches()}), 100, 'which nobody else sees');

# The batches of another server
SKIP:
{
	if ($node->safe_psql('postgres', q{select count(*) from pg_available_extensions where name = 'postgres_fdw'}) == 0)
	{
		diag('skipped: 1 for want of postgres_fdw');
		skip('this PostgreSQL has no postgres_fdw', 1);
	}
	$node->safe_psql('postgres', q{
		create database other;
		alter table batches.batch rename to stored_batch;
		create extension postgres_fdw});
	$node->safe_psql('postgres', sprintf(q{
		create server loopback foreign data wrapper postgres_fdw options (host '%s', port '%s', dbname 'postgres');
		create user mapping for current_user server loopback;
		create schema elsewhere;
		import foreign schema batches limit to (stored_batch) from server loopback into elsewhere;
		alter foreign table elsewhere.stored_batch rename to batch;
		alter foreign table elsewhere.batch set schema batches;
		alter foreign table batches.batch options (set table_name 'stored_batch')}, $node->host, $node->port));
	is($node->safe_psql('postgres', q{
		select array(select id from batches.list_batches(order_by => 'status')) =
		       array(select id from batches.stored_batch order by status desc, id desc limit 100),
		       batches.count_batches(min_jobs => 1) = (select count(*) from batches.stored_batch b where exists (select from batches.job j where j.batch_id = b.id)),
		       batches.count_batches() = (select count(*) from batches.stored_batch)}),
		't|t|t', 'a foreign table is read by SQL');
}

$node->stop;
done_testing();
