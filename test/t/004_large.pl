# A million batches: memory stays within work_mem, and a cancel ends the listing.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', qq{
shared_buffers = 16MB
work_mem = 4MB
synchronous_commit = off
fsync = off
max_wal_size = 4GB
autovacuum = off
max_parallel_workers_per_gather = 0
});
$node->start;

$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	drop index batches.batch_tags_idx;
	insert into batches.batch (project_id, id, device_type, user_id, created_at)
	select lpad((n % 1000)::text, 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'ada',
	       timestamptz '2025-01-01Z' + n * interval '1 second'
	  from generate_series(1, 1000000) n;
	analyze batches.batch;
});

SKIP:
{
	skip 'there is no /proc', 2 unless -r '/proc/self/status';
	# The backend's peak, shared buffers and all.
	my $output = $node->safe_psql('postgres', q{
		select count(*) from batches.list_batches("limit" => null);
		select substring(pg_read_file('/proc/' || pg_backend_pid() || '/status', 0, 100000)
		                 from 'VmHWM:\s+(\d+) kB')});
	my ($count, $kilobytes) = split /\n/, $output;
	is($count, 1000000, 'a listing without limit returns every batch');
	cmp_ok($kilobytes, '<', 80 * 1024, 'its memory stays far below its size');
	note("peak of the backend: $kilobytes kB");
}
SKIP:
{
	skip 'there is no /proc', 2 unless -r '/proc/self/status';
	# Five paths, each of which finds a million tuples
	my $output = $node->safe_psql('postgres', q{
		set work_mem = '8MB';
		select batches.count_batches(status => '{PENDING}', user_id => '{ada}', created_after => '2025-01-01Z', id__starts_with => '0');
		select substring(pg_read_file('/proc/' || pg_backend_pid() || '/status', 0, 100000)
		                 from 'VmHWM:\s+(\d+) kB')});
	my ($count, $kilobytes) = split /\n/, $output;
	is($count, 1000000, 'several indexes are read for a count');
	cmp_ok($kilobytes, '<', 52 * 1024, 'in the memory that one may have');
	note("peak of the backend: $kilobytes kB");
}
cmp_ok($node->safe_psql('postgres', q{select temp_bytes from pg_stat_database where datname = 'postgres'}), '>', 100 * 1024 * 1024, 'what does not fit in work_mem is on disk');

# Totals and facets come from some rows for each project, and no file.
my $before = $node->safe_psql('postgres', q{select temp_bytes from pg_stat_database where datname = 'postgres'});
is($node->safe_psql('postgres', q{
	select batches.count_batches(), batches.count_batches(status => '{PENDING}', device_type => '{FRESNEL}'),
	       batches.batch_facets() -> 'status', (select count(*) from batches.batch_total)}),
	'1000000|1000000|{"PENDING": 1000000}|2000', 'the totals of a million batches are two rows a project');
is($node->safe_psql('postgres', q{
	select batches.batch_facets(created_after => '2025-01-01Z', id__starts_with => '0') -> 'device_type', batches.count_batches(max_jobs => 0)}),
	'{"FRESNEL": 1000000}|1000000', 'and where rows are counted it is the same');
is($node->safe_psql('postgres', q{select count(distinct v) from jsonb_each(batches.batch_facets() -> 'project_id') f (k, v) where v = '1000'}), 1,
	'each project has its own');

# A time limit, and a cancel from another session. Either ends at once; that it
# ends at all, and with this error, is what is tested.
my ($code, $stdout, $stderr) = $node->psql('postgres', q{
	set statement_timeout = '200ms';
	select count(*) from batches.list_batches("limit" => null, order_by => 'updated_at')});
like($stderr, qr/canceling statement due to statement timeout/, 'statement_timeout ends a listing');

my $canceled = '';
my $session = IPC::Run::start(
	[ 'psql', '-X', '-d', $node->connstr('postgres'), '-c',
		q{/* to be canceled */ select count(*) from generate_series(1, 1000), lateral (select count(*) from batches.list_batches("limit" => null, "offset" => generate_series)) l} ],
	'2>', \$canceled);
$node->poll_query_until('postgres',
	q{select count(*) = 1 from pg_stat_activity where query like '/* to be%' and state = 'active' and now() - query_start > interval '500ms'});
is($node->safe_psql('postgres', q{select pg_cancel_backend(pid) from pg_stat_activity where query like '/* to be%'}),
	't', 'a cancel is sent');
$session->finish;
like($canceled, qr/canceling statement due to user request/, 'a cancel ends a listing');

# The document of a page larger than a json value can be is refused.
$node->safe_psql('postgres', q{
	insert into batches.project_member values (lpad('1001', 32, '0')::uuid, 'ada');
	insert into batches.batch (project_id, device_type, user_id, backend_configuration)
	select lpad('1001', 32, '0')::uuid, 'FRESNEL', 'ada', repeat('"', 100000000) from generate_series(1, 6)});
($code, $stdout, $stderr) = $node->psql('postgres', qq{\\set VERBOSITY verbose
	set batches.user_id = 'ada'; select length(batches.get_all_batches()::text)});
like($stderr, qr/54000: the document of this page exceeds the maximum of \d+ bytes\nHINT:  Ask for fewer batches: lower "limit"\./,
	'a document larger than a json value can be is refused');
is($node->safe_psql('postgres', q{set batches.user_id = 'ada';
	select octet_length(t) > 1000000000, right(t, 43) from (select batches.get_all_batches("limit" => 5)::text offset 0) d (t)}),
	't|"pagination":{"total":6,"start":0,"end":5}}', 'with fewer batches it comes');

$node->stop;
done_testing();
