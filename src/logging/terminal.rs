//! Stderr, as a person at a terminal sees it: colour for what needs attention,
//! and a progress bar that stays below the log.

use crate::sys::sync;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use log::Level;

/// The bar that is shown, while there is one.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether somebody looks at stderr and wants to see more than errors.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// A progress bar on the terminal. Where stderr is no terminal, or shows errors
/// only, it shows nothing: the log's progress lines are for there.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Shows a bar for `total` runs, titled `title`.
    #[must_use]
    pub fn start(title: &'static str, total: usize) -> Progress {
        if !WATCHED.load(Ordering::Relaxed) {
            return Progress(None);
        }
        let bar = ProgressBar::new(total as u64).with_prefix(title);
        let style = ProgressStyle::with_template(
            "{prefix} {wide_bar} {pos}/{len} runs, {per_sec:.1}, {eta} left",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        *sync::lock(&BAR) = Some(bar.clone());
        Progress(Some(bar))
    }

    /// One run more is settled.
    pub fn advance(&self) {
        if let Some(bar) = &self.0 {
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            *sync::lock(&BAR) = None;
            bar.finish_and_clear();
        }
    }
}

/// Says whether stderr may show more than errors; it must be a terminal as well.
pub(super) fn set_watched(wanted: bool) {
    WATCHED.store(wanted && std::io::stderr().is_terminal(), Ordering::Relaxed);
}

/// Whether stderr shows colour: on a terminal, unless NO_COLOR asks for none.
pub(super) fn has_colour() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_colour && std::io::stderr().is_terminal()
}

/// Writes a line to stderr in one go, above the bar if there is one.
pub(super) fn write(line: &str, level: Level, colour: bool) {
    let painted = match (colour, level) {
        (true, Level::Error) => format!("\x1b[31m{}\x1b[0m\n", line.trim_end()),
        (true, Level::Warn) => format!("\x1b[33m{}\x1b[0m\n", line.trim_end()),
        _ => line.to_owned(),
    };
    // A closed stderr leaves nobody to tell; the file has the line.
    let write = || drop(std::io::stderr().lock().write_all(painted.as_bytes()));
    let bar = sync::lock(&BAR).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
