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

/// The items of a list in brackets, separated by commas, white space or both;
/// `None` when the text is no such list (nested ones included).
pub(super) fn items(text: &str) -> Option<Vec<Item>> {
    let inside = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut items = Vec::new();
    let mut chars = inside.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' => {}
            c if c.is_whitespace() => {}
            '"' | '\'' => {
                items.push(Item {
                    text: quoted(c, &mut chars)?,
                    quoted: true,
                });
                // Two items run together would be a string that is none.
                if chars
                    .peek()
                    .is_some_and(|c| !c.is_whitespace() && *c != ',')
                {
                    return None;
                }
            }
            c => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != ',') {
                    word.push(c);
                }
                if word.contains(['[', ']', '{', '}', '"']) {
                    return None;
                }
                items.push(Item {
                    text: word,
                    quoted: false,
                });
            }
        }
    }
    Some(items)
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
