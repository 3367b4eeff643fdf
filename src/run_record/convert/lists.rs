//! Lists as people write them in settings.txt and boot.txt.

use super::text::{is_fhicl_number, is_name, push_string, string};

/// An item of a list in brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The item without quotes, escapes undone.
    pub text: String,
    /// Whether it stood in quotes.
    pub quoted: bool,
}

impl Item {
    /// The item as FHiCL: a number, or a word that means nothing but itself,
    /// stays bare unless it must be quoted as it was.
    pub fn fhicl(&self, keep_quotes: bool) -> String {
        let bare = if self.quoted {
            !keep_quotes
                && is_name(&self.text)
                && !matches!(self.text.as_str(), "true" | "false" | "infinity")
        } else {
            is_name(&self.text) || is_fhicl_number(&self.text)
        };
        if bare {
            self.text.clone()
        } else {
            string(&self.text)
        }
    }
}

/// The items of a list in brackets, separated by commas or, where there is none,
/// by white space; `None` when the text is no such list: with another list in
/// it, with an empty item, or with a pair of key and value.
pub(super) fn items(text: &str) -> Option<Vec<Item>> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    let (items, has_comma) = split(inside, true)?;
    if has_comma {
        split(inside, false).map(|(items, _)| items)
    } else {
        Some(items)
    }
}

/// Splits at commas, and at white space if `blanks` says so; says whether there
/// is a comma.
fn split(inside: &str, blanks: bool) -> Option<(Vec<Item>, bool)> {
    let mut items = Vec::new();
    let mut chars = inside.chars().peekable();
    let mut has_comma = false;
    let mut is_after_comma = false;
    while let Some(c) = chars.next() {
        let item = match c {
            // One before the first item, or behind the last, means nothing.
            ',' if is_after_comma => return None,
            ',' => {
                has_comma = true;
                is_after_comma = true;
                continue;
            }
            c if c.is_whitespace() => continue,
            '"' | '\'' => {
                let text = quoted(c, &mut chars)?;
                // Two items run together would be a string that is none.
                if chars
                    .peek()
                    .is_some_and(|c| !c.is_whitespace() && *c != ',')
                {
                    return None;
                }
                Item { text, quoted: true }
            }
            c => {
                let mut word = String::from(c);
                let is_inside = |c: &char| *c != ',' && !(blanks && c.is_whitespace());
                while let Some(c) = chars.next_if(is_inside) {
                    word.push(c);
                }
                word.truncate(word.trim_end().len());
                let is_pair = word.ends_with(':') || word.contains(": ");
                if is_pair || word.contains(['[', ']', '{', '}', '"']) {
                    return None;
                }
                Item {
                    text: word,
                    quoted: false,
                }
            }
        };
        items.push(item);
        is_after_comma = false;
    }
    // A comma alone separates nothing.
    (!has_comma || !items.is_empty()).then_some((items, has_comma))
}

/// The rest of a quoted string; escapes are those of FHiCL, in double quotes.
fn quoted(quote: char, chars: &mut impl Iterator<Item = char>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            c if c == quote => return Some(text),
            '\\' if quote == '"' => match chars.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                c @ ('"' | '\'' | '\\') => text.push(c),
                other => {
                    text.push('\\');
                    text.push(other);
                }
            },
            c => text.push(c),
        }
    }
}

/// Appends `["a", "b"]`.
pub(super) fn push_strings<'a>(out: &mut String, items: impl IntoIterator<Item = &'a str>) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        push_string(out, item);
    }
    out.push(']');
}
