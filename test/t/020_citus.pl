# Tables that Citus has distributed: a coordinator and two workers answer as one server with the same rows does, keep job
# counts and totals whatever is written beside moves of shards, and show a user nothing but what is the user's.
#
# The seed is printed; BATCHES_TEST_SEED repeats the requests, and BATCHES_TEST_SIZE=10 makes ten times as many.
use strict;
use warnings;

use IPC::Run ();
use MIME::Base64 qw(encode_base64);
use File::Basename;
use File::Spec;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $project = File::Spec->rel2abs(dirname(__FILE__) . '/../..');

my $plain = PostgreSQL::Test::Cluster->new('plain');
plan(skip_all => 'this PostgreSQL has no Citus')
  if !-f $plain->config_data('--sharedir') . '/extension/citus.control';

my $seed = $ENV{BATCHES_TEST_SEED} || time % 1_000_000;
my $requests = int(300 * ($ENV{BATCHES_TEST_SIZE} || 1));
note("seed $seed");
srand($seed);

my ($coordinator, @workers) = map { PostgreSQL::Test::Cluster->new($_) } qw(coordinator worker1 worker2);
$plain->init;
$plain->start;
foreach my $node ($coordinator, @workers)
{
	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'citus'\nwal_level = logical\nmax_connections = 60\n"
		  . "max_prepared_transactions = 60\nmax_wal_senders = 10\nmax_replication_slots = 10\nmax_worker_processes = 20\n"
		  . "citus.shard_count = 8\ncitus.enable_statistics_collection = off\nfsync = off\ncitus.local_hostname = '" . $node->host . "'");
	# The servers need not have the same settings.
	$node->append_conf('postgresql.conf', "timezone = 'Asia/Tokyo'") if $node == $workers[1];
	$node->start;
	$node->safe_psql('postgres', 'create extension citus');
}

sub sql { return $coordinator->safe_psql('postgres', @_) }

# What a statement says on standard error.
sub complaint
{
	my ($node, $statement) = @_;
	my ($code, $stdout, $stderr) = $node->psql('postgres', $statement);
	return $stderr;
}

