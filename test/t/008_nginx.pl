# examples/nginx.conf in front of PostgREST: what goes in, what comes out, and what
# does not get through. A small server stands for PostgREST: it runs PostgREST's SQL
# in a session for each connection, and notes every request that reaches it.
use strict;
use warnings;

use Fcntl;
use File::Basename;
use File::Spec;
use FindBin;
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Open2;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

use lib $FindBin::RealBin;
use Answers;

my ($nginx) = grep { -x } map { "$_/nginx" } split(/:/, $ENV{PATH}), '/usr/sbin';
plan skip_all => 'nginx is not installed' if !$nginx && !$ENV{CI};

my $project = File::Spec->rel2abs(dirname(__FILE__) . '/../..');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--encoding=UTF8']);
$node->start;

# ada has batches 1 to 150, bob 151 to 170; the oldest one is very large.
$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member (project_id, user_id)
	values ('00000000-0000-0000-0000-000000000001', 'ada'),
	       ('00000000-0000-0000-0000-000000000002', 'bob');
	insert into batches.batch (project_id, id, status, device_type, user_id, created_at, tags, backend_configuration)
	select lpad(case when n <= 150 then '1' else '2' end, 32, '0')::uuid,
	       lpad(n::text, 32, '0')::uuid,
	       (enum_range(null::batches.batch_status))[1 + n % 8],
	       'FRESNEL', 'cleo', timestamptz '2025-01-01Z' + n * interval '1 minute',
	       case n % 50 when 0 then array['a b'] when 1 then array['a+b'] when 2 then array['größe'] else '{}' end,
	       case n when 1 then repeat('0123456789', 300000) end
	  from generate_series(1, 170) n;

	create role web_anon;
	create role web_user;
	create role authenticator login noinherit;
	grant web_anon, web_user to authenticator;
	select batches.create_postgrest_api('api', 'web_anon', 'web_user');
	alter role authenticator in database postgres set batches.trust_jwt_claims = on;
	create role reporter login;
	grant web_user to reporter;
});

#
# What stands for PostgREST
#

my $directory = PostgreSQL::Test::Utils::tempdir();
my $notes = "$directory/requests";
append_to_file($notes, '');
my $listener = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => 0, ReuseAddr => 1)
  or die "listen: $!";
my $json = JSON::PP->new->canonical;
my $session = $node->connstr('postgres') . ' user=authenticator';

