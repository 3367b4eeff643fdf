//! metadata.txt: `key: value` lines, sections of log files, comments.

use super::Converted;
use super::facts::{CONFIG_NAME, Facts, TIMES, is_component, written};
use super::lists::{items, push_strings};
use super::names::Names;
use super::notes::{Notes, Oddity};
use super::text::{is_fhicl_number, is_number, is_sequence, push_comment, split_list, string};

/// The end of a key that begins a section: the lines up to the next blank one
/// belong to it.
const SECTION: &str = "logfiles";

/// The key of the number of events.
const TOTAL_EVENTS: &str = "Total events";

/// The end of a key whose value is a version or a commit.
const VERSION: &str = "commit/version";

/// The beginning of the key of the process manager's log files.
const PMT_LOGFILES: &str = "pmt logfile";

/// Makes `metadata.fcl`: numbers and lists bare, every other value as a string,
/// the components and each section of log files as a sequence, comments where
/// they stand.
#[must_use]
pub fn convert(text: &str) -> Converted {
    let (whole, unfinished) = written(text);
    let mut notes = Notes::default();
    let components = Facts::read(whole).components;
    let mut names =
        Names::new(keys(whole).filter(|key| !matches!(*key, "components" | "config_name")));
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut lines = whole.lines().enumerate().peekable();
    let mut components_written = false;

    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let trimmed = line.trim();
        if trimmed.is_empty() {
            continue;
        }
        if trimmed.starts_with('#') {
            push_comment(&mut out, line.trim_start());
            out.push('\n');
            continue;
        }
        let Some((key, value)) = pair(trimmed) else {
            notes.add(Oddity::StrayLine, number, trimmed);
            names.push_stray(&mut out, number, trimmed);
            continue;
        };
        if is_component(key) && !value.is_empty() {
            if !components_written {
                let name = names.unique("components");
                out.push_str(&name);
                out.push_str(": ");
                push_strings(&mut out, components.iter().copied());
                out.push('\n');
                components_written = true;
            }
            continue;
        }
        let name = names.name(key, &base(key));
        notes.add_name(number, key, &name);
        if is_section(key) {
            let mut items: Vec<&str> = Vec::new();
            items.extend(Some(value).filter(|value| !value.is_empty()));
            while let Some((_, line)) = lines.next_if(|(_, line)| continues_section(line)) {
                items.push(line.trim());
            }
            let mut value = String::new();
            push_strings(&mut value, items);
            out.push('\n');
            name.push_entry(&mut out, key, &value, None);
        } else if key.ends_with(VERSION) {
            // The fields are told apart by the blanks that the quotation marks leave.
            name.push_entry(&mut out, key, &string(&value.replace('"', " ")), None);
        } else {
            let list = split_list(value).filter(|_| value.starts_with('['));
            let (value, comment) = list.unwrap_or((value, None));
            let value = value_of(value, number, &mut notes);
            name.push_entry(&mut out, key, &value, comment);
        }
    }
    if let Some(line) = unfinished {
        notes.add(Oddity::Unfinished, whole.lines().count() + 1, line);
    }
    notes.finish(text, out)
}

/// A value: numbers and lists bare, all else as a string.
fn value_of(value: &str, number: usize, notes: &mut Notes) -> String {
    if is_bare_number(value) || is_sequence(value) {
        return value.to_string();
    }
    if value.starts_with('[') {
        if let Some(items) = items(value) {
            let items: Vec<String> = items.iter().map(|item| item.fhicl(true)).collect();
            return format!("[{}]", items.join(", "));
        }
        notes.add(Oddity::KeptAsText, number, value);
    }
    string(value)
}

/// Whether a value is a number. Digits with an `e` that no number is as large as
/// are a hash.
fn is_bare_number(value: &str) -> bool {
    let is_hash = |value: &str| value.parse::<f64>().is_ok_and(f64::is_infinite);
    is_number(value) || (is_fhicl_number(value) && !is_hash(value))
}

/// Key and value of a line.
fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    Some((key.trim(), value.trim()))
}

/// The keys of all lines; those within sections do no harm.
fn keys(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| Some(pair(line)?.0))
}

fn is_section(key: &str) -> bool {
    key.strip_suffix(SECTION)
        .is_some_and(|rest| rest.ends_with(' '))
}

/// Whether a line goes on with a section. The times are appended while the run
/// goes on and may follow without a blank line; so may any other known key.
fn continues_section(line: &str) -> bool {
    !line.trim().is_empty() && !pair(line).is_some_and(|(key, _)| is_known(key))
}

/// Whether DAQInterface has this key: it begins no path of a log file.
fn is_known(key: &str) -> bool {
    matches!(
        key,
        CONFIG_NAME | TOTAL_EVENTS | "DAQInterface directory" | "process management method"
    ) || TIMES.iter().any(|(name, _)| *name == key)
        || is_component(key)
        || is_section(key)
        || key.starts_with(PMT_LOGFILES)
        || key
            .strip_suffix(VERSION)
            .is_some_and(|rest| rest.ends_with(' '))
}

/// The spelling of a key, where it is not the key's own.
fn base(key: &str) -> String {
    if key == CONFIG_NAME {
        "config_name".to_string()
    } else if key == TOTAL_EVENTS || TIMES.iter().any(|(name, _)| *name == key) {
        key.to_ascii_lowercase()
    } else if let Some(package) = key.strip_suffix(VERSION) {
        // `artdaq-core` is `artdaq_core` as a matter of course.
        format!("{}commit_or_version", package.replace('-', "_"))
    } else if key.starts_with(PMT_LOGFILES) {
        "pmt_logfiles_wildcard".to_string()
    } else {
        key.to_string()
    }
}
