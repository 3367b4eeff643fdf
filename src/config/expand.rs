//! `${...}` in the values of a configuration file.
//!
//! | form | stands for |
//! | --- | --- |
//! | `${NAME}` | the environment variable, or the key of that name |
//! | `${NAME:-default}` | the same, or the default where it is not set or empty; defaults nest |
//! | `${param}` | the key of the same section, of a section around it, or of the top level |
//! | `${section.param}` | that key |
//! | `$${` | a literal `${` |
//!
//! A name that begins with a capital letter is looked for in the environment
//! first, any other among the keys first. The value of an environment variable
//! is taken as it is; everything else is expanded in turn. Any other `$` is a
//! plain character.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;

use super::confidential::{is_confidential, is_reference, is_secret, is_written_out};
use super::yaml::{Entry, Node, Value};

/// Keys that refer to keys that refer to keys: more than this is a mistake.
const MAX_CHAIN: usize = 100;
/// To compare each of many names with each of many keys takes its time.
const MAX_GUESSES: usize = 50;
/// Defaults within defaults.
const MAX_NESTING: usize = 16;
/// No setting is longer; the limit stops references that double each other.
const MAX_LENGTH: usize = 64 * 1024;

/// Where variables come from: the environment, or a table in tests.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// An expanded tree and how it came about.
#[derive(Debug)]
pub(crate) struct Expanded {
    /// The tree; what could not be resolved is [`Value::Unresolved`].
    pub root: Node,
    /// The keys that others refer to, such as `app.work_dir`.
    pub referenced: BTreeSet<String>,
    /// Which reference came from where, without values: for the debug log.
    pub notes: Vec<String>,
    /// What is secret in it.
    pub secrets: Secrets,
}

/// What a configuration has of secrets, by key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    /// Values that were made of the value of a secret setting.
    pub made_of_secrets: BTreeSet<String>,
    /// Values that are in no message.
    pub hidden: BTreeSet<String>,
    /// Secrets that stand in the file itself.
    pub written_out: Vec<String>,
}

/// Expands every scalar of the tree.
pub(crate) fn expand(root: &Node, environment: Environment<'_>) -> Expanded {
    let mut expander = Expander {
        root,
        environment,
        done: HashMap::new(),
        open: Vec::new(),
        referenced: BTreeSet::new(),
        notes: Vec::new(),
        secrets: Secrets::default(),
        nodes: HashMap::new(),
        guesses: MAX_GUESSES,
    };
    expander.register(root, "");
    let expanded = expander.node(root, "");
    Expanded {
        root: expanded,
        referenced: expander.referenced,
        notes: expander.notes,
        secrets: expander.secrets,
    }
}

struct Expander<'a> {
    root: &'a Node,
    /// Every key's node.
    nodes: HashMap<String, &'a Node>,
    environment: Environment<'a>,
    /// Results by key, so that each key is expanded once.
    done: HashMap<String, Result<String, String>>,
    /// The keys under expansion, outermost first.
    open: Vec<String>,
    referenced: BTreeSet<String>,
    notes: Vec<String>,
    secrets: Secrets,
    /// How many more names are looked for among all keys, as misspelt.
    guesses: usize,
}

impl<'a> Expander<'a> {
    fn register(&mut self, node: &'a Node, path: &str) {
        for entry in node.value.entries() {
            let path = join(path, &entry.key);
            self.register(&entry.node, &path);
            // No key stands twice, but one with a dot can be like one of a section.
            self.nodes.entry(path).or_insert(&entry.node);
        }
    }

