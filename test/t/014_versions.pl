# SQL objects of another version than the library: what they share works, for what they do
# not an error says what to do. The other versions are made of the present install script.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# Makes a database with the objects of a changed script, its tables and some rows. Each
# change must be one.
sub database_of_version
{
	my ($database, @changes) = @_;
	my ($version) = slurp_file('batches.control') =~ /default_version = '(.*)'/;
	my $script = slurp_file("sql/batches--$version.sql");

	$script =~ s/^\\echo.*\n//;
	$script =~ s/\@extschema\@/batches/g;
	$script =~ s/MODULE_PATHNAME/\$libdir\/batches/g;
	while (my ($old, $new) = splice @changes, 0, 2)
	{
		$script =~ s/$old/$new/ee or die "no \"$old\" in the script";
	}
	$node->safe_psql('postgres', "create database $database");
	$node->safe_psql($database, 'create schema batches');
	$node->safe_psql($database, $script);
	$node->safe_psql($database, q{
		select batches.create_tables();
		insert into batches.project_member values (lpad('1', 32, '0')::uuid, 'ada');
		insert into batches.batch (project_id, id, device_type, user_id, status, created_at, updated_at)
		select lpad('1', 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'DEVICE ' || n % 3, 'ada',
		       case when n < 4 then 'DONE' else 'PENDING' end::batches.batch_status,
		       '2025-01-01Z'::timestamptz + n * interval '1 day', '2025-02-01Z'
		  from generate_series(1, 9) n;
		insert into batches.job (project_id, batch_id, id, status)
		select project_id, id, id, 'RUNNING' from batches.batch where status = 'DONE'});
	return;
}

# Every function that an application calls, and those that the owner does
my @calls = (
	q{select id, status, jobs_count, tags, created_at from batches.list_batches(order_by => 'id', created_after => '2025-01-04Z', "limit" => 3, "offset" => 1)},
	q{select id, jobs_count_per_status from batches.list_batches(status => '{DONE}', min_jobs => 1, order_by => 'jobs_count', order_by_direction => 'ASC')},
	q{select batches.count_batches(), batches.count_batches(status => '{DONE}'), batches.count_batches(tag => 'x'), batches.count_batches(max_jobs => 0, open => false)},
	q{select batches.batch_facets(device_type => '{DEVICE 1}'), batches.batch_facets(user_id => '{ada}', id__starts_with => '0')},
	q{select engine, reason, path from batches.explain_batches(status => '{DONE}'); select engine, requests from batches.engine_requests()},
	q{select batches.get_all_batches(complete => true, "limit" => 2, order_by => 'user_id')},
	q{select * from batches.http_get_all_batches('status=DONE&order_by=id&limit=2')},
	q{select * from batches.http_get_all_batches('limit=0')},
	q{select batches.postgrest_get_all_batches()},
	q{select batches.current_user_id(), batches.are_valid_tags('{a,b}'), batches.size_class(1000)},
	q{select batches.jobs_count_per_status(status) from batches.job},
	q{update batches.job set status = 'ERROR'; update batches.batch set status = 'PAUSED' where status = 'PENDING'; delete from batches.batch where device_type = 'DEVICE 2'},
	q{select * from batches.batch_job_count order by batch_id; select project_id, device_type, n from batches.batch_total order by 1, 2},
	q{select count(*) from batches.verify_counts()},
	q{set session_replication_role = replica; delete from batches.batch_job_count; set session_replication_role = origin; select batches.repair_counts()});

sub answers
{
	my ($database) = @_;

	return join "\n", map { $node->safe_psql($database, "set batches.user_id = 'ada'; $_") } @calls;
}

database_of_version('present');
my $expected = answers('present');
like($expected, qr/"total":9/, 'objects of the same version');

# An older version has fewer filters and columns, and others in another order.
database_of_version('older',
	qr/,\s*created_before timestamptz default null/ => '""',
	qr/(    status \S+ default null,\n)(    complete boolean default null,\n)/ => '"$2$1"',
	qr/,\n\s+queue_priority batches\.queue_priority\)/ => '")"',
	qr/( *id uuid,\n)( *parent_id uuid,\n)/ => '"$2$1"');
is(answers('older'), $expected, 'an older version answers the same');
is($node->safe_psql('older', q{
	select count(*) filter (where 'created_before' = any (proargnames)), count(*) filter (where (proargnames)[1] = 'id')
	  from pg_proc where pronamespace = 'batches'::regnamespace}), '0|6', 'without a filter');

# A newer one has what the library does not know.
my $hint = qr/HINT: .*ALTER EXTENSION batches UPDATE/;
my $unknown = qr/function \S+\(.*\) is of another version of the extension than its library\n/;
database_of_version('newer', qr/    tag text default null,\n/ => '"    colour text default null,\n$&"');
foreach my $call (
	'batches.list_batches()', q{batches.count_batches(colour => 'red')}, 'batches.batch_facets()', 'batches.explain_batches()',
	q{batches.get_all_batches(status => '{DONE}')})
{
	my ($code, $output, $error) = $node->psql('newer', "set batches.user_id = 'ada'; select * from $call");
	like($error, qr/$unknown.*argument "colour" text.*$hint/s, "an unknown filter: $call");
}
is($node->safe_psql('newer', q{set batches.user_id = 'ada'; select body -> 'pagination' ->> 'total' from batches.http_get_all_batches('')}),
	9, 'what is the same in both works');

# What has the name of what the library knows, and another type
my %changes = (
	'batches.count_batches(min_jobs => 1)' => [ qr/min_jobs bigint/ => '"min_jobs integer"', qr/argument "min_jobs" integer/ ],
	'batches.count_batches(id => null)' => [ qr/ id uuid\[\]/ => '" id uuid"', qr/argument "id" uuid/ ],
	'batches.list_batches()' => [ qr/jobs_count integer,/ => '"jobs_count bigint,"', qr/column "jobs_count" bigint/ ],
	'batches.list_batches("limit" => 1)' => [ qr/        webhook text,\n/ => '"$&        colour text,\n"', qr/column "colour" text/ ],
	'batches.explain_batches()' => [ qr/out work bigint/ => '"out work numeric"', qr/have its result\./ ],
	'batches.engine_requests()' => [ qr/out requests bigint/ => '"out requests numeric"', qr/have its result\./ ],
	q{batches.http_get_all_batches('')} => [ qr/out status integer/ => '"out status text"', qr/have its result\./ ]);
my $n = 0;
foreach my $call (sort keys %changes)
{
	my ($old, $new, $misfit) = @{ $changes{$call} };
	my $database = 'other' . $n++;

	database_of_version($database, $old => $new);
	my ($code, $output, $error) = $node->psql($database, "set batches.user_id = 'ada'; select * from $call");
	like($error, qr/$unknown.*$misfit.*$hint/s, "another type: $call");
}

$node->stop;
done_testing();
