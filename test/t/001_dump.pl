# The tables survive pg_dump with their rows, counts, triggers and policies.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member
	select lpad(n::text, 32, '0')::uuid, 'user-' || n from generate_series(1, 3) n;
	insert into batches.batch (project_id, device_type, user_id, tags)
	select lpad((1 + n % 3)::text, 32, '0')::uuid, 'FRESNEL', 'ada', array['t' || n % 7]
	  from generate_series(1, 100) n;
	insert into batches.job (project_id, batch_id, status)
	select b.project_id, b.id, s
	  from batches.batch b, unnest(enum_range(null::batches.job_status)) s
	 where hashtext(b.id::text || s::text) % 3 <> 0;
});

my $rows = q{select json_agg(l order by l.id) from batches.list_batches("limit" => null) l};
my $document = q{set batches.user_id = 'user-2'; select batches.get_all_batches()};
my $before = $node->safe_psql('postgres', $rows);
my $document_before = $node->safe_psql('postgres', $document);
my $dump = $node->basedir . '/dump.sql';

# A whole dump into an empty database.
$node->safe_psql('postgres', 'create database copy template template0');
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'dump');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'copy', '-f', $dump ],
	'restore');
is($node->safe_psql('copy', $rows), $before, 'a restored dump lists the same rows');
is($node->safe_psql('copy', $document), $document_before,
	'a restored dump gives a member the same document');
is($node->safe_psql('copy', 'select count(*) from batches.verify_job_counts()'),
	0, 'its counts equal a recount');
$node->safe_psql('copy', q{update batches.job set status = 'DONE'; delete from batches.job where hashtext(id::text) % 2 = 0});
is($node->safe_psql('copy', 'select count(*) from batches.verify_job_counts()'),
	0, 'its triggers keep the counts');

# The data alone into tables that have their triggers already.
$node->safe_psql('postgres',
	'create database data template template0');
$node->safe_psql('data', 'create extension batches; select batches.create_tables()');
command_ok([ 'pg_dump', '--data-only', '-d', $node->connstr('postgres'), '-f', $dump ],
	'dump of the data only');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', 'data', '-f', $dump ],
	'restore of the data only');
is($node->safe_psql('data', $rows), $before, 'data loaded through the triggers are the same rows');

$node->stop;
done_testing();
