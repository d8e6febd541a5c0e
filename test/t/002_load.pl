# Eight clients change jobs and batches for half a minute (BATCHES_TEST_SIZE=10: for five), in bulk
# and one by one, at each isolation level: no deadlock, no drift, and the totals stay few.
#
# Without the extension's triggers these statements could not deadlock: whoever takes
# several batches or jobs takes them in the order of their keys, jobs only move to batches
# with higher ids, and who needs a batch that may be deleted locks it before the jobs, as
# does who moves jobs out of batches: a cancel that meets such a job keeps it locked, at its
# new place, before the jobs that are left. So a deadlock here is one that the triggers make.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "synchronous_commit = off\ndeadlock_timeout = 100ms\nautovacuum_naptime = 5");
$node->start;

# Batches below 1000 stay, and each client has its own jobs there; the others come and go.
$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	alter table batches.job add client integer;
	create sequence public.batch_number start 1001;
	create function public.numbered(n bigint) returns uuid language sql immutable
	  return lpad(n::text, 32, '0')::uuid;
	insert into batches.batch (project_id, id, device_type, user_id)
	select public.numbered(n % 5), public.numbered(n), 'DEVICE ' || n % 3, 'ada' from generate_series(1, 300) n;
	insert into batches.job (project_id, batch_id, client)
	select project_id, id, c from batches.batch, generate_series(1, 8) c, generate_series(1, 2);
	-- Jobs are then found, and locked, in the order of their primary key.
	alter database postgres set enable_seqscan = off;
	alter database postgres set enable_bitmapscan = off;
	analyze;
});

# Each entry: how often, and what
my @mix = (
	[ 4, 'update of jobs in many batches', q{
		update batches.job set status = (enum_range(null::batches.job_status))[:status]
		 where project_id = :project and client = :client;} ],
	[ 2, 'insert of jobs into many batches', q{
		insert into batches.job (project_id, batch_id, client)
		select project_id, id, :client from batches.batch
		 where project_id = :project and id < public.numbered(1000) and hashtext(id::text) % 4 = :part
		 order by hashtext(id::text || :client);} ],
	[ 2, 'delete of jobs in many batches', q{
		delete from batches.job
		 where project_id = :project and client = :client and hashtext(id::text) % 4 = :part;} ],
	[ 3, 'move of jobs from many batches', q{
		begin;
		select count(*) from (select from batches.batch where project_id = :project and id < public.numbered(1000)
		                       order by id for no key update) b;
		update batches.job j
		   set batch_id = (select min(b.id::text)::uuid from batches.batch b where b.project_id = j.project_id and b.id > j.batch_id)
		 where project_id = :project and client = :client and hashtext(id::text) % 4 = :part
		   and batch_id < public.numbered(295);
		commit;} ],
	[ 6, 'cancel: a batch, then its jobs', q{
		begin;
		update batches.batch set status = 'CANCELING', open = false where project_id = :project and id = :batch;
		update batches.job set status = 'CANCELED' where project_id = :project and batch_id = :batch;
		commit;} ],
	[ 6, 'new batches, some with jobs', q{
		with b as (
			insert into batches.batch (project_id, id, device_type, user_id, open)
			select :project, public.numbered(nextval('public.batch_number')), 'DEVICE ' || :status % 4, 'ada', true
			  from generate_series(1, :part + 1)
			returning *)
		insert into batches.job (project_id, batch_id)
		select project_id, id from b, generate_series(1, 3) where :part > 0;} ],
	[ 6, 'jobs into a batch that comes and goes', q{
		insert into batches.job (project_id, batch_id)
		select project_id, id from
		  (select project_id, id from batches.batch where project_id = :project and id = :recent for key share) b,
		  generate_series(1, :part + 1);} ],
	[ 6, 'update of a job there', q{
		update batches.job set status = (enum_range(null::batches.job_status))[:status]
		 where project_id = :project and batch_id = :recent and hashtext(id::text) % 4 = :part;} ],
	[ 5, 'move of a job to another such batch', q{
		with b as materialized (
			select project_id, id from batches.batch
			 where project_id = :project and id = public.numbered(:number + 5) for key share)
		update batches.job j set batch_id = b.id, status = 'RUNNING' from b
		 where j.project_id = b.project_id and j.batch_id = :recent
		   and j.id = (select min(o.id::text)::uuid from batches.job o where o.project_id = :project and o.batch_id = :recent);} ],
	[ 5, 'delete of such a batch, with its jobs', q{
		delete from batches.batch where project_id = :project and id = :recent;} ],
	[ 3, 'cancel of such a batch', q{
		begin;
		update batches.batch set status = 'CANCELING' where project_id = :project and id = :recent;
		update batches.job set status = 'CANCELED' where project_id = :project and batch_id = :recent;
		commit;} ],
	[ 4, 'status of a batch', q{
		update batches.batch set status = (enum_range(null::batches.batch_status))[:status], device_type = 'DEVICE ' || :part
		 where project_id = :project and id = :batch;} ],
	[ 2, 'status of all batches of a project', q{
		update batches.batch set status = (enum_range(null::batches.batch_status))[:status], queue_priority = 'HIGH'
		 where project_id = :project
		   and id in (select id from batches.batch where project_id = :project and id < public.numbered(1000)
		               order by id for no key update);} ],
	[ 3, 'every column of a batch, by ON CONFLICT', q{
		insert into batches.batch as b select * from batches.batch where project_id = :project and id = :batch
		    on conflict (id) do update set status = excluded.status, open = not b.open, device_type = excluded.device_type,
		       project_id = excluded.project_id, queue_priority = excluded.queue_priority, updated_at = now();} ],
	[ 2, 'much that is rolled back', q{
		begin;
		update batches.job set status = 'RUNNING' where project_id = :project and client = :client and hashtext(id::text) % 4 = :part;
		insert into batches.batch (project_id, id, device_type, user_id)
		values (:project, public.numbered(nextval('public.batch_number')), 'DEVICE 9', 'ada');
		savepoint s;
		update batches.batch set status = 'ERROR' where project_id = :project and id = :recent;
		rollback to s;
		rollback;} ]);

