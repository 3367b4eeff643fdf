//! What is known of whether the archived runs are right: which blobs were compared
//! with artdaqDB, and what the last verification found.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Status;
use crate::run_set::RunSet;

/// What verifications and the migrate stage remember.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The runs whose blob was stored by this archiver, or compared with what artdaqDB
    /// has.
    pub compared: RunSet,
    /// The runs that were not well when `--verify` compared them last.
    pub not_well: RunSet,
    /// What was found of them, in a line.
    pub findings: BTreeMap<u64, String>,
    /// When a verification of every run was finished.
    pub finished: Option<Timestamp>,
}

/// The same as reports show it.
#[derive(Debug)]
pub struct ProofView<'a> {
    /// When a verification of every run was finished.
    pub finished: Option<Timestamp>,
    /// Runs of UconDB whose blob was neither stored by this archiver nor compared.
    pub not_compared: RunSet,
    /// The runs that were not well when `--verify` compared them last.
    pub not_well: &'a RunSet,
    /// What was found of them, in a line.
    pub findings: &'a BTreeMap<u64, String>,
}

impl<'a> ProofView<'a> {
    /// Makes it; `None` where it is not known.
    #[must_use]
    pub fn of(status: &'a Status) -> Option<ProofView<'a>> {
        let proof = status.proof.as_ref()?;
        Some(ProofView {
            finished: proof.finished,
            not_compared: status.ucondb.known()?.difference(&proof.compared),
            not_well: &proof.not_well,
            findings: &proof.findings,
        })
    }

    /// Returns whether there is something to say.
    #[must_use]
    pub fn is_worth_saying(&self) -> bool {
        !(self.not_compared.is_empty() && self.not_well.is_empty())
    }
}
