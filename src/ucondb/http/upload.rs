//! Storing a blob exactly once: its body is sent once, and whatever becomes of
//! the answer, only what the server says it holds counts.

use std::sync::MutexGuard;

use bytes::Bytes;
use url::Url;

use super::answers::Failure;
use super::auth::{Credentials, Verdict};
use super::transport::{Answer, Call};
use super::{HttpUconDb, SHORT, listing};
use crate::run::Run;
use crate::sys::sync;
use crate::ucondb::{MAX_BLOB, Override, Upload, Version};

/// How many challenges are answered for one upload. More than one comes only
/// from a server whose nonces expire.
const CHALLENGES: usize = 3;

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// No run is known that it could be made with.
    NotMade,
    /// The server wants no credentials.
    Open,
    /// The server sent a challenge, and accepted the answer.
    Accepted,
}

impl HttpUconDb {
    /// Stores a blob, trying again as often as the policy allows.
    pub(super) fn store(
        &self,
        run: Run,
        blob: &Bytes,
        existing: Override,
    ) -> Result<Upload, Failure> {
        let sent = Version::of(blob);
        if sent.size > MAX_BLOB {
            return Err(self.permanent(format!(
                "run {run}: its blob has {} bytes; UconDB takes {MAX_BLOB} bytes (256 MiB) at most",
                sent.size
            )));
        }
        // An attempt that failed may all the same have stored the blob.
        let mut in_doubt = false;
        let outcome = self.persist(|| {
            if in_doubt && let Some(upload) = self.settle(run, sent, existing)? {
                return Ok(upload);
            }
            let outcome = self.put(run, blob, sent, existing);
            in_doubt |= matches!(outcome, Err(Failure::Again { .. }));
            outcome
        });
        match outcome {
            Err(Failure::Again { error, after }) if in_doubt => {
                match self.settle(run, sent, existing) {
                    Ok(Some(upload)) => Ok(upload),
                    // It knows better what is wrong, such as a missing folder.
                    Err(failure @ Failure::Final(_)) => Err(failure),
                    Ok(None) | Err(Failure::Again { .. }) => Err(Failure::Again { error, after }),
                }
            }
            outcome => outcome,
        }
    }

    /// Asks what became of an upload whose answer is lost; `None` if nothing was stored.
    fn settle(
        &self,
        run: Run,
        sent: Version,
        existing: Override,
    ) -> Result<Option<Upload>, Failure> {
        Ok(match (self.look_up(run)?, existing) {
            (Some(version), Override::No) => Some(Upload::Exists(version)),
            (Some(version), Override::Yes) if version == sent => Some(Upload::Stored(version)),
            (_, _) => None,
        })
    }

    /// Sends a blob once, or twice where the server comes up with a new challenge.
    fn put(
        &self,
        run: Run,
        blob: &Bytes,
        sent: Version,
        existing: Override,
    ) -> Result<Upload, Failure> {
        let subject = format!("run {run}: upload of {} bytes", sent.size);
        let url = self.address.upload(run, existing);
        // One worker finds out what the server wants; the others wait for it
        // rather than send their blobs in vain.
        let learning = self.auth.learn();
        let fresh = learning.is_some() && self.probe(&subject)? == Probe::Accepted;
        let (answer, credentials) = self.post(&subject, &url, blob, fresh, learning)?;
        if answer.status == 401 {
            return Err(self.refused(&subject, &answer));
        }
        let outcome = self.judge(&subject, run, sent, existing, &answer);
        if outcome.is_ok() {
            self.auth.accepted(&credentials);
            self.note(run);
        }
        outcome
    }

