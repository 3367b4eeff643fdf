//! UconDB over HTTP, whatever front end it stands behind: the bare server that
//! closes every connection and sends bodies without a length, its own TLS that
//! ends without notice, or a web server before it.
//!
//! The server's side of the conversation is described in `docs/ucondb.md`.

mod address;
mod answers;
mod auth;
mod cache;
mod listing;
mod runs;
mod transport;
mod upload;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use url::Url;

use self::address::Address;
use self::answers::{Failure, Missing};
use self::auth::Authenticator;
pub use self::cache::ListingCache;
use self::transport::{Answer, Call, Transport};
use self::upload::Probe;
use crate::error::{Disposition, Error, Result};
use crate::run::Run;
use crate::shutdown::Shutdown;
pub use crate::sys::retry::RetryPolicy;
use crate::sys::retry::{Next, Stopped, retry};
use crate::sys::sync;
use crate::ucondb::{MAX_BLOB, Override, UconDb, UconUrl, Upload, Version};

/// The longest answer that is metadata, names or an error page, in bytes.
const SHORT: u64 = 4 * 1024 * 1024;

/// Where UconDB is and how to talk to it.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The base URL, which usually ends in `/app`.
    pub server_url: UconUrl,
    /// The folder.
    pub folder: String,
    /// The object.
    pub object: String,
    /// Who uploads.
    pub user: String,
    /// Their password.
    pub password: SecretString,
    /// How long to wait for a connection, for an answer to begin, and for more
    /// of it to come.
    pub timeout: Duration,
    /// A PEM file of certificate authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// What messages call the setting of that file.
    pub ca_setting: &'static str,
    /// Whether the server's certificate is verified.
    pub verify_tls: bool,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// How a failed request is tried again.
    pub retry: RetryPolicy,
    /// What ends the pauses between attempts.
    pub shutdown: Shutdown,
    /// Where the listing is kept for later executions, if at all.
    pub listing: Option<ListingCache>,
}

impl HttpSettings {
    /// Settings with a time limit of 60 s, verified TLS, and the usual retries.
    pub fn new(
        server_url: UconUrl,
        folder: impl Into<String>,
        object: impl Into<String>,
        user: impl Into<String>,
        password: impl Into<SecretString>,
    ) -> HttpSettings {
        HttpSettings {
            server_url,
            folder: folder.into(),
            object: object.into(),
            user: user.into(),
            password: password.into(),
            timeout: Duration::from_secs(60),
            ca_file: None,
            ca_setting: "the settings of this client",
            verify_tls: true,
            user_agent: concat!("run_record_archiver/", env!("CARGO_PKG_VERSION")).to_owned(),
            retry: RetryPolicy::default(),
            shutdown: Shutdown::default(),
            listing: None,
        }
    }
}

/// A UconDB object on a server. Safe for many threads; connections are pooled.
pub struct HttpUconDb {
    address: Address,
    transport: Transport,
    auth: Authenticator,
    retry: RetryPolicy,
    shutdown: Shutdown,
    cache: Option<ListingCache>,
    /// A run that has a version: an upload under its key is refused, so it
    /// can be asked for a challenge without a risk.
    known_run: Mutex<Option<Run>>,
}

impl fmt::Debug for HttpUconDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUconDb")
            .field("location", &self.address.location)
            .field("user", &self.auth.user)
            .finish_non_exhaustive()
    }
}

impl HttpUconDb {
    /// Checks the settings and prepares connections; the server is not asked yet.
    ///
    /// # Errors
    /// A URL, folder or object name that can't be used; a CA file that can't be read.
    pub fn new(settings: HttpSettings) -> Result<HttpUconDb> {
        let address = Address::new(&settings.server_url, &settings.folder, &settings.object)?;
        let transport = Transport::new(&settings, address.is_tls()).map_err(|problem| {
            Error::ucondb(address.location.clone(), problem, Disposition::StopStage)
        })?;
        Ok(HttpUconDb {
            address,
            transport,
            auth: Authenticator::new(settings.user, settings.password),
            retry: settings.retry,
            shutdown: settings.shutdown,
            cache: settings.listing,
            known_run: Mutex::new(None),
        })
    }