# What is chosen at random, for all of them
my $choose = q{
\set client :client_id + 1
\set n random(0, 4)
\set b random(1, 59) * 5 + :n
\set status random(1, 6)
\set part random(0, 3)
};
my @files;
foreach my $entry (@mix)
{
	my ($weight, $name, $sql) = @$entry;
	my $file = $node->basedir . '/' . ($name =~ s/\W+/_/gr) . '.sql';
	# A recent batch's number, or that of none: one that stays has jobs of the clients
	$sql =~ s/:project/public.numbered(:n)/g;
	$sql =~ s/:batch\b/public.numbered(:b)/g;
	$sql =~ s/:recent/public.numbered(:number)/g;
	my $number = $sql =~ /:number/
	  ? "select coalesce((select right(id::text, 12)::bigint from batches.batch where project_id = public.numbered(:n) and id > public.numbered(1000) order by id offset :status * 2 limit 1), 0) as number \\gset\n"
	  : '';
	# Several statements on one line are one transaction to pgbench only if they are in a block.
	append_to_file($file, $choose . $number . $sql);
	push @files, '-f', "$file\@$weight";
}

# A run of all of it, at an isolation level; returns what pgbench says.
sub load
{
	my ($level, $seconds, @options) = @_;
	my ($stdout, $stderr);

	local $ENV{PGOPTIONS} = '-c default_transaction_isolation=' . ($level =~ s/ /\\ /r);
	my $result = $node->run_log([
			'pgbench', '-n', '-c', '8', '-j', '2', '-T', $seconds, @options, @files,
			'-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', \$stdout, '2>', \$stderr);
	ok($result, "$level: no client fails") or diag($stderr);
	note($stdout);
	my @idle = grep { my $file = $_->[1] =~ s/\W+/_/gr; $stdout !~ /\Q$file\E\.sql\n.*\n - [1-9]\d* transactions/ } @mix;
	is(join(', ', map { $_->[1] } @idle), '', "$level: some of each kind of transaction is done");
	is($node->safe_psql('postgres', 'select count(*) from batches.verify_counts()'),
		0, "$level: the counts equal a recount");
	is($node->safe_psql('postgres', q{select deadlocks from pg_stat_database where datname = 'postgres'}),
		0, "$level: no deadlock");
	my ($rows, $totals) = split /\|/, $node->safe_psql('postgres', q{
		select count(*), count(distinct (project_id, device_type)) from batches.batch_total});
	note("$level: $rows rows for $totals totals");
	cmp_ok($rows, '<=', 3 * $totals, "$level: totals have a few rows each");
	return $stdout;
}

my $seconds = 18 * ($ENV{BATCHES_TEST_SIZE} || 1);
like(load('read committed', $seconds), qr/^number of failed transactions: 0 /m, 'no transaction fails');
# From here on some must fail: they are tried again.
load('repeatable read', int($seconds / 6) + 1, '--max-tries=100');
load('serializable', int($seconds / 6) + 1, '--max-tries=100');

$node->stop;
done_testing();
