//! Which values of a configuration are secrets, or are made of them: they are shown in
//! no message.

/// The settings that hold secrets.
const SETTINGS: [&str; 3] = ["writer_password", "smtp_password", "bot_token"];

/// What the names of other keys and variables with secrets have in them.
const WORDS: [&str; 5] = ["password", "passwd", "secret", "token", "credential"];

/// Whether the key is a setting that holds a secret.
pub(super) fn is_secret(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    SETTINGS.contains(&name)
}

/// Whether the value of a key, or of an environment variable, is to be kept out of
/// messages.
pub(super) fn is_confidential(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path).to_ascii_lowercase();
    !name.ends_with("_file") && WORDS.iter().any(|word| name.contains(word))
}

/// Whether the setting may be made of a secret. Others are shown in messages.
pub(super) fn may_hold_secret(path: &str) -> bool {
    is_secret(path) || path == DATABASE
}

/// The setting that may have a password within.
const DATABASE: &str = "artdaq_db.database_uri";

/// Whether a secret stands in the text of a key itself, and not only a reference to
/// where it is.
pub(super) fn is_written_out(path: &str, text: &str) -> bool {
    if path == DATABASE {
        let user = text
            .split_once("://")
            .and_then(|(_, rest)| rest.rsplit_once('@'));
        let password = user.and_then(|(user, _)| user.split_once(':'));
        return password.is_some_and(|(_, password)| !without_references(password).is_empty());
    }
    is_secret(path) && !without_references(text).is_empty()
}

/// A text without what only refers to something else. The defaults of references stay.
fn without_references(text: &str) -> String {
    let mut rest = text;
    let mut left = String::new();
    while let Some(start) = rest.find("${") {
        left.push_str(&rest[..start]);
        rest = &rest[start + 2..];
        let name = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c)));
        rest = &rest[name.unwrap_or(rest.len())..];
        rest = rest.strip_prefix(":-").unwrap_or(rest);
    }
    left.push_str(rest);
    left.replace('}', "")
}

/// Whether a text is a reference and nothing else. In any other secret `${` may be a
/// part of it.
pub(super) fn is_reference(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| !name.contains(['$', '{', '}']))
}

/// A message about a value, without the value.
pub(super) fn mask(message: &str, value: &str) -> String {
    const SHORT: usize = 3;
    let mut masked = message.replace(value, "***");
    // A message may name the part that is wrong.
    for part in value.split([',', ' ', '@', ':', '/', '?', '&', '=']) {
        if part.len() > SHORT {
            masked = masked.replace(part, "***");
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_the_file_are_told_from_references() {
        for (path, text, is_one) in [
            ("ucon_db.writer_password", "swordfish", true),
            ("ucon_db.writer_password", "${PASSWORD}", false),
            ("ucon_db.writer_password", "${PASSWORD:-}", false),
            ("ucon_db.writer_password", "${A:-${b.c}}", false),
            ("ucon_db.writer_password", "${PASSWORD:-swordfish}", true),
            ("reporting.slack.bot_token", "xoxb-1", true),
            ("ucon_db.writer_user", "writer", false),
            ("artdaq_db.database_uri", "mongodb://u:p@h/db", true),
            ("artdaq_db.database_uri", "mongodb://u:${P}@h/db", false),
            ("artdaq_db.database_uri", "mongodb://u@h:27017/db", false),
            ("artdaq_db.database_uri", "filesystemdb:///data", false),
        ] {
            assert_eq!(is_written_out(path, text), is_one, "{path}: {text}");
        }
    }

    #[test]
    fn messages_lose_the_value() {
        let message = "expected a number, found `tok-1234`";
        assert_eq!(mask(message, "tok-1234"), "expected a number, found `***`");
        assert_eq!(mask("no user `abcd`", "abcd,efgh"), "no user `***`");
        assert!(is_confidential("a.API_TOKEN") && is_confidential("db_password"));
        assert!(!is_confidential("ucon_db.writer_password_file") && !is_confidential("HOME"));
        assert!(is_reference("${A}") && !is_reference("x${A}") && !is_reference("${A}${B}"));
    }
}
