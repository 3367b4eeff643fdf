//! boot.txt: the artdaq processes and the subsystems, in blocks of
//! `<kind> <attribute>: value` lines that blank lines separate, and single
//! settings among them.

mod blocks;

use std::collections::{HashMap, HashSet};

use super::Converted;
use super::lists::items;
use super::names::Names;
use super::notes::{Notes, Oddity};
use super::text::{is_number, is_quoted, push_comment, split_value, string};
use crate::fhicl::{self, AtomKind, Content, Entry, Protection};
use blocks::{Block, Boot, Setting};

/// Makes `boot.fcl`: the single settings, then `subsystem_settings` and
/// `artdaq_process_settings`, a table for each block.
///
/// An attribute that has no place in those tables (`EventBuilder
/// allowed_processors`) stands among the single settings if all blocks of its
/// kind have the same; else each has its own in its table.
///
/// A text that is FHiCL already stays as it is.
#[must_use]
pub fn convert(text: &str) -> Converted {
    let mut notes = Notes::default();
    if is_fhicl(text) {
        return notes.finish(text, text.to_string());
    }
    let boot = Boot::read(text);
    let disagreeing = disagreeing(&boot);

    let own = boot.settings.iter().filter_map(|setting| setting.key);
    let mut names = Names::dotted(own);
    for reserved in ["subsystem_settings", "artdaq_process_settings"] {
        names.reserve(reserved);
    }
    let mut out = String::with_capacity(text.len() * 2);
    for setting in &boot.settings {
        let Some(key) = setting.key else {
            notes.add(Oddity::StrayLine, setting.line, setting.value);
            names.push_stray(&mut out, setting.line, setting.value);
            continue;
        };
        if setting.block.is_some() {
            if disagreeing.contains(key) {
                continue;
            }
            notes.add(Oddity::Misplaced, setting.line, key);
        }
        let name = names.name(key, key);
        if setting.block.is_none() {
            notes.add_name(setting.line, key, &name);
        }
        let (value, comment) = split_value(setting.value);
        let value = value_of(value, true, setting.line, &mut notes);
        name.push_entry(&mut out, key, &value, comment);
    }

    let attributes = |subsystems: bool| {
        let mut own: HashMap<usize, Vec<&Setting>> = HashMap::new();
        for setting in &boot.settings {
            if let (Some(key), Some(block)) = (setting.key, setting.block)
                && block.subsystem == subsystems
                && disagreeing.contains(key)
            {
                own.entry(block.index).or_default().push(setting);
            }
        }
        own
    };
    let mut tables = Tables {
        out: &mut out,
        notes: &mut notes,
    };
    if !boot.subsystems.is_empty() {
        tables.push("subsystem_settings", &boot.subsystems, &attributes(true));
    }
    tables.push(
        "artdaq_process_settings",
        &boot.processes,
        &attributes(false),
    );
    notes.finish(text, out)
}

/// Returns the labels of the processes.
#[must_use]
pub fn labels(text: &str) -> Vec<&str> {
    let boot = Boot::read(text);
    let attributes = boot.processes.iter().flat_map(Block::attributes);
    let labels = attributes.filter(|(name, _)| *name == "label");
    labels
        .flat_map(|(_, values)| values)
        .map(|(_, value)| split_value(value).0)
        .collect()
}

/// Whether a boot.txt is FHiCL already. A few lines of `key: value` could be
/// either, so there must be something that DAQInterface's own format does not
/// have. A real boot.txt of that format is no FHiCL: it has keys of several
/// words, and paths and hosts without quotes.
fn is_fhicl(text: &str) -> bool {
    fhicl::parse(text).is_ok_and(|document| {
        // An entry that is not alone on its line, or has several.
        let lines = text
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .count();
        !document.prolog.is_empty()
            || document.main.iter().any(is_telling)
            || lines != document.main.len()
    })
}

/// Whether an entry has something that DAQInterface's own format does not have.
fn is_telling(entry: &Entry) -> bool {
    let Entry::Assignment { name, value } = entry else {
        return true;
    };
    let content = match &value.content {
        Content::Sequence(_) | Content::Table(_) => true,
        Content::Atom(AtomKind::Unquoted, text) => text.contains('@'),
        Content::Atom(AtomKind::Number, text) => !is_number(text),
        Content::Atom(..) => true,
    };
    content || value.protection != Protection::None || name.contains('[')
}

