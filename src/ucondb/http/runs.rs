//! Which runs have a version: by a full listing, or by the last one and what
//! was recorded since.

use std::collections::BTreeSet;

use url::Url;

use super::answers::{Failure, Missing};
use super::cache::{Kept, ListingCache};
use super::listing::{self, Listing, NotAListing};
use super::{HttpUconDb, cause};
use crate::clock;
use crate::error::{Disposition, Error};
use crate::run::Run;

/// The longest listing, in bytes: four million versions.
const LONGEST_LISTING: u64 = 1024 * 1024 * 1024;

impl HttpUconDb {
    /// The runs, by the cheaper way where it may be gone.
    pub(super) fn list_runs(&self) -> Result<BTreeSet<Run>, Failure> {
        if let Some(cache) = self.cache.as_ref().filter(|cache| cache.trusted)
            && let Some(runs) = self.list_since(cache)?
        {
            return Ok(runs);
        }
        self.list_all()
    }

    /// Lists the versions at a URL; none where the object does not exist.
    fn list(&self, subject: &str, url: Url) -> Result<Option<Listing>, Failure> {
        let answer = self.get(subject, url, LONGEST_LISTING)?;
        match answer.status {
            200 => listing::versions(&answer.body)
                .map(Some)
                .map_err(|problem| match problem {
                    NotAListing::CutShort => self.again(format!(
                        "{subject}: the listing is cut short after {} bytes{}",
                        answer.body.len(),
                        cause(&answer)
                    )),
                    NotAListing::Other(why) => self.no_ucondb(
                        subject,
                        format!("answers what is no listing of versions ({why})"),
                    ),
                }),
            404 if self.missing(&answer) == Some(Missing::Object) => Ok(None),
            _ => Err(self.refused(subject, &answer)),
        }
    }

    /// The runs by a full listing, which is kept.
    fn list_all(&self) -> Result<BTreeSet<Run>, Failure> {
        let (subject, start) = ("listing the versions", clock::now());
        let listing = self.persist(|| self.list(subject, self.address.versions()))?;
        let listing = listing.unwrap_or_default();
        let Some(cache) = &self.cache else {
            return Ok(listing.runs);
        };
        let kept = Kept::new(listing, start);
        self.keep(cache, &kept);
        Ok(kept.into_runs())
    }

    /// The runs by the listing that was kept and what was recorded since. None
    /// if that can't be had or trusted: then a full listing has to tell.
    fn list_since(&self, cache: &ListingCache) -> Result<Option<BTreeSet<Run>>, Failure> {
        let file = cache.file.display();
        let unused = |why: &str| {
            log::debug!("{file} is not used, and all versions are listed: {why}");
            Ok(None)
        };
        let mut kept = match Kept::read(&cache.file, &self.address.location, clock::now()) {
            Ok(kept) => kept,
            Err(why) => return unused(&why),
        };
        let subject = "listing the versions since the last execution";
        let url = self.address.versions_since(&kept.since());
        let since = match self.persist(|| self.list(subject, url.clone())) {
            Ok(Some(since)) => since,
            Ok(None) => return unused("the object does not exist"),
            Err(Failure::Final(error @ Error::Interrupted(_))) => {
                return Err(Failure::Final(error));
            }
            Err(Failure::Again { error, after })
                if error.disposition() == Disposition::StopStage =>
            {
                return Err(Failure::Again { error, after });
            }
            // The full listing may do better, or its error says more.
            Err(Failure::Final(error) | Failure::Again { error, .. }) => {
                return unused(&error.to_string());
            }
        };
        let count = since.versions.len();
        match kept.update(since) {
            Ok(is_new) => {
                log::debug!(
                    "{} runs are those of {file} and of {count} versions listed since",
                    kept.runs().len()
                );
                if is_new {
                    self.keep(cache, &kept);
                }
                Ok(Some(kept.into_runs()))
            }
            Err(missing) => {
                log::warn!(
                    "{}: {missing} versions of the last listing are not there any more: was it \
                     restored from a backup? All versions are listed again",
                    self.address.location
                );
                Ok(None)
            }
        }
    }

    /// Keeps a listing. It is a hint, so that its loss is none.
    fn keep(&self, cache: &ListingCache, kept: &Kept) {
        if let Err(problem) = kept.write(&cache.file, &self.address.location) {
            log::warn!("The listing is not kept for the next execution: {problem}");
        }
    }
}
