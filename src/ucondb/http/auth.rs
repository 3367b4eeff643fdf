//! Digest authentication (RFC 2617, and SHA-256 of RFC 7616) ahead of the
//! challenge: one challenge is answered by every later request, with `nc`
//! counted up, so that no body is sent only to be refused.

use crate::sys::sync;
use std::fmt;
use std::sync::{Mutex, MutexGuard};

use digest_auth::{AlgorithmType, AuthContext, HttpMethod, Qop, WwwAuthenticateHeader};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// What is known of how the server wants uploads authenticated.
enum Known {
    /// Nothing yet.
    Nothing,
    /// It took an upload without credentials.
    Open,
    /// It sent this challenge; `nc` in it counts the answers.
    Challenge(WwwAuthenticateHeader),
}

/// Answers a server's challenges for one user. Safe for many threads.
pub(super) struct Authenticator {
    pub(super) user: String,
    password: SecretString,
    known: Mutex<Known>,
    /// Held by the one worker that finds out what the server wants.
    learning: Mutex<()>,
}

/// The credentials of one request.
#[derive(Debug, Default)]
pub(super) struct Credentials {
    /// The `Authorization` header, if the server wants one.
    pub(super) header: Option<HeaderValue>,
    /// The nonce it answers.
    nonce: Option<String>,
}

/// What a 401 means for the request that got it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// There is a challenge that this request has not answered: send it again
    /// with these.
    Again(Credentials),
    /// The credentials are refused.
    Refused,
}

impl Authenticator {
    pub(super) fn new(user: String, password: SecretString) -> Authenticator {
        Authenticator {
            user,
            password,
            known: Mutex::new(Known::Nothing),
            learning: Mutex::new(()),
        }
    }

    /// Whether the server's wishes are still unknown. Then the returned guard
    /// is held by the caller alone until it has found out; the others wait.
    pub(super) fn learn(&self) -> Option<MutexGuard<'_, ()>> {
        if !matches!(*lock(&self.known), Known::Nothing) {
            return None;
        }
        let guard = lock(&self.learning);
        matches!(*lock(&self.known), Known::Nothing).then_some(guard)
    }

    /// The credentials for a request; none where the server wants none or its
    /// challenge is not known.
    pub(super) fn credentials(
        &self,
        method: &'static str,
        url: &Url,
    ) -> Result<Credentials, String> {
        let mut known = lock(&self.known);
        let Known::Challenge(challenge) = &mut *known else {
            return Ok(Credentials::default());
        };
        self.respond(challenge, method, url)
    }

    /// Answers a challenge, which counts it.
    fn respond(
        &self,
        challenge: &mut WwwAuthenticateHeader,
        method: &'static str,
        url: &Url,
    ) -> Result<Credentials, String> {
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let context = AuthContext::new_with_method(
            self.user.as_str(),
            self.password.expose_secret(),
            target,
            Option::<&[u8]>::None,
            HttpMethod::from(method),
        );
        let answer = challenge
            .respond(&context)
            .map_err(|error| format!("its digest challenge can't be answered: {error}"))?;
        let mut header = HeaderValue::from_bytes(answer.to_header_string().as_bytes())
            .map_err(|_| "the user's name or the server's realm can't stand in an HTTP header")?;
        header.set_sensitive(true);
        Ok(Credentials {
            header: Some(header),
            nonce: Some(challenge.nonce.clone()),
        })
    }

    /// Notes that the server took a request; without credentials, that it wants none.
    pub(super) fn accepted(&self, used: &Credentials) {
        let mut known = lock(&self.known);
        if used.nonce.is_none() && matches!(*known, Known::Nothing) {
            *known = Known::Open;
        }
    }

    /// Forgets what the server wants, as it refused the credentials: whoever
    /// asks next finds that out before it sends a blob.
    pub(super) fn forget(&self) {
        *lock(&self.known) = Known::Nothing;
    }

    /// Answers the challenge of a 401 to a request with the credentials
    /// `used`, and keeps it for later requests. `fresh` says that the nonce
    /// used was itself learnt in the course of this request.
    pub(super) fn refused(
        &self,
        used: &Credentials,
        fresh: bool,
        headers: &HeaderMap,
        method: &'static str,
        url: &Url,
    ) -> Result<Verdict, String> {
        let Some(mut challenge) = best_challenge(headers) else {
            return Ok(Verdict::Refused);
        };
        if used.nonce.is_some() && fresh && !challenge.stale {
            return Ok(Verdict::Refused);
        }
        let credentials = self.respond(&mut challenge, method, url)?;
        let mut known = lock(&self.known);
        // Another worker may have learnt a newer one than this request used.
        let superseded = matches!(&*known, Known::Challenge(current)
            if used.nonce.as_ref() != Some(&current.nonce));
        if !superseded {
            *known = Known::Challenge(challenge);
        }
        Ok(Verdict::Again(credentials))
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A lock that a panicking thread left behind still holds a usable value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    sync::lock(mutex)
}