sub literal
{
	return q(') . $_[0] =~ s/'/''/gr . q(');
}

# The response to a GET of /rpc/batches: status, headers and body.
sub call_function
{
	my ($sql, $rows, $role, $claims, $headers) = @_;
	my %settings = (
		search_path => '"api", "public"',
		role => $role,
		'request.jwt.claims' => $claims,
		'request.method' => 'GET',
		'request.path' => '/rpc/batches',
		'request.headers' => $headers,
		'request.cookies' => '{}');
	print $sql "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;\n\\o /dev/null\nselect ",
	  join(', ', map { 'set_config(' . literal($_) . ', ' . literal($settings{$_}) . ', true)' } sort keys %settings),
	  qq(;\n\\o
		WITH pgrst_source AS (SELECT pgrst_call.pgrst_scalar FROM (SELECT "api"."batches"() pgrst_scalar) pgrst_call)
		SELECT null::bigint AS total_result_set, 1 AS page_total,
		       coalesce(json_agg(_postgrest_t.pgrst_scalar)->0, 'null') AS body,
		       nullif(current_setting('response.headers', true), '') AS response_headers,
		       nullif(current_setting('response.status', true), '') AS response_status,
		       '' AS response_inserted
		  FROM (SELECT "batches".* FROM pgrst_source "batches") _postgrest_t;
		COMMIT;\n\\echo end\n);
	my $output = '';
	while (defined(my $line = <$rows>))
	{
		last if $line eq "end\n";
		$output .= $line;
	}
	chomp $output;
	my (undef, undef, $body, $response_headers, $status, $inserted) = split /\x1f/, $output, -1;
	return (500, [], '{"message":"the database has refused"}') if !defined $inserted;
	return ($status || 200, [ map { %$_ } @{ decode_json($response_headers || '[]') } ], $body);
}

# A connection, until it is closed.
sub serve_connection
{
	my ($socket) = @_;
	my $pid = open2(my $rows, my $sql, 'psql', '-X', '-q', '-A', '-t', '-F', "\x1f", '-d', $session);
	$sql->autoflush(1);
	binmode($_) foreach $socket, $rows, $sql;
	while (my $line = <$socket>)
	{
		my (@headers, %headers);
		while (defined(my $header = <$socket>))
		{
			$header =~ s/\r\n$// or die "a line that has no end";
			last if $header eq '';
			my ($name, $value) = $header =~ /^([^:]+): ?(.*)$/ or die "no header: $header";
			push @headers, [ $name, $value ];
			$headers{ lc $name } = $value;
		}
		$line =~ s/\r\n$//;
		sysopen(my $file, $notes, O_WRONLY | O_APPEND) or die;
		syswrite($file, $json->encode({ line => $line, headers => \@headers, connection => $$ }) . "\n");
		close $file;

		my ($status, $more, $body);
		my @own = ([ Vary => 'Accept, Prefer, Range' ]);
		my $token = $headers{authorization} // '';
		if ($line ne 'GET /rpc/batches HTTP/1.1')
		{
			($status, $more, $body) = (404, [], '{"code":"PGRST202"}');
		}
		elsif ($token =~ /^Bearer claims:(.*)/)
		{
			($status, $more, $body) = call_function($sql, $rows, 'web_user', $1, $json->encode(\%headers));
		}
		elsif ($token =~ /^Bearer (\d+)$/)
		{
			($status, $more, $body) = ($1, [], '{"code":"PGRST000","message":"table \"batch\""}');
		}
		elsif ($token =~ /^Bearer/)
		{
			($status, $more, $body) = (401, [ 'WWW-Authenticate', 'Bearer error="invalid_token"' ], '{"code":"PGRST301"}');
		}
		else
		{
			($status, $more, $body) = call_function($sql, $rows, 'web_anon', '{"role":"web_anon"}', $json->encode(\%headers));
		}
		# A range of the function's takes the place of PostgREST's own.
		push @own, [ 'Content-Range' => '0-0/*' ] if !grep { $_ eq 'Content-Range' } @$more;
		my @lines = ("HTTP/1.1 $status Whatever", 'Content-Type: application/json; charset=utf-8',
			'Content-Location: /rpc/batches', 'Content-Length: ' . length($body), map { "$_->[0]: $_->[1]" } @own);
		while (my ($name, $value) = splice(@$more, 0, 2))
		{
			push @lines, "$name: $value";
		}
		# PostgREST counts the null, and its server does not send it.
		$body = '' if $status == 304;
		print $socket join("\r\n", @lines, '', $body);
		$socket->flush;
	}
}

my $postgrest = fork() // die "fork: $!";
if ($postgrest == 0)
{
	# These processes leave without the END blocks, which are the parent's.
	setpgrp;
	$SIG{$_} = 'DEFAULT' foreach qw(TERM INT);
	$SIG{CHLD} = 'IGNORE';
	open(STDERR, '>>', "$directory/postgrest.log");
	while (1)
	{
		my $socket = $listener->accept or next;
		my $handler = fork();
		if (defined $handler && $handler == 0)
		{
			close $listener;
			eval { serve_connection($socket); 1 } or print STDERR $@;
			POSIX::_exit(0);
		}
	}
}
my $upstream_port = $listener->sockport;
close $listener;

#
# nginx with the file as it is, but for the ports
#

my $configuration = slurp_file("$project/examples/nginx.conf");

# Starts it; whoever calls gets what it listens on. The file, but for the changes, is as it is.
my %gates;
sub start_nginx
{
	my ($name, %changes) = @_;
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $text = $configuration;
	%changes = (%changes, 'listen 127.0.0.1:8080;' => "listen 127.0.0.1:$port;", 'server 127.0.0.1:3000;' => "server 127.0.0.1:$upstream_port;");
	while (my ($from, $to) = each %changes)
	{
		$text =~ s/\Q$from\E/$to/ or die "no $from";
	}
	mkdir "$directory/$name" or die;
	append_to_file("$directory/$name/nginx.conf", $text);
	my $gate = fork() // die "fork: $!";
	if ($gate == 0)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>', "$directory/$name.log") or POSIX::_exit(1);
		open(STDERR, '>&', \*STDOUT);
		exec($nginx, '-p', "$directory/$name", '-c', "$directory/$name/nginx.conf", '-g', 'daemon off;') or POSIX::_exit(1);
	}
	$gates{$name} = $gate;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port))
	{
		die "nginx ended" if waitpid($gate, POSIX::WNOHANG) != 0;
		die "nginx does not answer" if time > $deadline;
		Time::HiRes::sleep(0.1);
	}
	return $port;
}

