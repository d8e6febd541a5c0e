# Behind pgbouncer in transaction mode, where each transaction may get another
# connection: who the user is, and the example server.
use strict;
use warnings;

use File::Basename;
use File::Spec;
use FindBin;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib $FindBin::RealBin;
use Programs;

my $pgbouncer = find_program('pgbouncer');
plan skip_all => 'pgbouncer is not installed' if !$pgbouncer && !$ENV{CI};
my $python = '/usr/bin/python3';
my $has_server = $ENV{CI} || system("$python -c 'import asyncpg, starlette, uvicorn' 2>/dev/null") == 0;

my $project = File::Spec->rel2abs(dirname(__FILE__) . '/../..');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--encoding=UTF8']);
$node->start;

# User n of sixteen has n batches.
$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member (project_id, user_id)
	select lpad(n::text, 32, '0')::uuid, 'user-' || n from generate_series(1, 16) n;
	insert into batches.batch (project_id, device_type, user_id)
	select lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'user-' || n from generate_series(1, 16) n, generate_series(1, n);
	create role batches_app login;
	grant usage on schema batches to batches_app;
	grant select on all tables in schema batches to batches_app;
	grant set on parameter batches.user_id to batches_app;
});

#
# Two connections for all
#

my $directory = PostgreSQL::Test::Utils::tempdir();
my $pool_port = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$directory/users.txt", qq("batches_app" ""\n));
append_to_file("$directory/pgbouncer.ini", sprintf(<<'INI', $node->host, $node->port, $pool_port, $directory));
[databases]
postgres = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = trust
auth_file = %s/users.txt
pool_mode = transaction
default_pool_size = 2
INI
start_program('pgbouncer', $pool_port, {}, $pgbouncer, "$directory/pgbouncer.ini");
my $pool = "host=127.0.0.1 port=$pool_port dbname=postgres user=batches_app";

#
# The user of a transaction
#

# Sixteen clients, each of which asks for its own batches again and again; returns how
# many of their answers were right and wrong.
my $rounds = 50;
sub count_answers
{
	my ($begin, $end) = @_;
	my $answers = in_parallel(sub {
		my ($n) = @_;
		my ($output, $error) = ('', '');
		my $script = join('', map { sprintf("$begin\nselect batches.get_all_batches()::jsonb #>> '{pagination,total}';\n$end\n", $n) } 1 .. $rounds);
		IPC::Run::run([ 'psql', '-X', '-q', '-A', '-t', '-d', $pool ], '<', \$script, '>', \$output, '2>', \$error);
		my @totals = grep { /^\d+$/ } split /\n/, $output;
		my $right = grep { $_ == $n } @totals;
		return sprintf('%d %d %s', $right, @totals - $right, substr($error, 0, 200) =~ s/\n/ /gr);
	}, 1 .. 16);
	my ($right, $wrong, $errors) = (0, 0, '');
	foreach my $answer ($answers->())
	{
		my ($r, $w, $error) = $answer =~ /^(\d+) (\d+) (.*)/;
		$right += $r;
		$wrong += $w;
		$errors .= $error;
	}
	diag($errors) if $errors ne '';
	return "$right right, $wrong wrong";
}

is(count_answers(q{begin; set local batches.user_id = 'user-%d';}, 'commit;'), '800 right, 0 wrong', 'set local, in transactions');
is(count_answers(q{begin; select set_config('batches.user_id', 'user-%d', true);}, 'commit;'), '800 right, 0 wrong', 'set_config(..., true)');
is( $node->safe_psql('postgres', q{select count(*) from pg_stat_activity where usename = 'batches_app'}),
	2, 'sixteen clients over two connections');

# Nobody has a user left who did not say so. A client that sets one for its session leaves it to the next.
my $whoami = q{select coalesce(batches.current_user_id(), 'nobody')};
my @held = map { my $client = $node->background_psql('postgres', extra_params => [ '-d', $pool ]); $client->query_safe('begin'); $client } 1 .. 2;
is(join(' ', map { $_->query_safe($whoami) } @held), 'nobody nobody', 'neither connection has a user');
is(join(' ', map { $_->query_safe('select session_user') } @held), 'batches_app batches_app', 'as they are the pooler\'s');
$held[0]->query_safe('commit');
$node->safe_psql('postgres', q{set batches.user_id = 'user-16'}, connstr => $pool);
is($node->safe_psql('postgres', $whoami, connstr => $pool), 'user-16', 'a plain set leaks the user to the next client');
$node->safe_psql('postgres', 'reset batches.user_id', connstr => $pool);
$held[1]->query_safe('commit');
$_->quit foreach @held;

#
# The example server, as it is
#

SKIP:
{
	skip 'python3-asyncpg, python3-starlette and python3-uvicorn are not installed', 2 if !$has_server;

	my $port = PostgreSQL::Test::Cluster::get_free_port();
	start_program('server', $port,
		{
			PYTHONDONTWRITEBYTECODE => 1,
			BATCHES_DSN => "postgresql://batches_app\@127.0.0.1:$pool_port/postgres",
			BATCHES_TOKENS => encode_json({ map { ("secret-$_" => "user-$_") } 1 .. 16 }),
			BATCHES_PORT => $port
		},
		$python, "$project/examples/server.py");
	my $answers = in_parallel(sub {
		my ($n) = @_;
		my $http = HTTP::Tiny->new;
		my %answers;
		foreach (1 .. 40)
		{
			my $response = $http->get("http://127.0.0.1:$port/api/v1/batches", { headers => { Authorization => "Bearer secret-$n" } });
			my $total = $response->{status} == 200 ? decode_json($response->{content})->{pagination}{total} : $response->{status};
			$answers{ $total == $n ? 'right' : "$total instead of $n" }++;
		}
		return join(', ', map { "$answers{$_} $_" } sort keys %answers);
	}, 1 .. 16);
	is_deeply([ $answers->() ], [ ('40 right') x 16 ], 'the example server: sixteen users over two connections');
	unlike(slurp_file(program_log('server')), qr/ERROR|WARNING|Exception in/, 'and has nothing to complain of');
}

done_testing();
