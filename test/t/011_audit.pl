# An extension that audits what queries read sees the listing, too.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($libraries) = run_command([ 'pg_config', '--pkglibdir' ]);
plan skip_all => 'this PostgreSQL has no pgaudit' unless -e "$libraries/pgaudit.so";

my $node = PostgreSQL::Test::Cluster->new('audited');
$node->init;
$node->start;
$node->safe_psql('postgres', q{
	create extension batches;
	select batches.create_tables();
	insert into batches.project_member values (lpad('1', 32, '0')::uuid, 'ada');
	insert into batches.batch (project_id, id, device_type, user_id)
	select lpad('1', 32, '0')::uuid, lpad(n::text, 32, '0')::uuid, 'FRESNEL', 'ada' from generate_series(1, 3) n;
});
my $request = q{set batches.user_id = 'ada'; select batches.get_all_batches()};
my $document = $node->safe_psql('postgres', "set batches.scan = index; $request");
like($document, qr/"total":3/, 'without it the indexes are read directly');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pgaudit'\npgaudit.log = 'read'\npgaudit.log_relation = on");
$node->restart;
my $logged = -s $node->logfile;
is($node->safe_psql('postgres', $request), $document, 'with it the answer is the same');
like(slurp_file($node->logfile, $logged), qr/AUDIT: .*,READ,SELECT,TABLE,batches\.$_,/, "and the reading of $_ is in the log")
  for 'batch', 'batch_job_count';
$logged = -s $node->logfile;
is($node->safe_psql('postgres', q{set batches.user_id = 'ada'; select batches.count_batches(), batches.batch_facets() -> 'total'}), '3|3',
	'so are totals and facets');
unlike(slurp_file($node->logfile, $logged), qr/,TABLE,batches\.batch,/, 'for which no batch is read');
my @totals = slurp_file($node->logfile, $logged) =~ /AUDIT: .*,READ,SELECT,TABLE,batches\.batch_total,/g;
is(scalar @totals, 2, 'and the reading of the totals is in the log');
my ($status, $output, $error) = $node->psql('postgres', "set batches.scan = index; $request");
like($error, qr/an extension checks what the executor reads/, 'an engine that it would not see is refused');

$node->stop;
done_testing();
