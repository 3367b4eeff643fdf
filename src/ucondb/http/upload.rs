//! Storing a blob exactly once: its body is sent once, and whatever becomes of
//! the answer, only what the server says it holds counts.

use std::sync::PoisonError;

use bytes::Bytes;

use super::answers::Failure;
use super::auth::{Credentials, Verdict};
use super::transport::{Answer, Call};
use super::{HttpUconDb, SHORT, listing};
use crate::run::Run;
use crate::ucondb::{MAX_BLOB, Override, Upload, Version};

/// How many challenges are answered for one upload. More than one comes only
/// from a server whose nonces expire.
const CHALLENGES: usize = 3;

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
        // One worker finds out what the server wants; the others wait for it
        // rather than send their blobs in vain.
        let mut learning = self.auth.learn();
        let mut fresh = false;
        if learning.is_some() {
            fresh = self.probe(&subject)?;
        }
        for _ in 0..=CHALLENGES {
            let (answer, credentials) = self.post(&subject, run, blob, existing)?;
            if answer.status == 401 {
                match self.auth.refused(&credentials, fresh, &answer.headers) {
                    Verdict::Again => {
                        learning.take();
                        fresh = true;
                    }
                    Verdict::Refused => return Err(self.refused(&subject, &answer)),
                }
                continue;
            }
            let outcome = self.judge(&subject, run, sent, existing, &answer);
            if outcome.is_ok() {
                self.auth.accepted(&credentials);
                self.note(run);
            }
            return outcome;
        }
        Err(self.unreachable(format!(
            "{subject}: the server calls every nonce stale, even the one it has just given: its \
             clocks or its front ends disagree"
        )))
    }

    /// Learns the server's challenge and tries the credentials without sending
    /// a blob, if there is a key that exists: an upload of nothing under it is
    /// refused with the challenge, and then because the key exists. Nothing can
    /// be stored even by a server without authentication, which is true of no
    /// other request. Without such a key the first blob itself is the question.
    /// Returns whether a challenge was learnt.
    fn probe(&self, subject: &str) -> Result<bool, Failure> {
        let known = *self
            .known_run
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known else {
            return Ok(false);
        };
        // Whether it still exists: an administrator may have deleted it.
        if self.look_up(known)?.is_none() {
            return Ok(false);
        }
        let mut fresh = false;
        for _ in 0..=CHALLENGES {
            let (answer, credentials) = self.post(subject, known, &Bytes::new(), Override::No)?;
            match answer.status {
                401 => match self.auth.refused(&credentials, fresh, &answer.headers) {
                    Verdict::Again => fresh = true,
                    Verdict::Refused => return Err(self.refused(subject, &answer)),
                },
                500 if already_exists(&answer) => {
                    self.auth.accepted(&credentials);
                    return Ok(fresh);
                }
                200 => {
                    return Err(self.unreachable(format!(
                        "{subject}: UconDB took an empty blob for the existing key {known}, \
                         against its own rules; check that key by hand"
                    )));
                }
                _ => return Err(self.refused(subject, &answer)),
            }
        }
        Ok(fresh)
    }

    fn post(
        &self,
        subject: &str,
        run: Run,
        blob: &Bytes,
        existing: Override,
    ) -> Result<(Answer, Credentials), Failure> {
        let url = self.address.upload(run, existing);
        let credentials = self
            .auth
            .credentials("POST", &url)
            .map_err(|problem| self.unreachable(format!("{subject}: {problem}")))?;
        let answer = self
            .transport
            .send(Call {
                url,
                body: Some(blob.clone()),
                authorization: credentials.header.clone(),
                limit: SHORT,
            })
            .map_err(|fault| self.fault(subject, fault))?;
        Ok((answer, credentials))
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
        // An answer without the metadata, or one cut short, says nothing of
        // what was stored.
        let stored = match listing::version(&answer.body) {
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
