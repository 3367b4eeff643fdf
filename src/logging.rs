//! The log: lines as the operations manual shows them, to stderr and to a
//! file that rotates.
//!
//! ```text
//! 2025-10-24 14:32:15,123 - run_record_archiver.importer - INFO - Import Stage: Found 25 runs to import.
//! ```
//!
//! Times are local, with milliseconds. Records of other crates pass only from
//! WARNING up: their debug output shows request headers.

pub mod rotate;
mod terminal;

pub use terminal::Progress;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use jiff::ZonedDateTime;
use log::kv::Key;
use log::{Level, LevelFilter, Log, Metadata, Record};

use self::rotate::{Limits, RotatingFile};
use crate::clock;
use crate::error::{Error, Result};
use crate::sys::text;

/// The line above and below a banner.
pub const RULE: &str = "======================================================================";

/// How this crate's records begin, and its binary's.
const OURS: &str = "run_record_archiver";

/// The key by which a record is known as CRITICAL, which `log` does not have.
const CRITICAL: &str = "critical";

/// Logs at CRITICAL level: a severe error that asks for immediate action.
#[macro_export]
macro_rules! critical {
    ($($argument:tt)+) => { ::log::error!(critical = true; $($argument)+) };
}

/// Where the log goes and how much of it.
#[derive(Debug)]
pub struct Options {
    /// The least level that is logged at all.
    pub level: LevelFilter,
    /// Whether stderr gets only errors.
    pub quiet: bool,
    /// The log file, if there is one.
    pub file: Option<PathBuf>,
    /// When the file rotates.
    pub limits: Limits,
}

/// Starts logging for the rest of the process.
///
/// # Errors
/// Logging was started before. A log file that can't be written is none: it
/// is reported on stderr and tried again later.
pub fn start(options: Options) -> Result<()> {
    let level = options.level;
    terminal::set_watched(!options.quiet);
    let logger = Logger {
        level,
        stderr: if options.quiet {
            level.min(LevelFilter::Error)
        } else {
            level
        },
        colour: terminal::has_colour(),
        file: options
            .file
            .map(|path| Mutex::new(RotatingFile::new(path, options.limits))),
    };
    log::set_boxed_logger(Box::new(logger))
        .map_err(|_| Error::Usage("logging was started twice".into()))?;
    log::set_max_level(level);
    Ok(())
}

/// Logs a banner, each line of it a record of its own, between two rules.
/// `target` is the caller's `module_path!()`.
pub fn banner(target: &str, level: Level, lines: &[&str]) {
    for line in [RULE].iter().chain(lines).chain(&[RULE]) {
        log::log!(target: target, level, "{line}");
    }
}

/// The name of a level in the log.
fn level_name(record: &Record<'_>) -> &'static str {
    match record.level() {
        Level::Error if record.key_values().get(Key::from_str(CRITICAL)).is_some() => "CRITICAL",
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

fn is_ours(target: &str) -> bool {
    target
        .strip_prefix(OURS)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The record as a line, its newline included. Further lines of a message are
/// indented; other characters that are not seen, which a file name may bring, are
/// made visible.
fn line(time: &ZonedDateTime, record: &Record<'_>) -> String {
    let mut line = format!(
        "{} - {} - {} - ",
        time.strftime("%Y-%m-%d %H:%M:%S,%3f"),
        record.target().replace("::", "."),
        level_name(record)
    );
    let message = record.args().to_string();
    for character in message.trim_end().chars() {
        match character {
            '\n' => line.push_str("\n    "),
            '\t' => line.push('\t'),
            hidden if text::is_hidden(hidden) => line.push_str(&text::escape(hidden)),
            other => line.push(other),
        }
    }
    line.push('\n');
    line
}

struct Logger {
    level: LevelFilter,
    stderr: LevelFilter,
    colour: bool,
    file: Option<Mutex<RotatingFile>>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let limit = if is_ours(metadata.target()) {
            self.level
        } else {
            self.level.min(LevelFilter::Warn)
        };
        metadata.level() <= limit
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = clock::local();
        let line = line(&now, record);
        if record.level() <= self.stderr {
            terminal::write(&line, record.level(), self.colour);
        }
        if let Some(file) = &self.file {
            // A thread that panicked while logging left at worst half a line.
            let mut file = file.lock().unwrap_or_else(|broken| broken.into_inner());
            if let Some(complaint) = file.append(&line, &now) {
                let _ = writeln!(std::io::stderr(), "{complaint}");
            }
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::kv::Source;

    fn show(target: &str, level: Level, message: &str, key_values: &dyn Source) -> String {
        let time: ZonedDateTime = "2025-10-24T14:32:15.123456[America/Chicago]"
            .parse()
            .unwrap();
        let arguments = format_args!("{message}").to_string();
        line(
            &time,
            &Record::builder()
                .target(target)
                .level(level)
                .key_values(&key_values)
                .args(format_args!("{arguments}"))
                .build(),
        )
    }

    #[test]
    fn lines_look_like_the_manuals() {
        let none = &[] as &[(&str, bool)];
        for (target, level, message, expected) in [
            (
                "run_record_archiver::importer",
                Level::Info,
                "→ Processing run 12500 (attempt 1/3)",
                "2025-10-24 14:32:15,123 - run_record_archiver.importer - INFO - → Processing run 12500 (attempt 1/3)\n",
            ),
            (
                "run_record_archiver",
                Level::Warn,
                "two\nlines\n",
                "2025-10-24 14:32:15,123 - run_record_archiver - WARNING - two\n    lines\n",
            ),
            (
                "a::b::c",
                Level::Error,
                "bell\x07 escape\x1b[31m tab\t",
                "2025-10-24 14:32:15,123 - a.b.c - ERROR - bell\\x07 escape\\x1b[31m tab\n",
            ),
            (
                "a",
                Level::Error,
                "next\u{85}line\u{2028}sep\u{2029}ends \u{202e}turned\u{200b}\u{feff}é",
                "2025-10-24 14:32:15,123 - a - ERROR - next\\x85line\\u{2028}sep\\u{2029}ends \\u{202e}turned\\u{200b}\\u{feff}é\n",
            ),
        ] {
            assert_eq!(show(target, level, message, &none), expected);
        }
        let critical = [("critical", true)];
        let line = show("m", Level::Error, "x", &critical);
        assert!(line.ends_with(" - m - CRITICAL - x\n"), "{line}");
    }

    #[test]
    fn other_crates_pass_from_warning_up() {
        let logger = Logger {
            level: LevelFilter::Debug,
            stderr: LevelFilter::Off,
            colour: false,
            file: None,
        };
        let enabled = |target: &str, level| {
            logger.enabled(&Metadata::builder().target(target).level(level).build())
        };
        assert!(enabled("run_record_archiver::state", Level::Debug));
        assert!(enabled("run_record_archiver", Level::Debug));
        assert!(!enabled("run_record_archivers", Level::Info));
        assert!(!enabled("hyper::client", Level::Info));
        assert!(enabled("rustls", Level::Warn));
    }
}
