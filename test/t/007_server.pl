# examples/server.py speaks HTTP for the endpoint: pages, filters, headers, refusals,
# and two users on one pool of connections.
use strict;
use warnings;

use File::Basename;
use File::Spec;
use FindBin;
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

use lib $FindBin::RealBin;
use Answers;

my $python = '/usr/bin/python3';
if (system("$python -c 'import asyncpg, starlette, uvicorn' 2>/dev/null") != 0 && !$ENV{CI})
{
	plan skip_all => 'python3-asyncpg, python3-starlette and python3-uvicorn are not installed';
}

my $project = File::Spec->rel2abs(dirname(__FILE__) . '/../..');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--encoding=UTF8']);
$node->start;

# ada has the 250 batches of projects 1 and 2, bob the 120 of project 3. Neither is
# who owns the batches: that is a column like others.
$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member (project_id, user_id)
	values ('00000000-0000-0000-0000-000000000001', 'ada'),
	       ('00000000-0000-0000-0000-000000000002', 'ada'),
	       ('00000000-0000-0000-0000-000000000003', 'bob');
	insert into batches.batch (project_id, id, status, open, device_type, user_id, created_at, updated_at,
	                           start_datetime, end_datetime, queue_priority, tags)
	select lpad(case when n > 250 then '3' when n % 5 < 3 then '1' else '2' end, 32, '0')::uuid,
	       md5(n::text)::uuid,
	       (enum_range(null::batches.batch_status))[1 + n % 8],
	       n % 3 = 0,
	       (array['FRESNEL', 'FRESNEL_CAN1', 'EMU_FREE', 'EMU & co'])[1 + n % 4],
	       (array['ada', 'bob', 'Jürgen + Zoé'])[1 + n / 4 % 3],
	       timestamptz '2025-01-01Z' + n / 3 * interval '1 minute',
	       timestamptz '2025-01-04Z' + n * interval '1 microsecond',
	       case when n % 6 > 0 then timestamptz '2025-01-02Z' + n * interval '1 minute' end,
	       case when n % 6 > 2 then timestamptz '2025-01-03Z' + n * interval '1 minute' end,
	       (enum_range(null::batches.queue_priority))[1 + n % 5],
	       case n % 7 when 0 then '{}' when 1 then array['a&b=c%', 'größe'] when 2 then array['%zz']
	                  else array['t' || n % 7] end
	  from generate_series(1, 370) n;
	insert into batches.job (project_id, batch_id, status)
	select project_id, id, 'DONE' from batches.batch, generate_series(1, 3) k
	 where get_byte(uuid_send(id), 0) % 4 + 1 >= k;

	create role batches_app login;
	grant usage on schema batches to batches_app;
	grant select on batches.batch, batches.batch_job_count, batches.batch_total, batches.job, batches.project_member to batches_app;
	grant set on parameter batches.user_id to batches_app;
});
my %projects = (
	ada => q{'00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002'},
	bob => q{'00000000-0000-0000-0000-000000000003'});
my %total = (ada => 250, bob => 120);

#
# The server
#

# The application as it is, and beside it a route that tells who the user of each
# connection in the pool is. The pool does not reset a connection that comes back, so
# that none but the application takes the user off it.
my $modules = PostgreSQL::Test::Utils::tempdir();
append_to_file("$modules/observed.py", <<'PYTHON');
import asyncio
import asyncpg
from starlette.responses import JSONResponse
from starlette.routing import Route
from server import app, serve

async def reset(self, *, timeout=None):
    pass

asyncpg.Connection.reset = reset

async def users(request):
    pool = app.state.pool
    connections = [await pool.acquire() for _ in range(8)]
    rows = await asyncio.gather(*(
        c.fetchrow("select pg_backend_pid(), batches.current_user_id()") for c in connections))
    for connection in connections:
        await pool.release(connection)
    return JSONResponse([list(row) for row in rows])

app.router.routes.append(Route("/users", users))
serve(app)
PYTHON

my $log = "$modules/server.log";
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $origin = "http://127.0.0.1:$port";