# In a database with Citus, local tables are read by their indexes.
sql('create extension batches; select batches.create_tables()');
sql(q{select citus_set_coordinator_host('} . $coordinator->host . q{', } . $coordinator->port . ')');
sql(q{select citus_add_node('} . $_->host . q{', } . $_->port . ')') for @workers;

# The same rows everywhere
$plain->command_ok([ 'psql', '-X', '-q', '-d', $plain->connstr('postgres'), '-f', "$project/test/churn/setup.sql" ], 'batches on one server');
my $copies = $plain->basedir;
sub copy_rows
{
	my ($statement, @tables) = @_;
	foreach my $table (@tables)
	{
		$plain->safe_psql('postgres', "copy batches.$table to '$copies/$table'") if !-f "$copies/$table";
		sql("copy batches.$table from '$copies/$table'");
	}
}
copy_rows('', qw(batch project_member));
is(sql('select engine from batches.explain_batches()'), 'index', 'local tables beside Citus are read by their indexes');

# What stands in the way
my $distribute = 'select batches.distribute_tables()';
sub refused
{
	my ($break, $mend, $message, $name) = @_;
	sql($break);
	like(complaint($coordinator, $distribute), $message, $name);
	sql($mend);
}
like(complaint($plain, $distribute), qr/there is no Citus in this database.*HINT/s, 'it takes Citus');
like(complaint($workers[0], $distribute), qr/do not exist|worker/, 'and the coordinator');
refused('create table public.note (batch uuid references batches.batch (id))', 'drop table public.note',
	qr/table "public.note" references rows of "batches.batch"\nHINT: .*drop constraint note_batch_fkey/si, 'a foreign key stands in the way');
refused('create policy more on batches.batch using (open)', 'drop policy more on batches.batch', qr/has a policy "more"/, 'so does a policy');
refused('create trigger t after insert on batches.batch execute function batches.protect_counts(); alter table batches.batch disable trigger t',
	'drop trigger t on batches.batch', qr/has a disabled trigger "t"/, 'a disabled trigger');
refused('create function public.f() returns trigger language plpgsql as $$begin return null; end$$; create trigger t after insert on batches.job execute function public.f()',
	'drop function public.f() cascade', qr/table "batches.job" has a trigger "t"/, 'a trigger');
refused('grant select (id) on batches.batch to public', 'revoke select (id) on batches.batch from public', qr/role "public" has rights on table "batches.batch"/, 'the role of all');
refused('create role reader; grant select on batches.job to reader', 'drop owned by reader',
	qr/role "reader" has rights on table "batches.job"\nDETAIL: .*sees there/s, 'a role that row-level security has kept from rows');
refused('grant usage on schema batches to reader; grant pg_read_all_data to reader', 'revoke pg_read_all_data from reader; drop owned by reader; drop role reader',
	qr/role "reader" has rights/, 'by another role, too');
refused('set session_replication_role = replica; insert into batches.batch_job_count (project_id, batch_id) values (gen_random_uuid(), gen_random_uuid())',
	'select batches.repair_counts()', qr/derived tables are wrong\nHINT: .*repair_counts/s, 'wrong counts');
$workers[1]->safe_psql('postgres', q{update pg_extension set extversion = '0.9' where extname = 'batches'});
like(complaint($coordinator, $distribute), qr/has version 0.9 of the extension, not 1.0/, 'a worker with another version');
$workers[1]->safe_psql('postgres', q{update pg_extension set extversion = '1.0' where extname = 'batches'});
$workers[1]->stop;
like(complaint($coordinator, $distribute), qr/does not answer/, 'a worker that is down');
$workers[1]->start;
is(sql('select engine from batches.explain_batches()'), 'index', 'and nothing has changed');

# Distributed, with rows in them
my @dump = ('pg_dump', '-s', '-n', 'batches', '-d', $coordinator->connstr('postgres'));
sub schema { my ($out) = run_command(\@dump); return $out =~ s/^\\(un)?restrict.*\n//mgr }
my $before = schema();

# A worker that refuses when half is done
$workers[1]->safe_psql('postgres', q{set citus.enable_ddl_propagation = off;
	create function public.refuse() returns event_trigger language plpgsql as $$
	begin
		if exists (select from pg_event_trigger_ddl_commands() where object_identity like 'batches.batch\_total\_%') then raise 'refused'; end if;
	end $$;
	create event trigger refuse on ddl_command_end when tag in ('CREATE TABLE') execute function public.refuse()});
like(complaint($coordinator, $distribute), qr/refused/, 'a worker refuses when half is done');
is(schema(), $before, 'and everything is as before');
is(sql('select engine from batches.explain_batches()') . sql('select count(*) from pg_dist_partition'), 'index0', 'nothing is distributed');
is($workers[0]->safe_psql('postgres', q{set citus.override_table_visibility = off; select count(*) from pg_class where relnamespace = 'batches'::regnamespace and relkind = 'r'}),
	0, 'not on the other worker either');
$workers[1]->safe_psql('postgres', 'set citus.enable_ddl_propagation = off; drop event trigger refuse; drop function public.refuse()');

sql($distribute);
sql($distribute);
is(sql('select count(*) from pg_dist_partition where logicalrelid = any (batches.present_tables())'), 5, 'all tables are distributed');
is(sql('select count(distinct colocationid) from pg_dist_partition where partmethod = $$h$$'), 1, 'together');
copy_rows('', 'job');
foreach my $node ($coordinator, @workers)
{
	is($node->safe_psql('postgres', 'select count(*) from batches.verify_counts()'), 0, 'counts are right, seen from ' . $node->name);
}
like(sql('select reason from batches.explain_batches()'), qr/distributed by Citus; at this isolation level .* two moments/, 'why SQL reads is said');
is(sql('begin isolation level repeatable read; select engine, reason from batches.explain_batches()'), 'shards|its rows are distributed by Citus', 'at REPEATABLE READ a page and its total agree');
is(sql('select engine from batches.explain_batches("limit" => null)'), 'sql', 'what is longer than a page is read by SQL');
is(sql(q{select engine, detail ->> 'total_source' from batches.explain_batches("limit" => 1001)}), 'sql|shards', 'and counted on the shards');

#
# Reads
#

my @ids = split /\n/, $plain->safe_psql('postgres', 'select id from batches.batch order by id limit 60');
sub pick { return $_[ int rand @_ ] }
sub list { my @values = map { pick(@_) } 0 .. int rand 3; return "'{" . join(',', @values) . "}'" }
sub project { return sprintf '%032d', int rand 15 }
sub moment { return sprintf q{'2025-01-%02dT%02d:00:00Z'}, 1 + int rand 14, int rand 24 }
my @statuses = qw(PENDING RUNNING DONE CANCELED CANCELING TIMED_OUT ERROR PAUSED);
my @devices = qw(A B b EMU x);
my %filters = (
	id => sub { list(@ids) }, id__starts_with => sub { sprintf "'%x'", int rand 256 },
	project_id => sub { list(project(), project(), project()) }, user_id => sub { list(map { "user-$_" } 0 .. 9) },
	device_type => sub { list(@devices) }, status => sub { list(@statuses) }, complete => sub { pick('true', 'false') },
	open => sub { pick('true', 'false') }, min_jobs => sub { int rand 4 }, max_jobs => sub { int rand 4 }, start_date => \&moment,
	end_date => \&moment, queue_priority => sub { list(qw(CRITICAL HIGH MEDIUM LOW FREE)) }, tag => sub { pick(q{'common'}, q{'rare'}, q{'none'}) },
	created_after => \&moment, created_before => \&moment, updated_after => \&moment, updated_before => \&moment,
	parent_id => sub { list(@ids) }, tags_any => sub { list(qw(common rare)) }, tags_all => sub { list(qw(common rare)) },
	exclude_status => sub { list(@statuses) }, exclude_device_type => sub { list(@devices) });
my @orders = qw(created_at updated_at start_datetime end_datetime id status open complete priority device_type user_id project_id jobs_count queue_priority);

# Every parameter has its turn.
is( join(' ', sort keys %filters),
	$plain->safe_psql('postgres', q{select string_agg(name, ' ' order by name collate "C") from pg_proc, unnest(proargnames) name where oid = 'batches.count_batches'::regproc}),
	'there are values for all filters');

# All statements in one session, an answer a line.
sub answers
{
	my ($node, @statements) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \join(";\n", @statements, ''), '>', \$out, '2>', \$err);
	return split /\n/, $out . $err;
}

my @statements;
for (1 .. $requests)
{
	my @filters = map { "$_ => " . $filters{$_}->() } grep { rand() < 0.12 } sort keys %filters;
	my $filters = join(', ', @filters);
	my $page = join(', ', @filters, 'order_by => ' . "'" . pick(@orders) . "'", 'order_by_direction => ' . pick(q{'ASC'}, q{'DESC'}),
		'"limit" => ' . pick('null', 1, 10, 100), '"offset" => ' . (rand() < 0.5 ? 0 : int rand(rand() * 2000)));
	push @statements, sprintf q{set batches.user_id = '%s'; set batches.scan = %s}, pick('', qw(one few all nobody)), pick('auto', 'auto', 'auto', 'sql');
	push @statements, "select translate(json_agg(l)::text, E'\\n', '') from batches.list_batches($page) l";
	push @statements, "select batches.count_batches($filters)", "select batches.batch_facets($filters)";
	push @statements, sprintf q{select status, headers, body from batches.http_get_all_batches('order_by=%s&limit=%d&offset=%d&status=%s')},
	  pick(@orders, 'none'), 1 + rand 100, rand() * rand() * 1500, pick(@statuses);
}
my $settings = q{set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kolkata'; set search_path = pg_catalog};
my @expected = answers($plain, $settings, @statements);
cmp_ok(scalar(grep { length > 1000 } @expected), '>', $requests / 10, 'there is something to compare');
foreach my $node ($coordinator, $workers[0])
{
	my @found = answers($node, $settings, @statements);
	my @others = grep { ($found[$_] // '') ne $expected[$_] } 0 .. $#expected;
	is(scalar @others, 0, "$requests random requests: " . $node->name . ' answers as one server does')
	  or diag(map { substr("$_\n", 0, 600) } scalar @found, scalar @expected, $expected[$others[0]], $found[$others[0]], @statements[ int($others[0] / 4) * 5 .. int($others[0] / 4) * 5 + 4 ]);
}

#
# Cursors, and query strings with more than the endpoint's parameters: all pages of a walk, with their cursors
#

$_->safe_psql('postgres', ($_ == $plain ? '' : 'set citus.enable_ddl_propagation = off;') . q{create function public.walk(query text) returns text language plpgsql as $$
	declare
		next text := '';
		body json;
		pages text := '';
		n int := 0;
	begin
		while next is not null loop
			select h.body into strict body from batches.http_get_all_batches(query || '&after=' || next, true) h where h.status = 200;
			pages := pages || body::text;
			next := body -> 'pagination' ->> 'next';
			n := n + 1;
		end loop;
		return n || ' ' || length(pages) || ' ' || md5(pages);
	end $$})
  for $plain, $coordinator, $workers[0];
my @walks = (q{set batches.user_id = 'all'; set batches.scan = auto});
foreach my $order (@orders)
{
	push @walks, sprintf q{select public.walk('order_by=%s&order_by_direction=%s&limit=%d&%s')}, $order, pick('ASC', 'DESC'), 7 + rand 94,
	  pick('', 'status=DONE&status=ERROR&total=none', 'exclude_status=DONE&exclude_device_type=A', 'tags_any=common&omit=tags&omit=webhook', 'min_jobs=1', 'queue_priority=LOW&tags_all=common');
	push @walks, sprintf q{select batches.next_cursor('%s', order_by => '%s', status => %s)}, pick(@ids), $order, list(@statuses);
	push @walks, sprintf q{select batches.list_batches("limit" => 5, order_by => '%s', after => batches.next_cursor('%s', order_by => '%1$s'))}, $order, pick(@ids);
	push @walks, sprintf q{select status, headers, body from batches.http_get_all_batches('order_by=%s&tags_all=rare&exclude_status=%s&updated_after=2025-01-0%d&limit=20&omit=configuration', true)},
	  $order, pick(@statuses), 1 + rand 9;
}
@expected = answers($plain, $settings, @walks);
like(join(' ', @expected), qr/\b[1-9][0-9]+ [0-9]{5,} [0-9a-f]{32}\b/, 'there are walks of many pages');
foreach my $node ($coordinator, $workers[0])
{
	my @found = answers($node, $settings, @walks);
	is(join("\n", map { substr $_, 0, 300 } grep { $found[$_] ne $expected[$_] } 0 .. $#expected), '', 'cursors and extended query strings: ' . $node->name . ' answers as one server does');
	is("@found", "@expected", 'all of them');
}

#
# Shards by themselves
#

# What a server is asked about shards: rows and the total of all projects, and what is added.
sub request
{
	my ($library, $shards, $more) = @_;
	return "extension 1.0, library $library, encoding UTF8\0" . pack('CCq>N', 0, 1, -1, scalar @$shards) . join('', map { pack('x16q>', $_) } @$shards) . ($more // '');
}

sub read_shards { return "batches.read_shards('00000000-0000-0000-0000-000000000000', '" . encode_base64($_[0], '') . "')" }

my @own = map { [ split /\n/, sql(q{select shardid from citus_shards where table_name = 'batches.batch'::regclass and nodeport = } . $_->port . q{ and nodename = '} . $_->host . q{'}) ] } @workers;
is( join(' ', sort map { $workers[$_]->safe_psql('postgres', q{select string_agg(distinct chr(get_byte(r, 0)), '' order by chr(get_byte(r, 0))) from } . read_shards(request('1.0', $own[$_])) . ' r') } 0, 1),
	'RT RT', 'servers send rows and totals');
my $total = q{select sum(('x' || encode(substr(r, 2), 'hex'))::bit(64)::bigint) from %s r where get_byte(r, 0) = ascii('T')};
is($workers[0]->safe_psql('postgres', sprintf($total, read_shards(request('1.0', $own[0])))) + $workers[1]->safe_psql('postgres', sprintf($total, read_shards(request('1.0', $own[1])))),
	sql('select count(*) from batches.batch'), 'of all their shards');
is($workers[0]->safe_psql('postgres', sprintf($total, read_shards(request('1.0', [ $own[0][0] ])))),
	sql("select count(*) from batches.batch where get_shard_id_for_distribution_column('batches.batch', project_id) = $own[0][0]"), 'or of one of them');

sub refuses
{
	my ($request, $message, $name, $before) = @_;
	like(complaint($workers[0], '\set VERBOSITY verbose' . "\n" . ($before // '') . 'select count(*) from ' . read_shards($request) . ' r'), $message, $name);
}
sql('create role stranger; create role nobody_at_all; grant usage on schema batches to stranger, nobody_at_all');
refuses(request('1.0', $own[0]), qr/ERROR:  42501: permission denied for table batch_/, 'not to who has no rights on them', "set role stranger;\n");
sql('grant select on batches.batch, batches.batch_job_count to stranger');
$workers[0]->safe_psql('postgres', "set citus.override_table_visibility = off; set citus.enable_manual_changes_to_shards = on; revoke select on batches.batch_$own[0][1] from stranger");
refuses(request('1.0', $own[0]), qr/ERROR:  42501: permission denied for table batch_$own[0][1]/, 'nor on all of them', "set role stranger;\n");
sql('revoke select on batches.batch, batches.batch_job_count from stranger; revoke usage on schema batches from stranger');
refuses(request('0.9', $own[0]), qr/ERROR:  55000: the servers have different versions/, 'nor to another version');
refuses(request('1.0', [ $own[0][0], $own[1][0] ]), qr/ERROR:  40001: 1 of 2 shards of "batches.batch" are not on this server\nHINT:  They may have been moved or split/, 'nor shards of another server');
refuses(request('1.0', [ @{ $own[0] }, 1 ]), qr/ERROR:  40001: 1 of 5 shards/, 'nor what is no shard');
refuses(request('1.0', []), qr/ERROR:  40001: 0 of 0 shards/, 'nor nothing');
# What is there of a shard while it is moved
my ($range) = sql("select shardminvalue from pg_dist_shard where shardid = $own[1][0]");
my %left = map { $_ => sql("select '${_}_' || shardid from pg_dist_shard where logicalrelid = 'batches.$_'::regclass and shardminvalue = '$range'") } qw(batch batch_job_count batch_total);
$workers[0]->safe_psql('postgres', join ';', 'set citus.enable_ddl_propagation = off', map { "create table batches.$left{$_} (like batches.$_ including all)" } keys %left);
refuses(request('1.0', $own[1]), qr/ERROR:  40001: 4 of 4 shards/, 'nor a table that has a shard\'s name');
$workers[0]->safe_psql('postgres', join ';', 'set citus.enable_ddl_propagation = off', 'set citus.override_table_visibility = off', map { "drop table batches.$left{$_}" } keys %left);
refuses(request('1.0', $own[0]) =~ s/UTF8\x00\x00\x01/UTF8\x00\x00\x00/r . pack('CN/a', 28, 'none'), qr/ERROR:  42501: permission denied for table batch_/, 'nor says anything to who has no rights, though nothing is read', "set role nobody_at_all;\n");
sql('revoke usage on schema batches from nobody_at_all');
refuses("\xff" x 300, qr/ERROR:  (08P01|22021)/, 'nor to what has no end');
refuses("extension \xff\0", qr/ERROR:  22021/, 'nor to a version that is no text');
refuses(request('1.0', $own[0], chr(200)), qr/ERROR:  08P01: there is no parameter of number 200/, 'nor to an unknown parameter');
refuses(request('1.0', $own[0], pack('CN/a', 1, 'UP')), qr/ERROR:  22023: invalid value for parameter "order_by_direction"/, 'nor to a wrong value');
refuses(request('1.0', $own[0], pack('CN/a', 17, "\xff")), qr/ERROR:  22021: invalid byte sequence/, 'nor to what is no text');
my $whole = request('1.0', $own[0], pack('CN/a', 17, 'common') . pack('CNx16', 6, 1));
my @wrong = grep { $_->[1] !~ /^(0|-1)$|ERROR:  (08P01|55000|22023)/ } map {
	my $part = substr($whole, 0, $_);
	my ($code, $stdout, $stderr) = $workers[0]->psql('postgres', "\\set VERBOSITY verbose\nselect -1 from " . read_shards($part) . ' r limit 1');
	[ $_, $code ? $stderr : $stdout ]
} 0 .. length $whole;
is(join("\n", map { "$_->[0]: $_->[1]" } @wrong), '', 'a request that was cut off is nothing worse than an error');

sql('delete from batches.batch_shard');
like(complaint($coordinator, "select batches.$_"), qr/a shard of "batches.batch" has no row in "batches.batch_shard"\nHINT: .*distribute_tables/s, "a server that cannot be asked is an error: $_")
  for 'list_batches()', 'count_batches()', 'batch_facets()';
sql($distribute);
is(sql('select count(*) from batches.list_batches()'), 100, 'which another call mends');

# Each server is asked once, but for a transaction that has written: each shard may then have been written in another session.
sub calls
{
	my ($node, @statements) = @_;
	my ($code, $stdout, $stderr) = $node->psql('postgres', join(";\n", 'set client_min_messages = notice', q{set citus.grep_remote_commands = '%read_shards%'}, 'set citus.log_remote_commands = on', @statements));
	return join ' ', $code, $stdout =~ s/\s+/ /gr, scalar(() = $stderr =~ /NOTICE:  (issuing|executing the command locally)/g);
}
my @agree = (
	q{select concat_ws(',', (select count(*) from batches.list_batches("limit" => null)), batches.count_batches(), (select sum(jobs_count) from batches.list_batches("limit" => null)))},
	q{select concat_ws(',', (select count(*) from batches.batch), (select count(*) from batches.batch), (select count(*) from batches.job))});
my %writes = (
	'INSERT of many' => q{insert into batches.batch (project_id, device_type, user_id) select project_id, 'W', user_id from batches.batch},
	'UPDATE of many' => q{update batches.batch set priority = 7, status = 'DONE'},
	'DELETE of many' => q{delete from batches.batch where device_type = 'A'},
	'COPY' => q{copy batches.batch (project_id, device_type, user_id) from program 'for i in 1 2 3 4 5 6 7 8 9; do printf "0000000000000000000000000000000$i\tC\tu\n"; done'},
	'jobs' => q{insert into batches.job (project_id, batch_id) select project_id, id from batches.batch});
sql(q{create table public.tenant (project_id uuid primary key); select create_distributed_table('public.tenant', 'project_id', colocate_with => 'batches.batch');
	insert into public.tenant select distinct project_id from batches.batch;
	alter table batches.batch add constraint of_tenant foreign key (project_id) references public.tenant on delete cascade});
foreach my $node ($coordinator, $workers[1])
{
	is(calls($node, 'select count(*) > 0 from batches.list_batches()'), '0 t 2', $node->name . ' asks each server once');
	foreach my $write (sort keys %writes)
	{
		like(calls($node, 'begin', $writes{$write}, @agree, 'rollback'), qr/^0 ([0-9,]+) \1 [0-9]+$/, $node->name . " sees what the transaction has written: $write");
		is(calls($node, 'begin', $writes{$write}, 'select batches.count_batches()', 'commit') =~ s/.* //r, 8, 'and asks for each shard') if $write =~ /UPDATE/;
	}
	is(calls($node, 'begin', 'delete from public.tenant', 'select batches.count_batches()', 'rollback'), '0 0 8', 'and what it has deleted by a foreign key');
	is($node->safe_psql('postgres', qq{set citus.enable_local_execution = off; begin; insert into batches.project_member values (lpad('7', 32, '0')::uuid, 'new'); set local batches.user_id = 'new'; select batches.count_batches(); rollback}),
		sql(q{select count(*) from batches.batch where project_id = lpad('7', 32, '0')::uuid}), 'and the projects that it has given a user');
}

sql('alter table batches.batch drop constraint of_tenant; drop table public.tenant');

#
# Writes, through the coordinator and through a worker
#

my $p1 = sprintf '%032d', 1;
my $key = 'a' x 32;
foreach my $node ($coordinator, $workers[1])
{
	my $name = $node->name;
	foreach my $write (
		"insert into batches.batch (project_id, id, device_type, user_id) values ('$p1', '$key', 'N', 'u')",
		"insert into batches.job (project_id, batch_id) select '$p1', '$key' from generate_series(1, 3)",
		"insert into batches.batch (project_id, device_type, user_id) select project_id, 'M', user_id from batches.batch limit 200",
		"insert into batches.job (project_id, batch_id, status) select project_id, id, 'RUNNING' from batches.batch where device_type = 'M'",
		"insert into batches.batch (project_id, id, device_type, user_id) values ('$p1', '$key', 'N', 'u') on conflict (project_id, id) do update set status = 'DONE', device_type = 'O'",
		"update batches.job set status = 'ERROR' where status = 'RUNNING'",
		"update batches.batch set status = 'PAUSED', open = not open where device_type = 'A'",
		"copy batches.batch (project_id, device_type, user_id) from program 'printf ''$p1\\tC\\tu\\n%s\\tC\\tu\\n'' 00000000000000000000000000000007'",
		"merge into batches.batch b using batches.project_member m on b.project_id = m.project_id and m.user_id = 'one' when matched then update set open = true",
		"begin; insert into batches.job (project_id, batch_id) select project_id, id from batches.batch; savepoint s; delete from batches.batch; rollback to s; commit",
		"delete from batches.job where status = 'DONE'",
		"delete from batches.batch where device_type = 'M' or id = '$key'")
	{
		$node->safe_psql('postgres', $write);
		is($node->safe_psql('postgres', 'select count(*) from batches.verify_counts()'), 0, "$name: $write");
	}
	foreach my $write ('update batches.batch_total set n = null', 'delete from batches.batch_job_count', 'truncate batches.batch_total')
	{
		like(complaint($node, $write), qr/cannot be changed directly/, "$name: by hand, $write is refused");
	}
}

# Beside moves of shards
my ($out, $err) = ('', '');
my $script = $coordinator->basedir . '/writes.sql';
append_to_file($script, <<'E');
\set p random(0, 13)
insert into batches.batch (project_id, device_type, user_id) values (lpad(:p::text, 32, '0')::uuid, 'moved', 'u');
insert into batches.job (project_id, batch_id) select project_id, id from batches.batch where project_id = lpad(:p::text, 32, '0')::uuid limit 3;
update batches.job set status = 'DONE' where project_id = lpad(:p::text, 32, '0')::uuid and status = 'PENDING';
delete from batches.batch where project_id = lpad(:p::text, 32, '0')::uuid and device_type = 'moved' and id < '40000000-0000-0000-0000-000000000000';
E
# The batches that nobody writes, as a walk by cursor at READ COMMITTED meets them. Pages in this order are mostly of one shard, so that
# their rows are read after their keys.
sql(q{set citus.enable_ddl_propagation = off; create function public.met() returns text language plpgsql as $$
	declare
		next text := '';
		body json;
		met text[] := '{}';
	begin
		while next is not null loop
			select h.body into strict body from batches.http_get_all_batches('order_by=project_id&limit=60&total=none&after=' || next, true) h where h.status = 200;
			met := met || array(select d ->> 'id' from json_array_elements(body -> 'data') d where d ->> 'device_type' <> 'moved');
			next := body -> 'pagination' ->> 'next';
		end loop;
		return (select count(*) || ' ' || count(distinct id) from unnest(met) id);
	end $$});
my $pgbench = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 600, '--max-tries=20', '-f', $script, $coordinator->connstr('postgres') ], '>', \$out, '2>', \$err);
my $moves = 0;
foreach my $mode ('block_writes', 'force_logical', 'force_logical', 'block_writes')
{
	my ($shard, $host, $port) = split /\|/, sql(q{select shardid, nodename, nodeport from citus_shards where table_name = 'batches.batch'::regclass order by random() limit 1});
	my ($to) = grep { $_->port != $port } @workers;
	$moves++ if $coordinator->psql('postgres', "select citus_move_shard_placement($shard, '$host', $port, '" . $to->host . "', " . $to->port . ", '$mode')") == 0;
	is(sql(q{begin isolation level repeatable read read only;
		select (select count(*) from batches.list_batches("limit" => null)) - batches.count_batches(), (batches.batch_facets() ->> 'total')::int - batches.count_batches()}),
		'0|0', 'at REPEATABLE READ rows, total and facets agree beside writers');
	is(sql(q{set batches.user_id = 'all'; select distinct public.met() from generate_series(1, 10)}),
		sql(q{select count(*) || ' ' || count(*) from batches.batch join batches.project_member m using (project_id) where m.user_id = 'all' and device_type <> 'moved'}),
		'walks by cursor at READ COMMITTED meet once what stays');
}
ok($pgbench->pumpable, 'the writers have written all the while') or diag($err);
$pgbench->signal('TERM');
$pgbench->finish;
is($moves, 4, 'shards were moved');
is(sql('select count(*) from batches.verify_counts()'), 0, 'counts are right after moves of shards beside writers');

# What is wrong is found.
sub spoil
{
	my ($by) = @_;
	$_->safe_psql('postgres', qq{set citus.override_table_visibility = off; set citus.enable_manual_changes_to_shards = on; set session_replication_role = replica;
		do \$\$ declare t regclass; begin for t in select oid from pg_class where relname ~ '^batch_job_count_[0-9]+\$' loop
		execute format('update %s set pending_jobs = pending_jobs + $by', t); end loop; end \$\$}) for @workers;
}
spoil(1);
is(sql('select count(*) > 0 and count(*) = (select count(*) from batches.batch) from batches.verify_counts()'), 't', 'verify_counts() finds what is wrong on shards');
like(complaint($coordinator, 'select batches.repair_counts()'), qr/cannot be mended\nHINT: .*undistribute_tables/s, 'and it cannot be repaired there');
spoil(-1);

#
# Who sees what
#

sql(q{create role front login; grant usage on schema batches_api to front; grant execute on all functions in schema batches_api to front;
	grant set on parameter batches.user_id to front});
is(sql(q{select count(*) filter (where prosecdef and proconfig = '{"search_path=pg_catalog, pg_temp"}'), count(*) from pg_proc where pronamespace = 'batches_api'::regnamespace}),
	'5|5', 'the functions run as their owner, with a search_path of their own');
is(sql(q{select count(*) from pg_proc where pronamespace = 'batches_api'::regnamespace and has_function_privilege('stranger', oid, 'execute')}), 0, 'and are not for everybody');
my $as = 'set role front;';
like(complaint($coordinator, "$as select count(*) from batches.batch"), qr/permission denied/, 'an application has no rights on the tables');
like(complaint($coordinator, "$as select batches_api.$_"), qr/no authenticated user/, "without a user, $_ is an error")
  for 'count_batches()', 'get_all_batches()', 'batch_facets()', 'list_batches()';
is(sql("$as select status from batches_api.http_get_all_batches('')"), 401, 'without a user, a 401');
foreach my $user (qw(one few nobody))
{
	is( sql("$as set batches.user_id = '$user'; select count(*), batches_api.count_batches() from batches_api.list_batches(\"limit\" => null)"),
		sql("select count(*), count(*) from batches.batch where project_id in (select project_id from batches.project_member where user_id = '$user')"),
		"$user sees what is $user\'s");
	is( sql("$as begin; set local batches.user_id = '$user'; select body from batches_api.http_get_all_batches('limit=5')"),
		sql("set batches.user_id = '$user'; select body from batches.http_get_all_batches('limit=5')"), 'by the endpoint, too');
}
my $count = "$as set batches.user_id = 'one'; select batches_api.count_batches()";
like(complaint($workers[0], $count), qr/permission denied to set parameter.*no authenticated user/s, 'on a worker where the setting was not granted, there is no user');
$workers[0]->safe_psql('postgres', 'grant set on parameter batches.user_id to front');
is($workers[0]->safe_psql('postgres', $count), sql($count), 'once it is granted, it answers as the coordinator does');

# An attack: what the owner's functions could take for their own
sql(q{create schema evil; grant all on schema evil to front; create table public.caught (who text); grant insert on public.caught to public});
sql(qq{$as
	set search_path = evil;
	create function evil.steal() returns boolean language plpgsql as 'begin insert into public.caught values (current_user); return true; end';
	create function evil.eq(uuid, uuid) returns boolean language plpgsql as 'begin perform evil.steal(); return true; end';
	create operator evil.= (leftarg = uuid, rightarg = uuid, function = evil.eq);
	create function evil.current_user_id() returns text language plpgsql as 'begin perform evil.steal(); return ''all''; end';
	create function evil.require_user() returns boolean language sql return evil.steal();
	create temp table batch as select 1 as id; create temp table project_member as select 1 as id; create temp table pg_dist_partition as select 1 as id;
	set search_path = evil, pg_temp, pg_catalog;
	set batches.user_id = 'one';
	select batches_api.count_batches(), batches_api.batch_facets(tag => 'common'), (select count(*) from batches_api.list_batches(min_jobs => 1)),
	       (select status from batches_api.http_get_all_batches('order_by=jobs_count'))});
is(sql('select count(*) from public.caught'), 0, "the caller's functions, operators and tables are not taken for the owner's");

# PostgREST's functions
sql(q{create role anonymous; create role web; select batches.create_postgrest_api('api', 'anonymous', 'web')});
is(sql(q{set batches.user_id = 'one'; set role web; select api.batches() -> 'pagination' ->> 'total'}),
	sql($count), "the functions for PostgREST see what is the user's");
like(complaint($coordinator, 'set role web; select api.count_batches()'), qr/Unauthorized/, 'and nothing without a user');
like(complaint($coordinator, 'set role web; select count(*) from batches.batch'), qr/permission denied/, 'the web role has no rights on tables');
is(sql(q{select count(*) from pg_proc where pronamespace = 'api'::regnamespace and has_function_privilege('stranger', oid, 'execute')}), 0, 'a stranger none on the functions');

# What the page says
my ($section) = slurp_file("$project/doc/scaling.md") =~ /^## On several machines.*?\n(.*)/ms;
my @blocks = $section =~ /^```psql\n(.*?)^```$/msg;
is(scalar @blocks, 2, 'it has statements');
is(complaint($coordinator, $blocks[1]), '', 'which run');

# One server again
sql('select batches.undistribute_tables()');
sql('select batches.undistribute_tables()');
sql('drop schema api, batches_api cascade; drop owned by web, anonymous');
is(schema(), $before, 'tables are brought back as they were');
is(sql('select count(*) from batches.verify_counts()'), 0, 'with right counts');
is(sql('select engine from batches.explain_batches()'), 'index', 'and are read by their indexes');

# Empty tables
sql($distribute);
$plain->safe_psql('postgres', 'truncate batches.batch, batches.job');
$workers[0]->safe_psql('postgres', 'truncate batches.batch, batches.job');
my @empty = (q{set batches.user_id = 'all'}, 'select batches.count_batches(), batches.count_batches(min_jobs => 1), batches.batch_facets()',
	q{select * from batches.http_get_all_batches('')}, q{select * from batches.http_get_all_batches('order_by=jobs_count&offset=5')}, q{select count(*) from batches.list_batches(tag => 'common')},
	q{select count(*) from batches.batch_total where n is not null}, 'select count(*) from batches.verify_counts()');
is(join("\n", answers($_, @empty)), join("\n", answers($plain, @empty)), 'empty tables, seen from ' . $_->name) for $coordinator, @workers;
sql('select batches.undistribute_tables()');
sql($distribute);
$workers[0]->safe_psql('postgres', "insert into batches.batch (project_id, device_type, user_id) select lpad(n::text, 32, '0')::uuid, 'A', 'u' from generate_series(0, 29) n");
is(sql('select batches.count_batches(), (select count(*) from batches.list_batches()), (select count(*) from batches.verify_counts())'), '30|30|0', 'tables that were distributed empty');

# A worker of another version, or without the extension, is an error, not a part of the rows.
$workers[1]->safe_psql('postgres', q{update pg_extension set extversion = '0.9' where extname = 'batches'});
foreach my $node ($coordinator, $workers[0])
{
	like(complaint($node, "set batches.user_id = 'all'; select $_"), qr/servers have different versions of "batches"\nDETAIL: +Here: extension 0.9, .*: extension 1.0,/, $node->name . ", a worker of another version: $_")
	  for 'batches.list_batches()', 'batches.list_batches("limit" => null)', 'batches.count_batches()', q{batches.count_batches(tag => 'common')}, 'batches.batch_facets()', q{batches.http_get_all_batches('')};
}
$workers[1]->safe_psql('postgres', q{update pg_extension set extversion = '1.0' where extname = 'batches'});
is(sql('select batches.count_batches()'), 30, 'until it is of the same again');
$workers[1]->safe_psql('postgres', 'set citus.enable_ddl_propagation = off; drop extension batches cascade');
like(complaint($coordinator, $_), qr/ERROR/, "a worker without the extension: $_") for 'select * from batches.list_batches()', 'select batches.count_batches()', 'select batches.batch_facets(tag => $$common$$)';

$_->stop for $coordinator, @workers, $plain;
done_testing();
