# Logical replication: a subscriber of all the tables has the publisher's counts, and one
# whose publication leaves the derived tables out says so, or is right, until a repair
# makes them.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf('postgresql.conf', 'fsync = off');
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', 'fsync = off');
$subscriber->start;

$publisher->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member values (lpad('1', 32, '0')::uuid, 'ada');
	insert into batches.batch (project_id, id, device_type, user_id)
	select lpad((n % 3)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'DEVICE ' || n % 2, 'ada' from generate_series(1, 60) n;
	insert into batches.job (project_id, batch_id, status)
	select project_id, id, 'DONE' from batches.batch, generate_series(1, 2);
	create publication everything for tables in schema batches;
	create publication written for table batches.batch, batches.job, batches.project_member;
});
foreach my $database (qw(everything written))
{
	$subscriber->safe_psql('postgres', "create database $database");
	$subscriber->safe_psql($database, 'create extension batches; select batches.create_tables()');
	$subscriber->safe_psql($database, sprintf("create subscription $database connection '%s dbname=postgres' publication $database",
		$publisher->connstr));
	$subscriber->wait_for_subscription_sync($publisher, $database, $database);
}

my $answers = q{select json_agg(l order by id) from batches.list_batches("limit" => null) l;
	select batches.count_batches(), batches.count_batches(status => '{DONE}'), batches.count_batches(device_type => '{DEVICE 1}'),
	       batches.count_batches(min_jobs => 2);
	set batches.user_id = 'ada'; select batches.get_all_batches()};
my $verify = 'select * from batches.verify_counts()';

sub same
{
	my ($what) = @_;

	$publisher->wait_for_catchup('everything');
	is($subscriber->safe_psql('everything', $verify), '', "$what: the subscriber's counts equal a recount");
	is($subscriber->safe_psql('everything', $answers), $publisher->safe_psql('postgres', $answers),
		"$what: the subscriber answers as the publisher does");
	return;
}

#
# All the tables
#

same('after the initial copy');
$publisher->safe_psql('postgres', q{
	update batches.job set status = 'ERROR' where hashtext(id::text) % 2 = 0;
	update batches.job set batch_id = lpad('3', 32, '0')::uuid where batch_id in (lpad('6', 32, '0')::uuid, lpad('9', 32, '0')::uuid);
	update batches.batch set status = 'DONE', device_type = 'DEVICE 1' where right(id::text, 1) in ('1', '2');
	delete from batches.batch where right(id::text, 1) = '7';
	insert into batches.batch (project_id, device_type, user_id) values (lpad('1', 32, '0')::uuid, 'NEW', 'ada');
	begin;
	savepoint s;
	delete from batches.job;
	rollback to s;
	delete from batches.job where batch_id = lpad('4', 32, '0')::uuid;
	commit;
});
same('after changes');
$publisher->safe_psql('postgres', 'truncate batches.job');
same('after TRUNCATE of the jobs');
$publisher->safe_psql('postgres', q{insert into batches.job (project_id, batch_id) select project_id, id from batches.batch});
same('after new jobs');
$publisher->safe_psql('postgres', q{
	truncate batches.batch cascade;
	insert into batches.batch (project_id, id, device_type, user_id, status)
	select lpad((n % 3)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'DEVICE ' || n % 2, 'ada', 'DONE' from generate_series(1, 30) n;
	insert into batches.job (project_id, batch_id, status)
	select project_id, id, 'RUNNING' from batches.batch, generate_series(1, 3)});
same('after TRUNCATE of the batches, and new ones');

# A subscriber that is written to as well, as after a switch to it
$subscriber->safe_psql('everything', q{
	alter subscription everything disable;
	update batches.job set status = 'CANCELED';
	update batches.batch set status = 'CANCELED' where project_id = lpad('1', 32, '0')::uuid;
	delete from batches.batch where right(id::text, 1) = '3'});
is($subscriber->safe_psql('everything', $verify), '', 'the triggers of what was a subscriber keep its counts');

#
# Without the derived tables
#

# An answer is right, or an error that names what mends it.
sub no_wrong_answer
{
	my ($what, $query) = @_;

	my $right = $publisher->safe_psql('postgres', $query);
	my ($code, $stdout, $stderr) = $subscriber->psql('written', $query);
	ok(($code == 0 && $stdout eq $right) || $stderr =~ /batches\.repair_counts\(\)/, "without the derived tables: $what")
	  or diag("got: $stdout\n$stderr\nright: $right");
	return;
}

$publisher->wait_for_catchup('written');
is($subscriber->safe_psql('written', 'select count(*) from batches.batch'), 30, 'batches are replicated alone');
is($subscriber->safe_psql('written', 'select (select count(*) from batches.batch_job_count) + (select count(*) from batches.batch_total)'),
	0, 'nothing derived is');
foreach my $engine (qw(index sql))
{
	no_wrong_answer("a listing ($engine)", qq{set batches.scan = $engine; select string_agg(right(id::text, 2) || ' ' || jobs_count, ', ' order by id) from batches.list_batches() l});
	no_wrong_answer("a count ($engine)", qq{set batches.scan = $engine; select batches.count_batches()});
	no_wrong_answer("a count by status ($engine)", qq{set batches.scan = $engine; select batches.count_batches(status => '{DONE}')});
	no_wrong_answer("a document ($engine)", qq{set batches.scan = $engine; set batches.user_id = 'ada'; select batches.get_all_batches()});
}
no_wrong_answer("a listing in the order of the jobs (sql)", qq{set batches.scan = sql; select string_agg(right(id::text, 2) || ' ' || jobs_count, ', ') from batches.list_batches(order_by => 'jobs_count') l});
no_wrong_answer("a listing in the order of the jobs (index)", qq{set batches.scan = index; select string_agg(right(id::text, 2) || ' ' || jobs_count, ', ') from batches.list_batches(order_by => 'jobs_count') l});
foreach my $engine (qw(index sql))
{
	no_wrong_answer("a listing by number of jobs ($engine)", qq{set batches.scan = $engine; select string_agg(right(id::text, 2) || ' ' || jobs_count, ', ') from batches.list_batches(min_jobs => 1) l});
	no_wrong_answer("facets by number of jobs ($engine)", qq{set batches.scan = $engine; select batches.batch_facets(min_jobs => 1) -> 'total'});
	no_wrong_answer("a count by number of jobs ($engine)", qq{set batches.scan = $engine; select batches.count_batches(min_jobs => 1)});
}
cmp_ok($subscriber->safe_psql('written', 'select batches.repair_counts()'), '>', 30, 'a repair makes them');
is($subscriber->safe_psql('written', $verify), '', 'which are those of a recount');
is($subscriber->safe_psql('written', $answers), $publisher->safe_psql('postgres', $answers), 'and gives the right answers');
$publisher->safe_psql('postgres', q{
	update batches.job set status = 'ERROR' where right(batch_id::text, 1) = '1';
	delete from batches.batch where right(id::text, 1) = '2';
	insert into batches.batch (project_id, device_type, user_id) values (lpad('1', 32, '0')::uuid, 'NEW', 'ada')});
$publisher->wait_for_catchup('written');
isnt($subscriber->safe_psql('written', $verify), '', 'what is replicated later is drift again');
cmp_ok($subscriber->safe_psql('written', 'select batches.repair_counts()'), '>', 0, 'which another repair mends');
is($subscriber->safe_psql('written', $verify), '', 'wholly');
is($subscriber->safe_psql('written', $answers), $publisher->safe_psql('postgres', $answers), 'with the right answers');

$subscriber->stop;
$publisher->stop;
done_testing();
