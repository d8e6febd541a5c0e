# Tables in partitions: locks, few buffers for many of them, pg_dump and pg_upgrade.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('old');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nmax_prepared_transactions = 1");
$node->start;
$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables(4);
	insert into batches.project_member select lpad(n::text, 32, '0')::uuid, 'ada' from generate_series(1, 3) n;
	insert into batches.batch (project_id, device_type, user_id, status)
	select lpad((1 + n % 9)::text, 32, '0')::uuid, 'DEVICE ' || n % 4, 'ada', (enum_range(null::batches.batch_status))[1 + n % 8]
	  from generate_series(1, 300) n;
	insert into batches.job (project_id, batch_id, status)
	select b.project_id, b.id, s from batches.batch b, unnest(enum_range(null::batches.job_status)) s where hashtext(b.id::text || s::text) % 3 <> 0;
});

my $answers = q{set batches.scan = index;
	select 'wrong counts: ' || count(*) from batches.verify_counts();
	select count(*), count(distinct tableoid) from batches.batch;
	select json_agg(l order by l.id) from batches.list_batches("limit" => null) l;
	select batches.count_batches(), batches.count_batches(status => '{DONE}'), batches.count_batches(min_jobs => 4);
	set batches.user_id = 'ada';
	select batches.get_all_batches(); select batches.get_all_batches(order_by => 'jobs_count', min_jobs => 4)};
my $before = $node->safe_psql('postgres', $answers);
like($before, qr/^wrong counts: 0\n300\|[2-4]\n.*"pagination":\{"total":101,/s, 'the database answers');

# A partition that somebody has locked is in nobody's way who has no business there.
$node->safe_psql('postgres', q{
	begin; lock batches.batch_0, batches.job_0, batches.batch_job_count_0; prepare transaction 'maintenance'});
is( $node->safe_psql('postgres', q{
	set lock_timeout = '20s'; set batches.scan = index; set batches.user_id = 'ada';
	begin;
	insert into batches.project_member select project_id, 'eve' from batches.batch_1 limit 1;
	set local batches.user_id = 'eve';
	insert into batches.batch (project_id, device_type, user_id) select project_id, 'NEW', 'eve' from batches.project_member where user_id = 'eve';
	insert into batches.job (project_id, batch_id) select project_id, id from batches.batch_1 where device_type = 'NEW';
	select l.jobs_count from batches.list_batches(device_type => '{NEW}') l;
	rollback}),
	'1', 'a locked partition');
$node->safe_psql('postgres', q{rollback prepared 'maintenance'});

# What doc/scaling.md says of them
my ($section) = slurp_file('doc/scaling.md') =~ /^## On one machine, in partitions\n(.*?)^## /ms;
my ($create, $detach, $attach, $own) = $section =~ /^```psql\n(.*?)^```$/msg;
$node->safe_psql('postgres', 'create database page');
$node->safe_psql('page', "create extension batches; $create");
$node->safe_psql('page', "\\set batches 1000\n\\i examples/sample_data.sql");
$node->safe_psql('page', q{
	insert into batches.batch (project_id, device_type, user_id)
	select p, 'D', 'ada' from generate_series(1, 1000) n, cast(lpad(n::text, 32, '0') as uuid) p
	 where satisfies_hash_partition('batches.batch'::regclass, 16, 3, p)});
my $counted = q{select count(*), count(distinct tableoid), batches.count_batches(), (select count(*) from batches.verify_counts()) from batches.batch};
my ($all) = (my $whole = $node->safe_psql('page', $counted)) =~ /^(\d+)\|/;
my $rest = $all - $node->safe_psql('page', 'select count(*) from batches.batch_3');
cmp_ok($rest, '<', $all, 'the partition has batches');
$node->safe_psql('page', $detach);
like($node->safe_psql('page', $counted), qr/^$rest\|\d+\|$rest\|0$/, 'a partition is taken out');
$node->safe_psql('page', $attach);
is($node->safe_psql('page', $counted), $whole, 'and is back');
$node->safe_psql('page', "create role app; $own");
is($node->safe_psql('page', q{select distinct relowner::regrole from pg_class where relnamespace = 'batches'::regnamespace and relkind in ('r', 'p')}),
	'app', 'all have another owner');
$node->safe_psql('postgres', 'drop database page');

sub restored
{
	my ($server, $database, $what) = @_;

	is($server->safe_psql($database, $answers), $before, "$what: the counts equal a recount, the answers are the same");
	# It goes on from there.
	is( $server->safe_psql($database, q{
		begin;
		update batches.job set status = 'DONE';
		update batches.batch set status = 'ERROR' where hashtext(id::text) % 3 = 0;
		delete from batches.batch where hashtext(id::text) % 5 = 0;
		insert into batches.batch (project_id, device_type, user_id) values (lpad('1', 32, '0')::uuid, 'NEW', 'ada');
		select count(*) from batches.verify_counts(); rollback}),
		'0', "$what: what is written then is counted");
	return;
}

my $number = 0;
foreach my $case (
	[ 'everything' ],
	[ 'through the whole tables', '--load-via-partition-root' ],
	[ 'by four jobs', '-Fd', '-j', 4 ],
	[ 'data only', '--data-only' ],
	[ 'data only, triggers disabled', '--data-only', '--disable-triggers' ],
	[ 'data only, through the whole tables', '--data-only', '--load-via-partition-root' ])
{
	my ($what, @options) = @$case;
	my $database = 'restored_' . ++$number;
	my $dump = $node->basedir . "/$database";

	$node->safe_psql('postgres', "create database $database template template0");
	$node->safe_psql($database, 'create extension batches; select batches.create_tables(4)') if grep { $_ eq '--data-only' } @options;
	command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump, @options ], "$what: dump");
	$node->command_ok(
		-d $dump
		? [ 'pg_restore', '-e', '-j', 4, '-d', $database, $dump ]
		: [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $database, '-f', $dump, '-o', '/dev/null' ],
		"$what: restore");
	restored($node, $database, $what);
}

