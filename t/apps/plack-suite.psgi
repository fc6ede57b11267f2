# The applications of Plack::Test::Suite, behind Lint: each request names its own by X-Plack-Test.
use strict;
use warnings;
use Plack::Test::Suite;
use Plack::Middleware::Lint;

Plack::Middleware::Lint->wrap(Plack::Test::Suite->test_app_handler);
