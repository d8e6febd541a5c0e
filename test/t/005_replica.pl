# A read-only replica lists what the primary does, before and after a crash.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "wal_log_hints = on\nautovacuum = off");
$primary->start;
$primary->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member values (lpad('1', 32, '0')::uuid, 'ada');
	insert into batches.batch (project_id, id, device_type, user_id)
	select lpad((n % 2)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'ada'
	  from generate_series(1, 20) n;
	insert into batches.job (project_id, batch_id, status)
	select project_id, id, 'DONE' from batches.batch, generate_series(1, 2);
});
$primary->backup('backup');
my $replica = PostgreSQL::Test::Cluster->new('replica');
$replica->init_from_backup($primary, 'backup', has_streaming => 1);
$replica->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\nhot_standby_feedback = off");
$replica->start;

my $queries = q{
	set batches.scan = index;
	select json_agg(l) from batches.list_batches(min_jobs => 2, order_by => 'id') l;
	select batches.count_batches(status => '{PENDING}');
	select batches.count_batches(), batches.batch_facets(), batches.batch_facets(max_jobs => 1);
	select count(*) from batches.verify_counts();
	set batches.user_id = 'ada';
	select batches.get_all_batches("limit" => 3)};

$primary->safe_psql('postgres', q{update batches.job set status = 'ERROR' where hashtext(id::text) % 2 = 0});
$primary->wait_for_catchup($replica);
my $expected = $primary->safe_psql('postgres', $queries);
like($expected, qr/"pagination":\{"total":10,"start":0,"end":3\}/, 'the primary answers');
is($replica->safe_psql('postgres', $queries), $expected, 'the replica answers the same');
is($replica->safe_psql('postgres', 'show transaction_read_only'), 'on', 'and is read-only');

$primary->safe_psql('postgres', q{delete from batches.job where hashtext(id::text) % 3 = 0});
$expected = $primary->safe_psql('postgres', $queries);
$primary->stop('immediate');
$primary->start;
is($primary->safe_psql('postgres', $queries), $expected, 'the same after a crash');
$primary->wait_for_catchup($replica);
is($replica->safe_psql('postgres', $queries), $expected, 'on the replica too');

# What is dead for all on the primary, and marked so in its indexes, is still seen by a
# transaction of the replica that is older.
my $requests = q{
	select count(*) from batches.list_batches();
	select batches.count_batches(device_type => '{FRESNEL}');
	select batches.count_batches()};
my $session = $replica->background_psql('postgres');
$session->query_safe('set batches.scan = index');
$session->query_safe('begin isolation level repeatable read');
is($session->query_safe($requests), "20\n20\n20", 'a transaction of the replica sees all');
$primary->safe_psql('postgres', 'checkpoint; delete from batches.batch');
my $marks = q{
	set enable_seqscan = off; set enable_bitmapscan = off; set enable_indexonlyscan = off;
	select count(device_type) from batches.batch where project_id is not null;
	select count(device_type) from batches.batch where created_at < 'infinity';
	select count(device_type) from batches.batch where device_type = 'FRESNEL'};
$primary->safe_psql('postgres', "checkpoint; $marks; $marks");
$primary->wait_for_catchup($replica);
is($session->query_safe($requests), "20\n20\n20", 'and so it does when they are gone and marked dead on the primary');
$session->query_safe('commit');
is($session->query_safe($requests), "0\n0\n0", 'but not afterwards');
$session->quit;

