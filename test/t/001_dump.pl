# The tables survive pg_dump, in each of its forms, with their rows, counts, triggers and
# policies; and what a dump leaves out of the derived tables a repair brings back.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;

$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member
	select lpad(n::text, 32, '0')::uuid, 'user-' || n from generate_series(1, 3) n;
	insert into batches.batch (project_id, device_type, user_id, tags, status, open)
	select lpad((1 + n % 3)::text, 32, '0')::uuid, 'DEVICE ' || n % 4, 'ada', array['t' || n % 7],
	       (enum_range(null::batches.batch_status))[1 + n % 8], n % 5 = 0
	  from generate_series(1, 300) n;
	insert into batches.job (project_id, batch_id, status)
	select b.project_id, b.id, s
	  from batches.batch b, unnest(enum_range(null::batches.job_status)) s
	 where hashtext(b.id::text || s::text) % 3 <> 0;
});
# Several rows for one total, as two writers at once leave them
my $open = $node->background_psql('postgres');
$open->query_safe(q{begin; update batches.batch set status = 'DONE' where ctid = '(0,1)'});
$node->safe_psql('postgres', q{update batches.batch set status = 'DONE' where ctid = '(0,4)'});
$open->query_safe('commit');
$open->quit;
cmp_ok($node->safe_psql('postgres', 'select count(*) - count(distinct (project_id, device_type)) from batches.batch_total'),
	'>', 0, 'there are totals of several rows');

# What must be the same after a restore, and that the counts are those of a recount
my $answers = q{select 'wrong counts: ' || count(*) from batches.verify_counts();
	select 'version: ' || batches.upgrade_tables();
	select json_agg(l order by l.id) from batches.list_batches("limit" => null) l;
	select batches.count_batches(), batches.count_batches(status => '{DONE}'), batches.count_batches(device_type => '{DEVICE 1}', open => true);
	set batches.user_id = 'user-2';
	select batches.get_all_batches(); select batches.get_all_batches(order_by => 'jobs_count', min_jobs => 4)};
my $answers_before = $node->safe_psql('postgres', $answers);
like($answers_before, qr/^wrong counts: 0\n.*"pagination":\{"total":100,/s, 'the database answers');
my $dump = $node->basedir . '/dump';
my @jobs = ('-j', 4);

# The tests of a database that a dump was restored into
sub restored
{
	my ($database, $what) = @_;

	is($node->safe_psql($database, $answers), $answers_before, "$what: the counts equal a recount, the answers are the same");
	# Whatever was restored, it goes on from there.
	$node->safe_psql($database, q{
		begin;
		update batches.job set status = 'DONE';
		delete from batches.job where hashtext(id::text) % 2 = 0;
		update batches.batch set status = 'ERROR' where hashtext(id::text) % 3 = 0;
		delete from batches.batch where hashtext(id::text) % 5 = 0;
		insert into batches.batch (project_id, device_type, user_id) values (lpad('1', 32, '0')::uuid, 'NEW', 'ada');
		do $$
		begin
			if exists (select from batches.verify_counts()) then
				raise 'counts are wrong';
			end if;
		end $$;
		rollback});
	return;
}

sub create_database
{
	my ($database, $tables) = @_;

	$node->safe_psql('postgres', "create database $database template template0");
	$node->safe_psql($database, 'create extension batches; select batches.create_tables()') if $tables;
	return;
}

sub dump_database
{
	my ($what, @options) = @_;

	system('rm', '-rf', $dump) == 0 or die;
	command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump, @options ], "$what: dump");
	return;
}

sub load_dump
{
	my ($database, $what) = @_;

	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $database, '-f', $dump, '-o', '/dev/null' ],
		"$what: restore");
	return;
}

# Whole dumps into empty databases
create_database('plain', 0);
dump_database('plain');
load_dump('plain', 'plain');
restored('plain', 'plain');

create_database('custom', 0);
dump_database('custom', '-Fc');
$node->command_ok([ 'pg_restore', '-e', '-d', 'custom', $dump ], 'custom: restore');
restored('custom', 'custom');

create_database('directory', 0);
dump_database('directory', '-Fd', @jobs);
$node->command_ok([ 'pg_restore', '-e', @jobs, '-d', 'directory', $dump ], 'directory, four jobs: restore');
restored('directory', 'directory, four jobs');

create_database('sections', 0);
foreach my $section (qw(pre-data data post-data))
{
	dump_database($section, "--section=$section");
	load_dump('sections', $section);
}
restored('sections', 'three sections');

# The data alone, into tables that have their triggers already
create_database('data', 1);
dump_database('data only', '--data-only');
load_dump('data', 'data only');
restored('data', 'data only');
# Once more: the batches are there already, and nothing of it stays.
my ($code) = $node->psql('data', "\\i $dump", on_error_stop => 0);
restored('data', 'data only, again');

create_database('without_triggers', 1);
dump_database('data only, triggers disabled', '--data-only', '--disable-triggers');
load_dump('without_triggers', 'data only, triggers disabled');
restored('without_triggers', 'data only, triggers disabled');

# Statements that pass over what is there, loaded twice
create_database('inserts', 1);
dump_database('inserts', '--data-only', '--inserts', '--on-conflict-do-nothing');
load_dump('inserts', 'inserts');
restored('inserts', 'inserts');
load_dump('inserts', 'inserts, again');
restored('inserts', 'inserts, twice');

create_database('inserts_without_triggers', 1);
dump_database('inserts, triggers disabled', '--data-only', '--inserts', '--on-conflict-do-nothing', '--disable-triggers');
load_dump('inserts_without_triggers', 'inserts, triggers disabled');
restored('inserts_without_triggers', 'inserts, triggers disabled');
load_dump('inserts_without_triggers', 'inserts, triggers disabled, again');
restored('inserts_without_triggers', 'inserts, triggers disabled, twice');

# Without the derived tables
my @derived = ('-T', 'batches.batch_job_count', '-T', 'batches.batch_total');
create_database('without_derived', 1);
dump_database('without the derived tables', '--data-only', '--disable-triggers', @derived);
load_dump('without_derived', 'without the derived tables');
cmp_ok($node->safe_psql('without_derived', 'select count(*) from batches.verify_counts()'), '>=', 300,
	'without the derived tables all counts are missing');
my ($status, $stdout, $stderr) = $node->psql('without_derived', q{update batches.job set status = 'RUNNING'});
like($stderr, qr/HINT: .*batches\.repair_counts\(\)/, 'which an update of jobs says');
($status, $stdout, $stderr) = $node->psql('without_derived', q{select sum(jobs_count) from batches.list_batches()});
like($stderr, qr/HINT: .*batches\.repair_counts\(\)/, 'and so does a listing');
cmp_ok($node->safe_psql('without_derived', 'select batches.repair_counts()'), '>=', 300, 'a repair brings them back');
restored('without_derived', 'without the derived tables, mended');

create_database('without_derived_triggers', 1);
dump_database('without the derived tables', '--data-only', @derived);
load_dump('without_derived_triggers', 'without the derived tables, through the triggers');
restored('without_derived_triggers', 'without the derived tables, through the triggers');

# As the schema's: dropped tables are an error that create_tables() explains, and it is they that are missing.
create_database('without_derived_schema', 0);
dump_database('without the derived tables in the schema', @derived);
load_dump('without_derived_schema', 'without the derived tables in the schema');
($status, $stdout, $stderr) = $node->psql('without_derived_schema', q{select batches.create_tables()});
like($stderr, qr/only some of the tables of "batches" exist/, 'derived tables that are missing are missed');

$node->stop;
done_testing();
