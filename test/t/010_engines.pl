# Both engines and a plain query give the same rows, totals and facets for random requests
# in the same snapshot, at every isolation level, while eight clients write, and while
# the tables are vacuumed, rewritten and get their indexes anew.
#
# The seed is printed; BATCHES_TEST_SEED repeats the requests, though not the writes. BATCHES_TEST_SIZE=10
# makes ten times as many.
use strict;
use warnings;

use IPC::Run ();
use File::Basename;
use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $project = File::Spec->rel2abs(dirname(__FILE__) . '/../..');

my $seed = $ENV{BATCHES_TEST_SEED} || time % 1_000_000;
note("seed $seed");
my $requests = 360 * ($ENV{BATCHES_TEST_SIZE} || 1);
my $per_snapshot = 20;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "synchronous_commit = off\nautovacuum_naptime = 1\nmax_connections = 30");
$node->start;
my $churn = "$project/test/churn";
$node->command_ok([ 'psql', '-X', '-q', '-d', $node->connstr('postgres'), '-f', "$churn/setup.sql" ], 'batches to compare');
is($node->safe_psql('postgres', "select public.compare(0.$seed, 500)"), '', 'the same on a table all visible');

# Eight writers
my ($out, $err) = ('', '');
my $pgbench = IPC::Run::start(
	['pgbench', '-n', '-c', 8, '-j', 2, '-T', 1800, '--max-tries=10', '-D', 'parts=256', '-f', "$churn/writes.sql", $node->connstr('postgres')],
	'>', \$out, '2>', \$err);
my ($reindex_out, $reindex_err) = ('', '');
my $maintainer = IPC::Run::start(
	['pgbench', '-n', '-c', 1, '-T', 1800, '-f', "$churn/maintenance.sql", $node->connstr('postgres')],
	'>', \$reindex_out, '2>', \$reindex_err);

# Walks by cursor, each page in a snapshot of its own: what is there all along, with the same value in the order's column, comes
# once. Writers change none of these columns but the time of the last update, which only grows.
$node->safe_psql('postgres', q{
	create function public.walk(engine text, key text, direction text, page int) returns uuid[] language plpgsql volatile as $$
	declare
	  cursor text := '';
	  ids uuid[] := '{}';
	  more uuid[];
	begin
	  perform set_config('batches.scan', engine, true);
	  while cursor is not null loop
	    with p as materialized (
	      select id, row_number() over () as n
	        from batches.list_batches(order_by => key, order_by_direction => direction, "limit" => page, after => cursor))
	    select array_agg(id order by n), batches.next_cursor((array_agg(id order by n desc))[1], order_by => key, order_by_direction => direction)
	      into more, cursor from p;
	    ids := ids || coalesce(more, '{}');
	  end loop;
	  return ids;
	end $$});
my @wrong_walks;
for my $walk (map { my $key = $_; map { [ $key, $_ ] } 'ASC', 'DESC' } qw(created_at updated_at start_datetime user_id id))
{
	my ($key, $direction) = @$walk;
	foreach my $engine ('index', 'sql')
	{
		my $wrong = $node->safe_psql('postgres', qq{
			create temp table first as select id, $key as key from batches.batch;
			create temp table walked as select id from unnest(public.walk('$engine', '$key', '$direction', 40)) id;
			select count(*) from (
			  select f.id from first f join batches.batch b on b.id = f.id left join walked w on w.id = f.id
			   where b.$key is not distinct from f.key group by f.id having count(w.id) <> 1) x});
		push @wrong_walks, "$key $direction, $engine: $wrong" if $wrong ne '0';
	}
}
is(join("\n", @wrong_walks), '', 'a walk by cursor meets once what stays where it is, while eight clients write');

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
	skip('this PostgreSQL has no postgres_fdw', 1)
	  if $node->safe_psql('postgres', q{select count(*) from pg_available_extensions where name = 'postgres_fdw'}) == 0;
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

	# One of the partitions is on another server. The triggers cannot count what changes there.
	$node->safe_psql('postgres', q{
		drop foreign table batches.batch;
		create table batches.batch (like batches.stored_batch including defaults) partition by hash (project_id);
		create table batches.batch_here partition of batches.batch for values with (modulus 2, remainder 0);
		create table elsewhere.batch_there as
		select * from batches.stored_batch where satisfies_hash_partition('batches.batch'::regclass, 2, 1, project_id);
		create foreign table batches.batch_there partition of batches.batch for values with (modulus 2, remainder 1)
		server loopback options (schema_name 'elsewhere', table_name 'batch_there');
		insert into batches.batch
		select * from batches.stored_batch where satisfies_hash_partition('batches.batch'::regclass, 2, 0, project_id);
		create trigger count_inserted_batches after insert on batches.batch referencing new table as new_rows
		for each statement execute function batches.count_changed_batches();
		create trigger count_updated_batches after update on batches.batch referencing old table as old_rows new table as new_rows
		for each statement execute function batches.count_changed_batches();
		create trigger count_deleted_batches after delete on batches.batch referencing old table as old_rows
		for each statement execute function batches.count_changed_batches();
		create trigger count_truncated_batches after truncate on batches.batch
		for each statement execute function batches.count_changed_batches()});
	my $compared = q{
		select (select count(*) > 0 from batches.batch_here), (select count(*) > 0 from elsewhere.batch_there),
		       array(select id from batches.list_batches(order_by => 'status')) =
		       array(select id from batches.batch order by status desc, id desc limit 100),
		       batches.count_batches(min_jobs => 1) = (select count(*) from batches.batch b where exists (select from batches.job j where j.batch_id = b.id)),
		       batches.count_batches() = (select count(*) from batches.batch), batches.count_batches(status => '{DONE}') =
		       (select count(*) from batches.batch where status = 'DONE')};
	is($node->safe_psql('postgres', $compared), 't|t|t|t|t|t', 'a foreign partition is read by SQL');
	$node->safe_psql('postgres', q{update elsewhere.batch_there set status = 'DONE'; delete from elsewhere.batch_there where id in (select id from elsewhere.batch_there limit 1)});
	is($node->safe_psql('postgres', $compared), 't|t|t|t|t|t', 'totals follow what changes there');
	foreach my $statement (
		q{update batches.batch set status = 'ERROR'},
		q{delete from batches.batch},
		q{insert into batches.batch (project_id, id, device_type, user_id) select project_id, gen_random_uuid(), 'D', 'U' from elsewhere.batch_there limit 1})
	{
		isnt($node->psql('postgres', $statement), 0, "refused: $statement");
	}
}

$node->stop;
done_testing();