/// The keys of attributes without a place that only some blocks of their kind
/// have, or on whose value these disagree.
fn disagreeing<'a>(boot: &Boot<'a>) -> HashSet<&'a str> {
    let mut first: HashMap<&str, (&str, usize, Option<&str>)> = HashMap::new();
    let mut disagreeing = HashSet::new();
    for setting in &boot.settings {
        if let (Some(key), Some(block)) = (setting.key, setting.block) {
            let kind = match block.subsystem {
                true => None,
                false => boot.processes[block.index].kind,
            };
            let (value, count, _) = first.entry(key).or_insert((setting.value, 0, kind));
            *count += 1;
            if *value != setting.value {
                disagreeing.insert(key);
            }
        }
    }
    for (key, (_, count, kind)) in first {
        let blocks = match kind {
            None => boot.subsystems.len(),
            Some(_) => boot.processes.iter().filter(|it| it.kind == kind).count(),
        };
        if count != blocks {
            disagreeing.insert(key);
        }
    }
    disagreeing
}

/// Writes sequences of tables.
struct Tables<'o> {
    out: &'o mut String,
    notes: &'o mut Notes,
}

impl Tables<'_> {
    fn push(&mut self, name: &str, blocks: &[Block], own: &HashMap<usize, Vec<&Setting>>) {
        self.out.push('\n');
        self.out.push_str(name);
        self.out.push_str(": [\n");
        let mut first = true;
        for (index, block) in blocks.iter().enumerate() {
            let own = own.get(&index).map_or(&[][..], Vec::as_slice);
            if block.is_empty() && own.is_empty() {
                continue;
            }
            if !first {
                self.out.push_str("},\n");
            }
            first = false;
            self.out.push_str("{\n");
            self.push_block(block, own);
        }
        if !first {
            self.out.push_str("}\n");
        }
        self.out.push_str("]\n");
    }

    fn push_block(&mut self, block: &Block, own: &[&Setting]) {
        let mut names = Names::default();
        if let Some(kind) = block.kind {
            self.out.push_str("name: ");
            self.out.push_str(&string(kind));
            self.out.push('\n');
        }
        for reserved in [
            "name",
            "label",
            "host",
            "port",
            "subsystem",
            "id",
            "source",
            "destination",
        ] {
            names.reserve(reserved);
        }
        for (attribute, values) in block.attributes() {
            self.out.push_str(attribute);
            self.out.push_str(": ");
            let several = values.len() > 1;
            let mut comments = String::new();
            for (index, (line, value)) in values.into_iter().enumerate() {
                let (value, comment) = split_value(value);
                if several {
                    self.out.push_str(if index > 0 { ", " } else { "[" });
                }
                let value = value_of(value, attribute == "port", line, self.notes);
                self.out.push_str(&value);
                if let Some(comment) = comment {
                    comments.push(' ');
                    push_comment(&mut comments, comment);
                }
            }
            if several {
                self.out.push(']');
            }
            self.out.push_str(&comments);
            self.out.push('\n');
        }
        for setting in own {
            let key = setting.attribute;
            let mut name = names.name(key, key);
            if name.repeated {
                // In a table the second of a name would replace the first.
                name.name = names.unique(key);
                let renamed = format!("{key} as {}", name.name);
                self.notes.add(Oddity::Another, setting.line, &renamed);
            } else {
                self.notes.add_name(setting.line, key, &name);
            }
            let (value, comment) = split_value(setting.value);
            let value = value_of(value, true, setting.line, self.notes);
            name.push_entry(self.out, key, &value, comment);
        }
    }
}

/// A value as FHiCL: lists and quoted strings as they are, numbers bare where
/// `numbers` says so, all else as a string.
fn value_of(value: &str, numbers: bool, line: usize, notes: &mut Notes) -> String {
    if (numbers && is_number(value)) || is_quoted(value) {
        return value.to_string();
    }
    if value.starts_with('[') {
        if let Some(items) = items(value) {
            let items: Vec<String> = items.iter().map(|item| item.fhicl(true)).collect();
            return format!("[{}]", items.join(", "));
        }
        notes.add(Oddity::KeptAsText, line, value);
    }
    string(value)
}
