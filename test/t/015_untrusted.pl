# Requests that are made to be slow, or to take much memory: lists in an order that a quicksort
# is slow for, lists whose values have one hash, query strings of which the answer is long.
#
# What a call costs is measured in comparisons, or in the server's processor's time against
# that of as many shuffled values: other programs on the machine do not count, and the ratio is in
# the hundreds where the order or the hashes matter.
use strict;
use warnings;

use File::Basename;
use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $project = File::Spec->rel2abs(dirname(__FILE__) . '/../..');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off");
$node->start;

# The adversary is a library of its own. It is built beside the cluster.
my $directory = $node->basedir . '/adversary';
my $source = "$project/test/adversary";
mkdir $directory or die "$directory: $!";
system_or_bail('make', '-s', '-C', $directory, '-f', "$source/Makefile", "VPATH=$source");
$node->safe_psql('postgres', qq{
	create extension batches;
	select batches.create_tables();
	create function killer_order(n int) returns int[] strict language c as '$directory/adversary';
	create function sort_steps(n int, cancel_at bigint) returns bigint strict language c as '$directory/adversary';
	create function steps_behind_cancel() returns bigint strict language c as '$directory/adversary', 'steps_behind_cancel_sql';
	create function untrusted_hash(id uuid) returns bigint strict language c as '$directory/adversary';
	create function colliding_uuid(n int) returns uuid strict language c as '$directory/adversary';
	insert into batches.batch (project_id, device_type, user_id)
	select lpad((n % 4)::text, 32, '0')::uuid, 'FRESNEL', 'ada' from generate_series(1, 60000) n;
	insert into batches.project_member select lpad('1', 32, '0')::uuid, 'ada';
	vacuum analyze;
	create table colliding as select array_agg(colliding_uuid(n)) as ids from generate_series(1, 40000) n;
	create table killer as
	select array_agg('user-' || lpad(r::text, 12, '0') order by i) as texts, array_agg(lpad(to_hex(r), 32, '0')::uuid order by i) as ids
	  from unnest(killer_order(100000)) with ordinality k (r, i);
	create table shuffled as
	select array_agg('user-' || lpad(n::text, 12, '0') order by hashint4(n)) as texts, array_agg(lpad(to_hex(n), 32, '0')::uuid order by hashint4(n)) as ids
	  from generate_series(1, 100000) n});

#
# Sorting and hashing
#

