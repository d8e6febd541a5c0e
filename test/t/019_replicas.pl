# Two standbys behind pgbouncer and HAProxy, with the examples' configurations: reads are
# spread over them, writes go to the primary. One is stopped and comes back, and then it
# becomes the primary, while clients read and write.
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
use Time::HiRes;

use lib $FindBin::RealBin;
use Programs;

my $pgbouncer = find_program('pgbouncer');
my $haproxy = find_program('haproxy');
my $python = '/usr/bin/python3';
plan skip_all => 'pgbouncer, haproxy, python3-asyncpg, python3-starlette or python3-uvicorn is not installed'
  if !$ENV{CI} && !($pgbouncer && $haproxy && system("$python -c 'import asyncpg, starlette, uvicorn' 2>/dev/null") == 0);

my $project = File::Spec->rel2abs(dirname(__FILE__) . '/../..');
my $directory = PostgreSQL::Test::Utils::tempdir();

# HAProxy asks them by TCP, and one that has been stopped keeps its port.
$PostgreSQL::Test::Cluster::use_tcp = 1;
$PostgreSQL::Test::Cluster::test_pghost = '127.0.0.1';

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => ['--encoding=UTF8']);
$primary->append_conf('postgresql.conf', "wal_keep_size = 512MB\nmax_connections = 100");
$primary->start;

# User n of eight has 5 n batches with two jobs each; n of them run, one is new. All
# transactions below leave that so.
$primary->safe_psql('postgres', q{
	create database demo;
	create role haproxy login;
});
$primary->safe_psql('demo', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member (project_id, user_id)
	select lpad(n::text, 32, '0')::uuid, 'user-' || n from generate_series(1, 8) n;
	insert into batches.batch (project_id, device_type, user_id, status, tags)
	select lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'user-' || n,
	       case when i <= n then 'RUNNING' when i = n + 1 then 'PENDING' else 'DONE' end::batches.batch_status, array['0']
	  from generate_series(1, 8) n, generate_series(1, 5 * n) i;
	insert into batches.job (project_id, batch_id) select project_id, id from batches.batch, generate_series(1, 2);
	create role batches_app login;
	grant usage on schema batches to batches_app;
	grant select on all tables in schema batches to batches_app;
	grant set on parameter batches.user_id to batches_app;
	create role batches_writer login bypassrls;
	grant usage on schema batches to batches_writer;
	grant select on all tables in schema batches to batches_writer;
	grant insert, update, delete on batches.batch, batches.job to batches_writer;
	grant set on parameter batches.user_id to batches_writer;
	create procedure public.write(n int, serial text) language plpgsql as $$
	declare
	  project constant uuid := lpad(n::text, 32, '0');
	  new uuid := gen_random_uuid();
	begin
	  -- One that runs ends, one that had ended runs.
	  with changing as (
	    (select id, 'DONE' as status from batches.batch where project_id = project and status = 'RUNNING' limit 1)
	    union all
	    (select id, 'RUNNING' from batches.batch where project_id = project and status = 'DONE' limit 1))
	  update batches.batch b set status = c.status::batches.batch_status, updated_at = now()
	    from changing c where b.project_id = project and b.id = c.id;
	  -- A new one in the place of the last one
	  delete from batches.batch where project_id = project and status = 'PENDING';
	  insert into batches.batch (project_id, id, device_type, user_id, tags) values (project, new, 'FRESNEL', 'user-' || n, array[serial]);
	  insert into batches.job (project_id, batch_id) select project, new from generate_series(1, 2);
	  update batches.job set status = 'RUNNING' where project_id = project and batch_id = new and id =
	    (select id from batches.job where project_id = project and batch_id = new limit 1);
	end $$;
});

$primary->backup('backup');
my @standbys = map { my $standby = PostgreSQL::Test::Cluster->new("standby_$_");
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;
	$standby } 1 .. 2;
$primary->wait_for_catchup($_) foreach @standbys;

#
# The examples' configurations, with the servers and ports of here
#

