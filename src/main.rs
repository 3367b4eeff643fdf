//! The command line of the Run Record Archiver.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::ExitCode;

use run_record_archiver::app;
use run_record_archiver::cli::{self, CommandLine};

fn main() -> ExitCode {
    ExitCode::from(match CommandLine::parse(std::env::args_os()) {
        Ok(command) => app::execute(&command),
        Err(error) => cli::report(&error),
    })
}