my $finished = 0;
END
{
	my $status = $?;
	foreach my $gate (values %gates)
	{
		kill 'TERM', $gate;
		waitpid($gate, 0);
	}
	if ($postgrest)
	{
		kill 'TERM', -$postgrest;
		waitpid($postgrest, 0);
	}
	if ($directory && (!$finished || !Test::More->builder->is_passing))
	{
		foreach my $log (grep { -s } glob "$directory/*.log")
		{
			note("$log:\n" . slurp_file($log));
		}
	}
	$? = $status;
}

# This one with as many requests as the tests make.
my $port = start_nginx('gate', 'rate=50r/s' => 'rate=100000r/s');

#
# Requests
#

my $endpoint = "http://127.0.0.1:$port/api/v1/batches";
my %token = map { $_ => qq(Bearer claims:{"role":"web_user","sub":"$_"}) } qw(ada bob);
my $http = HTTP::Tiny->new;

sub get
{
	my ($query, $authorization, %headers) = @_;
	$headers{Authorization} = $authorization if defined $authorization;
	return $http->get("$endpoint$query", { headers => \%headers });
}

# The first line that a request gets.
sub get_raw
{
	my ($target, @headers) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!";
	binmode($socket);
	print $socket join("\r\n", "GET $target HTTP/1.1", @headers, 'Connection: close', '', '');
	my $line = <$socket> // '';
	return $line =~ s/\r\n$//r;
}

