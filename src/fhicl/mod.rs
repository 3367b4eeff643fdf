//! FHiCL, the Fermilab Hierarchical Configuration Language, in the form in
//! which artdaqDB stores it: references and `#include`s are kept, not resolved.
//!
//! [`parse`] reads a text into a [`Document`] that borrows from it, [`write()`]
//! gives the text that artdaqDB gives back for that document. The grammar is
//! that of fhicl-cpp 4.18; `docs/fhicl.md` tells what is kept and what is not.

mod character;
mod error;
mod lexer;
mod parser;
mod remarks;
mod string;
mod table;
mod tree;
mod writer;

pub use error::SyntaxError;
pub use parser::{MAX_DEPTH, parse};
pub use remarks::Remarks;
pub(crate) use remarks::comment_above;
pub use tree::{
    Ambiguity, AtomKind, Comment, Content, Document, Entry, INCLUDE_KEY, Protection, SPLICE_KEY,
    Value,
};
pub(crate) use writer::Writer;
pub use writer::write;
