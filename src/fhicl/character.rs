//! Characters that look like others, or like nothing: an error names them.

/// Those with a name of their own in errors.
const NAMED: [(char, &str); 29] = [
    ('\u{0}', "NULL"),
    ('\u{8}', "BACKSPACE"),
    ('\u{b}', "VERTICAL TAB"),
    ('\u{c}', "FORM FEED"),
    ('\u{1a}', "SUBSTITUTE"),
    ('\u{1b}', "ESCAPE"),
    ('\u{7f}', "DELETE"),
    ('\u{85}', "NEXT LINE"),
    ('\u{a0}', "NO-BREAK SPACE"),
    ('\u{ad}', "SOFT HYPHEN"),
    ('\u{2003}', "EM SPACE"),
    ('\u{2007}', "FIGURE SPACE"),
    ('\u{2009}', "THIN SPACE"),
    ('\u{200b}', "ZERO WIDTH SPACE"),
    ('\u{200e}', "LEFT-TO-RIGHT MARK"),
    ('\u{2010}', "HYPHEN"),
    ('\u{2011}', "NON-BREAKING HYPHEN"),
    ('\u{2013}', "EN DASH"),
    ('\u{2014}', "EM DASH"),
    ('\u{2018}', "LEFT SINGLE QUOTATION MARK"),
    ('\u{2019}', "RIGHT SINGLE QUOTATION MARK"),
    ('\u{201c}', "LEFT DOUBLE QUOTATION MARK"),
    ('\u{201d}', "RIGHT DOUBLE QUOTATION MARK"),
    ('\u{2028}', "LINE SEPARATOR"),
    ('\u{202f}', "NARROW NO-BREAK SPACE"),
    ('\u{2212}', "MINUS SIGN"),
    ('\u{3000}', "IDEOGRAPHIC SPACE"),
    ('\u{feff}', "ZERO WIDTH NO-BREAK SPACE"),
    ('\u{fffd}', "REPLACEMENT CHARACTER"),
];

/// The name of a character that can be taken for another, or that is not seen.
/// Tabs and line ends are none.
pub(super) fn describe(c: char) -> Option<String> {
    if matches!(c, '\t' | '\n' | '\r') {
        return None;
    }
    let kind = if c.is_control() {
        "control character"
    } else {
        "character"
    };
    let code = u32::from(c);
    match NAMED.iter().find(|(named, _)| *named == c) {
        Some((_, name)) => Some(format!("the {kind} U+{code:04X} ({name})")),
        None if c.is_control() || (c.is_whitespace() && !c.is_ascii()) => {
            Some(format!("the {kind} U+{code:04X}"))
        }
        None => None,
    }
}

/// What to write instead.
pub(super) fn advice(c: char) -> Option<&'static str> {
    match c {
        '\0' => Some(CONVERT),
        '\u{2018}' | '\u{2019}' => Some("the quotes of FHiCL are `'` and `\"`"),
        '\u{201c}' | '\u{201d}' => Some("the quotes of FHiCL are `\"` and `'`"),
        '\u{2010}' | '\u{2011}' | '\u{2013}' | '\u{2014}' | '\u{2212}' => Some("write `-`"),
        '\t' | '\n' | '\r' | ' ' => None,
        c if c.is_whitespace() && !c.is_control() => Some("write a blank"),
        '\u{200b}' | '\u{200e}' | '\u{ad}' | '\u{feff}' => Some("remove it"),
        _ => None,
    }
}

/// How to make FHiCL of a file in UTF-16.
pub(super) const CONVERT: &str =
    "if the file is UTF-16, convert it with iconv -f UTF-16 -t UTF-8 and archive the run again";

/// A character as an error shows it: a terminal is kept safe from what a broken
/// file holds, and what has no shape gets one.
pub(super) fn shown(c: char) -> char {
    let code = u32::from(c);
    match c {
        '\t' | ' ' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + code).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{feff}' => '\u{2423}',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c if c.is_whitespace() => '\u{2423}',
        c => c,
    }
}