# Starts a server with more settings, if any.
my @servers;
sub start_server
{
	my ($at, %settings) = @_;
	my $pid = fork() // die "fork: $!";
	if ($pid > 0)
	{
		push @servers, $pid;
		my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
		until (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $at))
		{
			die "the server ended" if waitpid($pid, POSIX::WNOHANG) != 0;
			die "the server does not answer" if time > $deadline;
			Time::HiRes::sleep(0.1);
		}
		return $pid;
	}
	%ENV = (
		%ENV,
		%settings,
		PYTHONPATH => "$project/examples:$modules",
		PYTHONDONTWRITEBYTECODE => 1,
		BATCHES_DSN => sprintf('postgresql://batches_app@/postgres?host=%s&port=%d', $node->host, $node->port),
		BATCHES_TOKENS => '{"secret-1": "ada", "secret-2": "bob"}',
		BATCHES_PORT => $at);
	open(STDIN, '<', '/dev/null');
	open(STDOUT, '>>', $log) or POSIX::_exit(1);
	open(STDERR, '>&', \*STDOUT);
	exec($python, "$modules/observed.py")
	  or POSIX::_exit(1);
}

my $finished = 0;
END
{
	my $status = $?;
	if (@servers)
	{
		kill 'KILL', @servers;
		waitpid($_, 0) foreach @servers;
		if (!$finished || !Test::More->builder->is_passing)
		{
			note("the server's log:\n" . slurp_file($log)) if -e $log;
		}
	}
	$? = $status;
}

my $server = start_server($port);

#
# Requests
#

my %token = (ada => 'secret-1', bob => 'secret-2');
my $http = HTTP::Tiny->new;

# The response to a query string, of a user if one is named.
sub get
{
	my ($query, $user) = @_;
	return $http->get("$origin/api/v1/batches?$query",
		$user ? { headers => { Authorization => "Bearer $token{$user}" } } : {});
}

# The document of a page.
sub page
{
	my ($query, $user) = @_;
	my $response = get($query, $user);
	die "$query: $response->{status} $response->{content}" if $response->{status} != 200;
	return decode_json($response->{content});
}

# The ids of all batches that match, page after page, and how many there are.
sub all_pages
{
	my ($query, $user) = @_;
	my ($offset, $total, @ids) = (0);
	do
	{
		my $document = page("$query&offset=$offset", $user);
		push @ids, map { $_->{id} } @{ $document->{data} };
		$total = $document->{pagination}{total};
		die "$query: page $offset has no end" if $document->{pagination}{end} <= $offset && $total > $offset;
		$offset = $document->{pagination}{end};
	} while ($offset < $total);
	return ($total, @ids);
}

# What the table has, by plain SQL.
sub expected
{
	my ($where, $order, $user) = @_;
	return split /\n/, $node->safe_psql('postgres',
		"select id from batches.batch b where project_id in ($projects{$user}) and ($where) order by $order");
}

# Every user, all pages.
foreach my $user (qw(ada bob))
{
	my ($total, @ids) = all_pages('', $user);
	is($total, $total{$user}, "the total of $user");
	is_deeply(\@ids, [ expected('true', 'created_at desc, id desc', $user) ],
		"every batch of $user once, in order");
}
my ($total, @ids) = all_pages('limit=7&order_by=jobs_count&order_by_direction=ASC', 'ada');
is_deeply(\@ids, [ expected('true',
			'(select count(*) from batches.job j where j.batch_id = b.id), id', 'ada') ],
	'another order, in pages of seven');

# Every filter: the query, what it means, and how many match.
my @some = ('8f14e45f-ceea-167a-5a36-dedd4bea2543', '3644a684-f98e-a8fe-223c-713b77189a77',
	'94f6d7e0-4a4d-4520-3530-0f18b984988c'); # the third is bob's
