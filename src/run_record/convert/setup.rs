//! setup.txt: a shell script, kept whole as one string.

use super::Converted;
use super::notes::Notes;
use super::text::push_string;

/// Makes `setup.fcl`: `setup_script` with the script as it is. Line ends are
/// kept as line feeds.
#[must_use]
pub fn convert(text: &str) -> Converted {
    let script = text.replace("\r\n", "\n");
    let mut out = String::with_capacity(text.len() + text.len() / 16 + 32);
    out.push_str("setup_script: ");
    push_string(&mut out, &script);
    Notes::default().finish(text, out)
}
