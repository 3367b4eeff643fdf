//! settings.txt: `key: value` lines with lists and comments.

use super::Converted;
use super::lists::{Item, items};
use super::names::Names;
use super::notes::{Notes, Oddity};
use super::text::{is_name, is_number, is_quoted, split_value, string};

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
        let value = value.trim_start();
        // After a list a comment is one; after anything else it belongs to the
        // string that the archive has always held: `"false #true"`.
        let (value, comment) = match value.starts_with('[') {
            true => split_value(value),
            false => (value, None),
        };
        let name = names.name(key, key);
        notes.add_name(number, key, &name);
        let value = value_of(key, value, number, &mut notes);
        name.push_entry(&mut out, key, &value, comment);
    }
    notes.finish(text, out)
}

fn value_of(key: &str, value: &str, number: usize, notes: &mut Notes) -> String {
    if is_number(value) || is_quoted(value) {
        return value.to_string();
    }
    if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") {
        return value.to_ascii_lowercase();
    }
    if value.starts_with('[') {
        if let Some(items) = items(value) {
            let items: Vec<String> = items
                .iter()
                .map(|item| match underscored(key, item) {
                    Some(name) => {
                        let what = format!("{key}: {}", item.text);
                        notes.add(Oddity::Underscored, number, &what);
                        name
                    }
                    None => item.fhicl(false),
                })
                .collect();
            return format!("[ {} ]", items.join(", "));
        }
        notes.add(Oddity::KeptAsText, number, value);
    }
    string(value)
}

/// The keys of the lists of package names, in the spellings of real records.
const PACKAGES: [&str; 2] = ["package_hashes_to_save", "packages_hashes_to_save"];

/// A package name without quotes, with `_` for its `-` as DAQInterface has it;
/// `None` for every other item.
fn underscored(key: &str, item: &Item) -> Option<String> {
    let name = item.text.replace('-', "_");
    let is_package = item.text.starts_with(|c: char| c.is_ascii_alphabetic()) && is_name(&name);
    (PACKAGES.contains(&key) && is_package && !item.quoted && name != item.text).then_some(name)
}