# Of many partitions only the one being read keeps pages pinned.
$node->safe_psql('postgres', "drop database restored_$_") foreach 1 .. $number;
$node->append_conf('postgresql.conf', "shared_buffers = 4MB\nmax_locks_per_transaction = 256");
$node->restart;
$node->safe_psql('postgres', 'create database many');
$node->safe_psql('many', q{
	create extension batches;
	select batches.create_tables(256);
	insert into batches.batch (project_id, device_type, user_id, status, tags)
	select lpad((n % 499)::text, 32, '0')::uuid, 'DEVICE', 'ada', (enum_range(null::batches.batch_status))[1 + n % 8], case n % 7 when 0 then '{rare}'::text[] else '{}' end
	  from generate_series(1, 3000) n;
	insert into batches.job (project_id, batch_id) select project_id, id from batches.batch where hashtext(id::text) % 3 <> 0;
	insert into batches.project_member select distinct project_id, 'ada' from batches.batch;
	vacuum analyze});
my $requests = q{
	select json_agg(l) from batches.list_batches(order_by => 'jobs_count') l;
	select json_agg(l) from batches.list_batches(status => '{DONE,RUNNING}', min_jobs => 1) l;
	select json_agg(l) from batches.list_batches(tag => 'rare', min_jobs => 1, order_by => 'id') l;
	select batches.count_batches(min_jobs => 1), batches.count_batches(tag => 'rare', min_jobs => 1);
	set batches.user_id = 'ada';
	select batches.get_all_batches(), batches.get_all_batches(order_by => 'jobs_count', min_jobs => 1)};
is($node->safe_psql('many', "set batches.scan = index; $requests"), $node->safe_psql('many', "set batches.scan = sql; $requests"),
	'many partitions, and few buffers');
is($node->safe_psql('many', q{update batches.job set status = 'DONE'; select count(*) from batches.verify_counts()}), '0', 'written');
$node->safe_psql('postgres', 'drop database many');

# The files stay, their tables are made anew.
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', 'fsync = off');
$node->stop;
chdir $PostgreSQL::Test::Utils::tmp_check;
command_ok(
	[
		'pg_upgrade', '-d', $node->data_dir, '-D', $new->data_dir, '-b', $node->config_data('--bindir'),
		'-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $node->port, '-P', $new->port
	],
	'pg_upgrade');
$new->start;
restored($new, 'postgres', 'pg_upgrade');
$new->stop;

done_testing();
