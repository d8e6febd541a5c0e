# Who may say who asks: a role that was not granted batches.user_id gains nothing
# by setting it before the library is loaded, in whatever way.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--encoding=UTF8']);
$node->start;

$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member values (lpad('1', 32, '0')::uuid, 'ada');
	insert into batches.batch (project_id, id, device_type, user_id)
	values (lpad('1', 32, '0')::uuid, lpad('2', 32, '0')::uuid, 'FRESNEL', 'ada');
	create role visitor login;
	create role application login;
	grant usage on schema batches to visitor, application;
	grant select on all tables in schema batches to visitor, application;
	grant set on parameter batches.user_id to application;
});

# What a new session sees that first runs some statements.
my $look = q{
	select coalesce(batches.current_user_id(), 'nobody'), batches.count_batches(),
	       (select count(*) from batches.batch) + (select count(*) from batches.batch_job_count) + (select count(*) from batches.batch_total),
	       batches.batch_facets() ->> 'total', (select status from batches.http_get_all_batches(''))};

sub session
{
	my ($role, $statements, $options) = @_;
	local $ENV{PGOPTIONS} = $options // '';
	my ($code, $stdout, $stderr) = $node->psql('postgres', $statements . $look,
		extra_params => [ '-U', $role, '-q' ], on_error_stop => 0);
	# The settings' own output is not of interest.
	return (split /\n/, $stdout)[-1];
}

my $nothing = 'nobody|0|0|0|401';
my $all = 'ada|1|4|1|200';

is(session('visitor', ''), $nothing, 'without a user nothing is seen');
is(session('visitor', q{set batches.user_id = 'ada';}), $nothing, 'SET before the library is loaded');
is(session('visitor', q{begin; set local batches.user_id = 'ada';}), $nothing,
	'SET LOCAL before the library is loaded');
is(session('visitor', q{select set_config('batches.user_id', 'ada', false);}), $nothing,
	'set_config() before the library is loaded');
is(session('visitor', q{begin; savepoint s; set local batches.user_id = 'ada'; release s;}), $nothing,
	'SET LOCAL in a subtransaction');
is(session('visitor', '', q{-c batches.user_id=ada}), $nothing, 'connection options');
is(session('visitor', q{alter role visitor set batches.user_id = 'ada';}), $nothing, 'ALTER ROLE SET');
is(session('visitor', ''), $nothing, 'ALTER ROLE SET, in the next session');
is(session('visitor', q{set batches.trust_jwt_claims = on; set request.jwt.claims = '{"sub": "ada"}';}),
	$nothing, 'claims are not trusted because a visitor says so');
is(session('visitor', '', q{-c batches.trust_jwt_claims=on -c request.jwt.claims={"sub":"ada"}}),
	$nothing, 'nor because connection options do');
is(session('visitor', q{select batches.current_user_id(); set batches.user_id = 'ada';}), $nothing,
	'SET after the library is loaded');

is(session('application', q{set batches.user_id = 'ada';}), $all,
	'a granted role sets it before the library is loaded');
is(session('application', q{select batches.current_user_id(); set batches.user_id = 'ada';}), $all,
	'and after');
is(session('application', '', q{-c batches.user_id=ada}), $all, 'and by connection options');
{
	# The server does not check these bytes.
	local $ENV{PGOPTIONS} = "-c batches.user_id=ada\xff";
	foreach my $call ('select batches.current_user_id()', 'select batches.count_batches()',
		q{select status from batches.http_get_all_batches('')}, 'select count(*) from batches.batch')
	{
		my ($code, $stdout, $stderr) = $node->psql('postgres', $call, extra_params => [ '-U', 'application' ]);
		like("$stdout$stderr", qr/^psql:<stdin>:1: ERROR:  the authenticated user is no text in the encoding "UTF8"/, "a user that is no text is refused: $call");
	}
}
is(session('application', q{set batches.user_id = 'ada'; reset batches.user_id;}), $nothing,
	'a reset user is none');
is(session('application', q{begin; set local batches.user_id = 'ada'; commit;}), $nothing,
	'a user set for a transaction goes with it');

# A superuser can trust the claims of PostgREST for a database.
$node->safe_psql('postgres', 'alter database postgres set batches.trust_jwt_claims = on');
is(session('visitor', q{set request.jwt.claims = '{"sub": "ada"}';}), $all,
	'trusted claims name the user');
is(session('visitor', q{set request.jwt.claims = '{"sub": 1}';}), $nothing, 'malformed ones do not');
is(session('application', q{set batches.user_id = 'bob'; set request.jwt.claims = '{"sub": "ada"}';}),
	'bob|0|0|0|200', 'batches.user_id comes first');

$node->stop;
done_testing();
