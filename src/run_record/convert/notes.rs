//! What a converter has to say about its input, one note for each kind of
//! oddity: a file with a million odd lines must not make a million log lines.

use std::fmt::Write as _;

use log::Level;

use super::Converted;
use super::names::Name;
use super::text::{LAST_BACKSLASH, is_escaped_control};

/// One thing to log about a converted file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// How loud.
    pub level: Level,
    /// What was odd, with the line where it was first seen, and what was done.
    pub text: String,
}

/// The kinds of oddity, each with what was done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// A line that is not of the file's form.
    StrayLine,
    /// A name given more than once.
    Repeated,
    /// A name that is not a FHiCL name.
    Renamed,
    /// A name given more than once where only one can stand.
    Another,
    /// A package name with `-`.
    Underscored,
    /// A value whose form only looked like a list or a quoted string.
    KeptAsText,
    /// A file ends within a line that is still being written.
    Unfinished,
    /// An attribute that has no place of its own in the FHiCL.
    Misplaced,
    /// Something the file always has is missing.
    Missing,
}

impl Oddity {
    fn level(self) -> Level {
        match self {
            Oddity::StrayLine | Oddity::KeptAsText | Oddity::Missing => Level::Warn,
            Oddity::Repeated
            | Oddity::Another
            | Oddity::Renamed
            | Oddity::Underscored
            | Oddity::Unfinished => Level::Info,
            Oddity::Misplaced => Level::Debug,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Oddity::StrayLine => "a line of unknown form is kept as line_<number>",
            Oddity::Repeated => "a repeated name is kept each time",
            Oddity::Renamed => {
                "a name that FHiCL does not allow is changed, the original kept above it"
            }
            Oddity::Another => "a name that is taken is kept under another one",
            Oddity::Underscored => "a package name is archived with _ for -",
            Oddity::KeptAsText => "a value is kept as a string",
            Oddity::Unfinished => "the last line is not finished yet and left for later",
            Oddity::Misplaced => "an attribute of one block stands for itself",
            Oddity::Missing => "something is missing",
        }
    }
}

/// Collects notes while a converter works.
#[derive(Debug, Default)]
pub(super) struct Notes {
    seen: Vec<(Oddity, String, usize)>,
}

impl Notes {
    /// Notes an oddity in `line` (counted from 1); `what` is shortened when long.
    pub fn add(&mut self, oddity: Oddity, line: usize, what: &str) {
        if let Some((_, _, count)) = self.seen.iter_mut().find(|(seen, _, _)| *seen == oddity) {
            *count += 1;
            return;
        }
        let mut first = format!("line {line}: ");
        first.extend(what.chars().take(80).flat_map(char::escape_debug));
        self.seen.push((oddity, first, 1));
    }

    /// Notes what is odd about the name of a key.
    pub fn add_name(&mut self, line: usize, key: &str, name: &Name) {
        if name.repeated {
            self.add(Oddity::Repeated, line, key);
        }
        if name.changed {
            self.add(Oddity::Renamed, line, key);
        }
    }

    /// Ends a conversion of `source` into `text`.
    pub fn finish(self, source: &str, text: String) -> Converted {
        let mut notes: Vec<Note> = self
            .seen
            .into_iter()
            .map(|(oddity, first, count)| {
                let mut text = format!("{} ({first}", oddity.describe());
                if count > 1 {
                    let _ = write!(text, ", and {} more", count - 1);
                }
                text.push(')');
                Note {
                    level: oddity.level(),
                    text,
                }
            })
            .collect();
        if source.trim().is_empty() {
            notes.push(Note {
                level: Level::Warn,
                text: "the file is empty".to_string(),
            });
        }
        let spelled =
            control_characters(source) + text.matches(&format!("{LAST_BACKSLASH}\"")).count();
        if spelled > 0 {
            notes.push(Note {
                level: Level::Warn,
                text: format!(
                    "{spelled} characters that FHiCL does not allow are kept as \\x and their number"
                ),
            });
        }
        Converted { text, notes }
    }
}

/// How many control characters of a text can't stand in FHiCL as they are. A
/// carriage return before a line feed is a line end.
fn control_characters(source: &str) -> usize {
    let all = source.chars().filter(|c| is_escaped_control(*c)).count();
    all - source.matches("\r\n").count()
}