my $jobs = '(select count(*) from batches.job j where j.batch_id = b.id)';
foreach my $filter (
	[ join('&', map { "id=$_" } @some), 'id in (' . join(', ', map { "'$_'" } @some) . ')', 2 ],
	[ 'id__starts_with=8F', "id::text like '8f%'" ],
	[ 'project_id=00000000-0000-0000-0000-000000000002', "project_id::text like '%2'", 100 ],
	[ 'project_id=00000000-0000-0000-0000-000000000002&project_id=00000000-0000-0000-0000-000000000003',
		"project_id::text like '%2'", 100 ],
	[ 'project_id=00000000-0000-0000-0000-000000000003', 'false', 0 ],
	[ 'user_id=bob', "user_id = 'bob'", 84 ],
	[ 'user_id=ada&user_id=J%C3%BCrgen+%2B%20Zo%C3%A9', "user_id <> 'bob'", 166 ],
	[ 'device_type=EMU+%26+co&device_type=EMU_FREE', "device_type like 'EMU%'", 125 ],
	[ 'status=DONE', "status = 'DONE'", 32 ],
	[ 'status=DONE&status=ERROR&status=PAUSED', "status in ('DONE', 'ERROR', 'PAUSED')", 94 ],
	[ 'open=True', 'open', 83 ],
	[ 'open=False', 'not open', 167 ],
	[ 'complete=true', 'not open', 167 ],
	[ 'min_jobs=2&max_jobs=2', "$jobs = 2" ],
	[ 'start_date=2025-01-02T01:01:00Z', "start_datetime >= '2025-01-02 01:01Z'", 159 ],
	[ 'end_date=2025-01-03T02:03:00%2B00:00', "end_datetime <= '2025-01-03 02:03Z'", 61 ],
	[ 'start_date=2025-01-02T03:01:00%2B02:00&end_date=2025-01-03T01:03:00-01:00',
		"start_datetime >= '2025-01-02 01:01Z' and end_datetime <= '2025-01-03 02:03Z'", 31 ],
	[ 'queue_priority=CRITICAL&queue_priority=FREE', "queue_priority in ('CRITICAL', 'FREE')", 100 ],
	[ 'tag=a%26b%3Dc%25', q('a&b=c%' = any(tags)), 36 ],
	[ 'tag=gr%C3%B6%C3%9Fe', q('größe' = any(tags)), 36 ],
	[ 'tag=t3', q('t3' = any(tags)), 36 ],
	[ 'status=DONE&open=False&device_type=EMU_FREE&queue_priority=MEDIUM&queue_priority=LOW&tag=t4',
		"status = 'DONE' and not open and device_type = 'EMU_FREE' and queue_priority in ('MEDIUM', 'LOW') and 't4' = any(tags)", 1 ])
{
	my ($query, $where, $number) = @$filter;
	my @expected = expected($where, 'created_at desc, id desc', 'ada');
	my ($total, @ids) = all_pages($query, 'ada');
	is_deeply([ $total, @ids ], [ scalar @expected, @expected ], $query);
	is(scalar @ids, $number, "$query: $number") if defined $number;
	cmp_ok(scalar @ids, '>', 0, "$query: some") if !defined $number;
}

# The first batch, its keys in their order, as the server sends them.
is( get('id=c4ca4238-a0b9-2382-0dcc-509a6f75849b', 'ada')->{content},
	'{"status":"success","message":"OK.","code":"200","data":[{"id":"c4ca4238-a0b9-2382-0dcc-509a6f75849b",'
	  . '"status":"RUNNING","complete":true,"open":false,"priority":0,"device_type":"FRESNEL_CAN1","user_id":"ada",'
	  . '"project_id":"00000000-0000-0000-0000-000000000001","created_at":"2025-01-01T00:00:00Z",'
	  . '"updated_at":"2025-01-04T00:00:00.000001Z","jobs_count":1,"jobs_count_per_status":{"DONE":1},'
	  . '"tags":["a&b=c%","größe"],"start_datetime":"2025-01-02T00:01:00Z","queue_priority":"HIGH"}],'
	  . '"pagination":{"total":1,"start":0,"end":1}}',
	'a document');

# Headers and kinds of pages.
foreach my $case (
	[ '', '1-100/250' ],
	[ 'offset=200', '201-250/250' ],
	[ 'offset=6&limit=1', '7-7/250' ],
	[ 'offset=250', '*/250' ],
	[ 'tag=none', '*/0' ],
	[ 'id=8f14e45f-ceea-167a-5a36-dedd4bea2543', '1-1/1' ])
{
	my ($query, $range) = @$case;
	my $response = get($query, 'ada');
	is_deeply(
		[ $response->{status}, @{ $response->{headers} }{qw(content-range access-control-expose-headers content-type)} ],
		[ 200, $range, 'Content-Range', 'application/json' ],
		"the headers of '$query'");
}