    /// Makes `attempt` until it succeeds, fails for good, or has had its chances.
    /// A shutdown ends the pauses; the failure is then that, and says nothing
    /// of what was attempted.
    fn persist<T>(&self, attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let judge = |failure: &Failure| match failure {
            Failure::Again { after, .. } => Next::Again { asked: *after },
            Failure::Final(_) => Next::GiveUp,
        };
        retry(
            &self.retry,
            &self.shutdown,
            attempt,
            judge,
            |failure, again| {
                log::warn!(
                    "{}; trying again in {:.1} s (attempt {} of {})",
                    failure.error(),
                    again.pause.as_secs_f64(),
                    again.attempt,
                    self.retry.attempts
                );
            },
        )
        .map_err(|stopped| match stopped {
            Stopped::Failed(failure) => failure,
            Stopped::Interrupted(failure) => match self.shutdown.check() {
                Ok(()) => failure,
                Err(interrupted) => Failure::Final(interrupted),
            },
        })
    }

    /// The server's version, such as `3.9.7`.
    fn server_version(&self) -> Result<String, Failure> {
        let subject = "asking for the server's version";
        let answer = self.get(subject, self.address.version(), SHORT)?;
        if answer.status != 200 {
            return Err(self.refused(subject, &answer));
        }
        let text = String::from_utf8_lossy(&answer.body);
        let version = text.trim();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
        if version.is_empty() || version.len() > 40 || !version.bytes().all(plain) {
            return Err(self.no_ucondb(subject, "answers what is no version".to_owned()));
        }
        Ok(version.to_owned())
    }

    /// Asks without credentials, as reading needs none.
    fn get(&self, subject: &str, url: Url, limit: u64) -> Result<Answer, Failure> {
        let answer = self
            .transport
            .send(Call::get(url, limit))
            .map_err(|fault| self.fault(subject, fault))?;
        if answer.too_long && answer.status == 200 {
            let what = format!("answers with more than {limit} bytes");
            return Err(match limit {
                MAX_BLOB => self.permanent(format!(
                    "{subject}: UconDB {what}, and no blob has more; look at what it has under \
                     this key"
                )),
                _ => self.no_ucondb(subject, what),
            });
        }
        Ok(answer)
    }

    /// Asks once what the server holds under a run's key.
    fn look_up(&self, run: Run) -> Result<Option<Version>, Failure> {
        let subject = format!("run {run}: asking for its version");
        let answer = self.get(&subject, self.address.metadata(run), SHORT)?;
        match answer.status {
            200 => match listing::version(&answer.body) {
                Some(version) => {
                    self.note(run);
                    Ok(Some(version))
                }
                None if answer.cut.is_some() || answer.body.is_empty() => Err(self.again(format!(
                    "{subject}: the answer is cut short after {} bytes{}",
                    answer.body.len(),
                    cause(&answer)
                ))),
                None => Err(self.no_ucondb(&subject, "answers what is no version".to_owned())),
            },
            404 => match self.missing(&answer) {
                Some(Missing::Version | Missing::Object) => Ok(None),
                _ => Err(self.refused(&subject, &answer)),
            },
            // A missing folder or object is a 500 here.
            500 => match self.whereabouts() {
                Some(Missing::Object) => Ok(None),
                Some(Missing::Folder) => Err(self.no_folder(&subject)),
                _ => Err(self.refused(&subject, &answer)),
            },
            _ => Err(self.refused(&subject, &answer)),
        }
    }

