# What the tests of HTTP servers share: requests as they are, and errors as the API words them.
package Answers;
use strict;
use warnings;

use Exporter 'import';
use IO::Socket::INET;
use Test::More;

our @EXPORT = qw(send_raw is_error);

# The response of a port of this machine to a request as it is, whatever bytes it has.
sub send_raw
{
	my ($port, $request) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!";
	binmode($socket);
	print $socket $request;
	local $/;
	my ($head, $content) = split /\r\n\r\n/, <$socket> // '', 2;
	my ($line, @headers) = split /\r\n/, $head;
	return {
		status => $line =~ m{^HTTP/1\.1 (\d+) }, content => $content,
		headers => { map { my ($name, $value) = split /: /, $_, 2; (lc $name => $value) } @headers } };
}

# Whether a response is an error as the API words it.
sub is_error
{
	my ($response, $status, $message, $description, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is( "$response->{status} $response->{headers}{'content-type'} $response->{content}",
		qq($status application/json {"status":"error","message":"$message","code":"$status",)
		  . qq("data":{"description":"$description"}}),
		$name);
}

1;
