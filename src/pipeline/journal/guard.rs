//! A store that has none of the runs that it was seen to have is not the real one:
//! a disk that is not mounted, an address typed wrong.

use std::collections::BTreeSet;

use super::{Journal, Store};
use crate::error::Error;
use crate::run::{Run, StageKind};
use crate::state::State;

/// What a store's runs say about the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// It has most of its known runs, or none are known.
    Fine,
    /// It has fewer than half of its known runs.
    Fewer {
        /// How many it has of them.
        present: u64,
        /// How many are known.
        known: u64,
    },
    /// Runs are known of another address, but not of this one.
    NewAddress {
        /// The other address.
        before: String,
        /// How many runs are known there.
        known: u64,
    },
    /// It has none of the runs that are known.
    Vanished {
        /// How many are known, or up to which run, according to the state file.
        known: Known,
    },
}

/// What is known of the runs that a store should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// So many were seen there.
    Runs(u64),
    /// The state file says that all runs up to this one are archived.
    UpTo(Run),
}

impl Journal {
    /// Compares the runs that a store has with those that it was seen to have.
    /// `state` is that of the stage which archives there, if it has one.
    #[must_use]
    pub fn guard(&self, store: Store, runs: &BTreeSet<Run>, state: Option<&State>) -> Guard {
        let known = self.known(store);
        let count = known.len();
        if count > 0 {
            let present = runs.iter().filter(|run| known.contains(**run)).count() as u64;
            // Sites remove old records: any run shows that the directory is there.
            return match store {
                Store::Records if runs.is_empty() => Guard::Vanished {
                    known: Known::Runs(count),
                },
                Store::Records => Guard::Fine,
                _ if present == 0 => Guard::Vanished {
                    known: Known::Runs(count),
                },
                _ if present * 2 < count => Guard::Fewer {
                    present,
                    known: count,
                },
                _ => Guard::Fine,
            };
        }
        if let Some((before, known)) = self.other_address(store) {
            return Guard::NewAddress { before, known };
        }
        // Without a journal, as after an upgrade, the state file is asked.
        let reached = state.and_then(|state| state.last_contiguous_run);
        match reached {
            Some(reached) if !self.has_begun(kind(store)) => {
                let is_there = match store {
                    Store::Records => !runs.is_empty(),
                    _ => runs.range(..=reached).next().is_some(),
                };
                match is_there {
                    true => Guard::Fine,
                    false => Guard::Vanished {
                        known: Known::UpTo(reached),
                    },
                }
            }
            _ => Guard::Fine,
        }
    }

    /// The other address of a store with the most known runs.
    fn other_address(&self, store: Store) -> Option<(String, u64)> {
        let notes = self.notes();
        let addresses = notes.known.get(&store)?.iter();
        addresses
            .map(|(address, runs)| (address.clone(), runs.len()))
            .filter(|(_, count)| *count > 0)
            .max_by_key(|(_, count)| *count)
    }
}

/// The stage whose state tells of a store.
fn kind(store: Store) -> StageKind {
    match store {
        Store::Records | Store::Artdaqdb => StageKind::Import,
        Store::Ucondb => StageKind::Migrate,
    }
}

impl Guard {
    /// The error of a store that vanished.
    #[must_use]
    pub fn error(&self, store: Store, location: &str) -> Option<Error> {
        let Guard::Vanished { known } = self else {
            return None;
        };
        let has = match known {
            Known::Runs(count) => format!("has 0 of {} known runs", grouped(*count)),
            Known::UpTo(run) => {
                format!("has no run, though the state file says that all up to {run} are archived")
            }
        };
        Some(Error::Vanished {
            store: store.name(),
            location: location.to_owned(),
            problem: format!(
                "{has}: is it mounted? If it was emptied or moved on purpose: {}",
                kind(store).recover_flag()
            ),
        })
    }

    /// What a warning says, if one is due.
    #[must_use]
    pub fn warning(&self, store: Store, location: &str) -> Option<String> {
        let name = store.name();
        match self {
            Guard::Fine => None,
            Guard::Fewer { present, known } => Some(format!(
                "{name} at {location} has {} of {} known runs: if the others were not removed on \
                 purpose, restore them from a backup",
                grouped(*present),
                grouped(*known)
            )),
            Guard::NewAddress { before, known } => Some(format!(
                "{name} is {location} for the first time; {} runs are known at {before}",
                grouped(*known)
            )),
            Guard::Vanished { .. } => self.error(store, location).map(|error| error.to_string()),
        }
    }
}

/// `12,500`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
