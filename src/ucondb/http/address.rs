//! The URLs of a UconDB object, and its name in messages.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::error::{Disposition, Error, Remedy, Result, UconName};
use crate::run::Run;
use crate::ucondb::{Override, UconUrl};

/// What a query value keeps as it is. Everything else is percent-encoded, the
/// comma too: the server splits the digest header on it.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Later than any version: a listing since then is empty, and its answer still
/// tells whether folder and object exist. Seconds since 1970, the year 2100.
const FAR_FUTURE: &str = "4102444800";

/// Where an object lives: the server's base URL, the folder, the object.
#[derive(Debug)]
pub(super) struct Address {
    base: Url,
    pub(super) folder: String,
    pub(super) object: String,
    /// For messages: base URL, folder and object.
    pub(super) location: String,
}

impl Address {
    /// Checks what the configuration says and puts it together.
    pub(super) fn new(server_url: &UconUrl, folder: &str, object: &str) -> Result<Address> {
        let Some(mut base) = server_url.server().cloned() else {
            return Err(wrong(server_url.to_string(), Remedy::UrlOfServer));
        };
        if !base.username().is_empty() || base.password().is_some() {
            // Without its user and password the URL can be shown.
            let shown = without_credentials(base);
            return Err(wrong(shown, Remedy::UrlWithoutCredentials));
        }
        if base.query().is_some() || base.fragment().is_some() {
            // The query may be a token.
            return Err(wrong(without_credentials(base), Remedy::UrlWithoutQuery));
        }
        let path = base.path().trim_end_matches('/').replace(',', "%2C");
        base.set_path(&path);
        let shown = base.as_str().trim_end_matches('/');
        for (which, name) in [(UconName::Folder, folder), (UconName::Object, object)] {
            if !is_plain(name) {
                return Err(wrong(
                    shown.to_owned(),
                    Remedy::PlainName(which, name.to_owned()),
                ));
            }
        }
        Ok(Address {
            location: format!("{shown} ({folder}/{object})"),
            folder: folder.to_owned(),
            object: object.to_owned(),
            base,
        })
    }

    /// The base URL as messages show it.
    pub(super) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Whether the connection is to be encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// The server's version.
    pub(super) fn version(&self) -> Url {
        let mut url = self.at("version", &[]);
        url.set_query(None);
        url
    }

    /// What the server says of itself and the database behind it.
    pub(super) fn probe(&self) -> Url {
        let mut url = self.at("probe", &[]);
        url.set_query(None);
        url
    }

    /// The listing of every version.
    pub(super) fn versions(&self) -> Url {
        self.at(
            "versions",
            &[("object", &self.object), ("folder", &self.folder)],
        )
    }

    /// The listing of the versions recorded later than this, in seconds since
    /// 1970, as text.
    pub(super) fn versions_since(&self, since: &str) -> Url {
        self.at(
            "versions",
            &[
                ("object", &self.object),
                ("folder", &self.folder),
                ("tr_since", since),
            ],
        )
    }

    /// A listing that is always empty, to see whether the folder exists.
    pub(super) fn no_versions(&self) -> Url {
        self.versions_since(FAR_FUTURE)
    }

    /// The names of the folder's objects.
    pub(super) fn objects(&self) -> Url {
        self.at("objects", &[("folder", &self.folder)])
    }

    /// A run's blob.
    pub(super) fn blob(&self, run: Run) -> Url {
        self.at(&self.data(), &[("key", &run.to_string())])
    }

    /// What is known of a run's blob.
    pub(super) fn metadata(&self, run: Run) -> Url {
        self.at(
            &self.data(),
            &[("key", &run.to_string()), ("meta_only", "yes")],
        )
    }

    /// Where a run's blob is sent.
    pub(super) fn upload(&self, run: Run, existing: Override) -> Url {
        let key = run.to_string();
        self.at(
            &self.data(),
            &[
                ("full_meta", "yes"),
                ("tag", &key),
                ("key", &key),
                (
                    "override",
                    match existing {
                        Override::No => "no",
                        Override::Yes => "yes",
                    },
                ),
            ],
        )
    }

    fn data(&self) -> String {
        format!("data/{}/{}", self.folder, self.object)
    }

    fn at(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!(
            "{}/{path}",
            self.base.path().trim_end_matches('/')
        ));
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, VALUE)))
            .collect();
        url.set_query(Some(&query.join("&")));
        url
    }
}

/// A URL that can be shown: without user and password, query and fragment.
pub(super) fn without_credentials(mut url: Url) -> String {
    // Both fail only on URLs that can't hold credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}

/// An address that can't be used, for which the remedy says it all.
fn wrong(location: String, remedy: Remedy) -> Error {
    Error::ucondb(location, "", Disposition::StopStage).with_remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(server_url: &str, folder: &str, object: &str) -> Result<Address> {
        Address::new(&UconUrl::parse(server_url).unwrap(), folder, object)
    }

    fn problem(server_url: &str, folder: &str, object: &str) -> String {
        address(server_url, folder, object).unwrap_err().to_string()
    }

    #[test]
    fn urls_are_those_of_the_protocol() {
        let address =
            self::address("https://h:9443/instance/app/", "prd.ev-01", "configuration").unwrap();
        assert_eq!(
            address.location,
            "https://h:9443/instance/app (prd.ev-01/configuration)"
        );
        assert_eq!(
            address.upload(Run(7), Override::No).as_str(),
            "https://h:9443/instance/app/data/prd.ev-01/configuration\
             ?full_meta=yes&tag=7&key=7&override=no"
        );
        assert_eq!(
            address.metadata(Run(7)).as_str(),
            "https://h:9443/instance/app/data/prd.ev-01/configuration?key=7&meta_only=yes"
        );
        assert_eq!(
            address.versions().as_str(),
            "https://h:9443/instance/app/versions?object=configuration&folder=prd.ev-01"
        );
        let at_the_root = self::address("http://h", "f", "o").unwrap();
        assert_eq!(at_the_root.objects().as_str(), "http://h/objects?folder=f");
        let comma = self::address("http://h/a,b/app", "f", "o").unwrap();
        assert_eq!(
            comma.objects().as_str(),
            "http://h/a%2Cb/app/objects?folder=f"
        );
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_without_showing_a_password() {
        let text = problem("https://me:geheim@h/app", "f", "o");
        assert!(
            text.contains("writer_password") && !text.contains("geheim"),
            "{text}"
        );
        for wrong in ["ftp://h/app", "h:9443/app", ""] {
            let problem = UconUrl::parse(wrong).unwrap_err().to_string();
            assert!(problem.contains("https://"), "{problem}");
        }
        assert!(problem("file:///store", "f", "o").contains("https://"));
        assert!(problem("https://h/app?x=1", "f", "o").contains("without ? or #"));
        for name in ["", "a/b", "a b", "..", "a,b", "é", "a%20b"] {
            assert!(problem("https://h/app", name, "o").contains("folder_name"));
            assert!(problem("https://h/app", "f", name).contains("object_name"));
        }
    }
}