    fn fetch(&self, run: Run) -> Result<Vec<u8>, Failure> {
        let subject = format!("run {run}: download");
        let answer = self.get(&subject, self.address.blob(run), MAX_BLOB)?;
        match answer.status {
            200 => {}
            404 if self.missing(&answer) == Some(Missing::Version) => {
                return Err(self.no_version(&subject, run));
            }
            500 => {
                return Err(match self.whereabouts() {
                    Some(Missing::Object) => self.no_version(&subject, run),
                    Some(Missing::Folder) => self.no_folder(&subject),
                    _ => self.refused(&subject, &answer),
                });
            }
            _ => return Err(self.refused(&subject, &answer)),
        }
        let expected = match answers::stored(&answer.headers) {
            Some(version) => version,
            // A front end may drop the headers that it does not know.
            None => self
                .look_up(run)?
                .ok_or_else(|| self.no_version(&subject, run))?,
        };
        let size = answer.body.len() as u64;
        if size != expected.size {
            return Err(self.again(format!(
                "{subject}: {size} of {} bytes arrived{}",
                expected.size,
                cause(&answer)
            )));
        }
        let arrived = Version::of(&answer.body);
        if arrived != expected {
            return Err(self.again(format!(
                "{subject}: its {size} bytes arrived with Adler-32 {:08x}, UconDB recorded {:08x}: \
                 they were changed on the way or in the database",
                arrived.adler32, expected.adler32
            )));
        }
        self.note(run);
        Ok(answer.body)
    }

    /// After a 500, which says nothing: whether the object or the folder is missing.
    fn whereabouts(&self) -> Option<Missing> {
        let answer = self
            .get("listing the objects", self.address.objects(), SHORT)
            .ok()?;
        if answer.status == 200 {
            let names = listing::names(&answer.body).ok()?;
            return (!names.contains(&self.address.object)).then_some(Missing::Object);
        }
        let answer = self
            .get("looking for the folder", self.address.no_versions(), SHORT)
            .ok()?;
        (answer.status == 404)
            .then(|| self.missing(&answer))
            .flatten()
    }

    /// Notes a run whose key exists.
    fn note(&self, run: Run) {
        let mut known = sync::lock(&self.known_run);
        *known = Some(run);
    }
}

impl UconDb for HttpUconDb {
    fn location(&self) -> &str {
        &self.address.location
    }

    fn check(&self) -> Result<String> {
        let version = self.persist(|| self.server_version())?;
        let runs = self.runs()?.len();
        let credentials = match self.persist(|| self.probe("trying the credentials"))? {
            Probe::NotMade => "credentials not tried, as that takes a stored run".to_owned(),
            Probe::Open => "uploads need no credentials".to_owned(),
            Probe::Accepted => format!("user {:?} may write", self.auth.user),
        };
        Ok(format!("UconDB {version} with {runs} runs; {credentials}"))
    }

    fn is_ready(&self) -> Result<()> {
        let subject = "asking whether it can store";
        let answer = self
            .get(subject, self.address.probe(), SHORT)
            .map_err(Error::from)?;
        let text = String::from_utf8_lossy(&answer.body);
        let text = text.trim();
        // Only this is known to be a no: a front end may not know the request.
        if answer.status == 200 && !text.starts_with("Error") {
            return Ok(());
        }
        if answer.status == 404 {
            return Ok(());
        }
        let failure = match answer.status {
            200 => self.unreachable(format!(
                "{subject}: UconDB cannot reach its database: {}; tell its administrators",
                text.lines().next().unwrap_or_default()
            )),
            _ => self.refused(subject, &answer),
        };
        Err(Error::from(failure))
    }

    fn runs(&self) -> Result<BTreeSet<Run>> {
        let runs = self.list_runs()?;
        if let Some(&run) = runs.last() {
            self.note(run);
        }
        Ok(runs)
    }

    fn version(&self, run: Run) -> Result<Option<Version>> {
        Ok(self.persist(|| self.look_up(run))?)
    }

    fn upload(&self, run: Run, blob: Bytes, existing: Override) -> Result<Upload> {
        Ok(self.store(run, &blob, existing)?)
    }

    fn download(&self, run: Run) -> Result<Vec<u8>> {
        Ok(self.persist(|| self.fetch(run))?)
    }
}

/// Why an answer's body ended, for the end of a message.
fn cause(answer: &Answer) -> String {
    answer
        .cut
        .as_ref()
        .map(|cause| format!(" ({cause})"))
        .unwrap_or_default()
}