# What a client has already
my $tagged = get('limit=2', 'ada');
like($tagged->{headers}{etag}, qr{^W/"[0-9a-f]{32}"$}, 'a page has a tag');
my $get = "GET /api/v1/batches?limit=2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer $token{ada}\r\n";
foreach my $lines ("If-None-Match: $tagged->{headers}{etag}", qq(If-None-Match: "x"\r\nIf-None-Match: $tagged->{headers}{etag}), 'If-None-Match: *')
{
	my $response = send_raw($port, "$get$lines\r\n\r\n");
	is("$response->{status} $response->{headers}{etag} '$response->{content}'", "304 $tagged->{headers}{etag} ''", "304 for $lines");
	is_deeply([ grep { /^(content|transfer|access)-/ } keys %{ $response->{headers} } ], [], 'and nothing about a body');
}
foreach my $lines ('If-None-Match: "x"', "If-None-Match: \xff", "If-None-Match: *\r\nIf-None-Match: $tagged->{headers}{etag}")
{
	my $response = send_raw($port, "$get$lines\r\n\r\n");
	is("$response->{status} $response->{headers}{etag} $response->{content}", "200 $tagged->{headers}{etag} $tagged->{content}",
		'a page for ' . $lines =~ s/([^ -~])/sprintf '\x%02x', ord $1/ger);
}

# What is beyond the endpoint is unknown, but to a server that is to know it.
my $more = 'limit=2&total=none';
my $extended_port = PostgreSQL::Test::Cluster::get_free_port();
start_server($extended_port, BATCHES_EXTENDED => 'on');
is(page($more, 'ada')->{pagination}{total}, 250, 'what is beyond the endpoint is unknown');
is(decode_json(send_raw($extended_port, $get =~ s/limit=2/$more/r . "\r\n")->{content})->{pagination}{total}, undef, 'but where it is asked for');

#
# Refusals
#

my $unauthorized = '{"status":"fail","message":"Unauthorized","code":"401",'
  . '"data":{"description":"There is no authenticated user."}}';
