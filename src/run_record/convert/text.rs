//! Small pieces of FHiCL: strings, comments, numbers, bare words.

use std::fmt::Write as _;

use crate::fhicl::{self, Content, Entry};

/// Appends `text` as a double-quoted FHiCL string.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// `text` as a double-quoted FHiCL string.
pub(super) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// A backslash at the end of a string, spelled out.
pub(super) const LAST_BACKSLASH: &str = "\\\\x5c";

/// Appends the inside of a double-quoted string. FHiCL knows the escapes
/// `\"`, `\'`, `\\`, `\n` and `\t` and no control characters but the tab, so
/// the others are spelled out as `\x` and two digits after an escaped
/// backslash. So is a backslash at the end: FHiCL takes the quotation mark
/// behind it for an escaped one.
fn push_escaped(out: &mut String, text: &str) {
    let (text, last) = match text.strip_suffix('\\') {
        Some(text) => (text, LAST_BACKSLASH),
        None => (text, ""),
    };
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if is_escaped_control(c) => {
                let _ = write!(out, "\\\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push_str(last);
}

/// Whether a character can't stand in a FHiCL text as it is.
pub(super) fn is_escaped_control(c: char) -> bool {
    c.is_control() && c != '\t' && c != '\n'
}

/// Appends a comment, `#` included, that can't be taken for anything else:
/// `#include` would be a directive, and a control character ends a line for
/// some readers.
pub(super) fn push_comment(out: &mut String, comment: &str) {
    let comment = comment.strip_prefix('#').unwrap_or(comment);
    out.push('#');
    if comment.starts_with("include") {
        out.push(' ');
    }
    for c in comment.chars() {
        if is_escaped_control(c) || c == '\n' {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

/// Whether a text is a number that stays unquoted: digits, and at most one
/// decimal point among them. Signs, exponents and hexadecimal numbers have
/// always been archived as strings.
pub(super) fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().filter(|b| *b == b'.').count() <= 1
}

/// Whether a text is a number to FHiCL: with a sign, an exponent or in
/// hexadecimal digits, too.
pub(super) fn is_fhicl_number(text: &str) -> bool {
    if is_number(text) {
        return true;
    }
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.split_once(['e', 'E']) {
        None => is_number(unsigned),
        Some((mantissa, exponent)) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            is_number(mantissa)
                && !exponent.is_empty()
                && exponent.bytes().all(|b| b.is_ascii_digit())
        }
    }
}

/// Whether a text is a name with dots: `a.b_c`.
pub(super) fn is_dotted_name(text: &str) -> bool {
    text.contains('.') && text.split('.').all(is_name)
}

/// Whether a text is a sequence of FHiCL as it is, of words, numbers and strings:
/// nothing in it may refer to something else.
pub(super) fn is_sequence(text: &str) -> bool {
    // What would end the entry, or be none of its value.
    if !text.starts_with('[') || text.contains(['@', '#', '\n', '\r']) || text.contains("//") {
        return false;
    }
    let entry = format!("x: {text}");
    fhicl::parse(&entry).is_ok_and(|document| {
        matches!(
            document.main.as_slice(),
            [Entry::Assignment { value, .. }] if matches!(value.content, Content::Sequence(_))
        )
    })
}

/// Whether a text is a FHiCL name: a letter or `_`, then letters, digits and `_`.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a text already is a proper double-quoted FHiCL string.
pub(super) fn is_quoted(text: &str) -> bool {
    let Some(inside) = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return false;
    };
    if inside.ends_with('\\') {
        return false;
    }
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        let proper = match c {
            '"' => false,
            '\\' => matches!(chars.next(), Some('"' | '\'' | '\\' | 'n' | 't')),
            c => !is_escaped_control(c),
        };
        if !proper {
            return false;
        }
    }
    true
}

/// Splits a list in brackets from the comment right behind it, if that is all
/// there is.
pub(super) fn split_list(text: &str) -> Option<(&str, Option<&str>)> {
    let mut quote = None;
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    let (list, rest) = text.split_at(at + 1);
                    let rest = rest.trim();
                    let comment = rest.starts_with('#').then_some(rest);
                    return (rest.is_empty() || comment.is_some()).then_some((list, comment));
                }
            }
            (None, c) if depth == 0 && !c.is_whitespace() => return None,
            (None, _) => {}
        }
    }
    None
}

/// Splits a value from the comment behind it.
pub(super) fn split_value(text: &str) -> (&str, Option<&str>) {
    split_list(text).unwrap_or_else(|| split_comment(text))
}

/// Splits a line at the `#` that begins a comment: one after white space and
/// outside double quotes. The comment keeps its `#`.
pub(super) fn split_comment(line: &str) -> (&str, Option<&str>) {
    let mut quoted = false;
    let mut after_space = true;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if after_space && !quoted => return (line[..at].trim_end(), Some(&line[at..])),
            _ => {}
        }
        after_space = c.is_whitespace();
    }
    (line.trim_end(), None)
}
