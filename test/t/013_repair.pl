# The counts are mended while others write: what the writers change meanwhile is neither
# lost nor added twice.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "synchronous_commit = off\nfsync = off\ndeadlock_timeout = 100ms");
$node->start;

# Writers change the jobs of the first hundred batches. The next hundred, without jobs, they
# delete and insert again.
$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	create function public.numbered(n bigint) returns uuid language sql immutable
	  return lpad(n::text, 32, '0')::uuid;
	insert into batches.batch (project_id, id, device_type, user_id)
	select public.numbered(n % 3), public.numbered(n), 'DEVICE ' || n % 2, 'ada' from generate_series(1, 200) n;
	insert into batches.job (project_id, batch_id, status)
	select project_id, id, 'RUNNING' from batches.batch, generate_series(1, 5) where id <= public.numbered(100);
});
my $script = $node->basedir . '/write.sql';
append_to_file($script, q{
\set kind random(1, 5)
\set n random(1, 100)
\set m random(101, 200)
\set status random(1, 6)
\if :kind = 1
update batches.job set status = (enum_range(null::batches.job_status))[:status] where project_id = public.numbered(:n % 3) and batch_id = public.numbered(:n);
\elif :kind = 2
insert into batches.job (project_id, batch_id) values (public.numbered(:n % 3), public.numbered(:n));
\elif :kind = 3
update batches.batch set status = (enum_range(null::batches.batch_status))[:status], device_type = 'DEVICE ' || :status % 3 where id in (public.numbered(:n));
\elif :kind = 4
delete from batches.batch where id = public.numbered(:m);
\else
insert into batches.batch (project_id, id, device_type, user_id) values (public.numbered(:m % 3), public.numbered(:m), 'DEVICE 0', 'ada') on conflict do nothing;
\endif
});

my ($stdout, $stderr);
my $writers = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '4', '-j', '2', '-T', 8, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'>', \$stdout, '2>', \$stderr);
ok($node->poll_query_until('postgres', q{select max(created_at) > min(created_at) from batches.batch}), 'writers are under way');

# Drift that is no error for a writer, but changes with every write: too many jobs, and totals
# that are wrong, missing, or there twice. Counts of batches that writers delete are missing.
my $mended = 0;
foreach my $round (1 .. 4)
{
	$node->safe_psql('postgres', q{
		begin;
		set local session_replication_role = replica;
		update batches.batch_job_count set jobs_count = jobs_count + 1000, done_jobs = done_jobs + 1000
		 where batch_id in (select public.numbered(n) from generate_series(1, 100, 3) n);
		delete from batches.batch_job_count where batch_id in (select public.numbered(n) from generate_series(101, 200, 2) n);
		commit});
	$node->safe_psql('postgres', q{
		begin;
		set local session_replication_role = replica;
		insert into batches.batch_total (project_id, device_type, n) select project_id, device_type, n from batches.batch_total limit 3;
		delete from batches.batch_total where ctid = (select max(ctid) from batches.batch_total);
		commit});
	# Two at once: neither adds what the other has.
	my $mended_by_other = '';
	my $other = IPC::Run::start([ 'psql', '-XAt', '-d', $node->connstr('postgres'), '-c', 'select batches.repair_counts()' ], '>', \$mended_by_other);
	$mended += $node->safe_psql('postgres', 'select batches.repair_counts()');
	$other->finish;
	$mended += $mended_by_other;
	is($node->safe_psql('postgres', 'select * from batches.verify_counts()'), '', "round $round: the counts are right again, beside writers");
}
# Writers may delete the batches whose counts are missing before a repair comes.
cmp_ok($mended, '>=', 4 * 34, 'repairs have mended rows');
$writers->finish;
is($stderr =~ s/^pgbench \(.*\n//r, '', 'no writer fails');
like($stdout, qr/number of transactions actually processed: [1-9]\d\d/, 'they have written');
like($stdout, qr/^number of failed transactions: 0 /m, 'no transaction fails');
is($node->safe_psql('postgres', 'select * from batches.verify_counts()'), '', 'the counts are right at the end');
is($node->safe_psql('postgres', q{select deadlocks from pg_stat_database where datname = 'postgres'}), 0, 'no deadlock');

# Snapshots that are older than what they would mend, and transactions that may not write
my ($code, $output, $error) = $node->psql('postgres', 'begin isolation level repeatable read; select batches.repair_counts()');
like($error, qr/only mended at isolation level READ COMMITTED.*HINT:/s, 'a repair needs a snapshot of its own');
($code, $output, $error) = $node->psql('postgres', 'begin read only; select batches.repair_counts()');
like($error, qr/cannot execute repair_counts\(\) in a read-only transaction/, 'and may not be read-only');

# Triggers that were disabled for a while
$node->safe_psql('postgres', q{
	alter table batches.job disable trigger all;
	alter table batches.batch disable trigger user;
	insert into batches.batch (project_id, id, device_type, user_id)
	select public.numbered(9), public.numbered(n), 'NEW', 'ada' from generate_series(1001, 1005) n;
	insert into batches.job (project_id, batch_id) select project_id, id from batches.batch where project_id = public.numbered(9);
	delete from batches.batch where id = public.numbered(1);
	alter table batches.job enable trigger all;
	alter table batches.batch enable trigger user});
# A change that meets a wrong count fails, and the error says what mends it.
for my $change (
	'insert into batches.job (project_id, batch_id) values (public.numbered(9), public.numbered(1001))',
	'delete from batches.job where batch_id = public.numbered(1002)',
	q{insert into batches.batch (project_id, id, device_type, user_id) select project_id, batch_id, 'NEW', 'ada' from batches.batch_job_count where batch_id = public.numbered(1)})
{
	my ($code, $output, $error) = $node->psql('postgres', $change);
	like($error, qr/job counts.*HINT: .*SELECT batches\.repair_counts\(\)/s, "wrong counts stop: $change");
}
is($node->safe_psql('postgres', 'select batches.repair_counts()'), 5 + 1 + 2 + 2, 'what disabled triggers have missed is mended');
is($node->safe_psql('postgres', 'select * from batches.verify_counts()'), '', 'wholly');

# A label between those of the extension moves no cell.
my $done = $node->safe_psql('postgres', q{select batches.count_batches(status => '{DONE}')});
cmp_ok($done, '>', 0, 'there are batches with a later label');
$node->safe_psql('postgres', q{alter type batches.batch_status add value 'HELD' before 'DONE'});
is($node->safe_psql('postgres', 'select * from batches.verify_counts()'), '', 'the counts are right with another label');
is($node->safe_psql('postgres', 'select batches.repair_counts()'), 0, 'nothing is to be mended');
is($node->safe_psql('postgres', q{select batches.count_batches(status => '{DONE}')}), $done, 'the totals are as before');

$node->stop;
done_testing();
