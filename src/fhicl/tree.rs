//! The syntax tree. It borrows from the text it was read from, and keeps every
//! scalar as the token that was written.

use std::borrow::Cow;
use std::fmt;

/// What artdaqDB calls an entry that is an `#include`, before its number. No
/// name of a file's own may begin so.
pub const INCLUDE_KEY: &str = "fhicl_pound_include_";
/// The same for an `@table::`, of ours: the real tools have no place for one.
pub const SPLICE_KEY: &str = "fhicl_at_table_";

/// A FHiCL document: its prolog, its main part, and the comments of both.
///
/// Two documents are equal if they configure the same: names, values, types,
/// protections and the order of entries. Comments and line numbers don't count.
#[derive(Debug, Clone, Default)]
pub struct Document<'a> {
    /// What stands between `BEGIN_PROLOG` and `END_PROLOG`, of all prologs.
    pub prolog: Vec<Entry<'a>>,
    /// What stands after the prologs.
    pub main: Vec<Entry<'a>>,
    /// Every comment in the order of its line; at most one a line.
    pub comments: Vec<Comment<'a>>,
    /// What other programs read in another way, the first of each kind with its
    /// line, counted from 1.
    pub ambiguities: Vec<(Ambiguity, u32)>,
}

/// What artdaqDB and the archiver read in one way, and art in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguity {
    /// Blanks before an `#include`.
    IndentedInclude,
    /// The same where artdaqDB takes no include.
    CommentedInclude,
    /// `false#c`.
    WordBeforeComment,
    /// `t: { x.y: 1 }`.
    DottedName,
}

impl fmt::Display for Ambiguity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ambiguity::IndentedInclude => {
                "an indented #include, a comment to art, is archived as a live one"
            }
            Ambiguity::CommentedInclude => {
                "an indented #include that is no entry is read as a comment, as art does"
            }
            Ambiguity::WordBeforeComment => {
                "true, false, @nil or infinity right before a comment, a string to art, is \
                 archived as what it says"
            }
            Ambiguity::DottedName => {
                "a dotted name inside a table, which art refuses, is archived as it is"
            }
        })
    }
}

impl Document<'_> {
    /// Returns one line for operators about all ambiguities: `line 3: ...`.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let is_comment = |what: &Ambiguity| *what == Ambiguity::CommentedInclude;
        let mut all: Vec<String> = self
            .ambiguities
            .iter()
            .filter(|(what, _)| !is_comment(what))
            .map(|(what, line)| format!("line {line}: {what}"))
            .collect();
        if let Some(last) = all.last_mut() {
            last.push_str(", as artdaqDB does");
        }
        let comment = self.ambiguities.iter().find(|(what, _)| is_comment(what));
        all.extend(comment.map(|(what, line)| format!("line {line}: {what}")));
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// A comment, with its `#` or `//`, up to the end of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment<'a> {
    /// The line it stands on, counted from 1.
    pub line: u32,
    /// The comment itself.
    pub text: Cow<'a, str>,
}

/// What can stand in a prolog, a main part or a table.
#[derive(Debug, Clone)]
pub enum Entry<'a> {
    /// `name: value`. `name: @erase` is one, too.
    Assignment {
        /// The name, dots and indices included: `physics.producers[0].x`.
        name: Cow<'a, str>,
        /// The value.
        value: Value<'a>,
    },
    /// `#include "file"`.
    Include {
        /// The file, as written between the quotes.
        file: Cow<'a, str>,
        /// The number in the key under which artdaqDB keeps it.
        number: u32,
        /// Whether it stands before or between the blocks of the prolog it
        /// belongs to, and not inside one.
        outside: bool,
    },
    /// `@table::name`, which stands for the entries of another table.
    Splice {
        /// The reference, `@table::` included.
        reference: Cow<'a, str>,
        /// The line it stands on, counted from 1.
        line: u32,
    },
}

impl<'a> Entry<'a> {
    /// The value of an assignment.
    pub(super) fn value(&self) -> Option<&Value<'a>> {
        match self {
            Entry::Assignment { value, .. } => Some(value),
            Entry::Include { .. } | Entry::Splice { .. } => None,
        }
    }
}

