# Rules of access by the names of clients' hosts, against a resolver with records that lie, fail and hang.
use strict;
use warnings;

use Config;
use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;
use Gepok::Test::Connection;

gepok_only();

my $bin = root() . '/blib/script/gepok';
my $dir = scratch();

sub spew  { open my $file, '>', $_[0] or die "$_[0]: $!"; print {$file} $_[1]; close $file or die $! }
sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

# A library in the place of the system's resolver. It answers by the file $RECORDS: "PTR 192.0.2.1 name", "A name 192.0.2.1".
# The names "again" and "hang" stand for a server that fails and one that does not answer. Each question is a line of $ASKED.
spew("$dir/resolver.c", <<'C');
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int find(const char *type, const char *key, char found[][300], int most) {
    FILE *file = fopen(getenv("RECORDS"), "r");
    char a[16], b[300], c[300];
    int count = 0;
    while (file && fscanf(file, "%15s %299s %299s", a, b, c) == 3)
        if (!strcmp(a, type) && !strcasecmp(b, key) && count < most) strcpy(found[count++], c);
    if (file) fclose(file);
    file = fopen(getenv("ASKED"), "a");
    if (file) { fprintf(file, "%s %s\n", type, key); fclose(file); }
    return count;
}

int getnameinfo(const struct sockaddr *at, socklen_t size, char *host, socklen_t room, char *serv, socklen_t serv_room, int flags) {
    char text[INET6_ADDRSTRLEN], found[1][300];
    const void *address = at->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)at)->sin_addr
                                                   : (const void *)&((const struct sockaddr_in6 *)at)->sin6_addr;
    inet_ntop(at->sa_family, address, text, sizeof text);
    if (!find("PTR", text, found, 1)) return EAI_NONAME;
    if (!strcmp(found[0], "again")) return EAI_AGAIN;
    if (!strcmp(found[0], "hang")) sleep(600);
    snprintf(host, room, "%s", found[0]);
    if (serv_room) *serv = 0;
    return 0;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    char found[8][300];
    if (!real) real = (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(RTLD_NEXT, "getaddrinfo");
    struct addrinfo **end = result, wanted = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    int count = find("A", name, found, 8);
    // Addresses are their own.
    if (!count) return real(name, service, &wanted, result);
    if (!strcmp(found[0], "again")) return EAI_AGAIN;
    for (int at = 0; at < count; at++) {
        if (real(found[at], 0, &wanted, end)) return EAI_FAIL;
        while (*end) end = &(*end)->ai_next;
    }
    return 0;
}
C
my @cc = split ' ', $Config{cc};
if (system(@cc, qw(-shared -fPIC -w -o), "$dir/resolver.so", "$dir/resolver.c", '-ldl') != 0) {
    plan skip_all => 'needs a C compiler';
}

spew("$dir/records", <<'RECORDS');
PTR 192.0.2.1     www.example.org
A   www.example.org 192.0.2.1
PTR 192.0.2.2     FTP.Example.Org
A   ftp.example.org 192.0.2.99
A   ftp.example.org 192.0.2.2
PTR 192.0.2.3     example.org
A   example.org   192.0.2.3
PTR 192.0.2.4     x.y.example.org
A   x.y.example.org 192.0.2.4
PTR 2001:db8::1   six.example.org
A   six.example.org 2001:db8::1
PTR 198.51.100.1  www.example.org
PTR 198.51.100.2  nowhere.example.org
PTR 198.51.100.3  198.51.100.3
PTR 198.51.100.4  192.0.2.1
PTR 198.51.100.5  www.example.org.evil.net
A   www.example.org.evil.net 198.51.100.5
PTR 198.51.100.6  badexample.org
A   badexample.org 198.51.100.6
PTR 198.51.100.7  again
PTR 198.51.100.8  unsure.example.org
A   unsure.example.org again
PTR 198.51.100.9  .example.org
A   .example.org  198.51.100.9
PTR 198.51.100.10 3325256714
PTR 198.51.100.11 ..example.org
A   ..example.org 198.51.100.11
PTR 198.51.100.12 *.example.org
A   *.example.org 198.51.100.12
PTR 198.51.100.13 bad.example.net
A   bad.example.net 198.51.100.13
PTR 203.0.113.1   hang
PTR 2001:db8::bad www.example.org
RECORDS

# A server with rules by name.
sub begin {
    my ($text, @arguments) = @_;
    my $port = free_port();
    spew("$dir/site.toml", "http_ports = ['127.0.0.1:$port']\nunix_sockets = ['$dir/socket']\nmax_workers = 1\ntrusted_proxies = 'loopback'\npid_path = '$dir/pid'\n$text");
    unlink "$dir/asked", "$dir/log";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDOUT, '>>', "$dir/log" or die $!;
        open STDERR, '>&', \*STDOUT;
        @ENV{qw(LD_PRELOAD RECORDS ASKED)} = map {"$dir/$_"} qw(resolver.so records asked);
        exec $bin, '-c', "$dir/site.toml", '-e', 'sub { [200, [], ["in"]] }', @arguments or POSIX::_exit(1);
    }
    ok soon { eval { status($port, '/', '10.0.0.1'); 1 } }, 'it serves' or BAIL_OUT(slurp("$dir/log"));
    return ($pid, $port);
}

