//! FHiCL names for keys that are none, so that no two keys become one.

use std::collections::{HashMap, HashSet};

use crate::fhicl::{INCLUDE_KEY, SPLICE_KEY};

use super::text::{is_dotted_name, is_name, push_comment, push_string};

/// Whether a word means something else than a name: to a FHiCL parser the
/// bounds of a prolog, to artdaqDB an `#include` or a reference.
fn is_reserved(word: &str) -> bool {
    matches!(word, "BEGIN_PROLOG" | "END_PROLOG")
        || word.starts_with(INCLUDE_KEY)
        || word.starts_with(SPLICE_KEY)
}

/// Gives the keys of one file their names.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    /// The keys that are names themselves; no other key may take theirs.
    own: HashSet<&'a str>,
    given: HashMap<&'a str, String>,
    taken: HashSet<String>,
    next: HashMap<String, usize>,
    /// Whether names may be dotted, as they may at the top of a file.
    dotted: bool,
}

/// The name of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// A FHiCL name, the same for the same key.
    pub name: String,
    /// Whether the key can't be told from the name any more.
    pub changed: bool,
    /// Whether the key had a name already.
    pub repeated: bool,
}

impl<'a> Names<'a> {
    /// For a file with these keys. Keys that are names keep them, wherever in
    /// the file they stand.
    pub fn new(keys: impl Iterator<Item = &'a str>) -> Names<'a> {
        Names {
            own: keys.filter(|key| is_free(key)).collect(),
            ..Names::default()
        }
    }

    /// The same where names may be dotted.
    pub fn dotted(keys: impl Iterator<Item = &'a str>) -> Names<'a> {
        Names {
            own: keys
                .filter(|key| is_free(key) || is_free_dotted(key))
                .collect(),
            dotted: true,
            ..Names::default()
        }
    }

    /// The name of `key`, spelled in the first place as `base`.
    pub fn name(&mut self, key: &'a str, base: &str) -> Name {
        let (name, repeated) = match self.given.get(key) {
            Some(name) => (name.clone(), true),
            None => {
                let own = Some(key).filter(|key| self.own.contains(key));
                let name = self.free(own, base);
                self.given.insert(key, name.clone());
                (name, false)
            }
        };
        // `boardreader timeout` is `boardreader_timeout` as a matter of course.
        // Any other change is said in a comment.
        let course = !base.is_empty() && base.replace(' ', "_") == name;
        Name {
            changed: !course,
            name,
            repeated,
        }
    }

    /// A name that nothing else in the file has: `base` itself or, where that
    /// is taken, `base` and a number.
    pub fn unique(&mut self, base: &str) -> String {
        self.free(None, base)
    }

    /// Keeps a name from every key.
    pub fn reserve(&mut self, name: &'a str) {
        self.own.remove(name);
        self.taken.insert(name.to_string());
    }

    /// Appends a line that is not of the file's form, as an entry of its own.
    pub fn push_stray(&mut self, out: &mut String, number: usize, line: &str) {
        out.push_str(&self.unique(&format!("line_{number}")));
        out.push_str(": ");
        push_string(out, line);
        out.push('\n');
    }

    fn free(&mut self, own: Option<&str>, base: &str) -> String {
        let spelled = if self.dotted && is_free_dotted(&base.replace(' ', "_")) {
            base.replace(' ', "_")
        } else {
            spell(base)
        };
        let mut name = spelled.clone();
        while self.taken.contains(&name)
            || (self.own.contains(name.as_str()) && own != Some(name.as_str()))
        {
            let next = self.next.entry(spelled.clone()).or_insert(2);
            name = format!("{spelled}_{next}");
            *next += 1;
        }
        self.taken.insert(name.clone());
        name
    }
}

impl Name {
    /// The same, with every difference between key and name worth saying.
    pub fn strict(self, key: &str) -> Name {
        Name {
            changed: self.name != key,
            ..self
        }
    }

    /// Appends `name: value`, with the key in a comment above when the name
    /// does not show it.
    pub fn push_entry(&self, out: &mut String, key: &str, value: &str, comment: Option<&str>) {
        if self.changed {
            push_comment(out, &format!("# {key}"));
            out.push('\n');
        }
        out.push_str(&self.name);
        out.push_str(": ");
        out.push_str(value);
        if let Some(comment) = comment {
            out.push(' ');
            push_comment(out, comment);
        }
        out.push('\n');
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_free(key: &str) -> bool {
    is_name(key) && !is_reserved(key)
}

/// The same for a name with dots.
fn is_free_dotted(key: &str) -> bool {
    is_dotted_name(key) && key.split('.').all(|part| !is_reserved(part))
}

/// A FHiCL name that looks like `base`.
fn spell(base: &str) -> String {
    let plain = |c| if is_plain(c) { c } else { '_' };
    let name: String = base.chars().map(plain).collect();
    if is_free(&name) {
        name
    } else {
        format!("_{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keys: &[&'static str]) -> Vec<(String, bool)> {
        let mut names = Names::new(keys.iter().copied());
        keys.iter()
            .map(|key| {
                let name = names.name(key, key);
                (name.name, name.changed)
            })
            .collect()
    }

    #[test]
    fn no_two_keys_share_a_name() {
        assert_eq!(
            names(&["a-b", "a b", "a_b", "a_b_2", "a.b", "a-b"]),
            [
                ("a_b_3".to_string(), true),
                ("a_b_4".to_string(), true),
                ("a_b".to_string(), false),
                ("a_b_2".to_string(), false),
                ("a_b_5".to_string(), true),
                ("a_b_3".to_string(), true),
            ]
        );
    }

    #[test]
    fn every_key_gets_a_fhicl_name() {
        for key in [
            "",
            "9lives",
            "é",
            "BEGIN_PROLOG",
            "fhicl-pound-include-1",
            "a\"b",
            "x:y",
            "\u{0}",
        ] {
            let name = Names::new([key].into_iter()).name(key, key).name;
            assert!(is_free(&name), "{key:?} became {name:?}");
        }
    }
}
