//! Entry 2: the command `gepok`, which brings its own interpreter.

#![forbid(unsafe_code)]

fn main() {
    std::process::exit(gepok::entry::command::run(std::env::args_os().skip(1)));
}
