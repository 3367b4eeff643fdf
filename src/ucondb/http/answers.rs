//! What the server's answers mean: which are failures, whose fault they are,
//! and what to do about them.

use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use url::Url;

use super::address::without_credentials;
use super::transport::{Answer, Broken, Fault};
use super::{HttpUconDb, listing};
use crate::error::{Cause, Disposition, Error, Remedy};
use crate::run::Run;
use crate::sys::retry::retry_after;
use crate::ucondb::Version;

/// How many characters of a server's own words a message repeats.
const QUOTED: usize = 160;

/// An attempt that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another attempt may succeed; the server may have said after which pause.
    Again {
        error: Error,
        after: Option<Duration>,
    },
    /// It would fail again.
    Final(Error),
}

impl Failure {
    /// The same, with what an operator can do about it.
    fn with_remedy(self, remedy: Remedy) -> Failure {
        self.map(|error| error.with_remedy(remedy))
    }

    /// The same, with what caused it.
    fn caused_by(self, cause: impl Into<Cause>) -> Failure {
        self.map(|error| error.caused_by(cause))
    }

    fn map(self, change: impl FnOnce(Error) -> Error) -> Failure {
        match self {
            Failure::Again { error, after } => Failure::Again {
                error: change(error),
                after,
            },
            Failure::Final(error) => Failure::Final(change(error)),
        }
    }

    /// What went wrong.
    pub(super) fn error(&self) -> &Error {
        match self {
            Failure::Again { error, .. } | Failure::Final(error) => error,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Again { error, .. } | Failure::Final(error) => error,
        }
    }
}

/// What a 404 of UconDB says is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Folder,
    Object,
    Version,
}

impl HttpUconDb {
    fn error(&self, disposition: Disposition, problem: String) -> Error {
        Error::ucondb(self.address.location.clone(), problem, disposition)
    }

    /// A failure that another attempt may not meet, of this attempt alone.
    pub(super) fn again(&self, problem: String) -> Failure {
        Failure::Again {
            error: self.error(Disposition::RetryRun, problem),
            after: None,
        }
    }

    /// A failure of the run itself.
    pub(super) fn permanent(&self, problem: String) -> Failure {
        Failure::Final(self.error(Disposition::FailRun, problem))
    }

    /// A failure that every run would meet.
    pub(super) fn unreachable(&self, problem: String) -> Failure {
        Failure::Final(self.error(Disposition::StopStage, problem))
    }

    /// What answers is not a UconDB.
    pub(super) fn no_ucondb(&self, subject: &str, what: String) -> Failure {
        self.unreachable(format!(
            "{subject}: no UconDB at {}: it {what}",
            self.address.base()
        ))
        .with_remedy(Remedy::CheckUconUrl)
    }

    pub(super) fn no_folder(&self, subject: &str) -> Failure {
        self.unreachable(format!(
            "{subject}: UconDB has no folder {:?}:",
            self.address.folder
        ))
        .with_remedy(Remedy::CheckFolder)
    }

    pub(super) fn no_version(&self, subject: &str, run: Run) -> Failure {
        self.permanent(format!(
            "{subject}: UconDB has no version with key {run}: the run is not migrated"
        ))
    }

    /// What a 404's text says is missing; `None` where it is not UconDB's.
    pub(super) fn missing(&self, answer: &Answer) -> Option<Missing> {
        let text = String::from_utf8_lossy(&answer.body);
        let text = text.trim();
        let is = |what: &str, name: &str| {
            text == format!("{what} not found") || text == format!("{what} {name} not found")
        };
        if is("Folder", &self.address.folder) {
            Some(Missing::Folder)
        } else if is("Object", &self.address.object) {
            Some(Missing::Object)
        } else {
            is("Version", "").then_some(Missing::Version)
        }
    }

    /// No answer came.
    pub(super) fn fault(&self, subject: &str, fault: Fault) -> Failure {
        let again = |disposition, problem| Failure::Again {
            error: self.error(disposition, problem),
            after: None,
        };
        match fault {
            Fault::Connect(Broken { words, cause }) => again(
                Disposition::StopStage,
                format!("{subject}: the server can't be reached: {words}"),
            )
            .with_remedy(Remedy::CheckUconServer)
            .caused_by(cause),
            Fault::Tls(Broken { words, cause }) => self
                .unreachable(format!("{subject}: no trusted TLS connection: {words}"))
                .with_remedy(Remedy::TrustUconCertificate)
                .caused_by(cause),
            Fault::Timeout(limit, doing) => again(
                Disposition::RetryRun,
                format!(
                    "{subject}: timed out after {} s {doing}",
                    limit.as_secs_f64()
                ),
            )
            .with_remedy(Remedy::RaiseUconTimeout),
            Fault::Lost(Broken { words, cause }) => again(
                Disposition::RetryRun,
                format!("{subject}: the connection broke: {words}"),
            )
            .caused_by(cause),
            Fault::NotHttp(Broken { words, cause }) => {
                let what = format!("answers what is not HTTP ({words}), as an https server does");
                self.no_ucondb(subject, what).caused_by(cause)
            }
            Fault::Shutdown => Failure::Final(Error::Interrupted(format!(
                "{subject}: the server is silent, and is waited for no longer"
            ))),
        }
    }

