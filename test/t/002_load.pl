# Eight clients change jobs of the same few hundred batches for half a minute, in
# bulk and one by one: no deadlock, no lost count.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "synchronous_commit = off\ndeadlock_timeout = 100ms");
$node->start;

$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.batch (project_id, id, device_type, user_id)
	select lpad((n % 5)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'ada'
	  from generate_series(1, 300) n;
	insert into batches.job (project_id, batch_id, id)
	select b.project_id, b.id, lpad((c * 100000 + n * 1000 + row_number() over (order by b.id))::text, 32, '0')::uuid
	  from batches.batch b, generate_series(1, 8) c, generate_series(1, 3) n;
	-- A client's own jobs, in its own order, so that only the batches are shared.
	alter table batches.job add client integer;
	update batches.job set client = 1 + (right(id::text, 6)::integer / 100000);
	analyze;
});

my $bulk = $node->basedir . '/bulk.sql';
append_to_file($bulk, q{
\set kind random(1, 5)
\set status random(1, 6)
\set part random(0, 9)
\if :kind = 1
update batches.job set status = (enum_range(null::batches.job_status))[:status]
 where client = :client_id + 1;
\elif :kind = 2
insert into batches.job (project_id, batch_id, client)
select project_id, id, :client_id + 1 from batches.batch where hashtext(id::text) % 10 = :part;
\elif :kind = 3
delete from batches.job where client = :client_id + 1 and hashtext(id::text) % 10 = :part;
\elif :kind = 4
update batches.job j set batch_id = b.id
  from batches.batch b
 where j.client = :client_id + 1 and hashtext(j.id::text) % 10 = :part
   and b.project_id = j.project_id and b.id = (select o.id from batches.batch o where o.project_id = j.project_id and o.id < j.batch_id order by o.id desc limit 1);
\else
begin;
update batches.job set status = 'RUNNING' where client = :client_id + 1 and hashtext(id::text) % 10 = :part;
rollback;
\endif
});

my ($stdout, $stderr);
my $result = $node->run_log([
		'pgbench', '-n', '-c', '8', '-j', '2', '-T', $ENV{BATCHES_LOAD_SECONDS} // 30,
		'-f', $bulk, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'>', \$stdout, '2>', \$stderr);
ok($result, 'no client fails') or diag($stderr);
note($stdout);
like($stdout, qr/number of failed transactions: 0 /, 'no transaction fails');
like($stdout, qr/number of transactions actually processed: [1-9]/, 'transactions run');
is($node->safe_psql('postgres', 'select count(*) from batches.verify_job_counts()'),
	0, 'the counts equal a recount');
is($node->safe_psql('postgres', 'select (select sum(jobs_count) from batches.batch) = (select count(*) from batches.job)'),
	't', 'and so does their sum');
is($node->safe_psql('postgres', q{select deadlocks from pg_stat_database where datname = 'postgres'}),
	0, 'no deadlock');

$node->stop;
done_testing();