my %ports = map { $_ => PostgreSQL::Test::Cluster::get_free_port() } qw(writes reads pool http);
my @servers = ($primary, @standbys);
my $configuration = slurp_file("$project/examples/haproxy.cfg");
$configuration =~ s/127\.0\.0\.1:5000/127.0.0.1:$ports{writes}/;
$configuration =~ s/127\.0\.0\.1:5001/127.0.0.1:$ports{reads}/;
$configuration =~ s/10\.0\.0\.$_:5432/$servers[$_ - 1]->host . ':' . $servers[$_ - 1]->port/ge foreach 1 .. 3;
unlike($configuration, qr/^[^#]*10\.0\.0/m, 'all of its servers are ours');
append_to_file("$directory/haproxy.cfg", $configuration);
my $pools = slurp_file("$project/examples/pgbouncer.ini");
$pools =~ s/port=5000/port=$ports{writes}/;
$pools =~ s/port=5001/port=$ports{reads}/;
$pools =~ s/= 6432/= $ports{pool}/;
$pools =~ s/= scram-sha-256/= trust/;
$pools =~ s/= users.txt/= $directory\/users.txt/;
$pools =~ s/server_lifetime = \d+/server_lifetime = 5/;
$pools .= "unix_socket_dir =\n";
append_to_file("$directory/pgbouncer.ini", $pools);
append_to_file("$directory/users.txt", qq("$_" ""\n)) foreach qw(batches_app batches_writer);

start_program('haproxy', $ports{writes}, {}, $haproxy, '-f', "$directory/haproxy.cfg");
start_program('pgbouncer', $ports{pool}, {}, $pgbouncer, "$directory/pgbouncer.ini");
my $writes = "host=127.0.0.1 port=$ports{pool} dbname=demo user=batches_writer connect_timeout=10";
my $reads = "host=127.0.0.1 port=$ports{pool} dbname=demo_read user=batches_writer";

# Waits until a condition holds.
sub wait_until
{
	my ($what, $condition) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until ($condition->())
	{
		die "waited in vain: $what" if time > $deadline;
		Time::HiRes::sleep(0.1);
	}
	return;
}

# Runs psql on a pool. Returns the output, and what went wrong: a SQLSTATE, or "lost".
sub ask
{
	my ($pool, $sql) = @_;
	my ($output, $error) = ('', '');
	IPC::Run::run([ 'psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=verbose', '-d', $pool ],
		'<', \$sql, '>', \$output, '2>', \$error);
	chomp $output;
	# pgbouncer may say that a client waits.
	$error =~ s/^NOTICE:.*\n//mg;
	my $fault = $error =~ /(?:ERROR|FATAL):  ([0-9A-Z]{5}): / ? $1 : $error =~ /connection .*(?:failed|lost|closed)|closed the connection/ ? 'lost' : $error;
	return ($output, $fault, $error);
}
wait_until('HAProxy finds them', sub { (ask($writes, 'select 1'))[0] eq '1' && (ask($reads, 'select pg_is_in_recovery()'))[0] eq 't' });

my %tokens = map { ("secret-$_" => "user-$_") } 1 .. 8;
start_program('server', $ports{http},
	{
		PYTHONDONTWRITEBYTECODE => 1,
		BATCHES_DSN => "postgresql://batches_app\@127.0.0.1:$ports{pool}/demo_read",
		BATCHES_TOKENS => encode_json(\%tokens),
		BATCHES_PORT => $ports{http}
	},
	$python, "$project/examples/server.py");

#
# Clients
#

my $ended = "$directory/ended";
my $progress = "$directory/progress";
append_to_file($progress, '');

# What is wrong with a document of user n, or ''
sub wrong_with
{
	my ($n, $document) = @_;
	my @batches = @{ $document->{data} };
	my $own = sprintf('00000000-0000-0000-0000-%012d', $n);
	return 'a batch of another user' if grep { $_->{project_id} ne $own } @batches;
	return "a total of $document->{pagination}{total}" if $document->{pagination}{total} != 5 * $n;
	return @batches . ' batches' if @batches != 5 * $n;
	my %statuses;
	$statuses{ $_->{status} }++ foreach @batches;
	return "$statuses{RUNNING} that run" if $statuses{RUNNING} != $n;
	foreach my $batch (@batches)
	{
		my $sum = 0;
		$sum += $_ foreach values %{ $batch->{jobs_count_per_status} };
		return "$batch->{jobs_count} jobs, $sum by status" if $batch->{jobs_count} != 2 || $sum != 2;
	}
	return '';
}

# Asks for the batches of user n until the end. Returns how many answers were right,
# which were wrong, and what errors there were.
sub read_batches
{
	my ($n) = @_;
	my $http = HTTP::Tiny->new(timeout => 30);
	my %answers;
	until (-e $ended)
	{
		my $response = $http->get("http://127.0.0.1:$ports{http}/api/v1/batches", { headers => { Authorization => "Bearer secret-$n" } });
		my $answer = "error $response->{status}";
		if ($response->{status} == 200)
		{
			my $wrong = wrong_with($n, decode_json($response->{content}));
			$answer = $wrong eq '' ? 'right' : "wrong: $wrong";
			append_to_file($progress, '.') if $wrong eq '';
		}
		$answers{$answer}++;
		Time::HiRes::sleep(0.1) if $response->{status} != 200;
	}
	return encode_json(\%answers);
}

# Writes until the end, and asks the primary for what it has written.
sub write_batches
{
	my %answers;
	for (my $serial = 1; !-e $ended; $serial++)
	{
		my $n = 1 + $serial % 8;
		my ($output, $fault, $error) = ask($writes, "call public.write($n, '$serial')");
		if ($fault ne '')
		{
			$answers{"error $fault"}++;
			Time::HiRes::sleep(0.1);
			next;
		}
		$answers{written} = $serial;
		($output, $fault) = ask($writes, qq{begin; set local batches.user_id = 'user-$n';
			select batches.count_batches(tag => '$serial'); commit});
		$answers{ $fault ne '' ? "error $fault" : $output eq '1' ? 'read' : "its own write was not there: $serial" }++;
	}
	return encode_json(\%answers);
}

# Waits until the readers have had more answers.
sub wait_for_answers
{
	my ($more) = @_;
	my $before = -s $progress;
	wait_until("$more more answers", sub { -s $progress >= $before + $more });
	return;
}

my $readers = in_parallel(\&read_batches, 3, 5, 8);
my $writers = in_parallel(\&write_batches, 1);

# The sessions of a role on each of some servers
sub sessions
{
	my ($role, @nodes) = @_;
	return map { $_->safe_psql('postgres', "select count(*) from pg_stat_activity where usename = '$role'") } @nodes;
}

wait_for_answers(100);
my ($on_primary, @on_standbys) = sessions('batches_app', $primary, @standbys);
is($on_primary, 0, 'no read goes to the primary');
cmp_ok($_, '>', 0, 'each standby has some') foreach @on_standbys;
($on_primary, @on_standbys) = sessions('batches_writer', $primary, @standbys);
cmp_ok($on_primary, '>', 0, 'writes go to the primary');

# A commit that waits until the standbys show it is seen on all of them at once.
$primary->append_conf('postgresql.conf', "synchronous_standby_names = '2 (standby_1, standby_2)'");
$primary->reload;
wait_until('both are synchronous', sub { $primary->safe_psql('postgres', q{select count(*) from pg_stat_replication where sync_state = 'sync'}) == 2 });
my $unseen = 0;
foreach my $i (1 .. 10)
{
	$primary->safe_psql('demo', qq{begin; set local synchronous_commit = remote_apply;
		insert into batches.batch (project_id, device_type, user_id, tags) values (gen_random_uuid(), 'FRESNEL', 'nobody', '{waited $i}'); commit});
	$unseen += 1 - $_->safe_psql('demo', "select batches.count_batches(tag => 'waited $i')") foreach @standbys;
}
is($unseen, 0, 'what has been committed by remote_apply is there on each standby');
$primary->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$primary->reload;

# A replica that lags: what it says is older, and right.
my ($lagging) = $standbys[1];
$lagging->safe_psql('postgres', 'select pg_wal_replay_pause()');
wait_until('the replay stops', sub { $lagging->safe_psql('postgres', 'select pg_get_wal_replay_pause_state()') eq 'paused' });
my $seen = q{select batches.count_batches(tag => 'seen')};
$primary->safe_psql('demo', q{insert into batches.batch (project_id, device_type, user_id, tags) values (gen_random_uuid(), 'FRESNEL', 'nobody', '{seen}')});
my $place = $primary->safe_psql('demo', 'select pg_current_wal_insert_lsn()');
is($primary->safe_psql('demo', $seen), 1, 'the primary has what was written');
is($lagging->safe_psql('demo', $seen), 0, 'a replica that lags has not');
wait_for_answers(50);
SKIP:
{
	skip 'WAIT FOR is of PostgreSQL 19', 1 if $lagging->pg_version->major < 19;
	isnt($lagging->psql('demo', "wait for lsn '$place' with (timeout '10ms')"), 0, 'nor has it after a while');
}
$lagging->safe_psql('postgres', 'select pg_wal_replay_resume()');
if ($lagging->pg_version->major >= 19)
{
	$lagging->safe_psql('demo', "wait for lsn '$place' with (timeout '180s')");
}
else
{
	$primary->wait_for_catchup($lagging, 'replay', $place);
}
is($lagging->safe_psql('demo', $seen), 1, 'once it has replayed so far, it has');

# One stops, and comes back.
$standbys[0]->stop('immediate');
wait_for_answers(100);
is(join(' ', sessions('batches_app', $primary)), '0', 'the other one has all reads');
$standbys[0]->start;
wait_for_answers(100);
# The pool makes new connections once the old ones have lived long enough.
wait_until('reads come back', sub { (sessions('batches_app', $standbys[0]))[0] > 0 });

# It becomes the primary, and the other one follows it.
$primary->stop('fast');
$standbys[0]->promote;
$standbys[1]->enable_streaming($standbys[0]);
$standbys[1]->restart;
wait_until('writes go on', sub { (ask($writes, 'select pg_is_in_recovery()'))[0] eq 'f' });
wait_until('reads go on', sub { (ask($reads, 'select pg_is_in_recovery()'))[0] eq 't' });
wait_for_answers(100);
wait_until('the last standby has all reads', sub { my @sessions = sessions('batches_app', @standbys); $sessions[0] == 0 && $sessions[1] > 0 });

# Nobody has a user left who did not say so.
my $app = $reads =~ s/batches_writer/batches_app/r;
my %users = map { (ask($app, q{select coalesce(batches.current_user_id(), 'nobody')}))[0] => 1 } 1 .. 20;
is(join(' ', keys %users), 'nobody', 'the user of a request is not there for the next one');

# Without any standby the primary is read.
$standbys[1]->stop('fast');
wait_for_answers(50);
cmp_ok((sessions('batches_app', $standbys[0]))[0], '>', 0, 'without a standby, the primary is read');

append_to_file($ended, '');
my %errors;
my $right = 0;
foreach my $answers (map { decode_json($_) } $readers->())
{
	$right += delete $answers->{right};
	$errors{$_} += $answers->{$_} foreach keys %$answers;
}
note("$right answers", map { ", $errors{$_} $_" } sort keys %errors);
cmp_ok($right, '>', 400, 'reads go on all the time');
is_deeply([ grep { !/^error (502|504)$/ } sort keys %errors ], [], 'no answer is wrong, and errors are those that clients repeat');

my ($answers) = map { decode_json($_) } $writers->();
my $last = delete $answers->{written};
my $read = delete $answers->{read};
note("$last writes, $read read", map { ", $answers->{$_} $_" } sort keys %$answers);
is_deeply([ grep { !/^error (lost|57P0[123]|08...)$/ } sort keys %$answers ], [], 'the primary has what was written, or the connection is lost');
cmp_ok($read, '>', 20, 'all the time');
is($standbys[0]->safe_psql('demo', "select count(*) from batches.list_batches(tag => '$last')"), 1, 'the last write is there');
is($standbys[0]->safe_psql('demo', 'select count(*) from batches.verify_counts()'), 0, 'and all counts are right');

$standbys[0]->stop;
done_testing();
