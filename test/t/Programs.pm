# Programs that a test starts beside PostgreSQL, and ends: poolers, proxies, servers.
package Programs;
use strict;
use warnings;

use Exporter 'import';
use IO::Socket::INET;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

our @EXPORT = qw(find_program start_program program_log in_parallel);

my $directory = PostgreSQL::Test::Utils::tempdir();
my %processes;
my $main = $$;

END
{
	my $status = $?;
	if ($$ == $main)
	{
		kill 'KILL', values %processes;
		waitpid($_, 0) foreach values %processes;
		if ($status != 0 || !Test::More->builder->is_passing)
		{
			note("$_:\n" . slurp_file($_)) foreach glob "$directory/*.log";
		}
	}
	$? = $status;
}

# Where a program is, of those that Debian has for the administrator; undef if it is not there.
sub find_program
{
	my ($name) = @_;
	return (grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/sbin')[0];
}

# Where a program's output goes.
sub program_log
{
	my ($name) = @_;
	return "$directory/$name.log";
}

# Starts a program, and waits until it listens on a port.
sub start_program
{
	my ($name, $port, $environment, @command) = @_;
	my $process = fork() // die "fork: $!";
	if ($process == 0)
	{
		%ENV = (%ENV, %$environment);
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>', program_log($name)) or POSIX::_exit(1);
		open(STDERR, '>&', \*STDOUT);
		exec(@command) or POSIX::_exit(1);
	}
	$processes{$name} = $process;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port))
	{
		die "$name ended" if waitpid($process, POSIX::WNOHANG) != 0;
		die "$name does not answer" if time > $deadline;
		Time::HiRes::sleep(0.1);
	}
	return;
}

# Runs a function with each of some arguments, each in a process of its own. Returns a
# function that waits for them all and returns what each has returned, a string.
sub in_parallel
{
	my ($function, @arguments) = @_;
	my @children;
	foreach my $argument (@arguments)
	{
		pipe(my $from_child, my $to_parent) or die "pipe: $!";
		my $child = fork() // die "fork: $!";
		if ($child == 0)
		{
			my $result = eval { $function->($argument) } // "died: $@";
			syswrite($to_parent, $result);
			POSIX::_exit(0);
		}
		close $to_parent;
		$processes{$child} = $child;
		push @children, [ $child, $from_child ];
	}
	return sub {
		return map {
			my ($child, $from_child) = @$_;
			local $/;
			my $result = <$from_child>;
			waitpid($child, 0);
			delete $processes{$child};
			$result
		} @children;
	};
}

1;
