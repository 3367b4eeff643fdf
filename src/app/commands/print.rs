//! What is printed without a configuration: completions and the manual page.

use std::io;

use crate::cli::{self, CommandLine, Mode};
use crate::error::{Error, Result};

/// Prints the completion script of the shell that the command line names.
pub(in crate::app) fn completions(command: &CommandLine) -> Result<bool> {
    match command.mode {
        Mode::Completions(shell) => {
            cli::write_completions(shell, &mut io::stdout()).map_err(unprinted)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Prints the manual page.
pub(in crate::app) fn man_page(_: &CommandLine) -> Result<bool> {
    cli::write_man_page(&mut io::stdout()).map_err(unprinted)?;
    Ok(true)
}

fn unprinted(source: io::Error) -> Error {
    Error::io("write to", "standard output", source)
}
