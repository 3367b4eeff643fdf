//! The converters: one for each .txt file of a run record, each a function
//! from text to FHiCL.
//!
//! Whatever the input, the result parses as FHiCL and holds every value of the
//! input. For well-formed input it is, byte for byte, what the archive has
//! held since its first run, so that old and new runs read alike.

pub mod boot;
pub mod environment;
pub mod known_boardreaders_list;
pub mod metadata;
pub mod ranks;
pub mod run_history;
pub mod run_history2;
pub mod settings;
pub mod setup;

mod facts;
mod lists;
mod names;
mod notes;
mod text;

pub use facts::{Facts, is_time};
pub use notes::Note;

/// What a converter made of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The FHiCL.
    pub text: String,
    /// What an operator is to know of it.
    pub notes: Vec<Note>,
}
