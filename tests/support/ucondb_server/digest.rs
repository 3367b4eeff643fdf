//! The server's side of digest authentication, written from RFC 2617 and
//! apart from the client's.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::wire::Head;
use super::{Authentication, PASSWORD, USER};

/// The hash of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    fn hex(self, text: &str) -> String {
        fn hex(bytes: impl AsRef<[u8]>) -> String {
            bytes
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        }
        match self {
            Algorithm::Md5 => hex(<md5::Md5 as md5::Digest>::digest(text)),
            Algorithm::Sha256 => hex(<sha2::Sha256 as sha2::Digest>::digest(text)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }
}

/// The nonces given and the counts used with them.
#[derive(Debug, Default)]
pub struct Nonces {
    given: u64,
    used: HashMap<String, HashSet<String>>,
}

impl Nonces {
    /// `Ok` if the request is authenticated; else the challenge to send, if any.
    pub fn check(
        &mut self,
        mode: Authentication,
        realm: &str,
        head: &Head,
    ) -> Result<(), Option<String>> {
        match mode {
            Authentication::Off => Ok(()),
            Authentication::Digest => {
                let Some(header) = head.headers.get("authorization") else {
                    return Err(Some(self.challenge(realm, Algorithm::Md5, false)));
                };
                if valid(header, realm, Algorithm::Md5, head).is_some() {
                    Ok(())
                } else {
                    Err(None)
                }
            }
            Authentication::Strict { algorithm, uses } => {
                let credentials = head
                    .headers
                    .get("authorization")
                    .and_then(|header| valid(header, realm, algorithm, head));
                let Some((nonce, count)) = credentials else {
                    return Err(Some(self.challenge(realm, algorithm, false)));
                };
                let fresh = self
                    .used
                    .get_mut(&nonce)
                    .is_some_and(|counts| counts.len() < uses as usize && counts.insert(count));
                if fresh {
                    Ok(())
                } else {
                    Err(Some(self.challenge(realm, algorithm, true)))
                }
            }
        }
    }

    fn challenge(&mut self, realm: &str, algorithm: Algorithm, stale: bool) -> String {
        self.given += 1;
        let nonce = format!("b'MTc5NTQxOT{:04}=='", self.given);
        self.used.insert(nonce.clone(), HashSet::new());
        let stale = if stale { ", stale=true" } else { "" };
        format!(
            "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
            algorithm.name()
        )
    }
}

/// The nonce and count of a header with the right response.
fn valid(header: &str, realm: &str, algorithm: Algorithm, head: &Head) -> Option<(String, String)> {
    // On every comma, even a quoted one, as the server does.
    let fields: BTreeMap<&str, &str> = header
        .strip_prefix("Digest ")?
        .split(',')
        .filter_map(|field| field.trim().split_once('='))
        .map(|(name, value)| (name, value.trim_matches('"')))
        .collect();
    let field = |name: &str| fields.get(name).copied();
    let (nonce, count) = (field("nonce")?, field("nc")?);
    let first = algorithm.hex(&format!("{USER}:{realm}:{PASSWORD}"));
    let second = algorithm.hex(&format!("{}:{}", head.method, field("uri")?));
    let expected = algorithm.hex(&format!(
        "{first}:{nonce}:{count}:{}:{}:{second}",
        field("cnonce")?,
        field("qop")?
    ));
    let right = field("response")? == expected
        && field("username")? == USER
        && field("realm")? == realm
        && field("uri")? == head.target
        && field("qop")? == "auth";
    right.then(|| (nonce.to_owned(), count.to_owned()))
}
