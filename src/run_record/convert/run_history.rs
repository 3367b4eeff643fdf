//! RunHistory: what to search runs by.

use crate::run::Run;

use super::lists::push_strings;
use super::text::push_string;
use super::{Converted, Facts};

/// Makes `RunHistory.fcl` from the text of a metadata.txt: run number,
/// configuration name and components, as far as they are known.
#[must_use]
pub fn convert(text: &str, run: Run) -> Converted {
    let facts = Facts::read(text);
    let mut out = format!("run_number: {run}\n\n");
    if let Some(name) = facts.config_name {
        out.push_str("config_name: ");
        push_string(&mut out, name);
        out.push_str("\n\n");
    }
    if !facts.components.is_empty() {
        out.push_str("components: ");
        push_strings(&mut out, facts.components.iter().copied());
        out.push_str("\n\n");
    }
    Converted {
        text: out,
        notes: Vec::new(),
    }
}
