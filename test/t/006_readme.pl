# What README.md and the pages of doc say: every SQL statement and every Python program runs, the
# reference tables list what is there, and the messages that are explained are the extension's.
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
my %pages = map { basename($_, '.md') => slurp_file($_) } glob("$project/doc/*.md");
cmp_ok(scalar keys %pages, '>', 0, 'there are pages');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
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

# The token that it mints is one.
my ($mint) = $pages{serving} =~ /^(secret='.*?^TOKEN=[^\n]*\n)/ms;
my $token = do { local $/; open(my $shell, '-|', 'sh', '-c', $mint . 'printf %s "$TOKEN"') or die; <$shell> };
my ($secret) = $mint =~ /^secret='(.*)'$/m;
like($pages{serving}, qr/^jwt-secret = "\Q$secret\E"$/m, "the secret of the token is PostgREST's");
my ($signed, $signature) = $token =~ /^(.*)\.(.*)$/;
is($signature, Digest::SHA::hmac_sha256_base64($signed, $secret) =~ tr{+/}{-_}r, 'the token is signed');
my ($header, $claims) = map { decode_json(MIME::Base64::decode_base64(tr{-_}{+/}r)) } split /\./, $signed;
is("$header->{alg} $claims->{role} $claims->{sub}", 'HS256 batches_web user-1', 'it says who the user is');
cmp_ok($claims->{exp}, '>', time, 'and is valid');

# The first column of a table of the reference, by its heading.
sub listed
{
	my ($heading) = @_;
	my ($section) = $pages{reference} =~ /^## \Q$heading\E\n(.*?)^##/ms or die "no section $heading";
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
is( join(' ', $pages{reference} =~ /^\| `(batches\.[a-z_]+)`/mg),
	catalog(q{select string_agg(name, ' ' order by name desc) from pg_settings where name like 'batches.%'
	          and batches.current_user_id() is null}),
	'the settings');
my %named = map { $_ => 1 } split / /, listed('Functions');
my ($parts) = $pages{reference} =~ /^(`are_valid_tags`.*?) are the parts/ms;
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

#
# The pages of doc: each in a database of its own, that has the tables and sample data, and in a directory that has
# what a page may read, the examples and the two files that another system exports.
#

# How many of a page's queries have no rows
my %empty = (operations => 3);
my $directory = $node->basedir . '/pages';
mkdir $directory or die;
symlink "$project/examples", "$directory/examples" or die;
chdir $directory or die;
local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
foreach my $page (sort keys %pages)
{
	$node->safe_psql('postgres', "create database $page");
	$node->safe_psql($page, 'create extension batches; select batches.create_tables()');
	$node->safe_psql($page, "\\set batches 1000\n\\i examples/sample_data.sql");
	$node->safe_psql($page, q{
\copy (select project_id, id, status, open, device_type, user_id, created_at, updated_at, tags, configuration, start_datetime, end_datetime, queue_priority from batches.batch order by 1, 2) to 'batch.csv' (format csv)
\copy (select project_id, batch_id, id, status, created_at, updated_at from batches.job order by 1, 2, 3) to 'job.csv' (format csv)});
	my $file = $node->basedir . "/$page.sql";
	append_to_file($file, join("\n", $pages{$page} =~ /^```sql\n(.*?)^```$/msg));
	ok( IPC::Run::run([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($page), '-f', $file ], '>', \$stdout, '2>', \$stderr),
		"every statement of $page.md runs") or diag($stderr);
	is($stderr, '', 'without a message');
	unlike($stdout, qr/^ *wrong *\n[-]+\n +[1-9]/m, 'and no count is wrong');
	my @empty = $stdout =~ /^\(0 rows\)/mg;
	is(scalar @empty, delete $empty{$page} // 0, 'and every query has rows that should');
}
is(join(' ', sort keys %empty), '', 'all of these pages are there');

# A line of its JSON lines is what it is of, whatever the batch has in it.
my ($export) = $pages{serving} =~ /^(copy \(\n  select row_to_json.*?;)$/ms;
$node->safe_psql('serving', q{insert into batches.batch (project_id, device_type, user_id, status, tags)
	values (gen_random_uuid(), e'\\\\N "a", \x01\x02\n\t\\\\.', 'odd', 'DONE', '{"","a\"b"}')});
my @lines = map { decode_json($_) } split /\n/, $node->safe_psql('serving', $export);
cmp_ok(scalar @lines, '>', 100, 'JSON lines are lines');
is_deeply([ map { "$_->{device_type} @{$_->{tags}}" } grep { $_->{user_id} eq 'odd' } @lines ], [ qq{\\N "a", \x01\x02\n\t\\.  a"b} ], 'each is JSON');

# Links from one page to another, and to a heading of it
my %linked = ('README.md' => $readme, map { $_ => slurp_file("$project/$_") } qw(CHANGELOG.md CONTRIBUTING.md SECURITY.md test/README.md),
	map { "doc/$_.md" } keys %pages);
my %anchors;
sub anchors
{
	my ($file) = @_;
	return $anchors{$file} //= { map { lc(s/[^\w -]//gr) =~ tr/ /-/r => 1 } slurp_file("$project/$file") =~ /^#+ (.*)$/mg };
}
my @dangling;
foreach my $file (sort keys %linked)
{
	foreach my $link ($linked{$file} =~ /\]\((?!https?:)([^)\s]+)\)/g)
	{
		my ($target, $anchor) = split /#/, $link;
		$target = $target eq '' ? $file : $file =~ s{[^/]*$}{$target}r;
		1 while $target =~ s{[^/]+/\.\./}{};
		push @dangling, "$file: $link" if !-e "$project/$target" || defined $anchor && !anchors($target)->{$anchor};
	}
}
is_deeply(\@dangling, [], 'every link leads somewhere');


# Programs, with a user of a project
my %needs = (SQLAlchemy => 'sqlalchemy, psycopg2', Django => 'django, psycopg2');
$node->safe_psql('postgres', 'create database demo');
$node->safe_psql('demo', q{create extension batches; select batches.create_tables();
	insert into batches.project_member (project_id, user_id) values ('00000000-0000-0000-0000-000000000001', 'user-1')});
my @programs = join("\n", values %pages) =~ /^### (\w+)\n(?:(?!^##).)*?^```python\n(.*?)^```$/msg;
while (my ($what, $program) = splice @programs, 0, 2)
{
	SKIP:
	{
		my $modules = delete $needs{$what} // die "what does $what need?";
		skip("there is no Python that has $modules", 1) if system("/usr/bin/python3 -c 'import $modules' 2>/dev/null") != 0 && !$ENV{CI};
		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		ok(IPC::Run::run([ '/usr/bin/python3', '-' ], '<', \$program, '>', \$stdout, '2>', \$stderr), "the program for $what runs") or diag($stderr);
	}
}
is(join(' ', sort keys %needs), '', 'all of them were there');
is($node->safe_psql('demo', 'select count(*) from batches.verify_counts()'), 0, 'and the counts are right');

# What the sources can say, as patterns: literals in C, which may be continued, and in SQL
my $sources = join('', map { slurp_file($_) } glob("$project/src/*.c"), glob("$project/sql/batches--*.sql"));
my @said;
while ($sources =~ /errmsg\(((?:\s*(?:"(?:[^"\\]|\\.)*"|[A-Z0-9]+))+)|raise exception '([^']*)'/g)
{
	my $text = defined $1 ? join('', $1 =~ /"((?:[^"\\]|\\.)*)"/g) =~ s/\\"/"/gr : $2 =~ s/\@extschema\@/batches/gr;
	push @said, join('.+', map { quotemeta } split /%(?:\w*[sudz]\b|lld|)/, $text, -1);
}
my ($explained) = $pages{operations} =~ /^\| message \|.*?\n\| ---.*?\n(.*?)\n\n/ms;
foreach my $message ($explained =~ /^\| `(.*?)` \|/mg)
{
	ok(scalar(grep { $message =~ /^$_$/ } @said), "the extension can say: $message");
}

$node->stop;
done_testing();
