# The document in databases whose encoding is not UTF-8.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

sub make_database
{
	my ($encoding, $tag) = @_;

	$node->safe_psql('postgres',
		"create database $encoding encoding '$encoding' locale 'C' template template0");
	$node->safe_psql($encoding, qq{
		create extension batches;
		select batches.create_tables();
		insert into batches.project_member values ('00000000-0000-0000-0000-000000000001', 'ada');
		insert into batches.batch (project_id, device_type, user_id, tags)
		values ('00000000-0000-0000-0000-000000000001', 'FRESNEL', 'ada', array[$tag]);
	});
	return;
}

# Devices are keys of the facets, whether totals tell them or rows.
my $facets = q{select batches.batch_facets() -> 'device_type', batches.batch_facets(tag => 'x') -> 'device_type',
	batches.count_batches(device_type => array[E'\u00e9']), batches.count_batches(device_type => array[E'\u00e9'], tag => 'x')};

my $tags = q{set batches.user_id = 'ada';
	select batches.get_all_batches() #> '{data,0,tags}'};

# The server converts for the client, as it does for every json value.
make_database('latin1', q{convert_from('\x7ae9', 'LATIN1')});
is($node->safe_psql('latin1', "set client_encoding = 'UTF8'; $tags"),
	qq{["z\xc3\xa9"]}, 'LATIN1: correct for a client that speaks UTF-8');
is($node->safe_psql('latin1', "set client_encoding = 'LATIN1'; $tags"),
	qq{["z\xe9"]}, 'LATIN1: correct for a client that speaks LATIN1');
is($node->safe_psql('latin1', q{set client_encoding = 'LATIN1'; select batches.count_batches(tag => E'z\351')}),
	1, 'LATIN1: the tag is found');

$node->safe_psql('latin1', q{
	insert into batches.batch (project_id, device_type, user_id, tags)
	select '00000000-0000-0000-0000-000000000003', convert_from('\xe9', 'LATIN1'), 'ada', '{x}' from generate_series(1, 2)});
is($node->safe_psql('latin1', "set client_encoding = 'UTF8'; $facets"),
	qq({"\xc3\xa9": 2, "FRESNEL": 1}|{"\xc3\xa9": 2}|2|2), 'LATIN1: facets for a client that speaks UTF-8');
is($node->safe_psql('latin1', "set client_encoding = 'LATIN1'; $facets"),
	qq({"\xe9": 2, "FRESNEL": 1}|{"\xe9": 2}|2|2), 'LATIN1: and for one that speaks LATIN1');

# A query string is UTF-8 whatever the database is.
sub endpoint
{
	my ($database, $query_string, $path) = @_;
	return $node->safe_psql($database,
		qq{set client_encoding = 'UTF8'; set batches.user_id = 'ada';
			select status, body #> '$path' from batches.http_get_all_batches('$query_string')});
}
is(endpoint('latin1', 'tag=z%C3%A9', '{pagination,total}'), '200|1',
	'LATIN1: the endpoint finds the tag');
is(endpoint('latin1', 'tag=%E2%82%AC', '{pagination,total}'), '200|0',
	'LATIN1: what it cannot hold matches nothing');
is(endpoint('latin1', 'user_id=%E2%82%AC&user_id=ada', '{pagination,total}'), '200|1',
	'LATIN1: the others of the list match');
is(endpoint('latin1', 'status=%C3%A9', '{data,description,0,input}'), qq{422|"\xc3\xa9"},
	'LATIN1: an error says what was sent');
is(endpoint('latin1', 'status=%C3%A9a%E2%82%AC%F0%9F%98%80%00', '{data,description,0,input}'),
	qq{422|"\xc3\xa9a???"}, 'LATIN1: with question marks for what it cannot hold');

# Claims are in the database's encoding. Escapes for other characters are refused.
sub claimed_user
{
	my ($database, $claims) = @_;
	return $node->safe_psql($database, qq{set client_encoding = 'UTF8';
		set batches.trust_jwt_claims = on; set request.jwt.claims = '$claims';
		select coalesce(batches.current_user_id(), 'nobody')});
}
is(claimed_user('latin1', qq({"name":"\\u0041","sub":"ad\xc3\xa9"})), "ad\xc3\xa9",
	'LATIN1: the subject of claims');
is(claimed_user('latin1', '{"name":"\u20ac","sub":"ada"}'), 'nobody',
	'LATIN1: claims with escapes for other characters are nobody\'s');

# Nothing says what the bytes are: those that are UTF-8 make a document.
make_database('sql_ascii', q{E'z\303\251'});
is($node->safe_psql('sql_ascii', $tags), qq{["z\xc3\xa9"]}, 'SQL_ASCII: UTF-8 bytes make a document');
is(endpoint('sql_ascii', 'tag=z%C3%A9', '{pagination,total}'), '200|1', 'SQL_ASCII: the endpoint finds the tag');
is(endpoint('sql_ascii', 'status=%C3%A9', '{data,description,0,input}'),
	qq{422|"\xc3\xa9"}, 'SQL_ASCII: an error says what was sent');
is(claimed_user('sql_ascii', qq({"sub":"ad\xc3\xa9"})), "ad\xc3\xa9", 'SQL_ASCII: the subject of claims');
is(claimed_user('sql_ascii', '{"sub":"ad\u00e9"}'), 'nobody', 'SQL_ASCII: nobody with such an escape');
$node->safe_psql('sql_ascii', q{update batches.batch set tags = array[E'z\351']});
my ($code, $stdout, $stderr) = $node->psql('sql_ascii', "\\set VERBOSITY verbose\n$tags");
isnt($code, 0, 'SQL_ASCII: other bytes are refused');
like($stderr, qr/22021: invalid byte sequence for encoding "UTF8": 0xe9/, 'with a clear error');

$node->stop;
done_testing();
