# What a release repeats of its version is the same everywhere: the SQL objects' version is
# the one of batches.control, the release's that of META.json.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my ($sql_version) = slurp_file('batches.control') =~ /^default_version = '(\d+\.\d+)'$/m;
my $meta = decode_json(slurp_file('META.json'));
like($meta->{version}, qr/^\Q$sql_version\E\.\d+$/, "a release of version $sql_version");
my $provided = $meta->{provides}{batches};
is($provided->{version}, $meta->{version}, 'the extension that it provides is of the same version');
is($provided->{file}, "sql/batches--$sql_version.sql", 'its script is that of the version');
ok(-f $provided->{$_}, "there is a $provided->{$_}") foreach ('file', 'docfile');
is($meta->{$_} // '', { name => 'batches', license => 'postgresql' }->{$_}, "META.json has its $_") foreach ('name', 'license');
ok($meta->{$_}, "META.json has its $_") foreach ('abstract', 'maintainer');
is($meta->{'meta-spec'}{version}, '1.0.0', 'it is of version 1 of the specification');

my ($package, $maintainer) = slurp_file('debian/changelog') =~ /\Abatches \((.*)-\d+\) .*?^ -- (.*?)  /ms;
is($package, $meta->{version}, "the package is of the release's version");
is($maintainer, $meta->{maintainer}, 'and of its maintainer');
like(slurp_file($_), qr/^Maintainer: \Q$maintainer\E$/m, "$_ too") foreach ('debian/control', 'debian/control.in');

# Unreleased changes first; then the releases, the newest first, none of them newer than this.
my @headings = slurp_file('CHANGELOG.md') =~ /^## (.*)$/mg;
is(shift @headings, '[Unreleased]', 'the changelog begins with what is not released');
my $number = sub { sprintf '%05d.%05d.%05d', split /\./, $_[0] };
my $newer = $number->($meta->{version});
foreach my $heading (@headings)
{
	my ($version) = $heading =~ /^\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$/ or die "a heading of no release: $heading";
	cmp_ok($number->($version), 'le', $newer, "$heading is in its place");
	$newer = $number->($version);
}

done_testing();