# What has reached PostgREST since the last call.
my $seen = 0;
sub reached
{
	my @requests = map { $json->decode($_) } split /\n/, slurp_file($notes);
	my @new = @requests[ $seen .. $#requests ];
	$seen = @requests;
	return @new;
}

sub document
{
	my ($user, $arguments) = @_;
	return $node->safe_psql('postgres', "set batches.user_id = '$user'; select batches.get_all_batches($arguments)");
}

# Documents: the same bytes as from the database itself.
foreach my $case (
	[ '', '', '1-100/150' ],
	[ '?limit=2&offset=1&order_by=id&order_by_direction=ASC',
		q("limit" => 2, "offset" => 1, order_by => 'id', order_by_direction => 'ASC'), '2-3/150' ],
	[ '?status=DONE&status=ERROR', q(status => '{DONE,ERROR}'), '1-38/38' ],
	[ '?tag=a+b', q(tag => 'a b'), '1-3/3' ],
	[ '?tag=a%2Bb', q(tag => 'a+b'), '1-3/3' ],
	[ '?tag=gr%C3%B6%C3%9Fe', q(tag => 'größe'), '1-3/3' ],
	[ '?select=id&columns=id&and=(x)&offset=150', q("offset" => 150), '*/150' ],
	[ '?offset=149', q("offset" => 149), '150-150/150' ])
{
	my ($query, $arguments, $range) = @$case;
	my $response = get($query, $token{ada});
	is($response->{status}, 200, "200: '$query'");
	ok($response->{content} eq document('ada', $arguments), "the document: '$query'")
	  or diag(substr($response->{content}, 0, 1000));
	is_deeply(
		[ @{ $response->{headers} }{qw(content-range access-control-expose-headers content-type content-location vary allow)} ],
		[ $range, 'Content-Range', 'application/json; charset=utf-8', undef, undef, undef ],
		"the headers: '$query'");
}
cmp_ok(length(get('?offset=149', $token{ada})->{content}), '>', 3_000_000, 'of which one is very large');

# Refusals
my $unauthorized = '{"status":"fail","message":"Unauthorized","code":"401",'
  . '"data":{"description":"There is no authenticated user."}}';
foreach my $authorization (undef, 'Basic YWRhOmFkYQ==', 'Bearer claims:{"role":"web_user"}', 'Bearer claims:{"sub":""}')
{
	my $response = get('?limit=0', $authorization);
	is("$response->{status} $response->{headers}{'www-authenticate'} $response->{content}", "401 Bearer $unauthorized",
		'401: ' . ($authorization // 'no authorization'));
}
my $refused = get('', 'Bearer forged');
is("$refused->{status} $refused->{headers}{'www-authenticate'} $refused->{content}",
	qq(401 Bearer error="invalid_token" $unauthorized), 'a token that PostgREST refuses');
my $bad = get('?limit=101&order_by_direction=%22UP&limit=%zz', $token{ada});
is( "$bad->{status} $bad->{headers}{'content-type'} $bad->{content}",
	'422 application/json; charset=utf-8 {"status":"fail","message":"Unprocessable Entity","code":"422","data":{"description":['
	  . q({"type":"literal_error","loc":["query","order_by_direction"],"msg":"Input should be 'ASC' or 'DESC'","input":"\"UP",)
	  . q("ctx":{"expected":"'ASC' or 'DESC'"}},)
	  . '{"type":"int_parsing","loc":["query","limit"],"msg":"Input should be a valid integer, unable to parse string as an integer","input":"%zz"}]}}',
	'422 with every error');
is_deeply([ @{ $bad->{headers} }{qw(content-range vary)} ], [ undef, undef ], 'and no header of PostgREST\'s');

# What a client has already
my $tagged = get('?limit=2', $token{ada});
like($tagged->{headers}{etag}, qr{^W/"[0-9a-f]{32}"$}, 'a page has a tag');
sub get_unless
{
	my ($tag) = @_;
	return send_raw($port, "GET /api/v1/batches?limit=2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
		  . "Authorization: $token{ada}\r\nIf-None-Match: $tag\r\n\r\n");
}
foreach my $tag ($tagged->{headers}{etag}, qq("x",\t$tagged->{headers}{etag}), '*')
{
	my $response = get_unless($tag);
	is("$response->{status} $response->{headers}{etag} '$response->{content}'", "304 $tagged->{headers}{etag} ''", "304 for $tag");
	is_deeply([ grep { /^(content-(?!type$|length$)|vary|access|transfer)/ } keys %{ $response->{headers} } ], [], 'and nothing else of a body than PostgREST says');
	is(get('?limit=1', $token{ada})->{status}, 200, 'nor does the next request wait for one');
}
foreach my $tag ('"x"', "\xff, $tagged->{headers}{etag}", "*, $tagged->{headers}{etag}")
{
	my $response = get_unless($tag);
	is_deeply([ $response->{status}, $response->{headers}{etag}, $response->{content} ], [ 200, $tagged->{headers}{etag}, $tagged->{content} ],
		'a page for ' . $tag =~ s/([^ -~])/sprintf '\x%02x', ord $1/ger);
}
is(get('?limit=2', $token{bob}, 'If-None-Match' => $tagged->{headers}{etag})->{status}, 200, "another user's page is another");
is(get('?limit=0', $token{ada}, 'If-None-Match' => '*')->{status}, 422, 'an error is no page');
is(get('?limit=2', undef, 'If-None-Match' => '*')->{status}, 401, 'nor is a 401');

# What PostgREST says when it or the database fails, in the API's own words.
foreach my $case (
	[ 403, 403, 'Forbidden', "The user's role may not read batches." ],
	(map { [ $_, 500, 'Internal Server Error', 'The database has failed.' ] } 300, 400, 404, 405, 406, 409, 413, 415, 416, 507),
	[ 431, 431, 'Request Header Fields Too Large', 'A header is too long.' ],
	[ 500, 500, 'Internal Server Error', 'The database has failed.' ],
	[ 502, 502, 'Bad Gateway', 'The server has no connection to the database.' ],
	[ 503, 502, 'Bad Gateway', 'The server has no connection to the database.' ],
	[ 504, 504, 'Gateway Timeout', 'The database did not answer in time.' ])
{
	my ($sent, @expected) = @$case;
	my $response = get('', "Bearer $sent");
	is_error($response, @expected, "PostgREST's $sent");
	is_deeply([ @{ $response->{headers} }{qw(content-range vary)} ], [ undef, undef ], "and no header of it: $sent");
}

# The query string gets there byte for byte, as a header and nowhere else.
reached();
my @queries = (
	'tag=a+b%20c', '+', '%', '%zz&%2', '%00%ff', 'tag=gr%C3%B6%C3%9Fe', '?', 'a=?b', '&&', '=', 'tag=/../x',
	q(tag="<>\\^`{|}'), '$args', '${args}$host', '%0d%0aX-Query-String:%20x', 'status=DONE;limit=1',
	'limit=1&limit=2&', 'id=' . join('&id=', ('00000000-0000-0000-0000-000000000001') x 750));
foreach my $query (@queries)
{
	my $name = length($query) > 60 ? substr($query, 0, 60) . '...' : $query;
	like(get_raw("/api/v1/batches?$query", 'Host: x', "Authorization: $token{ada}"), qr{^HTTP/1\.1 (200|422) }, "sent: $name");
	my @requests = reached();
	is_deeply(
		[ map { ($_->{line}, map { $_->[1] } grep { lc $_->[0] eq 'x-query-string' } @{ $_->{headers} }) } @requests ],
		[ 'GET /rpc/batches HTTP/1.1', $query ],
		"arrived: $name");
}

# All that PostgREST gets, whatever the client says of itself.
my %client = (
	'X-Query-String' => 'limit=1', 'X_Query_String' => 'limit=2', 'x-query-strinG' => 'limit=3',
	'X-Forwarded-For' => '192.0.2.1', 'X-Forwarded-Proto' => 'https', Prefer => 'count=exact', Range => '0-1',
	Accept => 'text/csv', 'Accept-Profile' => 'batches', Cookie => 'a=b', 'Accept-Encoding' => 'gzip', 'User-Agent' => 'x');
my %passed = (
	Accept => 'application/json', Authorization => $token{ada}, Host => '127.0.0.1',
	'X-Forwarded-For' => '127.0.0.1', 'X-Forwarded-Proto' => 'http');
foreach my $case ([ '?limit=3', 3 ], [ '?', 100 ], [ '', 100 ])
{
	my ($query, $rows) = @$case;
	my $response = get($query, $token{ada}, %client);
	is(scalar @{ decode_json($response->{content})->{data} }, $rows, "the client's own headers change nothing: '$query'");
	my %expected = (%passed, $query eq '?limit=3' ? ('X-Query-String' => 'limit=3') : ());
	my @requests = reached();
	is_deeply(
		[ map { [ $_->{line}, map { "$_->[0]: $_->[1]" } sort { $a->[0] cmp $b->[0] } @{ $_->{headers} } ] } @requests ],
		[ [ 'GET /rpc/batches HTTP/1.1', map { "$_: $expected{$_}" } sort keys %expected ] ],
		"what PostgREST gets: '$query'");
}
is($http->request('GET', "$endpoint?limit=1", { headers => { Authorization => $token{ada} }, content => '{"limit": 5}' })->{status},
	200, 'a body is ignored');
is_deeply([ map { lc $_->[0] } grep { $_->[0] =~ /^(Content|Transfer)-/i } map { @{ $_->{headers} } } reached() ],
	[], 'and not passed on');
like(get_raw('/api/v1/batches?limit=5#x?y', 'Host: x', "Authorization: $token{ada}"), qr/ 200 /, 'a fragment');
is_deeply([ map { $_->[1] } grep { $_->[0] eq 'X-Query-String' } map { @{ $_->{headers} } } reached() ],
	['limit=5'], 'is not a part of the query string');
foreach my $path ('//api/v1//batches', '/api/v1/%62atches', '/api/x/../v1/batches')
{
	like(get_raw("$path?limit=1", 'Host: x', "Authorization: $token{ada}"), qr/ 200 /, "the same path: $path");
	is(scalar(reached()), 1, "reaches PostgREST: $path");
}

# What does not get through.
foreach my $method (qw(HEAD POST PUT PATCH DELETE OPTIONS))
{
	my $response = $http->request($method, "$endpoint?limit=1",
		{ headers => { Authorization => $token{ada} }, $method eq 'POST' ? (content => '{}') : () });
	is("$response->{status} $response->{headers}{allow}", '405 GET', "no $method");
	is_error($response, 405, 'Method Not Allowed', 'The method is not GET.', "$method: the error") if $method ne 'HEAD';
}
foreach my $path ('/', '/api/v1/batches/', '/api/v1/batches/1', '/api/v1/Batches', '/api/v1/../../rpc/batches',
	'/rpc/batches', '/rpc/get_all_batches', '/batch', '/api/v1/batches%3Flimit=1', '/api/v1/batches%2F..%2F..%2Frpc')
{
	like(get_raw($path, 'Host: x', "Authorization: $token{ada}"), qr{^HTTP/1\.1 404 }, "no $path");
}
my @authorized = ('Host: x', "Authorization: $token{ada}");
foreach my $case (
	[ "/api/v1/batches?tag=gr\xc3\xb6\xc3\x9fe", @authorized ],
	[ "/api/v1/batches?tag=\xff", @authorized ],
	[ "/api/v1/batches?tag=\x01", @authorized ],
	[ "/api/v1/batches?tag=a b", @authorized ],
	[ '/api/v1/batches', "Host: \xff", $authorized[1] ],
	[ '/api/v1/batches', 'Host: x', "Authorization: Basic \xff" ])
{
	my ($target, @headers) = @$case;
	like(get_raw($target, @headers), qr{^HTTP/1\.1 400 }, 'bytes that are not ASCII: ' . join(' ', @$case) =~ s/([^ -~])/sprintf '\x%02x', ord $1/ger);
}
my $end = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
foreach my $case (
	[ "GET /api/v1/batches?tag=\xff$end\r\n", 400, 'Bad Request',
		'The request is not HTTP, or has characters that have to be percent-encoded.', 'a byte that is not ASCII' ],
	[ "batches, please\r\n\r\n", 400, 'Bad Request',
		'The request is not HTTP, or has characters that have to be percent-encoded.', 'what is not HTTP' ],
	[ "GET /$end\r\n", 404, 'Not Found', 'There is nothing here but /api/v1/batches.', 'another path' ],
	[ "GET /error$end\r\n", 404, 'Not Found', 'There is nothing here but /api/v1/batches.', 'the path of the errors' ],
	[ "TRACE /api/v1/batches$end\r\n", 405, 'Method Not Allowed', 'The method is not GET.', 'a method that nginx refuses' ],
	[ "GET /api/v1/batches${end}Content-Length: 20000\r\n\r\n" . 'x' x 20_000, 413, 'Content Too Large', 'A request has no body.', 'a long body' ],
	[ 'GET /api/v1/batches?tag=' . 'x' x 33_000 . "$end\r\n", 414, 'URI Too Long', 'The query string is too long.', 'a long request line' ],
	[ "GET /api/v1/batches${end}X: " . 'x' x 33_000 . "\r\n\r\n", 431, 'Request Header Fields Too Large', 'A header is too long.', 'a long header' ],
	[ "GET /api/v1/batches${end}Transfer-Encoding: x\r\n\r\n", 501, 'Not Implemented',
		'The request has a transfer encoding that is not supported.', 'another transfer encoding' ],
	[ "GET /api/v1/batches HTTP/3.0\r\n\r\n", 505, 'HTTP Version Not Supported', 'The version of HTTP is not supported.', 'another HTTP' ])
{
	my ($request, @expected) = @$case;
	is_error(send_raw($port, $request), @expected);
}
is_deeply([ reached() ], [], 'none of which has reached PostgREST');

# Two users take turns on the same connection to PostgREST, with nobody in between; then with.
foreach my $anonymous ([], [undef])
{
	my @totals;
	foreach (1 .. 10)
	{
		foreach my $authorization ($token{ada}, @$anonymous, $token{bob})
		{
			my $response = get('?limit=1', $authorization);
			push @totals, $response->{status} == 200 ? decode_json($response->{content})->{pagination}{total} : $response->{status};
		}
	}
	is_deeply(\@totals, [ (150, (401) x @$anonymous, 20) x 10 ], 'each gets what is theirs');
	my %connections = map { $_->{connection} => 1 } reached();
	cmp_ok(scalar keys %connections, '<=', 2, 'over connections that are kept open') if !@$anonymous;
}

# Pages of other origins, where they are let; and an address that asks too often.
is_deeply([ grep { /^access-control|^vary/ } sort keys %{ get('', $token{ada}, Origin => 'https://app.example.com')->{headers} } ],
	['access-control-expose-headers'], 'CORS is off');
reached();
my $open_port = start_nginx('open', '# https://app.example.com' => 'https://app.example.com', qq(map \$host \$vary {\n        default "";) => 'map $host $vary { default Origin;',
	'rate=50r/s' => 'rate=1r/m', 'burst=100' => 'burst=7');
my $closed_endpoint = $endpoint;
$endpoint = "http://127.0.0.1:$open_port/api/v1/batches";
sub cors
{
	my ($method, $origin, %headers) = @_;
	my $response = $http->request($method, $endpoint, { headers => { Origin => $origin, %headers } });
	return join(' ', map { $_ // '-' } $response->{status},
		@{ $response->{headers} }{qw(access-control-allow-origin access-control-allow-methods access-control-allow-headers vary)});
}
my @preflight = ('Access-Control-Request-Method' => 'GET', 'Access-Control-Request-Headers' => 'authorization');
my $page_origin = 'https://app.example.com';
is(cors('OPTIONS', $page_origin, @preflight), "204 $page_origin GET Authorization Origin", 'CORS: a preflight');
is(cors('GET', $page_origin, Authorization => $token{ada}), "200 $page_origin - - Origin", 'CORS: a page');
is(cors('GET', $page_origin), "401 $page_origin - - Origin", 'CORS: an error');
is(cors('POST', $page_origin), "405 $page_origin - - Origin", 'CORS: another method');
is(cors('OPTIONS', "$page_origin.evil", @preflight), '405 - - - Origin', 'CORS: a preflight of another origin');
is(cors('GET', "$page_origin.evil", Authorization => $token{ada}), '200 - - - Origin', 'CORS: another origin');
is(cors('GET', 'null', Authorization => $token{ada}), '200 - - - Origin', 'CORS: no origin');

is(get('', $token{ada})->{status}, 200, "an address may ask so often: $_") foreach 5 .. 8;
my $often = get('', $token{ada});
is_error($often, 429, 'Too Many Requests', 'There are too many requests from this address.', 'and not more often');
is($often->{headers}{'retry-after'}, 1, 'for now');
is(scalar(reached()), 8, 'which PostgREST does not see');
$endpoint = $closed_endpoint;

unlike(slurp_file("$directory/gate.log"), qr/\[(warn|error|crit|alert|emerg)\](?!.* intended to send too large body)/,
	'nginx has nothing to complain of');
ok(!-s "$directory/postgrest.log", 'nor has what stands for PostgREST');
unlike(slurp_file($node->logfile), qr/ (ERROR|PANIC|WARNING): /, 'nor the database');

# Claims make a user in PostgREST's sessions alone: another role that may become the web role forges none.
my $forged = q{set role web_user; set request.jwt.claims = '{"sub": "ada"}'; select coalesce(batches.current_user_id(), 'nobody')};
my $reporter = $node->connstr('postgres') . ' user=reporter';
is($node->safe_psql('postgres', $forged, connstr => $reporter), 'nobody', 'claims of another role are not trusted');
is($node->safe_psql('postgres', $forged, connstr => $session), 'ada', "while PostgREST's are");

# A PostgREST that runs learns of the schema.
like($node->safe_psql('postgres', q{listen pgrst; select batches.create_postgrest_api('api', 'web_anon', 'web_user')}),
	qr/notification "pgrst" with payload "reload schema"/, 'the schema is announced');

kill 'TERM', -$postgrest;
waitpid($postgrest, 0);
is_error(get('', $token{ada}), 502, 'Bad Gateway', 'The server has no connection to the database.', '502 without PostgREST');

$finished = 1;
done_testing();
