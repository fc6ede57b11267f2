# Every way out of a request, by name: /way/NAME. What each is about is told in t/lib/Gepok/Test/WaysOut.pm.
use strict;
use warnings;
use Fcntl ();
use File::Temp ();
use Hash::Util ();
use POSIX ();
use Scalar::Util ();
use Tie::Array ();
use Tie::Scalar ();
use Time::HiRes qw(sleep time);

# What happens in a process and can't be told in a response is written to a file.
sub note {
    sysopen my $file, $ENV{GEPOK_TEST_NOTES}, Fcntl::O_WRONLY | Fcntl::O_APPEND | Fcntl::O_CREAT or return;
    syswrite $file, "@_\n";
}

END { note('end', $$, $?) }

package Plain { sub new { my ($class, %self) = @_; bless {%self}, $class } }

package Shown { use overload '""' => sub { $_[0][0]->() }, bool => sub { 1 }, fallback => 1; sub of { bless [$_[1]] } }

package False { use overload bool => sub { '' }, '""' => sub {'false object'}, fallback => 1 }

package Uncommitted {
    my $env;
    sub in { $env = shift }
    use overload bool => sub { delete $env->{'psgix.harakiri.commit'}; undef $env; push @main::kept, map { [1, 2] } 1 .. 20; '' };
}

package Cursed { use overload bool => sub { die 'bool' }, '""' => sub { die 'text' }, fallback => 0 }

package Leaving { sub of { bless [$_[1]] } sub DESTROY { $_[0][0]->() } }

package LeavingResponse { our $do; sub DESTROY { $do->() } }

# A body: `lines` are strings or code; `close` and `destroy` are run there.
package Body {
    sub new { my ($class, %self) = @_; bless {%self}, $class }
    sub getline { my $next = shift @{$_[0]{lines}}; ref $next eq 'CODE' ? $next->(@_) : $next }
    sub close   { $_[0]{close}->()   if $_[0]{close} }
    sub DESTROY { $_[0]{destroy}->() if $_[0]{destroy} }
}

package Fetch { sub TIESCALAR { bless [$_[1]] } sub FETCH { $_[0][0]->() } sub STORE { } }

sub text { [200, ['Content-Type' => 'text/plain'], [@_]] }
sub body { [200, ['Content-Type' => 'text/plain'], Body->new(@_)] }
sub header { [200, ['X-Value' => $_[0]], ['header']] }
sub after_text { [200, [], Body->new(lines => ['part'], @_)] }

# What the code does behind the first part of a stream.
sub streaming {
    my $code = shift;
    return sub {
        my $writer = $_[0]->([200, ['Content-Type' => 'text/plain']]);
        $writer->write('part');
        $code->($writer);
    };
}

# A child that runs the code, and what its parent's waitpid says.
sub in_child {
    my ($code, @rest) = @_;
    my $pid = fork // die "fork: $!";
    return $code->(@rest) if !$pid;
    waitpid $pid, 0;
    return text("parent $?");
}

# As above while streaming; the parent writes.
sub streaming_in_child {
    my $code = shift;
    return sub {
        my $writer = $_[0]->([200, []]);
        my $pid = fork // die "fork: $!";
        return $code->($writer) if !$pid;
        waitpid $pid, 0;
        $writer->write("parent $?");
        $writer->close;
    };
}

# A child that outlives its parent's call, holding what it has inherited; the test ends it.
sub living_child {
    my $pid = fork // die "fork: $!";
    return if $pid;
    # Away from everything that the harness looks at.
    note('child', $$);
    sleep 60;
    POSIX::_exit(0);
}

sub deep { my ($code, $calls) = @_; no warnings 'recursion'; $calls ? 1 + deep($code, $calls - 1) : $code->() }

sub tied_array { tie my @array, 'Tie::StdArray'; @array = @_; return \@array }

# Runs the code when the response is over.
sub afterwards { my ($env, $code) = @_; push @{$env->{'psgix.cleanup.handlers'}}, $code }

# Sets the output variables as careless code does, without local.
sub careless {
    my $env = shift;
    ($,, $\, $/) = ('-', '!', undef);
    afterwards($env, sub { ($,, $\, $/) = (undef, undef, "\n") });
}

# A handler that serves once: the next row may come to this worker.
sub once {
    my ($signal, $code) = @_;
    $SIG{$signal} = sub { $SIG{$signal} = 'DEFAULT'; $code->() };
}

