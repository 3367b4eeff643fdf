//! Characters that are not seen, or that change how others are shown.

use std::borrow::Cow;

/// Whether a character does not show, breaks a line, or turns the writing around: a
/// name that has one can make a message say something else.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Writes a hidden character as its number: `\x1b`, `\u{202e}`.
#[must_use]
pub fn escape(character: char) -> String {
    match u32::from(character) {
        code @ ..0x100 => format!("\\x{code:02x}"),
        code => format!("\\u{{{code:x}}}"),
    }
}

/// A text of one line in which every character is seen: control characters are blanks.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            control if control.is_control() => shown.push(' '),
            hidden if is_hidden(hidden) => shown.push_str(&escape(hidden)),
            other => shown.push(other),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_becomes_visible() {
        assert_eq!(one_line("né ✓"), "né ✓");
        assert_eq!(one_line("a\nb\u{85}c"), "a b c");
        assert_eq!(one_line("a\u{202e}b\u{2028}"), "a\\u{202e}b\\u{2028}");
        assert_eq!(escape('\u{85}'), "\\x85");
    }
}