/// The first challenge that can be answered: RFC 7616 has the server list them
/// in the order of its preference.
fn best_challenge(headers: &HeaderMap) -> Option<WwwAuthenticateHeader> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        // Visible ASCII only: the parser takes nothing else.
        .filter_map(|value| value.to_str().ok())
        .filter(|value| {
            value
                .get(..7)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("digest "))
        })
        .filter_map(|value| WwwAuthenticateHeader::parse(value.get(7..)?).ok())
        .find(|challenge| {
            let known_hash = matches!(
                challenge.algorithm.algo,
                AlgorithmType::MD5 | AlgorithmType::SHA2_256
            );
            let known_qop = challenge
                .qop
                .as_ref()
                .is_none_or(|offered| offered.contains(&Qop::AUTH));
            known_hash && known_qop
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().unwrap());
        headers
    }

    fn authenticator() -> Authenticator {
        Authenticator::new("writer".into(), "geheim".into())
    }

    fn url() -> Url {
        Url::parse("http://h/app/data/ev01/configuration?key=1").unwrap()
    }

    const REAL: &str =
        r#"Digest realm="ucon_prd.ev01", nonce="b'MTc5NTQxOTA2Mw=='", algorithm=MD5, qop="auth""#;

    fn refuse(
        auth: &Authenticator,
        used: &Credentials,
        fresh: bool,
        headers: &HeaderMap,
    ) -> Option<Credentials> {
        match auth.refused(used, fresh, headers, "POST", &url()).unwrap() {
            Verdict::Again(credentials) => Some(credentials),
            Verdict::Refused => None,
        }
    }

    #[test]
    fn one_challenge_serves_every_later_request() {
        let auth = authenticator();
        let guard = auth.learn().unwrap();
        let none = auth.credentials("POST", &url()).unwrap();
        assert!(none.header.is_none());
        let mut credentials = refuse(&auth, &none, false, &challenge(REAL)).unwrap();
        drop(guard);
        assert!(auth.learn().is_none());
        for count in 1..=3 {
            let header = credentials.header.unwrap();
            assert!(header.is_sensitive());
            let text = header.to_str().unwrap();
            assert!(text.contains(r#"nonce="b'MTc5NTQxOTA2Mw=='""#), "{text}");
            assert!(text.contains(&format!("nc={count:08x}")), "{text}");
            assert!(
                text.contains(r#"uri="/app/data/ev01/configuration?key=1""#),
                "{text}"
            );
            assert!(!text.contains("geheim"), "{text}");
            credentials = auth.credentials("POST", &url()).unwrap();
        }
    }

    #[test]
    fn a_refusal_of_a_fresh_nonce_is_final_and_an_expired_one_is_not() {
        let auth = authenticator();
        let none = Credentials::default();
        let used = refuse(&auth, &none, false, &challenge(REAL)).unwrap();
        assert!(refuse(&auth, &used, true, &challenge(REAL)).is_none());
        let stale = r#"Digest realm="r", nonce="2", stale=true, qop="auth""#;
        let used = refuse(&auth, &used, true, &challenge(stale)).unwrap();
        let next = r#"Digest realm="r", nonce="3", qop="auth""#;
        assert!(refuse(&auth, &used, false, &challenge(next)).is_some());
        assert!(refuse(&auth, &used, false, &HeaderMap::new()).is_none());
    }

    #[test]
    fn a_late_refusal_does_not_bring_back_an_older_challenge() {
        let auth = authenticator();
        let slow = refuse(&auth, &Credentials::default(), false, &challenge(REAL)).unwrap();
        let fast = auth.credentials("POST", &url()).unwrap();
        let newer = r#"Digest realm="r", nonce="2", qop="auth""#;
        let other = r#"Digest realm="r", nonce="3", qop="auth""#;
        refuse(&auth, &fast, false, &challenge(newer)).unwrap();
        // Its own challenge answers the slow request, the newer one all others.
        let again = refuse(&auth, &slow, false, &challenge(other)).unwrap();
        assert_eq!(again.nonce.as_deref(), Some("3"));
        assert_eq!(
            auth.credentials("POST", &url()).unwrap().nonce.as_deref(),
            Some("2")
        );
    }

    #[test]
    fn challenges_that_cannot_be_answered_are_passed_over() {
        assert!(best_challenge(&challenge(r#"Basic realm="r""#)).is_none());
        assert!(best_challenge(&challenge("Digest")).is_none());
        assert!(best_challenge(&challenge(r#"Digest nonce="1""#)).is_none());
        assert!(
            best_challenge(&challenge(
                r#"Digest realm="r", nonce="1", algorithm=SHA-512-256"#
            ))
            .is_none()
        );
        assert!(
            best_challenge(&challenge(r#"Digest realm="r", nonce="1", qop="auth-int""#)).is_none()
        );
        let mut headers = challenge(r#"Negotiate"#);
        headers.append(
            WWW_AUTHENTICATE,
            r#"DIGEST realm="r", nonce="1", algorithm=SHA-256, qop="auth,auth-int""#
                .parse()
                .unwrap(),
        );
        let sha = best_challenge(&headers).unwrap();
        assert_eq!(sha.algorithm.algo, AlgorithmType::SHA2_256);
    }
}