    /// Learns the server's challenge and tries the credentials without sending
    /// a blob, if there is a key that exists: an upload of nothing under it is
    /// refused with the challenge, and then because the key exists. Nothing can
    /// be stored even by a server without authentication, which is true of no
    /// other request. Without such a key the first blob itself is the question.
    pub(super) fn probe(&self, subject: &str) -> Result<Probe, Failure> {
        let known = *sync::lock(&self.known_run);
        let Some(known) = known else {
            return Ok(Probe::NotMade);
        };
        // Whether it still exists: an administrator may have deleted it.
        if self.look_up(known)?.is_none() {
            return Ok(Probe::NotMade);
        }
        let url = self.address.upload(known, Override::No);
        let (answer, credentials) = self.post(subject, &url, &Bytes::new(), false, None)?;
        match answer.status {
            500 if already_exists(&answer) => {
                self.auth.accepted(&credentials);
                Ok(match credentials.header {
                    Some(_) => Probe::Accepted,
                    None => Probe::Open,
                })
            }
            200 => Err(self.unreachable(format!(
                "{subject}: UconDB took an empty blob for the existing key {known}, against its \
                 own rules; check that key by hand"
            ))),
            _ => Err(self.refused(subject, &answer)),
        }
    }

    /// Sends a body, with the answer to the challenge that is known, and again
    /// for each challenge that comes. `fresh` says that the known one was learnt
    /// just before. The first challenge ends the `learning`.
    fn post(
        &self,
        subject: &str,
        url: &Url,
        body: &Bytes,
        mut fresh: bool,
        mut learning: Option<MutexGuard<'_, ()>>,
    ) -> Result<(Answer, Credentials), Failure> {
        let no_answer = |problem| self.unreachable(format!("{subject}: {problem}"));
        let mut credentials = self.auth.credentials("POST", url).map_err(no_answer)?;
        let mut challenges = 0;
        loop {
            let answer = self
                .transport
                .send(Call {
                    url: url.clone(),
                    body: Some(body.clone()),
                    authorization: credentials.header.clone(),
                    limit: SHORT,
                })
                .map_err(|fault| self.fault(subject, fault))?;
            if answer.status != 401 {
                return Ok((answer, credentials));
            }
            if challenges == CHALLENGES {
                self.auth.forget();
                return Ok((answer, credentials));
            }
            let verdict = self
                .auth
                .refused(&credentials, fresh, &answer.headers, "POST", url);
            match verdict.map_err(no_answer)? {
                Verdict::Refused => {
                    self.auth.forget();
                    return Ok((answer, credentials));
                }
                Verdict::Again(answered) => credentials = answered,
            }
            learning.take();
            fresh = true;
            challenges += 1;
        }
    }

    fn judge(
        &self,
        subject: &str,
        run: Run,
        sent: Version,
        existing: Override,
        answer: &Answer,
    ) -> Result<Upload, Failure> {
        if answer.status == 500 && already_exists(answer) && existing == Override::No {
            return match self.look_up(run)? {
                Some(version) => Ok(Upload::Exists(version)),
                None => Err(self.again(format!(
                    "{subject}: UconDB says that key {run} exists, and then that it does not"
                ))),
            };
        }
        if answer.status != 200 {
            return Err(self.refused(subject, answer));
        }
        // An answer without the metadata, cut short or changed on the way says
        // nothing of what was stored.
        let said = listing::version(&answer.body).filter(|said| *said == sent);
        let stored = match said {
            Some(stored) => stored,
            None => self.look_up(run)?.ok_or_else(|| {
                self.no_ucondb(
                    subject,
                    "answers HTTP 200 to an upload and stores nothing".to_owned(),
                )
            })?,
        };
        if stored != sent {
            return Err(self.permanent(format!(
                "{subject}: UconDB stored {} bytes with Adler-32 {:08x} in place of {} bytes with \
                 {:08x}: something between here and the server changes what is sent; find it, \
                 then upload the run again with override",
                stored.size, stored.adler32, sent.size, sent.adler32
            )));
        }
        Ok(Upload::Stored(stored))
    }
}

/// Whether a 500 says that the key exists.
fn already_exists(answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body);
    text.contains("already exists")
}