    fn node(&mut self, node: &Node, path: &str) -> Node {
        let value = match &node.value {
            Value::Scalar(text) => {
                if is_confidential(path) {
                    self.secrets.hidden.insert(path.to_owned());
                }
                if is_written_out(path, text) {
                    self.secrets.written_out.push(path.to_owned());
                }
                match self.scalar(path, text) {
                    Ok(text) => Value::Scalar(text),
                    Err(problem) => Value::Unresolved(problem),
                }
            }
            Value::List(items) => Value::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.node(item, &format!("{path}[{index}]")))
                    .collect(),
            ),
            Value::Section(entries) => Value::Section(
                entries
                    .iter()
                    .map(|entry| Entry {
                        key: entry.key.clone(),
                        line: entry.line,
                        node: self.node(&entry.node, &join(path, &entry.key)),
                    })
                    .collect(),
            ),
            Value::Null | Value::Unresolved(_) => node.value.clone(),
        };
        Node {
            line: node.line,
            value,
        }
    }

    /// The value of the key at `path`, whose text is `text`.
    fn scalar(&mut self, path: &str, text: &str) -> Result<String, String> {
        if !text.contains("${") {
            return Ok(text.to_owned());
        }
        if let Some(result) = self.done.get(path) {
            return result.clone();
        }
        if let Some(first) = self.open.iter().position(|open| open == path) {
            let mut circle = self.open[first..].to_vec();
            circle.push(path.to_owned());
            return Err(format!(
                "circular reference: {}: give one of them a value",
                circle.join(" -> ")
            ));
        }
        if self.open.len() >= MAX_CHAIN {
            return Err(format!("more than {MAX_CHAIN} references in a chain"));
        }
        self.open.push(path.to_owned());
        let notes = self.notes.len();
        let mut result = self.text(text, path, 0);
        self.open.pop();
        if is_secret(path) && !is_reference(text) {
            // What looks like a reference may be a part of the secret.
            let about_it = format!("{path}: ");
            let mut place = 0;
            self.notes.retain(|note| {
                place += 1;
                place <= notes || !note.starts_with(&about_it)
            });
            let key = path.rsplit('.').next().unwrap_or(path);
            result = result.map_err(|_| {
                format!(
                    "it has a `${{` in it that is no reference to anything: write `$${{` for the \
                     characters themselves, or name a file that holds the secret with {key}_file"
                )
            });
        }
        self.done.insert(path.to_owned(), result.clone());
        result
    }

    /// Expands the text of the key at `path`, or a default in it.
    fn text(&mut self, text: &str, path: &str, nesting: usize) -> Result<String, String> {
        if nesting > MAX_NESTING {
            return Err(format!("more than {MAX_NESTING} defaults in each other"));
        }
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            result.push_str(&rest[..dollar]);
            rest = &rest[dollar..];
            if let Some(after) = rest.strip_prefix("$${") {
                result.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let end = closing_brace(after).ok_or(
                    "`${` without its `}`: close it, or write `$${` for the characters themselves",
                )?;
                let value = self.reference(&after[..end], path, nesting)?;
                result.push_str(&value);
                rest = &after[end + 1..];
            } else {
                result.push('$');
                rest = &rest[1..];
            }
            if result.len() > MAX_LENGTH {
                return Err(format!("longer than {MAX_LENGTH} bytes when expanded"));
            }
        }
        result.push_str(rest);
        Ok(result)
    }

    /// The value of `${inside}`.
    fn reference(&mut self, inside: &str, path: &str, nesting: usize) -> Result<String, String> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            return Err(
                "not a reference: write ${NAME}, ${NAME:-default} or ${section.key}, \
                 or `$${` for the characters themselves"
                    .into(),
            );
        }
        let found = if name.starts_with(|first: char| first.is_ascii_uppercase()) {
            match self.variable(name, path)? {
                Some(value) => Some(value),
                None => self.key(name, path)?,
            }
        } else {
            match self.key(name, path)? {
                Some(value) => Some(value),
                None => self.variable(name, path)?,
            }
        };
        match (found, default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => {
                self.note(path, name, "is not set: its default");
                self.text(default, path, nesting + 1)
            }
            (None, None) => Err(self.missing(name)),
        }
    }

    fn variable(&mut self, name: &str, path: &str) -> Result<Option<String>, String> {
        let Some(value) = (self.environment)(name) else {
            return Ok(None);
        };
        let value = value
            .into_string()
            .map_err(|_| format!("the environment variable {name} is not UTF-8"))?;
        if is_confidential(name) {
            self.secrets.hidden.insert(path.to_owned());
        }
        self.note(path, name, "from the environment");
        Ok(Some(value))
    }

    /// The key that `name` means in the value of the key at `path`.
    fn key(&mut self, name: &str, path: &str) -> Result<Option<String>, String> {
        let mut section = path;
        let (target, node) = loop {
            let parent = section.rfind(['.', '[']).map(|end| &section[..end]);
            let candidate = join(parent.unwrap_or(""), name);
            if let Some(node) = self.nodes.get(&candidate) {
                break (candidate, *node);
            }
            match parent {
                Some(parent) => section = parent,
                None => return Ok(None),
            }
        };
        match &node.value {
            Value::Null => Ok(None),
            Value::Scalar(text) => {
                self.note(path, name, &format!("refers to {target}"));
                self.referenced.insert(target.clone());
                let value = self.scalar(&target, text);
                let secrets = &mut self.secrets;
                if is_secret(&target) || secrets.made_of_secrets.contains(&target) {
                    secrets.made_of_secrets.insert(path.to_owned());
                }
                if is_confidential(&target) || secrets.hidden.contains(&target) {
                    secrets.hidden.insert(path.to_owned());
                }
                value.map(Some)
            }
            _ => Err(format!(
                "${{{name}}} refers to {target}, which is not a single value"
            )),
        }
    }

    fn missing(&mut self, name: &str) -> String {
        if name.contains('.') {
            if self.guesses == 0 {
                return format!("${{{name}}}: the file has no such key");
            }
            self.guesses -= 1;
            let near = nearest(name, key_paths(self.root).iter().map(String::as_str))
                .map(|near| format!("; did you mean ${{{near}}}?"))
                .unwrap_or_default();
            format!("${{{name}}}: the file has no such key{near}")
        } else {
            format!(
                "${{{name}}}: there is no environment variable and no key of that name: \
                 set it, or give a default as in ${{{name}:-value}}"
            )
        }
    }

    fn note(&mut self, path: &str, name: &str, origin: &str) {
        self.notes.push(format!("{path}: ${{{name}}} {origin}"));
    }
}

