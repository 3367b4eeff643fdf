//! Addresses: what is wrong with one, and how one is shown.

/// Why a text is no address. It never repeats what may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(pub String);

/// A URL for messages: without user, password, query and fragment, any of which may
/// hold a secret.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    // Everything up to the last `@` goes, even where it stands in a path or
    // query: a password with an unescaped `/` or `?` must not show.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_secrets() {
        for (url, shown) in [
            ("mongodb://u:p@h:1/db", "mongodb://h:1/db"),
            ("mongodb://u:p/w?@x@h1,h2/db?k=v", "mongodb://h1,h2/db"),
            ("mongodb://h/db?a=b@secret", "mongodb://secret"),
            ("mongodb://u:s?cret", "mongodb://u:s"),
            ("https://h/app?token=geheim", "https://h/app"),
            ("https://h/app#token=geheim", "https://h/app"),
            ("filesystemdb:///data/db", "filesystemdb:///data/db"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
    }
}
