//! A file's text in which nothing looks like the heading of another file.

use std::borrow::Cow;
use std::ops::Range;

use super::{MARK, headings};
use crate::fhicl;

/// The text as it is, unless a reader would find another file in it: then a
/// string over several lines that makes it so has `\n` for its line ends, or the
/// comment that does gets a blank behind it. The meaning is the same.
///
/// The text is one that [`fhicl::write`] made; what is no FHiCL stays.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    // What is rewritten is no heading any more, so that this ends.
    while memchr::memmem::find(text.as_bytes(), MARK.trim_end().as_bytes()).is_some() {
        match rewritten(&text) {
            Some(better) => text = Cow::Owned(better),
            None => break,
        }
    }
    text
}

/// The text without the headings in it; `None` if there are none, or if nothing
/// can be done about them.
fn rewritten(text: &str) -> Option<String> {
    // A mark stands before and, after an empty line, behind each text.
    let framed = format!("\n{text}\n{MARK}");
    let found: Vec<Range<usize>> = headings(&framed)
        .iter()
        .map(|head| head.start.saturating_sub(1)..(head.text - 1).min(text.len()))
        .collect();
    if found.is_empty() || fhicl::parse(text).is_err() {
        return None;
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut done = 0;
    let mut strings = long_strings(text).into_iter().peekable();
    for heading in found {
        let mut escaped = false;
        while let Some(string) = strings.next_if(|string| string.start < heading.end) {
            if string.end <= heading.start {
                continue;
            }
            escaped = true;
            if string.start >= done
                && let Some(value) = on_one_line(&text[string.clone()])
            {
                out.push_str(&text[done..string.start]);
                out.push_str(&value);
                done = string.end;
            }
        }
        // The end of the second mark, in a comment.
        let end = heading.end.saturating_sub(1);
        if !escaped && end >= done && text.get(end..=end) == Some("\n") {
            out.push_str(&text[done..end]);
            out.push(' ');
            done = end;
        }
    }
    out.push_str(&text[done..]);
    (out != text).then_some(out)
}

/// Where the strings over several lines stand, quotes included.
fn long_strings(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = bytes[at..]
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\'' | b'#' | b'/'))
    {
        let start = at + offset;
        at = start + 1;
        let quote = match bytes[start] {
            b'/' if bytes.get(at) != Some(&b'/') => continue,
            b'#' | b'/' => {
                at = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end);
                continue;
            }
            quote => quote,
        };
        // In double quotes, a quote after a backslash never ends a string.
        let end = (at..bytes.len())
            .find(|end| bytes[*end] == quote && !(quote == b'"' && bytes[end - 1] == b'\\'));
        let Some(end) = end else {
            break;
        };
        at = end + 1;
        if memchr::memchr(b'\n', &bytes[start..at]).is_some() {
            found.push(start..at);
        }
    }
    found
}

/// A string with `\n` for its line ends, in double quotes; `None` where that
/// can't be.
fn on_one_line(string: &str) -> Option<String> {
    let inside = string.get(1..string.len() - 1)?;
    if string.starts_with('"') {
        return Some(format!("\"{}\"", inside.replace('\n', "\\n")));
    }
    if inside.ends_with('\\') {
        return None;
    }
    let escaped = inside
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    Some(format!("\"{escaped}\""))
}
