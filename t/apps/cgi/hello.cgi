#!/usr/bin/perl
# A CGI script as there are many: reads STDIN and its environment, prints its head and its content.
use strict;
use warnings;
use CGI;

my $cgi = CGI->new;
print $cgi->header(-type => 'text/plain', -charset => 'utf-8', -cookie => $cgi->cookie(-name => 'c', -value => 'v'));
print "Hello ", $cgi->param('name') // 'nobody', " by $ENV{REQUEST_METHOD} of $ENV{SCRIPT_NAME}$ENV{PATH_INFO}\n";
