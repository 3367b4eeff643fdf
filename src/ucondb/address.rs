//! Where a UconDB is.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Url;

use crate::sys::url::{InvalidAddress, without_credentials};

/// The address of a UconDB: a server, or a directory in its place.
#[derive(Clone)]
pub struct UconUrl {
    kind: Kind,
    /// As it was written, without credentials.
    shown: String,
}

#[derive(Clone)]
enum Kind {
    Directory(PathBuf),
    Server(Url),
}

impl UconUrl {
    /// Reads `https://host:port/instance/app`, the same with `http`, or
    /// `file:///absolute/path`. Nothing is asked or looked for.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(url: &str) -> Result<UconUrl, InvalidAddress> {
        let wrong = || {
            InvalidAddress(
                "expected https://host:port/instance/app, http://host:port/instance/app or \
                 file:///absolute/path"
                    .into(),
            )
        };
        let is_known = ["https://", "http://", "file:///"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        let parsed = Url::parse(url).map_err(|_| wrong())?;
        let kind = match (is_known, parsed.scheme()) {
            (true, "file") => Kind::Directory(parsed.to_file_path().map_err(|()| wrong())?),
            (true, _) => Kind::Server(parsed),
            (false, _) => return Err(wrong()),
        };
        Ok(UconUrl {
            kind,
            shown: without_credentials(url),
        })
    }

    /// The address of the store in a directory.
    #[must_use]
    pub fn of_directory(root: &Path) -> UconUrl {
        UconUrl {
            kind: Kind::Directory(root.to_path_buf()),
            shown: format!("file://{}", root.display()),
        }
    }

    /// The directory, if it is one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Directory(root) => Some(root),
            Kind::Server(_) => None,
        }
    }

    /// The server's base URL, if it is a server. It may hold a password.
    #[must_use]
    pub fn server(&self) -> Option<&Url> {
        match &self.kind {
            Kind::Directory(_) => None,
            Kind::Server(url) => Some(url),
        }
    }

    /// Whether the connection is to be encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.server().is_some_and(|url| url.scheme() == "https")
    }
}

/// Without credentials and query.
impl fmt::Display for UconUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for UconUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UconUrl({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_no_secret_and_knows_its_kind() {
        let url = UconUrl::parse("https://me:geheim@h/app").unwrap();
        assert_eq!(
            format!("{url} {url:?}"),
            "https://h/app UconUrl(https://h/app)"
        );
        assert!(url.is_tls() && url.directory().is_none());
        let url = UconUrl::parse("file:///a%20store").unwrap();
        assert_eq!(url.directory(), Some(Path::new("/a store")));
        assert_eq!(url.to_string(), "file:///a%20store");
        for wrong in [
            "",
            "file:",
            "file://host/store",
            "store",
            "ftp://h/app",
            "https://:99999",
        ] {
            let error = UconUrl::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("https://host:port"), "{wrong}: {error}");
        }
    }
}
