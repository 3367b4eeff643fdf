//! YAML text as a tree in which every key and value knows its line.
//!
//! Scalars keep the text as it stands in the file (`007`, `1.0`, `1e5`), so
//! that a password or a folder name made of digits arrives unchanged.

use std::collections::HashMap;

use saphyr::{MarkedYaml, ScalarStyle, YamlData, YamlLoader};
use saphyr_parser::{Event, Parser, SpannedEventReceiver};

/// Nesting beyond this is no configuration; the limit bounds recursion.
const MAX_DEPTH: usize = 32;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// The line, counted from 1.
    pub line: usize,
    /// What stands there.
    pub value: Value,
}

/// What a key can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`, unquoted.
    Null,
    /// Text, a number or a truth value, as written.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file; no key stands twice.
    Section(Vec<Entry>),
    /// A scalar whose references could not be resolved, and why.
    Unresolved(String),
}

/// One key of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// The key's line.
    pub line: usize,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// The entries of a section; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match self {
            Value::Section(entries) => entries,
            _ => &[],
        }
    }
}

/// A place in the file and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Reads one YAML document whose top is a mapping.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut loader = YamlLoader::<MarkedYaml>::default();
    loader.early_parse(false);
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| not_yaml(&error))?;
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
            Event::MappingEnd | Event::SequenceEnd => depth -= 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Fault {
                line: span.start.line(),
                problem: format!("nested more than {MAX_DEPTH} levels deep"),
            });
        }
        loader.on_event(event, span);
        if let Some(error) = loader.error() {
            return Err(not_yaml(error));
        }
    }
    let mut documents = loader.into_documents().into_iter();
    let Some(document) = documents.next() else {
        return Err(empty());
    };
    if let Some(second) = documents.next() {
        return Err(Fault {
            line: second.span.start.line(),
            problem: "a second YAML document begins here: a configuration is one document".into(),
        });
    }
    let root = node(document)?;
    match root.value {
        Value::Section(_) => Ok(root),
        Value::Null => Err(empty()),
        _ => Err(Fault {
            line: root.line,
            problem: "the top of the file must be sections such as `app:`, not a value or a list"
                .into(),
        }),
    }
}

fn empty() -> Fault {
    Fault {
        line: 1,
        problem: "the file is empty: copy config.example.yaml and edit it".into(),
    }
}

fn not_yaml(error: &saphyr::ScanError) -> Fault {
    let info = error.info();
    let problem = if info.to_lowercase().contains("duplicate") {
        "a key stands twice in the same section: keep one of the two".to_owned()
    } else {
        format!("not YAML: {info} (column {})", error.marker().col() + 1)
    };
    Fault {
        line: error.marker().line(),
        problem,
    }
}

fn node(yaml: MarkedYaml<'_>) -> Result<Node, Fault> {
    let line = yaml.span.start.line();
    let fault = |problem: &str| Fault {
        line,
        problem: problem.to_owned(),
    };
    let value = match yaml.data {
        YamlData::Representation(text, style, _) => {
            let unquoted = style == ScalarStyle::Plain;
            if unquoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                Value::Null
            } else {
                Value::Scalar(text.into_owned())
            }
        }
        YamlData::Sequence(items) => {
            Value::List(items.into_iter().map(node).collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(pairs) => {
            let mut entries: Vec<Entry> = Vec::with_capacity(pairs.len());
            let mut lines = HashMap::with_capacity(pairs.len());
            for (key, value) in pairs {
                let entry = entry(key, value)?;
                if let Some(first) = lines.insert(entry.key.clone(), entry.line) {
                    return Err(Fault {
                        line: entry.line,
                        problem: format!(
                            "`{}` stands twice, first in line {first}: keep one of the two",
                            entry.key
                        ),
                    });
                }
                entries.push(entry);
            }
            Value::Section(entries)
        }
        YamlData::Tagged(_, inner) => return node(*inner),
        YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => {
            return Err(fault("not a value that a configuration can hold"));
        }
    };
    Ok(Node { line, value })
}

fn entry(key: MarkedYaml<'_>, value: MarkedYaml<'_>) -> Result<Entry, Fault> {
    let line = key.span.start.line();
    let fault = |problem: String| Fault { line, problem };
    let YamlData::Representation(name, ..) = key.data else {
        return Err(fault("a key must be a plain name".into()));
    };
    if name == "<<" {
        return Err(fault(
            "merge keys (`<<`) are not supported: write the keys out".into(),
        ));
    }
    Ok(Entry {
        key: name.into_owned(),
        line,
        node: node(value)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_text_and_lines() {
        let root = parse("a: 007\nb:\n  c: \"null\"\n  d: ~\n  e: [1.0, x]\n").unwrap();
        let entries = root.value.entries();
        assert_eq!(entries[0].node.value, Value::Scalar("007".into()));
        let b = entries[1].node.value.entries();
        assert_eq!(b[0].node.value, Value::Scalar("null".into()));
        assert_eq!(b[0].line, 3);
        assert_eq!(b[1].node.value, Value::Null);
        let Value::List(items) = &b[2].node.value else {
            panic!("{b:?}")
        };
        assert_eq!(items[0].value, Value::Scalar("1.0".into()));
        assert_eq!(items[1].line, 5);
    }

    #[test]
    fn refuses_what_is_no_configuration() {
        for (text, line, part) in [
            ("", 1, "empty"),
            ("# only a comment\n", 1, "empty"),
            ("- a\n- b\n", 1, "sections"),
            ("text\n", 1, "sections"),
            ("a: 1\nb: 2\na: 3\n", 3, "twice"),
            ("a: 1\nb: 2\n\"a\": 3\n", 3, "twice"),
            ("s:\n  a: 1\n  a: 2\n", 3, "twice"),
            ("a: [1\nb: 2\n", 2, "not YAML"),
            ("a:\n\tb: 1\n", 2, "not YAML"),
            ("a: 1\n---\nb: 2\n", 3, "second YAML document"),
            ("x: &x {a: 1}\ny:\n  <<: *x\n", 3, "merge keys"),
            ("[a, b]: 1\n", 1, "plain name"),
        ] {
            let fault = parse(text).unwrap_err();
            assert!(fault.problem.contains(part), "{text:?}: {fault:?}");
            assert_eq!(fault.line, line, "{text:?}: {fault:?}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let fault = parse(&format!("a: {}", "[".repeat(100))).unwrap_err();
        assert!(fault.problem.contains("nested"), "{fault:?}");
        let deeper = "[".repeat(100_000);
        assert!(parse(&format!("a: {deeper}")).is_err());
    }

    #[test]
    fn aliases_and_byte_order_mark() {
        let root = parse("\u{feff}a: &x 5\nb: *x\n").unwrap();
        assert_eq!(
            root.value.entries()[1].node.value,
            Value::Scalar("5".into())
        );
    }
}
