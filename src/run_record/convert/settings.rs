//! settings.txt: `key: value` lines with lists and comments.

use super::Converted;
use super::lists::items;
use super::names::Names;
use super::notes::{Notes, Oddity};
use super::text::{is_number, is_quoted, split_comment, string};

/// Makes `settings.fcl`: numbers, `true`, `false` and lists bare, all else as
/// strings.
#[must_use]
pub fn convert(text: &str) -> Converted {
    let lines = || {
        text.lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| {
                let pair = line.split_once(':');
                (number, line, pair.map(|(key, value)| (key.trim(), value)))
            })
    };
    let mut names = Names::new(lines().filter_map(|(_, _, pair)| Some(pair?.0)));
    let mut notes = Notes::default();
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for (number, line, pair) in lines() {
        let Some((key, value)) = pair else {
            notes.add(Oddity::StrayLine, number, line);
            names.push_stray(&mut out, number, line);
            continue;
        };
        let (value, comment) = split_comment(value.trim_start());
        let name = names.name(key, key);
        notes.add_name(number, key, &name);
        let value = value_of(value, number, &mut notes);
        name.push_entry(&mut out, key, &value, comment);
    }
    notes.finish(text, out)
}

fn value_of(value: &str, number: usize, notes: &mut Notes) -> String {
    if is_number(value) || value == "true" || value == "false" || is_quoted(value) {
        return value.to_string();
    }
    if value.starts_with('[') {
        if let Some(items) = items(value) {
            let items: Vec<String> = items.iter().map(|item| item.fhicl(false)).collect();
            return format!("[ {} ]", items.join(", "));
        }
        notes.add(Oddity::KeptAsText, number, value);
    }
    string(value)
}
