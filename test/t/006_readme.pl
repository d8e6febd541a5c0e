# What README.md says: every SQL statement runs, and its reference tables list
# what is there.
use strict;
use warnings;

use Digest::SHA;
use File::Basename;
use File::Spec;
use JSON::PP;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $project = File::Spec->rel2abs(dirname(__FILE__) . '/../..');
my $readme = slurp_file("$project/README.md");

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;

# All blocks in one session, in the directory that the text speaks of.
my @blocks = $readme =~ /^```sql\n(.*?)^```$/msg;
cmp_ok(scalar @blocks, '>=', 10, 'there are statements to run');
my $script = $node->basedir . '/readme.sql';
append_to_file($script, join("\n", @blocks));
chdir $project or die;
my ($stdout, $stderr);
ok( IPC::Run::run(
		[ 'psql', '-X', '-A', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script ],
		'>', \$stdout, '2>', \$stderr),
	'every statement runs') or diag($stderr);
is($stderr, '', 'without a message');
unlike($stdout, qr/\{"total":0,/, 'every document has batches');
my @empty = $stdout =~ /\(0 rows\)/g;
is(scalar @empty, 1, 'every query has rows, but for the check of the counts');

# The tour that the demo makes, in the same database
ok( IPC::Run::run(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$project/examples/tour.sql" ],
		'>', \$stdout, '2>', \$stderr),
	'every statement of the tour runs') or diag($stderr);
is($stderr, '', 'without a message');
unlike($stdout, qr/\(0 rows\)|"total":\s?0,/, 'and finds something');

# A line of its JSON lines is what it is of, whatever the batch has in it.
my ($export) = $readme =~ /^(copy \(\n  select row_to_json.*?;)$/ms;
$node->safe_psql('postgres', q{insert into batches.batch (project_id, device_type, user_id, status, tags)
	values (gen_random_uuid(), e'\\\\N "a", \x01\x02\n\t\\\\.', 'odd', 'DONE', '{"","a\"b"}')});
my @lines = map { decode_json($_) } split /\n/, $node->safe_psql('postgres', $export);
cmp_ok(scalar @lines, '>', 100, 'JSON lines are lines');
is_deeply([ map { "$_->{device_type} @{$_->{tags}}" } grep { $_->{user_id} eq 'odd' } @lines ], [ qq{\\N "a", \x01\x02\n\t\\.  a"b} ], 'each is JSON');

# The token that it mints is one.
my ($mint) = $readme =~ /^(secret='.*?^TOKEN=[^\n]*\n)/ms;
my $token = do { local $/; open(my $shell, '-|', 'sh', '-c', $mint . 'printf %s "$TOKEN"') or die; <$shell> };
my ($secret) = $mint =~ /^secret='(.*)'$/m;
like($readme, qr/^jwt-secret = "\Q$secret\E"$/m, "the secret of the token is PostgREST's");
my ($signed, $signature) = $token =~ /^(.*)\.(.*)$/;
is($signature, Digest::SHA::hmac_sha256_base64($signed, $secret) =~ tr{+/}{-_}r, 'the token is signed');
my ($header, $claims) = map { decode_json(MIME::Base64::decode_base64(tr{-_}{+/}r)) } split /\./, $signed;
is("$header->{alg} $claims->{role} $claims->{sub}", 'HS256 batches_web user-1', 'it says who the user is');
cmp_ok($claims->{exp}, '>', time, 'and is valid');

# The first column of a table of the README, by its heading.
sub listed
{
	my ($heading) = @_;
	my ($section) = $readme =~ /^### \Q$heading\E\n(.*?)^##/ms or die "no section $heading";
	return join(' ', $section =~ /^\| `([a-z_]+)/mg);
}

sub catalog
{
	my ($query) = @_;
	return $node->safe_psql('postgres', $query);
}

is(listed('Parameters'), catalog(q{
	select string_agg(name, ' ' order by n) from pg_proc, unnest(proargnames) with ordinality a(name, n)
	 where oid = 'batches.get_all_batches'::regproc}), 'the parameters');
is(listed('Columns of `list_batches`, keys of the document'), catalog(q{
	select string_agg(name, ' ' order by n)
	  from pg_proc, unnest(proargnames, proargmodes) with ordinality a(name, mode, n)
	 where oid = 'batches.list_batches'::regproc and mode = 't'}), 'the columns');
is( join(' ', $readme =~ /^\| `(batches\.[a-z_]+)`/mg),
	catalog(q{select string_agg(name, ' ' order by name desc) from pg_settings where name like 'batches.%'
	          and batches.current_user_id() is null}),
	'the settings');
my %named = map { $_ => 1 } split / /, listed('Functions');
my ($parts) = $readme =~ /^(`are_valid_tags`.*?) are the parts/ms;
my $previous = '';
while ($parts =~ /`(\w+)`/g)
{
	my $name = $1;
	$name = $previous . $name if $name =~ /^_/;
	$previous = $name =~ s/_accum$//r if $name =~ /_accum$/;
	$named{$name} = 1;
}
is(join(' ', sort keys %named), catalog(q{
	select string_agg(proname, ' ' order by proname collate "C") from pg_proc
	 where pronamespace = 'batches'::regnamespace}), 'the functions');

$node->stop;
done_testing();