foreach my $authorization (undef, 'Bearer secret-3', 'Bearer', 'Bearer ', 'Basic secret-1', 'secret-1')
{
	my $response = $http->get("$origin/api/v1/batches?limit=1",
		defined $authorization ? { headers => { Authorization => $authorization } } : {});
	is("$response->{status} $response->{content}", "401 $unauthorized",
		'401 for ' . ($authorization // 'no') . ' authorization');
}
is($http->get("$origin/api/v1/batches")->{headers}{'www-authenticate'}, 'Bearer', 'and says how to be authorized');
is($http->get("$origin/api/v1/batches?limit=0")->{status}, 401, '401 goes before 422');

foreach my $method (qw(POST PUT DELETE OPTIONS))
{
	my $response = $http->request($method, "$origin/api/v1/batches", { content => '{}' });
	is_error($response, 405, 'Method Not Allowed', 'The method is not GET.', "no $method");
	is($response->{headers}{allow}, 'GET', "$method: what is allowed");
}
my $head = $http->head("$origin/api/v1/batches", { headers => { Authorization => 'Bearer secret-1' } });
is("$head->{status} $head->{headers}{allow}", '405 GET', 'no HEAD');
foreach my $path ('/', '/api/v1/batch', '/api/v1/batches/', '/api/v1/batches/1')
{
	is_error($http->get("$origin$path", { headers => { Authorization => 'Bearer secret-1' } }),
		404, 'Not Found', 'There is nothing here but /api/v1/batches.', "no $path");
}

my $bad = get('limit=101&open=maybe&status=DONE&status=%22%C3%9C', 'ada');
is( "$bad->{status} $bad->{headers}{'content-type'} $bad->{content}",
	'422 application/json '
		  . '{"status":"fail","message":"Unprocessable Entity","code":"422","data":{"description":['
		  . '{"type":"less_than","loc":["query","limit"],"msg":"Input should be less than 101","input":"101","ctx":{"lt":101}},'
		  . q({"type":"enum","loc":["query","status",1],"msg":"Input should be 'PENDING', 'RUNNING', 'DONE', 'CANCELED', 'CANCELING', 'TIMED_OUT', 'ERROR' or 'PAUSED'","input":"\"Ü",)
		  . q("ctx":{"expected":"'PENDING', 'RUNNING', 'DONE', 'CANCELED', 'CANCELING', 'TIMED_OUT', 'ERROR' or 'PAUSED'"}},)
		  . '{"type":"bool_parsing","loc":["query","open"],"msg":"Input should be a valid boolean, unable to interpret input","input":"maybe"}]}}',
	'422 with every error');
is($bad->{headers}{'content-range'}, undef, '422 has no range');

# What FastAPI and pydantic answer to each of the test vectors. How they word what is
# wrong with a uuid or a time, after the comma, is theirs.
my @differences;
my $vectors = decode_json(slurp_file("$project/test/query_vectors.json"));
my %vectors = (200 => 0, 422 => 0);
foreach my $vector (@$vectors)
{
	my $response = get($vector->{query}, 'ada');
	my $errors = $response->{status} == 422 ? decode_json($response->{content})->{data}{description} : undef;
	foreach my $error (map { @{ $_ // [] } } $errors, $vector->{errors})
	{
		next if $error->{type} !~ /^(uuid|datetime)_/;
		$error->{msg} =~ s/,.*//s;
		delete $error->{ctx};
	}
	my $json = JSON::PP->new->canonical->allow_nonref;
	push @differences, $vector->{query}
	  if $response->{status} != $vector->{status} || $json->encode($errors) ne $json->encode($vector->{errors});
	$vectors{ $response->{status} }++;
}
is_deeply(\@differences, [], 'every test vector');
ok($vectors{200} > 30 && $vectors{422} > 30, 'of which many are answered and many refused');

# Odd query strings are answered or refused, and nothing else.
foreach my $case (
	[ '&&', 200, 250 ],
	[ '&&&=&=5&%00=1&%ff=x&%zz=%zz&?', 200, 250 ],
	[ '%6Cimit=3', 200, 250, 3 ],
	[ 'limit=abc&limit=20', 200, 250, 20 ],
	[ 'tag=%00', 200, 0 ],
	[ 'tag=a%26b%3Dc%25%00', 200, 0 ],
	[ 'tag=%ff', 200, 0 ],
	[ 'tag=%ED%A0%80', 200, 0 ],
	[ 'tag=%zz', 200, 36 ],
	[ 'tag=%25zz', 200, 36 ],
	[ 'tag=' . 'x' x 10_000, 200, 0 ],
	[ 'user_id=%ff&user_id=bob', 200, 84 ],
	[ 'user_id=%00&user_id=%ff', 200, 0 ],
	[ 'id__starts_with=%00', 200, 0 ],
	[ 'id__starts_with=%25', 200, 0 ],
	[ 'offset=99999999999999999999', 200, 250, 0 ],
	[ 'min_jobs=1000000000000000000000000000000', 200, 0 ],
	[ 'max_jobs=1000000000000000000000000000000', 200, 250 ],
	[ 'status=DONE&' x 10_000, 200, 32 ],
	[ 'x=' . 'y' x 300_000, 422 ],
	[ 'status=NONE&' x 1_000, 422 ],
	[ 'status=%ff', 422 ],
	[ 'id=%00', 422 ],
	[ 'start_date=%00', 422 ],
	[ 'open=%C3', 422 ],
	[ 'limit=%zz', 422 ])
{
	my ($query, $status, $total, $rows) = @$case;
	my $response = get($query, 'ada');
	my $body = $response->{status} =~ /^(200|422)$/ ? decode_json($response->{content}) : {};
	my $name = length($query) > 60 ? substr($query, 0, 60) . '...' : $query;
	is_deeply(
		[ $response->{status}, $body->{pagination}{total}, scalar @{ $status == 200 ? $body->{data} // [] : [] } ],
		[ $status, $total, $rows // ($status == 200 ? ($total > 100 ? 100 : $total) : 0) ],
		"$status: $name");
}

# Strings that nobody has thought of.
srand(42);
my @pieces = (qw(limit offset id status tag open user_id start_date order_by = = = & & % %2 %00 %ff %C3%A4 + ; 1 -1 DONE true),
	'2025-01-01', '8f14e45f-ceea-167a-5a36-dedd4bea2543');
my %statuses;
foreach (1 .. 300)
{
	my $query = join('', map { $pieces[ rand @pieces ] } 1 .. 2 + rand 8);
	my $response = get($query, 'ada');
	$statuses{ $response->{status} }++;
	diag("$response->{status} for $query") if $response->{status} !~ /^(200|422)$/;
}
is_deeply([ sort keys %statuses ], [ 200, 422 ], 'random query strings: 200 or 422');

# Bytes that no client should send unencoded.
foreach my $query ("tag=\xff", "tag=gr\xc3\xb6\xc3\x9fe", "tag=\x01", 'tag="<>\\^`{|}')
{
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!";
	binmode($socket);
	my $request = "GET /api/v1/batches?$query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-1\r\nConnection: close\r\n\r\n";
	print $socket $request;
	my $line = <$socket> // '';
	like($line, qr{^HTTP/1\.1 (200|400) }, 'raw bytes are answered or refused: ' . $query =~ s/([^ -~])/sprintf '\x%02x', ord $1/ger);
}

#
# Two users on one pool, from sixteen connections at once
#

my $requests = 25;
my @children;
foreach my $n (1 .. 16)
{
	pipe(my $from_child, my $to_parent) or die "pipe: $!";
	my $child = fork() // die "fork: $!";
	if ($child == 0)
	{
		# Leaves without the END blocks, which are the parent's.
		my ($good, $wrong) = (0, '');
		eval {
			my $client = HTTP::Tiny->new;
			foreach my $i (1 .. $requests)
			{
				my $user = ($n + $i) % 2 ? 'ada' : 'bob';
				my $offset = $user eq 'ada' ? 150 : 20;
				my $response = $client->get("$origin/api/v1/batches?offset=$offset",
					{ headers => { Authorization => "Bearer $token{$user}" } });
				my $document = decode_json($response->{content});
				my @others = grep { ($_->{project_id} =~ /3$/ ? 'bob' : 'ada') ne $user } @{ $document->{data} };
				if (   $response->{status} == 200
					&& $document->{pagination}{total} == $total{$user}
					&& @{ $document->{data} } == 100
					&& !@others)
				{
					$good++;
				}
				else
				{
					$wrong ||= "$user: $response->{status} " . substr($response->{content}, 0, 1000);
				}
			}
		};
		syswrite($to_parent, "$good $wrong$@");
		POSIX::_exit(0);
	}
	close $to_parent;
	push @children, [ $child, $from_child ];
}
my @reports = map { my ($child, $from_child) = @$_; local $/; my $report = <$from_child>; waitpid($child, 0); $report } @children;
is_deeply(\@reports, [ ("$requests ") x 16 ], 'each response has the batches of who asked');

my $users = decode_json($http->get("$origin/users")->{content});
my %backends = map { $_->[0] => 1 } @$users;
is(scalar keys %backends, 8, 'the pool has eight connections');
is_deeply([ map { $_->[1] } @$users ], [ (undef) x 8 ], 'and none of them has a user left');

foreach my $case ([ 'a query string of 5 MB', 'GET /api/v1/batches?tag=' . 'x' x 5_000_000 . " HTTP/1.1\r\nHost: x\r\n\r\n" ],
	[ 'a header of 1 MB', "GET /api/v1/batches HTTP/1.1\r\nHost: x\r\nX: " . 'x' x 1_000_000 . "\r\n\r\n" ],
	[ 'what is not HTTP', "batches, please\r\n\r\n" ],
	[ 'a body in bad pieces', "GET /api/v1/batches HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" ])
{
	my ($name, $request) = @$case;
	is_error(send_raw($port, $request), 400, 'Bad Request',
		'Invalid HTTP request received. Or the request line and headers have more than 524288 bytes.', $name);
}
# uvicorn refuses to change the protocol, or in later versions goes on without.
my $upgrade = send_raw($port, "GET /api/v1/batches HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n");
like("$upgrade->{status} $upgrade->{headers}{'content-type'}", qr{^(400|401) application/json$}, 'another protocol');

is(waitpid($server, POSIX::WNOHANG), 0, 'the server still runs');
unlike(slurp_file($log), qr/^ERROR|^Fatal error|Exception in|The database has failed/m, 'without an exception');
unlike(slurp_file($node->logfile), qr/ (ERROR|PANIC|WARNING): /, 'and the database without an error');

#
# What the database can fail with
#

# Begins a request, and returns what its response is read from.
sub begin_get
{
	pipe(my $from_child, my $to_parent) or die "pipe: $!";
	my $child = fork() // die "fork: $!";
	if ($child == 0)
	{
		my $response = HTTP::Tiny->new->get("$origin/api/v1/batches?limit=1",
			{ headers => { Authorization => 'Bearer secret-1' } });
		syswrite($to_parent, encode_json({ %$response }));
		POSIX::_exit(0);
	}
	close $to_parent;
	return [ $child, $from_child ];
}

sub end_get
{
	my ($request) = @_;
	my ($child, $from_child) = @$request;
	local $/;
	my $response = decode_json(<$from_child>);
	waitpid($child, 0);
	return $response;
}

# Nobody can read batches while this transaction goes on.
my $locker = $node->background_psql('postgres');
sub lock_batches
{
	$locker->query_safe('begin; lock table batches.batch in access exclusive mode');
}

sub wait_for_readers
{
	my ($number) = @_;
	$node->poll_query_until('postgres', "select count(*) = $number from pg_stat_activity
		where usename = 'batches_app' and wait_event_type = 'Lock'") or die 'no reader waits';
}

# The pool has eight connections. Of nine requests one finds none, and it is told so while the others wait.
lock_batches();
my @waiting = map { begin_get() } 1 .. 9;
wait_for_readers(8);
my $ready = '';
vec($ready, fileno($_->[1]), 1) = 1 foreach @waiting;
select($ready, undef, undef, $PostgreSQL::Test::Utils::timeout_default);
my @refused = grep { vec($ready, fileno($_->[1]), 1) } @waiting;
my $full = end_get($refused[0]);
is_error($full, 503, 'Service Unavailable', 'All connections to the database are in use.', 'a full pool');
is($full->{headers}{'retry-after'}, 1, 'and when to come again');
$locker->query_safe('commit');
is_deeply([ map { end_get($_)->{status} } grep { $_ != $refused[0] } @waiting ], [ (200) x 8 ], 'the others are answered');

# An administrator ends the connection of a request, and then all, for them to take on a timeout.
my $lost = 'The connection to the database was lost.';
lock_batches();
my $request = begin_get();
wait_for_readers(1);
$node->safe_psql('postgres', q{
	alter role batches_app set statement_timeout = '100ms';
	select pg_terminate_backend(pid) from pg_stat_activity where usename = 'batches_app'});
is_error(end_get($request), 502, 'Bad Gateway', $lost, 'a connection that is lost');
$node->poll_query_until('postgres', "select count(*) = 0 from pg_stat_activity where usename = 'batches_app'");
is_error(get('', 'ada'), 504, 'Gateway Timeout', 'The database did not answer in time.', 'a statement that takes too long');
$locker->query_safe('commit');
$locker->quit;
$node->safe_psql('postgres', 'alter role batches_app reset statement_timeout');

# What only the operator can mend, in no words of the database's
$node->safe_psql('postgres', 'revoke select on batches.batch from batches_app');
is_error(get('', 'ada'), 500, 'Internal Server Error', 'The database has failed.', 'a right that is missing');
$node->safe_psql('postgres', 'grant select on batches.batch to batches_app');

# A server that answers no new connection is no pool that is full.
$node->safe_psql('postgres', q{select pg_terminate_backend(pid) from pg_stat_activity where usename = 'batches_app'});
$node->poll_query_until('postgres', "select count(*) = 0 from pg_stat_activity where usename = 'batches_app'");
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
kill 'STOP', $postmaster;
$request = get('', 'ada');
kill 'CONT', $postmaster;
is_error($request, 504, 'Gateway Timeout', 'The database did not answer in time.', 'a database that hangs');

$node->stop('fast');
is_error(get('', 'ada'), 502, 'Bad Gateway', $lost, "no database: request $_") foreach 1 .. 2;
$node->start;
is(get('', 'ada')->{status}, 200, 'and with it again');

$finished = 1;
done_testing();
