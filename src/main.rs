//! The `ssecar` command.
fn main() {}