sub end { kill TERM => $_[0]; waitpid $_[0], 0; return }

sub ask {
    my ($port, $path, $client) = @_;
    my $connection = Gepok::Test::Connection->new($client eq 'unix' ? (path => "$dir/socket") : (port => $port));
    my $field = $client =~ /\Aunix\z/ ? '' : "X-Forwarded-For: $client\r\n";
    $connection->send("GET $path HTTP/1.1\r\nHost: a.org\r\n${field}Connection: close\r\n\r\n");
    return $connection;
}

sub status { return ask(@_)->response->status }

my $RULES = <<'TOML';
[[vhost]]
name = "a.org"
[[vhost.directory]]
path = "/host"
allow = "www.example.org"
[[vhost.directory]]
path = "/domain"
allow = ".Example.org"
[[vhost.directory]]
path = "/both"
allow = ["example.org", ".example.org", "10/8"]
deny = "ftp.example.org"
[[vhost.directory]]
path = "/either"
allow = ["10/8", ".example.org"]
[[vhost.directory]]
path = "/deny"
deny = [".example.org", "bad.example.net"]
TOML

# Protects: nobody comes in by a name of his own making; what can't be found out refuses.
check 'rule, client, decision' => sub {
    my ($pid, $port) = begin($RULES);
    my ($checked, @wrong) = (0);
    my $liars = join ' ', map {"198.51.100.$_"} 1 .. 12;
    for my $rule (
        # path, those who may, those who may not
        ['/host',   '192.0.2.1 ::ffff:192.0.2.1 192.0.2.1:4711', "192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 $liars 2001:db8::bad 2001:db8::1 unix unknown _x"],
        ['/domain', '192.0.2.1 192.0.2.2 192.0.2.4 2001:db8::1', "192.0.2.3 192.0.2.5 $liars 198.51.100.13 2001:db8::bad unix unknown"],
        ['/either', '10.0.0.2 192.0.2.1', '192.0.2.3'],
        ['/both',   '192.0.2.1 192.0.2.3 192.0.2.4 10.0.0.1 2001:db8::1', "192.0.2.2 192.0.2.5 $liars unix"],
        ['/deny',   '192.0.2.3 192.0.2.5 198.51.100.1 198.51.100.3 198.51.100.6 unix unknown', '192.0.2.1 192.0.2.2 192.0.2.4 198.51.100.7 198.51.100.8 198.51.100.13'],
    ) {
        my ($path, $may, $may_not) = @$rule;
        for ([200, $may], [403, $may_not]) {
            my ($status, $clients) = @$_;
            for my $client (split ' ', $clients) {
                for my $spelling ($path, "/.$path/x", "/x/..$path") {
                    my $got = status($port, $spelling, $client);
                    $checked++;
                    push @wrong, "$spelling for $client: $got" if $got != $status;
                }
            }
        }
    }
    is_deeply \@wrong, [], 'none is wrong';
    cmp_ok $checked, '>=', 120, "of $checked";
    my @asked = grep {/PTR 192\.0\.2\.1$/} split /\n/, slurp("$dir/asked");
    cmp_ok scalar @asked, '<=', 3, 'a name is looked up once a minute';
    unlike slurp("$dir/asked"), qr{PTR 10\.0\.0\.2$}m, 'no name is sought for who may come by address';
    ok soon { slurp("$dir/log") =~ /the name of a client's host can't be looked up/ }, 'the log tells of a resolver that fails';
    end($pid);
};

# Protects: the loop. A resolver that hangs holds up who needs it, for two seconds, and nobody else.
check 'a resolver that hangs' => sub {
    my ($pid, $port) = begin($RULES);
    my $begun = time;
    my $waiting = ask($port, '/host', '203.0.113.1');
    my @others = map { [status($port, '/', '203.0.113.1'), status($port, '/both', '10.0.0.1'), status($port, '/host', '192.0.2.1')] } 1 .. 20;
    is_deeply \@others, [([200, 200, 200]) x 20], 'others are served meanwhile';
    is $waiting->response->status, 403, 'who needs the name is refused';
    cmp_ok time - $begun, '>=', 1.5, 'after some time';
    ok soon { slurp("$dir/log") =~ /the name of a client's host was not found within 2s/ }, 'the log tells why';
    $begun = time;
    kill HUP => $pid;
    ok soon { status($port, '/host', '192.0.2.1') == 200 }, 'a reload changes nothing of that';
    end($pid);
    cmp_ok time - $begun, '<', 20, 'the end does not wait for a resolver';
};

# The app shares its environment with the resolver there.
check 'one process' => sub {
    spew("$dir/site.toml", "http_ports = [0]\n$RULES");
    my $output = `$bin check -c $dir/site.toml --start-servers 0 2>&1`;
    is $? >> 8, 2, 'names are refused';
    like $output, qr/site\.toml:\d+: host names in rules need workers: with 'start_servers' 0 only addresses can be used/, 'with the reason';
};

done_testing;