# Beside writers on the primary: in each snapshot of the replica both engines, the totals and
# the facets say what a plain query says.
$primary->safe_psql('postgres', q{
	create function public.differing() returns setof text language plpgsql as $$
	declare
	  filters text[] := array['', 'status => ''{DONE}''', 'device_type => ''{A,B}'', open => true', 'min_jobs => 2', 'status => ''{PENDING}'', max_jobs => 1'];
	  conditions text[] := array['true', 'status = ''DONE''', 'device_type in (''A'', ''B'') and open', 'jobs >= 2', 'status = ''PENDING'' and jobs <= 1'];
	  wrong text;
	begin
	  for i in 1 .. cardinality(filters) loop
	    execute format($q$
	      with m as materialized (select * from (
	        select b.*, (select count(*) from batches.job j where j.project_id = b.project_id and j.batch_id = b.id) as jobs
	          from batches.batch b where current_setting('batches.user_id') = '' or project_id = lpad('1', 32, '0')::uuid) b where %2$s)
	      select concat_ws(' ', nullif(batches.count_batches(%1$s), (select count(*) from m)),
	        nullif(batches.batch_facets(%1$s), jsonb_build_object(
	          'total', (select count(*) from m),
	          'status', (select coalesce(jsonb_object_agg(v, n), '{}') from (select status, count(*) from m group by 1) g (v, n)),
	          'open', (select coalesce(jsonb_object_agg(v, n), '{}') from (select open, count(*) from m group by 1) g (v, n)),
	          'device_type', (select coalesce(jsonb_object_agg(v, n), '{}') from (select device_type, count(*) from m group by 1) g (v, n)),
	          'queue_priority', (select coalesce(jsonb_object_agg(v, n), '{}') from (select queue_priority, count(*) from m group by 1) g (v, n)),
	          'project_id', (select coalesce(jsonb_object_agg(v, n), '{}') from (select project_id, count(*) from m group by 1) g (v, n)))),
	        nullif(array(select (id, jobs_count)::text from batches.list_batches(%3$s order_by => 'jobs_count', "limit" => 20)),
	               array(select (id, jobs)::text from m order by jobs desc, id desc limit 20)))
	      $q$, filters[i], conditions[i], filters[i] || case when filters[i] <> '' then ',' else '' end) into wrong;
	    if wrong <> '' then
	      return next filters[i] || ': ' || wrong;
	    end if;
	  end loop;
	end $$;
	insert into batches.batch (project_id, id, device_type, user_id)
	select lpad((n % 2)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'A', 'ada' from generate_series(1, 200) n;
	insert into batches.job (project_id, batch_id) select project_id, id from batches.batch, generate_series(1, 2)});
my $writes = $primary->basedir . '/writes.sql';
append_to_file($writes, q{
	\set n random(1, 200)
	update batches.job set status = 'DONE' where batch_id = lpad((:n)::text, 32, '0')::uuid;
	update batches.batch set status = case when random() < 0.5 then 'DONE' else 'PENDING' end::batches.batch_status, open = not open,
	       device_type = case when random() < 0.5 then 'A' else 'C' end where id = lpad((:n)::text, 32, '0')::uuid;
	delete from batches.batch where id = lpad((:n / 2)::text, 32, '0')::uuid;
	insert into batches.batch (project_id, id, device_type, user_id)
	values (lpad((:n % 2)::text, 32, '0')::uuid, lpad((:n / 2)::text, 32, '0')::uuid, 'B', 'ada') on conflict do nothing;
	insert into batches.job (project_id, batch_id)
	select project_id, id from batches.batch where id = lpad((:n / 2)::text, 32, '0')::uuid});
my ($out, $err) = ('', '');
my $writers = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 600, '--max-tries=10', '-f', $writes, $primary->connstr('postgres') ],
	'>', \$out, '2>', \$err);
my @wrong;
my %seen;
for my $i (1 .. 60)
{
	my $level = $i % 2 ? 'read committed' : 'repeatable read';
	my $user = $i % 3 ? 'ada' : '';
	my $scan = $i % 4 < 2 ? 'index' : 'sql';
	my $found = $replica->safe_psql('postgres', qq{
		set batches.user_id = '$user'; set batches.scan = $scan;
		begin isolation level $level;
		select * from public.differing();
		select 'total', batches.count_batches(status => '{DONE}');
		commit});
	$seen{$1} = 1 if $found =~ s/^total\|(\d+)$//m;
	push @wrong, "$level, $scan: $found" if $found =~ /\S/;
}
is(join("\n", @wrong), '', 'beside writers the replica tells in each snapshot what is there');
cmp_ok(scalar keys %seen, '>', 5, 'which changed all the while');
ok($writers->pumpable, 'as the writers wrote') or diag($err);
$writers->signal('TERM');
$writers->finish;
$primary->wait_for_catchup($replica);
is($replica->safe_psql('postgres', 'select count(*) from batches.verify_counts()'), 0, 'and in the end all is right on the replica');

$replica->stop;
$primary->stop;
done_testing();