/// The known name that is near enough to `name` to be what was meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `section.key`, or the key alone at the top.
pub(crate) fn join(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

fn is_name(name: &str) -> bool {
    name.split('.').all(|part| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// Where the brace closes that was opened before `text`.
fn closing_brace(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open = 1_usize;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"$${") {
            at += 3;
        } else if bytes[at..].starts_with(b"${") {
            open += 1;
            at += 2;
        } else {
            if bytes[at] == b'}' {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            at += 1;
        }
    }
    None
}

#[cfg(test)]
fn find<'a>(root: &'a Node, path: &str) -> Option<&'a Node> {
    path.split('.').try_fold(root, |node, key| {
        let entry = node.value.entries().iter().find(|entry| entry.key == key)?;
        Some(&entry.node)
    })
}

fn key_paths(root: &Node) -> Vec<String> {
    fn collect(node: &Node, path: &str, into: &mut Vec<String>) {
        for entry in node.value.entries() {
            let path = join(path, &entry.key);
            collect(&entry.node, &path, into);
            into.push(path);
        }
    }
    let mut paths = Vec::new();
    collect(root, "", &mut paths);
    paths
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;
    use proptest::prelude::*;

    fn environment(name: &str) -> Option<OsString> {
        let value = match name {
            "WORK" => "/data",
            "EMPTY" => "",
            "RAW" => "${not} $expanded",
            "base" => "/from/environment",
            "Base" => "/Capital",
            _ => return None,
        };
        Some(value.into())
    }

    /// The value of `app.x` when it is `text`, in a file with some other keys.
    fn value(text: &str) -> Result<String, String> {
        let quoted = serde_json::to_string(text).unwrap();
        let root = yaml::parse(&format!(
            "top: T\nnothing:\nlist: [a]\nother:\n  param: P\n  deep: {{param: D, up: \"${{param}}\"}}\n\
             \x20 loop: ${{app.x}}\n  via: ${{param}}/${{top}}\n\
             app:\n  base: /b\n  Base: /B\n  WORK: /w\n  x: {quoted}\n"
        ))
        .unwrap();
        let expanded = expand(&root, &environment);
        match &find(&expanded.root, "app.x").unwrap().value {
            Value::Scalar(text) => Ok(text.clone()),
            Value::Unresolved(problem) => Err(problem.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_each_form_stands_for() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("${WORK}/x", "/data/x"),
            ("${WORK:-d}", "/data"),
            ("${NONE:-d}", "d"),
            ("${NONE:-}", ""),
            ("${EMPTY:-d}", "d"),
            ("[${EMPTY}]", "[]"),
            ("${A:-${B:-x}}", "x"),
            ("${A:-${B:-${WORK}/y}z}", "/data/yz"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${NONE:-{x}}", "{x}"),
            ("${base}", "/b"),
            ("${Base}", "/Capital"),
            ("${top}", "T"),
            ("${nothing:-n}", "n"),
            ("${other.param}", "P"),
            ("${other.deep.param}", "D"),
            ("${other.deep.up}", "D"),
            ("${other.via}", "P/T"),
            ("${other.none:-n}", "n"),
            ("${NONE:-${base}}", "/b"),
            ("${RAW}", "${not} $expanded"),
            ("$${WORK}", "${WORK}"),
            ("${NONE:-$${x}}", "${x}"),
            ("a$b$$c$", "a$b$$c$"),
            ("100%}", "100%}"),
            ("é${WORK}é", "é/dataé"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (text, part) in [
            ("${NONE}", "no environment variable and no key"),
            ("${none}", "${none:-value}"),
            ("${nothing}", "no key of that name"),
            ("${other.parm}", "did you mean ${other.param}?"),
            ("${WORK", "without its `}`"),
            ("x${A:-${B}", "without its `}`"),
            ("${}", "not a reference"),
            ("${A B}", "not a reference"),
            ("${A:=b}", "not a reference"),
            ("${A-b}", "not a reference"),
            ("${.a}", "not a reference"),
            ("${1}", "not a reference"),
            ("${x}", "circular reference: app.x -> app.x"),
            ("${app.x:-d}", "circular"),
            ("${other.loop}", "other.loop -> app.x -> other.loop"),
            ("${other}", "not a single value"),
            ("${list}", "not a single value"),
        ] {
            let problem = value(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn doubling_references_stay_bounded() {
        let mut text = String::from("k0: \"\"\nl0: xxxxxxxx\n");
        for n in 1..30 {
            let before = n - 1;
            text += &format!("k{n}: \"${{k{before}}}${{k{before}}}\"\n");
            text += &format!("l{n}: \"${{l{before}}}${{l{before}}}\"\n");
        }
        let expanded = expand(&yaml::parse(&text).unwrap(), &|_| None);
        let last = |key| &find(&expanded.root, key).unwrap().value;
        assert_eq!(last("k29"), &Value::Scalar(String::new()));
        assert!(matches!(last("l29"), Value::Unresolved(problem) if problem.contains("longer")));
    }

    #[test]
    fn notes_tell_the_origin_and_never_the_value() {
        let root = yaml::parse("a: ${WORK}\nb: ${a}${NO:-secret}\n").unwrap();
        let notes = expand(&root, &environment).notes;
        assert_eq!(
            notes,
            [
                "a: ${WORK} from the environment",
                "b: ${a} refers to a",
                "b: ${NO} is not set: its default"
            ]
        );
    }

    proptest! {
        #[test]
        fn expansion_ends_and_never_panics(
            texts in prop::collection::vec("([$]?[$]?[{]?(A|k0|k1|k2|s[.]k|:-|[}]|é| ){0,3}){0,8}", 4)
        ) {
            let quoted: Vec<_> = texts
                .iter()
                .map(|text| serde_json::to_string(text).unwrap())
                .collect();
            let root = yaml::parse(&format!(
                "k0: {}\nk1: {}\nk2: {}\ns: {{k: {}}}\n",
                quoted[0], quoted[1], quoted[2], quoted[3]
            ))
            .unwrap();
            let expanded = expand(&root, &environment);
            for (text, entry) in texts.iter().zip(expanded.root.value.entries()).take(3) {
                if !text.contains("${") {
                    prop_assert_eq!(&entry.node.value, &Value::Scalar(text.clone()));
                }
            }
        }
    }
}
