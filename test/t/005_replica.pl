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
	select count(*) from batches.verify_job_counts();
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

$replica->stop;
$primary->stop;
done_testing();