/// A value, with where it stands and how it is protected.
#[derive(Debug, Clone)]
pub struct Value<'a> {
    /// What it is.
    pub content: Content<'a>,
    /// The line on which it begins, counted from 1.
    pub line: u32,
    /// Its own protection. That of a table or sequence is not of what is in it.
    pub protection: Protection,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<'a> {
    /// A scalar: its kind and its token, strings without their quotes, but
    /// with their escapes.
    Atom(AtomKind, Cow<'a, str>),
    /// `[ ... ]`
    Sequence(Vec<Value<'a>>),
    /// `{ ... }`
    Table(Vec<Entry<'a>>),
}

/// The kinds of scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomKind {
    /// `@nil`
    Nil,
    /// `true`, `false`
    Bool,
    /// Decimal, hexadecimal or binary, or infinity.
    Number,
    /// `(re, im)`
    Complex,
    /// `"..."`
    DoubleQuoted,
    /// `'...'`
    SingleQuoted,
    /// A bare word, a reference such as `@local::x`, `@erase`.
    Unquoted,
    /// A table id, which only documents of others hold.
    TableId,
}

/// What a later assignment to the same name may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// Replace the value.
    #[default]
    None,
    /// Nothing: `@protect_ignore`.
    Ignore,
    /// Nothing, and it is an error: `@protect_error`.
    Error,
}

impl Protection {
    /// The keyword, or nothing.
    #[must_use]
    pub fn keyword(self) -> Option<&'static str> {
        match self {
            Protection::None => None,
            Protection::Ignore => Some("@protect_ignore"),
            Protection::Error => Some("@protect_error"),
        }
    }
}

impl PartialEq for Document<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.prolog == other.prolog && self.main == other.main
    }
}

impl Eq for Document<'_> {}

impl PartialEq for Entry<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Entry::Assignment { name, value },
                Entry::Assignment {
                    name: other_name,
                    value: other_value,
                },
            ) => name == other_name && value == other_value,
            _ => equal_but_for_values(self, other),
        }
    }
}

impl Eq for Entry<'_> {}

/// Whether two entries are equal, the values of assignments aside.
fn equal_but_for_values(one: &Entry, other: &Entry) -> bool {
    match (one, other) {
        (Entry::Assignment { name, .. }, Entry::Assignment { name: other, .. }) => name == other,
        (
            Entry::Include { file, outside, .. },
            Entry::Include {
                file: other_file,
                outside: other_outside,
                ..
            },
        ) => file == other_file && outside == other_outside,
        (
            Entry::Splice { reference, .. },
            Entry::Splice {
                reference: other, ..
            },
        ) => reference == other,
        _ => false,
    }
}

/// Without recursion, as everything that walks a tree.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        let mut open = vec![(self, other)];
        while let Some((one, other)) = open.pop() {
            let equal = one.protection == other.protection
                && match (&one.content, &other.content) {
                    (Content::Atom(kind, text), Content::Atom(other_kind, other_text)) => {
                        kind == other_kind && text == other_text
                    }
                    (Content::Sequence(values), Content::Sequence(others)) => {
                        open.extend(values.iter().zip(others));
                        values.len() == others.len()
                    }
                    (Content::Table(entries), Content::Table(others)) => {
                        let pairs = entries.iter().zip(others);
                        open.extend(
                            pairs.filter_map(|(one, other)| Some((one.value()?, other.value()?))),
                        );
                        entries.len() == others.len()
                            && entries
                                .iter()
                                .zip(others)
                                .all(|(one, other)| equal_but_for_values(one, other))
                    }
                    _ => false,
                };
            if !equal {
                return false;
            }
        }
        true
    }
}

impl Eq for Value<'_> {}

/// What lies in a table or sequence, as a tree is dropped.
enum Inside<'a> {
    Values(Vec<Value<'a>>),
    Entries(Vec<Entry<'a>>),
}

/// Without recursion: dropping a tree that nests deep would exhaust the stack.
impl Drop for Content<'_> {
    fn drop(&mut self) {
        let mut open = Vec::new();
        match self {
            Content::Atom(..) => {}
            Content::Sequence(values) => take_from_values(values, &mut open),
            Content::Table(entries) => take_from_entries(entries, &mut open),
        }
        while let Some(inside) = open.pop() {
            match inside {
                Inside::Values(mut values) => take_from_values(&mut values, &mut open),
                Inside::Entries(mut entries) => take_from_entries(&mut entries, &mut open),
            }
        }
    }
}

fn take_from_values<'a>(values: &mut [Value<'a>], open: &mut Vec<Inside<'a>>) {
    for value in values {
        take_inside(&mut value.content, open);
    }
}

fn take_from_entries<'a>(entries: &mut [Entry<'a>], open: &mut Vec<Inside<'a>>) {
    for entry in entries {
        if let Entry::Assignment { value, .. } = entry {
            take_inside(&mut value.content, open);
        }
    }
}

/// Takes what lies in a table or sequence, and leaves it empty.
fn take_inside<'a>(content: &mut Content<'a>, open: &mut Vec<Inside<'a>>) {
    match content {
        Content::Sequence(values) if !values.is_empty() => {
            open.push(Inside::Values(std::mem::take(values)));
        }
        Content::Table(entries) if !entries.is_empty() => {
            open.push(Inside::Entries(std::mem::take(entries)));
        }
        _ => {}
    }
}
