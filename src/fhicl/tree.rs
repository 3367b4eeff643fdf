//! The syntax tree. It borrows from the text it was read from, and keeps every
//! scalar as the token that was written.

use std::borrow::Cow;

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
                    reference: other_reference,
                    ..
                },
            ) => reference == other_reference,
            _ => false,
        }
    }
}

impl Eq for Entry<'_> {}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.protection == other.protection && self.content == other.content
    }
}

impl Eq for Value<'_> {}
