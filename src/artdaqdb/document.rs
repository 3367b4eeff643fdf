//! The documents of artdaqDB: one for each .fcl file of a run, a JSON text
//! that holds the FHiCL as data and metadata, and what belongs to its file.
//!
//! [`write()`] makes the text that artdaq_database v1_10 makes, byte for byte,
//! and [`read`] takes any document of the real tools. MongoDB holds the same as
//! BSON, which is written without the text. `docs/fhicl.md` tells how
//! the few things are held for which the real tools have no place.

mod json;
mod node;
pub(super) mod plain;
mod read;
mod sink;
mod text;
mod write;

#[cfg(feature = "mongodb")]
pub(super) use node::{Kind, Node};
pub use read::read;
#[cfg(feature = "mongodb")]
pub(super) use read::read_node;
#[cfg(feature = "mongodb")]
pub(super) use sink::Key;
pub(super) use sink::Sink;
pub(super) use text::Text;
pub use write::write;
pub(super) use write::{size, write_to};

use crate::run::Run;

/// The field in an include's metadata that says that it stands before or
/// between the prologs. The real tools refuse such files.
const OUTSIDE: &str = "outside_prolog";

/// What a document says of itself beside its FHiCL.
#[derive(Debug, Clone, Copy)]
pub struct DocumentHead<'a> {
    /// 24 lower-case hexadecimal digits, which are the file's name, too.
    pub oid: &'a str,
    /// `RunHistory`, or `SystemLayout` for the schema.
    pub collection: &'a str,
    /// The stem of the .fcl file.
    pub entity: &'a str,
    /// Version and configuration, `12500/BootDAQ`.
    pub version: &'a str,
    /// The run.
    pub run: Run,
    /// Now, as local time: `2026-11-23T07:35:14.122+0000`.
    pub time: &'a str,
}

/// A name and the time from which the document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The name.
    pub name: String,
    /// The time stamp, as it stands in the document.
    pub assigned: String,
}

/// A document as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// The object id; empty if the document has none.
    pub oid: String,
    /// The collection; empty if the document names none.
    pub collection: String,
    /// The version, `12500/BootDAQ`, or `notprovided`.
    pub version: String,
    /// The names of its entities, mostly one.
    pub entities: Vec<String>,
    /// Its configurations, with the time of each.
    pub configurations: Vec<Assigned>,
    /// Its runs.
    pub runs: Vec<String>,
    /// Its active aliases.
    pub aliases_active: Vec<String>,
    /// The FHiCL text, as the real tools give it back.
    pub text: String,
}

/// Why a document can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The text is not JSON, or cut short.
    #[error("line {line}: not JSON: expected {expected}")]
    NotJson {
        /// The line, counted from 1.
        line: usize,
        /// What JSON has there.
        expected: &'static str,
    },
    /// It is JSON, but no document of artdaqDB.
    #[error("not a document of artdaqDB: {path} {problem}")]
    NotADocument {
        /// Where in the document, such as `document.metadata.main`.
        path: String,
        /// What is wrong there.
        problem: &'static str,
    },
}

impl DocumentError {
    /// The same error, of what lies in `name`.
    fn within(mut self, name: &str) -> DocumentError {
        if let DocumentError::NotADocument { path, .. } = &mut self {
            let dot = if path.is_empty() { "" } else { "." };
            *path = format!("{name}{dot}{path}");
        }
        self
    }
}