sub busy { my $limit = time + 10; 1 while time < $limit }

my (@kept, $writer, $responder);

my %ways = (
    # Exceptions
    'die-string'  => sub { die "a string\n" },
    'die-line'    => sub { die 'a string' },
    'die-object'  => sub { die Plain->new },
    'die-shown'   => sub { die Shown->of(sub {"the object's text\n"}) },
    'die-false'   => sub { die bless [], 'False' },
    'die-empty'   => sub { die '' },
    'die-cursed'  => sub { die bless [], 'Cursed' },
    'die-text-exits' => sub { die Shown->of(sub { exit 3 }) },
    'die-wide'    => sub { die "\x{263a}\n" },
    'die-reference' => sub { die sub { 1 } },
    'die-caught'  => sub { eval { die 'inside' }; text($@ =~ /^inside/ ? 'caught' : 'not caught') },
    'die-hook-dies'  => sub { local $SIG{__DIE__} = sub { die "again: $_[0]" }; die "first\n" },
    'die-hook-exits' => sub { local $SIG{__DIE__} = sub { exit 5 }; die "first\n" },
    'die-warn-hook'  => sub { local $SIG{__WARN__} = sub { die "warned to death\n" }; warn 'x'; text('alive') },
    'die-sort'    => sub { my @sorted = sort { die "sort died\n" } 2, 1; text(@sorted) },
    'die-regex'   => sub { 'abc' =~ /b(?{ die "regex died\n" })/; text('matched') },
    'die-deep'    => sub { deep(sub { die "the bottom\n" }, 20_000) },
    'die-local'   => sub {
        local $_ = 'x';
        local ($/, $\, $,, $;, $") = ('a' .. 'e');
        die "localized\n";
    },
    'die-require' => sub { require No::Such::Module; text('there') },
    'die-delayed' => sub {
        sub { die "delayed\n" }
    },
    'die-streaming'   => sub { streaming(sub { die "streaming\n" }) },
    'die-after-close' => sub { streaming(sub { $_[0]->close; die "afterwards\n" }) },
    'die-after-whole' => sub {
        sub { $_[0]->(text('whole')); die "afterwards\n" }
    },
    'die-responder' => sub {
        sub { $_[0]->('none') }
    },
    'die-getline'      => sub { body(lines => [sub { die "getline died\n" }]) },
    'die-getline-late' => sub { body(lines => ['part', sub { die "getline died\n" }]) },
    'die-close'        => sub { after_text(close => sub { die "close died\n" }) },
    'die-body-destroy' => sub { after_text(destroy => sub { die "destroyed\n" }) },
    'die-env-destroy'  => sub { $_[0]{object} = Leaving->of(sub { die "destroyed\n" }); text('env') },
    'die-response-destroy' => sub {
        $LeavingResponse::do = sub { die "destroyed\n" };
        bless text('response'), 'LeavingResponse';
    },
    'die-exception-destroy' => sub { die Leaving->of(sub { die "destroyed\n" }) },
    'die-cleanup'  => sub { afterwards($_[0], sub { die "cleanup died\n" }); text('cleanup') },
    'die-harakiri' => sub {
        afterwards($_[0], sub { die "cleanup died\n" });
        $_[0]{'psgix.harakiri.commit'} = 1;
        text('cleanup');
    },

    # exit
    'exit-0'     => sub { exit 0 },
    'exit-7'     => sub { exit 7 },
    'exit-eval'  => sub { eval { exit 4 }; text('alive') },
    'exit-sort'  => sub { my @sorted = sort { exit 4 } 2, 1; text(@sorted) },
    'exit-deep'  => sub { deep(sub { exit 4 }, 20_000) },
    'exit-_exit' => sub { POSIX::_exit(3) },
    'exit-delayed' => sub {
        sub { exit 5 }
    },
    'exit-streaming'    => sub { streaming(sub { exit 5 }) },
    'exit-after-close'  => sub { streaming(sub { $_[0]->close; exit 5 }) },
    'exit-getline'      => sub { body(lines => [sub { exit 6 }]) },
    'exit-getline-late' => sub { body(lines => ['part', sub { exit 6 }]) },
    'exit-close'        => sub { after_text(close => sub { exit 6 }) },
    'exit-body-destroy' => sub { after_text(destroy => sub { exit 8 }) },
    'exit-env-destroy'  => sub { $_[0]{object} = Leaving->of(sub { exit 8 }); text('env') },
    'exit-response-destroy' => sub {
        $LeavingResponse::do = sub { exit 8 };
        bless text('response'), 'LeavingResponse';
    },
    'exit-exception-destroy' => sub { die Leaving->of(sub { exit 8 }) },
    'exit-cleanup' => sub { afterwards($_[0], sub { exit 9 }); text('cleanup') },
    'exit-warn'    => sub { local $SIG{__WARN__} = sub { exit 9 }; warn 'x'; text('alive') },
    'exec'         => sub { exec 'true' or die $! },
    'harakiri'     => sub { $_[0]{'psgix.harakiri.commit'} = 1; text('harakiri') },

    # Loop controls
    'last'       => sub { no warnings; last },
    'next'       => sub { no warnings; next },
    'redo'       => sub { no warnings; redo },
    'last-label' => sub { no warnings; last OUTSIDE },
    'next-label' => sub { no warnings; next OUTSIDE },
    'goto-label' => sub { no warnings; goto OUTSIDE },
    'last-getline'   => sub { body(lines => [sub { no warnings; last }]) },
    'last-streaming' => sub { streaming(sub { no warnings; last }) },
    'goto-sub'   => sub { @_ = ('elsewhere'); goto &text },
    'loops'      => sub {
        OUTER: for my $x (1 .. 3) {
            for my $y (1 .. 3) { next OUTER if $y == 2 }
        }
        for (1 .. 3) { return text('loops') if $_ == 2 }
    },

    # Processes
    'fork-returns'  => sub { in_child(sub { text('child') }) },
    'fork-exits'    => sub { in_child(sub { exit 3 }) },
    'fork-dies'     => sub { in_child(sub { die "the child died\n" }) },
    'fork-_exits'   => sub { in_child(sub { POSIX::_exit(4) }) },
    'fork-execs'    => sub { in_child(sub { exec 'false' or die $! }) },
    'fork-killed'   => sub { in_child(sub { kill KILL => $$; sleep 10 }) },
    'fork-responds' => sub {
        sub {
            my $respond = shift;
            $respond->(in_child(sub { $respond->(text('child')) }));
        }
    },
    'fork-writes'  => sub { streaming_in_child(sub { $_[0]->write('child') }) },
    'fork-closes'  => sub { streaming_in_child(sub { $_[0]->close }) },
    'fork-drops'   => sub { streaming_in_child(sub { undef $_[0] }) },
    'fork-getline' => sub {
        body(
            lines => [
                sub {
                    my $pid = fork // die $!;
                    return 'child' if !$pid;
                    waitpid $pid, 0;
                    return "parent $?";
                }
            ]
        );
    },
    'fork-cleanup' => sub { afterwards($_[0], sub { in_child(sub { text('child') }) }); text('cleanup') },
    'fork-twice'   => sub {
        in_child(sub { in_child(sub { text('grandchild') }) });
    },
    'fork-lives'       => sub { living_child(); text('parent') },
    'fork-lives-exit'  => sub { living_child(); exit 4 },
    'fork-lives-_exit' => sub { living_child(); POSIX::_exit(4) },
    'system' => sub {
        no warnings 'exec';
        my @status = (system('true'), system('false'), system('/no/such/command'));
        text("system @status");
    },
    'backticks' => sub { chomp(my $out = `echo out; exit 7`); text("$out $?") },
    'pipe-broken' => sub {
        pipe my $from, my $to or die $!;
        close $from;
        my $written = syswrite $to, 'x';
        text(defined $written ? 'written' : $!{EPIPE} ? 'EPIPE' : "$!");
    },
    'pipe-open' => sub {
        open my $from, '-|', 'echo', 'piped' or die $!;
        chomp(my $line = <$from>);
        close $from or die $!;
        open my $to, '|-', 'cat > /dev/null; exit 2' or die $!;
        print {$to} 'x';
        close $to;
        text("$line $?");
    },
    # Children of earlier requests may still be ending.
    'wait-none' => sub { 1 while wait > 0; text(wait) },
    'close-fds' => sub { POSIX::close($_) for 3 .. 999; text('closed') },
    'close-std' => sub { close STDIN; close STDOUT; text('closed') },
    'chdir'     => sub { chdir '/'; require Cwd; text(Cwd::getcwd()) },

    # Signals
    'alarm-caught' => sub {
        my $line = eval {
            local $SIG{ALRM} = sub { die "alarm\n" };
            Time::HiRes::alarm(0.05);
            select undef, undef, undef, 10;
            'no alarm';
        };
        text($line // $@ =~ s/\n//r);
    },
    'alarm-dies' => sub { local $SIG{ALRM} = sub { die "alarm died\n" }; Time::HiRes::alarm(0.05); sleep 10; text('no alarm') },
    'alarm-loop' => sub { local $SIG{ALRM} = sub { die "alarm died\n" }; Time::HiRes::alarm(0.05); busy(); text('no alarm') },
    'alarm-default' => sub { Time::HiRes::alarm(0.05); select undef, undef, undef, 10; text('no alarm') },
    'alarm-late' => sub {
        # Nothing goes off before the client has its response, however long that takes.
        my $over;
        $_[0]{over} = Leaving->of(sub { $over = 1 });
        $SIG{ALRM} = sub {
            return Time::HiRes::alarm(0.1) unless $over;
            $SIG{ALRM} = 'DEFAULT';
            note('alarm', $$);
            die "late alarm\n";
        };
        Time::HiRes::alarm(0.1);
        text('late');
    },
    'kill-self'   => sub { kill KILL => $$; sleep 10 },
    'term-self'   => sub { kill TERM => $$; text('term') },
    'signal-busy' => sub {
        my $done;
        local $SIG{USR1} = sub { $done = 'handled' };
        kill USR1 => $$;
        my $limit = time + 5;
        1 while !$done && time < $limit;
        text($done // 'no signal');
    },
    'signal-nested' => sub {
        local $SIG{USR1} = sub { die "died\n" };
        eval { kill USR1 => $$; busy() };
        text($@ eq "died\n" ? 'died in eval' : "not: $@");
    },
    'signal-exit'      => sub { once(USR1 => sub { exit 11 }); kill USR1 => $$; busy(); text('no signal') },
    'signal-idle'      => sub { once(USR1 => sub { note('usr1', $$) }); text('ready') },
    'signal-idle-dies' => sub { once(USR1 => sub { note('usr1', $$); die "idle handler died\n" }); text('ready') },
    'signal-idle-exit' => sub { once(USR1 => sub { exit 12 }); text('ready') },
    'signal-idle-child' => sub {
        once(CHLD => sub { my $pid = waitpid -1, POSIX::WNOHANG(); note('reaped', $pid, $? >> 8) });
        my $pid = fork // die $!;
        if (!$pid) { sleep 0.1; POSIX::_exit(5) }
        note('awaited', $pid);
        text('ready');
    },
    'signal-ignored' => sub { $SIG{USR1} = 'IGNORE'; text('ready') },

    # Characters
    'wide-body'    => sub { text("\x{263a}") },
    'wide-body-upgraded' => sub { my $text = "caf\xe9"; utf8::upgrade($text); text($text) },
    'wide-written' => sub {
        sub { my $writer = $_[0]->([200, []]); $writer->write("\x{263a}"); $writer->close }
    },
    'wide-getline' => sub { body(lines => ["\x{263a}"]) },
    'wide-header'  => sub { header("\x{263a}") },
    'wide-header-name' => sub { [200, ["X-\x{263a}" => 1], ['x']] },
    'long-header'  => sub { header('x' x 60_000) },
    'many-headers' => sub { [200, [map { ("X-$_" => $_) } 1 .. 500], ['header']] },

    # Values that run code
    'tied-status'   => sub { my $r = [1, [], ['tied']]; tie $r->[0], 'Fetch', sub {201}; $r },
    'tied-header'   => sub { my $r = [200, ['X-Value' => 1], ['tied header']]; tie $r->[1][1], 'Fetch', sub {'value'}; $r },
    'tied-headers'  => sub { [200, tied_array('X-Value' => 1), ['tied headers']] },
    'tied-body'     => sub { [200, [], tied_array('tied', ' body')] },
    'tied-element'  => sub { my $r = text('tied ', 1); tie $r->[2][1], 'Fetch', sub {'element'}; $r },
    'tied-response' => sub { tied_array(200, [], ['tied response']) },
    'tied-dies'     => sub { my $r = text(1); tie $r->[2][0], 'Fetch', sub { die "FETCH died\n" }; $r },
    'tied-exits'    => sub { my $r = text(1); tie $r->[2][0], 'Fetch', sub { exit 13 }; $r },
    'magic'         => sub {
        my ($word, $bits) = ('xtwox', "\4");
        # The array's elements are the magical values themselves.
        sub { [200, [], \@_] }->(substr($word, 1, 3), vec($bits, 0, 8));
    },
    'dualvar' => sub { local $! = 1; my $error = $!; text($error) },
    'overload-status'  => sub { [Shown->of(sub {201}), [], ['overloaded']] },
    'overload-header'  => sub { [200, ['X-Value' => Shown->of(sub {'value'})], ['overloaded header']] },
    'overload-element' => sub { text('over', Shown->of(sub {'loaded'})) },
    'overload-dies'    => sub { text('x', Shown->of(sub { die "text died\n" })) },
    'overload-exits'   => sub { text('x', Shown->of(sub { exit 13 })) },
    'overload-clears'  => sub {
        my @body = ('a');
        push @body, Shown->of(sub { @body = (); push @kept, 'x' x 100; 'b' });
        [200, [], \@body];
    },
    'overload-clears-headers' => sub {
        my @headers = ('X-One' => 'x' x 100, 'X-Two');
        push @headers, Shown->of(sub { @headers = (); 'two' });
        [200, \@headers, ['header']];
    },
    'overload-body-headers' => sub {
        my @headers = map { ("X-$_" => $_ x 50) } 'a' .. 'e';
        [200, \@headers, ['pa', Shown->of(sub { @headers = (); push @kept, map { 'y' x 50 } 1 .. 20; 'rt' })]];
    },
    # The array moves in memory, or is gone, while its first element is read.
    'overload-grows' => sub {
        my $response = [undef, ['X-Value' => 'kept'], ['grown']];
        $response->[0] = Shown->of(sub { push @$response, 1 .. 10_000; push @kept, map { 'x' x 24 } 1 .. 1000; 200 });
        sub { $_[0]->($response) };
    },
    'overload-shrinks' => sub {
        my $response = [undef, ['X-Value' => 'gone'], ['shrunk']];
        $response->[0] = Shown->of(sub { @$response = (); push @kept, map { [1, 2] } 1 .. 20; 200 });
        sub { $_[0]->($response) };
    },
    'overload-drops' => sub {
        my $response = [undef, ['X-Value' => 'kept'], ['dropped']];
        $response->[0] = Shown->of(sub { undef $response; push @kept, map { [1, 2] } 1 .. 20; 200 });
        sub { $_[0]->($response) };
    },
    'overload-itself' => sub {
        my (@headers, @body);
        @headers = ('X-Value', Shown->of(sub { pop @headers; push @kept, map { [1, 2] } 1 .. 20; 'value' }));
        @body = ('it', Shown->of(sub { pop @body; push @kept, map { [1, 2] } 1 .. 20; 'self' }));
        [200, \@headers, \@body];
    },
    'overload-written' => sub {
        streaming(sub {
            my ($own, @pieces) = shift;
            @pieces = (Shown->of(sub { @pieces = (); push @kept, map { [1, 2] } 1 .. 20; 'written' }));
            $own->write($pieces[0]);
            $own->close;
        });
    },
    'overload-commit' => sub {
        my $env = shift;
        $env->{'psgix.harakiri.commit'} = bless [], 'Uncommitted';
        Uncommitted::in($env);
        text('commit');
    },
    'overload-response' => sub {
        my $response = [200, [], ['a']];
        push @{$response->[2]}, Shown->of(sub { undef @$response; 'b' });
        $response;
    },
    'getline-clears' => sub {
        my $response = [200, []];
        $response->[2] = Body->new(lines => [sub { undef $response->[2]; 'pa' }, 'rt']);
        $response;
    },
    'getline-response' => sub {
        my $response = [200, ['X-One' => 'x' x 100]];
        $response->[2] = Body->new(lines => [sub { @$response = (); 'part' }]);
        $response;
    },
    'getline-headers' => sub {
        my @headers = map { ("X-$_" => $_ x 50) } 'a' .. 'e';
        my $code = sub { $_ = 'z' x 5000 for @headers[1, 3, 5]; push @kept, map { 'y' x 50 } 1 .. 20; 'part' };
        [200, \@headers, Body->new(lines => [$code])];
    },
    'getline-responds' => sub {
        sub {
            my $respond = shift;
            $respond->(body(lines => [sub { $respond->(text('nested')); 'part' }]));
        }
    },
    'write-closes' => sub { streaming(sub { my $own = shift; $own->write(Shown->of(sub { $own->close; 'late' })) }) },
    'write-dies'   => sub { streaming(sub { $_[0]->write(Shown->of(sub { die "text died\n" })) }) },
    'getline-reference' => sub { body(lines => [sub { Shown->of(sub {'overloaded'}) }]) },
    'close-redefined'   => sub {
        my $before = \&Body::getline;
        after_text(
            lines => [
                sub {
                    no warnings 'redefine';
                    *Body::getline = sub { *Body::getline = $before; undef };
                    'part';
                }
            ]
        );
    },
    'blessed-response' => sub { bless text('blessed'), 'Plain' },
    'blessed-code'     => sub {
        bless sub { $_[0]->(text('blessed')) }, 'Plain';
    },
    'readonly' => sub {
        my $response = text('constant');
        Internals::SvREADONLY(@$response, 1);
        Internals::SvREADONLY($_, 1) for @$response;
        $response;
    },

    # Responses that are none
    'none-undef'  => sub {undef},
    'none-empty'  => sub { return },
    'none-list'   => sub { return (200, [], 'list') },
    'none-string' => sub {'string'},
    'none-hash'   => sub { {} },
    'none-glob'   => sub { \*STDIN },
    'none-elements-0' => sub { [] },
    'none-elements-1' => sub { [200] },
    'none-elements-2' => sub { [200, []] },
    'none-elements-4' => sub { [200, [], [], []] },
    'none-headers'       => sub { [200, {}, []] },
    'none-headers-odd'   => sub { [200, ['X-One'], []] },
    'none-headers-undef' => sub { [200, undef, []] },
    'none-status-word'   => sub { ['abc', [], []] },
    (map { my $status = $_; ("none-status-$status" => sub { [$status, [], []] }) } 99, 100, 1000),
    'none-status-undef'  => sub { [undef, [], []] },
    'none-body-undef'    => sub { [200, [], undef] },
    'none-body-string'   => sub { [200, [], 'string'] },
    'none-body-hash'     => sub { [200, [], {}] },
    'none-body-object'   => sub { [200, [], Plain->new] },
    'none-called'        => sub {
        sub { }
    },
    'none-twice' => sub {
        sub { $_[0]->(text('once')); $_[0]->(text('twice')) }
    },
    'none-twice-writer' => sub {
        sub { my $writer = $_[0]->([200, []]); $_[0]->(text('twice')) }
    },
    'none-late' => sub {
        sub {
            my $respond = shift;
            $responder = $respond;
            $respond->(text('whole'));
        }
    },
    'none-late-write' => sub { streaming(sub { $_[0]->close; $_[0]->write('late') }) },
    'none-injection'  => sub { header("a\r\nX-B: c") },

    # Neighbours
    'keep-env'    => sub { push @kept, $_[0]; text('kept') },
    'keep-writer' => sub { streaming(sub { $writer = $_[0] }) },
    'keep-responder' => sub {
        sub { push @kept, $_[0] }
    },
    'env-assigned' => sub { $_ = 'assigned' for values %{$_[0]}; text('assigned') },
    'env-emptied'  => sub { %{$_[0]} = (); text('emptied') },
    'env-undone'   => sub { my $env = shift; undef %$env; text('undone') },
    'env-locked'   => sub { Hash::Util::lock_hash(%{$_[0]}); text('locked') },
    'env-replaced' => sub { $_[0] = {PATH_INFO => 'mine'}; text('replaced') },
    'env-cycle'    => sub { $_[0]{self} = $_[0]; text('cycle') },
    'env-cleanup'  => sub { $_[0]{'psgix.cleanup.handlers'} = 'nothing to call'; text('cleanup') },
    'env-input'    => sub {
        close $_[0]{'psgi.input'};
        open $_[0]{'psgi.input'}, '<', '/dev/null' or die $!;
        text('input');
    },
    'input-closed'  => sub { close $_[0]{'psgi.input'}; text('closed') },
    'input-blessed' => sub { bless $_[0]{'psgi.input'}, 'Plain'; text('blessed') },
    'input-layer'   => sub { binmode $_[0]{'psgi.input'}, ':encoding(UTF-16)'; text('layer') },
    'env-errors'  => sub { $_[0]{'psgi.errors'} = Plain->new; die "nowhere to tell\n" },
    'write-keeps' => sub {
        sub {
            my $writer = $_[0]->([200, []]);
            local $_ = 'kept';
            local $\ = '!';
            local $, = '-';
            eval { die "kept\n" };
            local $! = 5;
            $writer->write('a ');
            my ($error, $number, $separator) = ($@ =~ /(.*)/, $! + 0, $/ eq "\n" ? 'newline' : 'other');
            $writer->write("$_ $error $number $separator");
            $writer->close;
        }
    },
    'print-words' => sub { local ($,, $\) = ('-', "!\n"); $_[0]{'psgi.errors'}->print('one', 'two'); text('printed') },
    'globals-array'  => sub { careless($_[0]); [200, [], ['a', 'b']] },
    'globals-object' => sub { careless($_[0]); body(lines => ['a', 'b']) },
    'globals-handle' => sub {
        careless($_[0]);
        my $file = File::Temp->new;
        syswrite $file, "a\nb\n";
        open my $handle, '<', $file->filename or die $!;
        [200, [], $handle];
    },
    'globals-writer' => sub {
        careless($_[0]);
        sub { my $writer = $_[0]->([200, []]); $writer->write($_) for 'a', 'b'; $writer->close }
    },
    'getline-separator' => sub { body(lines => [sub { ref $/ ? "${$/}" : 'none' }]) },
    'select' => sub {
        open my $null, '>', '/dev/null' or die $!;
        my $before = select $null;
        print 'to nobody';
        afterwards($_[0], sub { select $before });
        text('selected');
    },
    'deep' => sub { text(deep(sub {0}, 100_000)) },
);

# What an earlier request has left behind in this process.
sub leftovers {
    my $env = shift;
    my @left;
    push @left, "\$\@ is $@"             if $@ ne '';
    push @left, "\$_ is $_"              if defined $_;
    push @left, '$/'                     if !defined $/ || $/ ne "\n";
    push @left, '$\\'                    if defined $\;
    push @left, '$,'                     if defined $,;
    push @left, '$;'                     if $; ne "\034";
    push @left, '$"'                     if $" ne ' ';
    push @left, 'selected ' . select     if select ne 'main::STDOUT';
    push @left, "env $env->{PATH_INFO}"  if $env->{PATH_INFO} !~ m{^/(?:next|meet)$};
    push @left, 'env not new'            if grep { !defined || /assigned/ } @$env{qw(REQUEST_METHOD psgi.input psgi.errors)};
    push @left, 'cleanup handlers'       if @{$env->{'psgix.cleanup.handlers'}};
    push @left, 'input'                  if read $env->{'psgi.input'}, my $buffer, 10;
    push @left, 'input closed'           if !defined Scalar::Util::openhandle($env->{'psgi.input'});
    push @left, 'input blessed'          if ref $env->{'psgi.input'} eq 'Plain';
    push @left, 'input layers'           if grep {/encoding|utf8/} PerlIO::get_layers($env->{'psgi.input'});
    my $depth = 0;
    $depth++ while caller $depth;
    push @left, "depth $depth" if $depth > 20;
    return @left;
}

sub {
    my ($path, $query) = @{$_[0]}{qw(PATH_INFO QUERY_STRING)};
    if ($query =~ /^([\w-]+-\d+)=(\d+)$/) {
        # Each waits until so many have come: so every worker must take one.
        my $limit = time + 10;
        open my $file, '+>>', "$ENV{GEPOK_TEST_NOTES}-$1" or die $!;
        syswrite $file, '.';
        sleep 0.002 until -s $file >= $2 || time > $limit;
    }
    if ($path eq '/next' || $path eq '/meet') {
        my @left = leftovers($_[0]);
        return text(join ' ', $query, $$, @left ? "left: @left" : 'clean');
    }
    # What was kept from an earlier request.
    if ($path eq '/late' && $responder) {
        eval { $responder->(text('late')) };
        print STDERR "late: $@";
        undef $responder;
    }
    undef $writer if $path eq '/drop';
    if ($path =~ m{^/(?:late|drop|kept)$}) {
        return text(join ' ', map { ref eq 'HASH' && $_->{QUERY_STRING} ? $_->{QUERY_STRING} : () } @kept);
    }
    my ($name) = $path =~ m{^/way/(.*)} or return [404, [], []];
    my $way = $ways{$name} or return [404, [], ["there is no $name"]];
    note('begin', $name, $$);
    goto &$way;
};
