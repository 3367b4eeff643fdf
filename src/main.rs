//! The command line of the Run Record Archiver.

fn main() {}
