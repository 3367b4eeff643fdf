//! Where an artdaqDB is.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Disposition, Error, Remedy};
use crate::sys::url::{InvalidAddress, without_credentials};

#[cfg(feature = "mongodb")]
use super::mongo::address::Address;

/// The scheme of a FilesystemDB's URI.
const FILESYSTEM: &str = "filesystemdb";

/// The address of an artdaqDB, known to be well formed. It may hold a password, which
/// is shown nowhere.
#[derive(Clone)]
pub struct ArtdaqUri {
    pub(super) kind: Kind,
    /// As it was written, without credentials and options.
    shown: String,
}

/// What an address leads to.
#[derive(Clone)]
pub(super) enum Kind {
    /// A FilesystemDB in this directory.
    Directory(PathBuf),
    /// A MongoDB.
    #[cfg(feature = "mongodb")]
    Server(Address),
}

impl ArtdaqUri {
    /// Reads `filesystemdb:///absolute/path`, `mongodb://host/database` or
    /// `mongodb+srv://name/database`. One trailing slash of a path is ignored, and
    /// `$NAME` in it is expanded from the environment, as the real tools do. Nothing
    /// is asked or looked for.
    ///
    /// # Errors
    /// What is wrong, without what may be a password.
    pub fn parse(uri: &str) -> Result<ArtdaqUri, InvalidAddress> {
        let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
        let kind = match (scheme, uri.split_once("://")) {
            (Some(FILESYSTEM), Some((_, path))) => Kind::Directory(directory(path)?),
            #[cfg(feature = "mongodb")]
            (Some("mongodb" | "mongodb+srv"), _) => Kind::Server(Address::parse(uri)?),
            #[cfg(not(feature = "mongodb"))]
            (Some("mongodb" | "mongodb+srv"), _) => {
                return Err(InvalidAddress(
                    "this archiver was built without MongoDB; build it with the feature \
                     `mongodb`, which is on by default"
                        .into(),
                ));
            }
            // The scheme alone is repeated: the rest may hold a password.
            _ => {
                let found = match scheme {
                    Some(scheme) => format!("the scheme {scheme}"),
                    None => "no scheme".to_owned(),
                };
                return Err(InvalidAddress(format!(
                    "expected filesystemdb:///absolute/path, mongodb://host/database or \
                     mongodb+srv://host/database, found {found}"
                )));
            }
        };
        Ok(ArtdaqUri {
            kind,
            shown: without_credentials(uri),
        })
    }

    /// The address of the FilesystemDB in a directory.
    #[must_use]
    pub fn of_directory(root: &Path) -> ArtdaqUri {
        ArtdaqUri {
            kind: Kind::Directory(root.to_path_buf()),
            shown: location(root),
        }
    }

    /// The directory of a FilesystemDB.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Directory(root) => Some(root),
            #[cfg(feature = "mongodb")]
            Kind::Server(_) => None,
        }
    }

    /// Options of the URI that have no effect here, by name: of the C driver, which
    /// the real tools use.
    #[must_use]
    pub fn without_effect(&self) -> &[String] {
        match &self.kind {
            Kind::Directory(_) => &[],
            #[cfg(feature = "mongodb")]
            Kind::Server(address) => &address.without_effect,
        }
    }
}

/// Without credentials and options.
impl fmt::Display for ArtdaqUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for ArtdaqUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtdaqUri({})", self.shown)
    }
}

/// The URI of the FilesystemDB in a directory.
pub(super) fn location(root: &Path) -> String {
    format!("{FILESYSTEM}://{}", root.display())
}

/// An address that a client was to be made of.
pub(super) fn refused(invalid: InvalidAddress) -> Error {
    Error::artdaqdb("the URI", invalid.0, Disposition::StopStage)
        .with_remedy(Remedy::CorrectArtdaqUri)
}

fn directory(path: &str) -> Result<PathBuf, InvalidAddress> {
    let path = expand(path).map_err(InvalidAddress)?;
    let path = path.strip_suffix('/').unwrap_or(&path);
    if !path.starts_with('/') {
        return Err(InvalidAddress(
            "a FilesystemDB needs an absolute path, as in filesystemdb:///absolute/path".into(),
        ));
    }
    Ok(PathBuf::from(path))
}

/// Expands `$NAME` and `${NAME}` from the environment.
fn expand(path: &str) -> Result<String, String> {
    let mut expanded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, remaining) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or("a '${' is not closed")?,
            None => after.split_at(
                after
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(after.len()),
            ),
        };
        let value = std::env::var(name)
            .map_err(|_| format!("the environment variable {name:?} is not set"))?;
        expanded.push_str(&value);
        rest = remaining;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_no_secret() {
        let uri = ArtdaqUri::parse("filesystemdb:///data/$HOME/").unwrap();
        assert_eq!(uri.to_string(), "filesystemdb:///data/$HOME/");
        let home = std::env::var("HOME").unwrap();
        let expected = PathBuf::from(format!("/data/{home}"));
        assert_eq!(uri.directory(), Some(expected.as_path()));
        for wrong in [
            "mongodb:/user:tuna@h",
            "tuna",
            "ftp://user:tuna@h/x",
            "filesystemdb://tuna",
        ] {
            let error = ArtdaqUri::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("tuna"), "{error}");
        }
        #[cfg(feature = "mongodb")]
        {
            let uri = ArtdaqUri::parse("mongodb://user:tuna@h/db?socketTimeoutMS=1").unwrap();
            assert_eq!(
                format!("{uri} {uri:?}"),
                "mongodb://h/db ArtdaqUri(mongodb://h/db)"
            );
            assert_eq!(uri.without_effect(), ["socketTimeoutMS"]);
            assert_eq!(uri.directory(), None);
        }
    }
}
