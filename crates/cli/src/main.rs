//! The `tanada` command.
fn main() {}
