//! Entry 2: the standalone binary.
fn main() {}
