//! Which boot of which machine this is.

use crate::faults::fs;

/// Identifies this boot of this machine. Empty where the system does not tell.
#[must_use]
pub fn id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
