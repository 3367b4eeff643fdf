//! RunHistory2: when the run began and ended.

use super::facts::Time;
use super::text::push_string;
use super::{Converted, Facts};

/// Makes `RunHistory2.fcl` from the text of a metadata.txt: the times in the
/// order in which they stand. Empty while there are none.
#[must_use]
pub fn convert(text: &str) -> Converted {
    let mut out = String::new();
    for (time, value) in Facts::read(text).times {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(match time {
            Time::Start => "DAQInterface_start_time: ",
            Time::Stop => "DAQInterface_stop_time: ",
        });
        push_string(&mut out, value);
    }
    Converted {
        text: out,
        notes: Vec::new(),
    }
}