    /// An answer that is no success and has no meaning of its own to the request.
    pub(super) fn refused(&self, subject: &str, answer: &Answer) -> Failure {
        let status = answer.status;
        let said = said(&answer.body);
        match status {
            300..=399 => {
                let target = header(&answer.headers, LOCATION.as_str())
                    .and_then(|target| Url::parse(self.address.base()).ok()?.join(target).ok())
                    .map_or_else(|| "elsewhere".to_owned(), without_credentials);
                self.unreachable(format!(
                    "{subject}: the server redirects to {target} (HTTP {status}); no redirect is \
                     followed, as credentials would go with it:"
                ))
                .with_remedy(Remedy::SetUconUrl)
            }
            401 => self
                .unreachable(format!(
                    "{subject}: UconDB refused user {:?} for folder {:?}:",
                    self.auth.user, self.address.folder
                ))
                .with_remedy(Remedy::CheckWriter),
            404 => match self.missing(answer) {
                Some(Missing::Folder) => self.no_folder(subject),
                Some(Missing::Object) => self.permanent(format!(
                    "{subject}: UconDB has no object {:?} in folder {:?}",
                    self.address.object, self.address.folder
                )),
                Some(Missing::Version) => {
                    self.permanent(format!("{subject}: UconDB has no such version"))
                }
                // What is missing is in the part that did not arrive.
                None if answer.cut.is_some() => self.again(format!(
                    "{subject}: the answer is cut short (HTTP 404{said})"
                )),
                None => self.no_ucondb(subject, format!("answers 404{said}")),
            },
            405 => self
                .unreachable(format!(
                    "{subject}: this UconDB takes no uploads (HTTP 405{said}):"
                ))
                .with_remedy(Remedy::NameWritingInstance),
            507 => self.unreachable(format!(
                "{subject}: UconDB has no space left (HTTP 507{said}): tell its administrators"
            )),
            407 => self.unreachable(format!(
                "{subject}: the proxy wants credentials (HTTP 407): check HTTPS_PROXY, HTTP_PROXY \
                 and NO_PROXY"
            )),
            413 => self.permanent(format!(
                "{subject}: the front end of UconDB takes no blob of this size (HTTP 413{said}): \
                 have its administrators raise the limit (nginx: client_max_body_size)"
            )),
            408 | 425 | 429 => Failure::Final(self.error(
                Disposition::RetryRun,
                format!("{subject}: the server is not ready for it (HTTP {status}{said})"),
            )),
            400..=499 => self.unreachable(format!(
                "{subject}: the server refuses the request (HTTP {status}{said})"
            )),
            500..=599 => Failure::Again {
                error: self.error(
                    Disposition::RetryRun,
                    format!("{subject}: the server failed (HTTP {status}{said})"),
                ),
                after: header(&answer.headers, RETRY_AFTER.as_str()).and_then(retry_after),
            },
            _ => self.no_ucondb(subject, format!("answers HTTP {status}{said}")),
        }
    }
}

/// What a download's headers say UconDB holds.
pub(super) fn stored(headers: &HeaderMap) -> Option<Version> {
    let adler32 = header(headers, "X-UconDB-adler32")?.parse().ok()?;
    Some(Version {
        size: header(headers, "X-UconDB-data-size")?.parse().ok()?,
        adler32: listing::checksum(adler32)?,
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// A server's own words for a message, in one line: without the markup of an
/// error page, and of a traceback only its end, which says what happened.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(64 * 1024)]);
    // A page's title repeats its text.
    let text = text.split_once("</head>").map_or(&*text, |(_, text)| text);
    let mut plain = String::new();
    let mut in_tag = false;
    for character in text.chars() {
        match character {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                plain.push(' ');
            }
            _ if in_tag => {}
            _ if character.is_control() => plain.push(' '),
            _ => plain.push(character),
        }
    }
    let words: Vec<&str> = plain.split_whitespace().collect();
    let line = words.join(" ");
    let count = line.chars().count();
    if line.is_empty() {
        String::new()
    } else if count <= QUOTED {
        format!(", {line:?}")
    } else {
        let end: String = line.chars().skip(count - QUOTED).collect();
        format!(", {:?}", format!("...{end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn a_server_is_quoted_in_one_line_without_markup() {
        assert_eq!(said(b""), "");
        assert_eq!(said(b"<html>\n<body></body>"), "");
        assert_eq!(
            said(b"<html><head><title>502 Bad Gateway</title></head><body>\n<h1>502 Bad Gateway</h1>\r\n<hr>nginx</body></html>"),
            ", \"502 Bad Gateway nginx\""
        );
        let long = format!("Traceback {} ValueError: the end", "x ".repeat(500));
        let quoted = said(long.as_bytes());
        assert!(quoted.ends_with("ValueError: the end\""), "{quoted}");
        assert!(quoted.len() < 200, "{quoted}");
        assert_eq!(said(b"\x1b[2Jevil\xff"), ", \"[2Jevil\u{fffd}\"");
    }
}
