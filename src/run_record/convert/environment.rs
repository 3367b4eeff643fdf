//! environment.txt: `export NAME=value` lines.

use super::Converted;
use super::names::Names;
use super::notes::{Notes, Oddity};
use super::text::string;

enum Line<'a> {
    Variable { name: &'a str, value: &'a str },
    Stray(&'a str),
}

/// Makes `environment.fcl`: every variable as a string, in the order of the file.
/// Quotes stay, so that `X=` and `X=""` are not the same afterwards.
#[must_use]
pub fn convert(text: &str) -> Converted {
    let lines = || {
        text.lines()
            .enumerate()
            .filter_map(|(index, line)| Some((index + 1, read_line(line)?)))
    };
    let mut names = Names::new(lines().filter_map(|(_, line)| match line {
        Line::Variable { name, .. } => Some(name),
        Line::Stray(_) => None,
    }));
    let mut notes = Notes::default();
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for (number, line) in lines() {
        match line {
            Line::Variable { name: key, value } => {
                let name = names.name(key, key);
                notes.add_name(number, key, &name);
                name.push_entry(&mut out, key, &string(value), None);
            }
            Line::Stray(line) => {
                notes.add(Oddity::StrayLine, number, line);
                names.push_stray(&mut out, number, line);
            }
        }
    }
    notes.finish(text, out)
}

fn read_line(line: &str) -> Option<Line<'_>> {
    // Blanks behind a value are part of it.
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let assignment = line
        .strip_prefix("export")
        .filter(|rest| rest.starts_with(char::is_whitespace))
        .map_or(line, str::trim_start);
    Some(match assignment.split_once('=') {
        Some((name, value)) if !name.contains(char::is_whitespace) => {
            Line::Variable { name, value }
        }
        _ => Line::Stray(line.trim_end()),
    })
}