my $n = 100_000;
my $steps = $node->safe_psql('postgres', "select sort_steps($n, 0)");
cmp_ok($steps, '<', 3 * $n * log($n) / log(2), 'against its adversary a sort of n values takes 3 n log n steps at most');
foreach my $at (1, 1000, 50_000, 150_000, 250_000, int($steps / 2), $steps)
{
	my ($code, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\nselect sort_steps($n, $at);\nselect steps_behind_cancel()", on_error_stop => 0);
	like($stderr, qr/57014/, "a sort is canceled at step $at");
	is($stdout, 0, 'and does not take another one');
}
is($node->safe_psql('postgres', q{
	select count(distinct uuid_hash(id)), count(distinct id), count(distinct untrusted_hash(id)) > 39990 from colliding, unnest(ids) id}),
	'1|40000|t', 'uuids that have one hash for PostgreSQL have different ones here');
my $hash = q{select untrusted_hash('00000000-0000-0000-0000-000000000001')};
isnt($node->safe_psql('postgres', $hash), $node->safe_psql('postgres', $hash), 'which are others in each session');

#
# Every function that takes lists
#

# What a call answers, or its SQLSTATE, and how many seconds of the processor it took
my $ticks = q{select split_part(pg_read_file('/proc/self/stat'), ' ', 14)};
my $ticks_per_second = 100;

sub measure
{
	my ($settings, $call) = @_;
	my ($code, $stdout, $stderr) = $node->psql('postgres', qq{
		set batches.user_id = 'ada';
		$settings;
		$ticks;
		select $call;
		\\echo :SQLSTATE
		reset statement_timeout;
		$ticks}, on_error_stop => 0);
	my ($before, @middle) = split /\n/, $stdout;
	my $after = pop @middle;
	return (join(' ', @middle), ($after - $before) / $ticks_per_second);
}

SKIP:
{
	skip('there is no /proc', 1) unless -r '/proc/self/stat';
	my ($most) = sort { $b <=> $a } map { (measure("set batches.scan = $_->[0]", "batches.get_all_batches($_->[1]) -> 'pagination' ->> 'total' from shuffled"))[1] }
	  map { my $engine = $_; map { [ $engine, "$_->[0] => shuffled.$_->[1]" ] } [ 'user_id', 'texts' ], [ 'id', 'ids' ] } 'index', 'sql';
	my $slow = 20 * ($most + 1 / $ticks_per_second);
	note("shuffled values take $most seconds at most");
	foreach my $engine ('index', 'sql')
	{
		foreach my $list ('user_id => killer.texts', 'device_type => killer.texts', 'id => killer.ids', 'project_id => killer.ids')
		{
			foreach my $call (
				"batches.count_batches($list)", "(select count(*) from batches.list_batches($list))",
				"batches.batch_facets($list) ->> 'total'", "batches.get_all_batches($list) -> 'pagination' ->> 'total'",
				"(select (detail ->> 'total') from batches.explain_batches($list))")
			{
				my ($answer, $seconds) = measure("set batches.scan = $engine", "$call from killer");
				like($answer, qr/^\d+ 00000$/, "$call ($engine)");
				cmp_ok($seconds, '<', $slow, 'is not slow');
			}
		}
	}
	foreach my $list ('id', 'project_id')
	{
		my $call = "batches.count_batches($list => ids, created_after => '2000-01-01Z', status => '{PENDING}') from colliding";
		my ($answer, $seconds) = measure('set batches.scan = index', $call);
		is($answer, '0 00000', "values of $list that collide");
		cmp_ok($seconds, '<', $slow, 'are not slow');
	}
	my ($answer, $seconds) = measure('', 'batches.are_valid_tags(texts), batches.are_valid_tags(texts || texts) from killer');
	is($answer, 't|f 00000', 'tags are compared');
	cmp_ok($seconds, '<', $slow, 'and not slowly');
}

#
# The memory of a request that is refused
#

SKIP:
{
	skip('there is no /proc', 1) unless -r '/proc/self/status';
	my $peak = q{select (regexp_match(pg_read_file('/proc/self/status'), 'VmHWM:\s+(\d+)'))[1]};
	my %requests = (
		'a list that is too long' => q{repeat('id=&', 65536)},
		'many errors' => q{repeat('id=x&', 52428)},
		'many errors that are told' => q{repeat('id=12345678&', 10000)},
		'many errors of several lists' => q{repeat('status=a&', 10000) || repeat('queue_priority=a&', 10000)},
		'a repeated scalar' => q{repeat('order_by=a&', 23831)},
		'control characters, escaped in the answer' => q{'limit=' || repeat(E'\x01', 262138)},
		'the same in many values' => q{repeat('id=' || repeat(E'\x01', 250) || '&', 1000)},
		'quotes' => q{'limit=' || repeat('"', 262138)},
		'encoded bytes that are no text' => q{'limit=' || repeat('%ff', 87379)},
		'ten megabytes' => q{repeat('a', 10000000)});
	foreach my $request (sort keys %requests)
	{
		# Both in a session of its own, which has refused a request before
		my @peaks;
		my $length;
		foreach my $measured (0, 1)
		{
			my $result = $node->safe_psql('postgres', qq{
				set batches.user_id = 'ada';
				select status from batches.http_get_all_batches('limit=101');
				select octet_length($requests{$request});
				} . ($measured ? "select status, pg_column_size(body) from batches.http_get_all_batches($requests{$request});" : 'select 422, 0;') . $peak);
			like($result, qr/^422\n(\d+)\n422\|\d+\n(\d+)$/, "refused: $request");
			($length, my $kilobytes) = $result =~ /^422\n(\d+)\n422\|\d+\n(\d+)$/;
			push @peaks, 1024 * $kilobytes;
		}
		cmp_ok($peaks[1] - $peaks[0], '<', 20 * $length + 1024 * 1024, 'in at most 20 times its length, and a megabyte');
	}
}

$node->stop;
done_testing();
