//! Failures made on purpose (`app_fuzz`), to try out retries, the failure log and
//! notifications on a system that is not in production.

use std::hash::{BuildHasher, RandomState};

use crate::error::{Error, Result};
use crate::run::Run;

/// How often runs fail on purpose. The default is never.
#[derive(Debug, Clone, Default)]
pub struct Fuzz {
    /// Percent of the attempts that are skipped, as if the run were at fault.
    pub skip_percent: u8,
    /// Whether a skipped run fails for good, without being tried again.
    pub skip_is_permanent: bool,
    /// Percent of the attempts that fail, as if the database were at fault.
    pub error_percent: u8,
    /// Whether such a run fails for good, without being tried again.
    pub error_is_permanent: bool,
}

impl Fuzz {
    /// Fails in the configured share of calls.
    ///
    /// # Errors
    /// The failure made on purpose.
    pub fn strike(&self, run: Run) -> Result<()> {
        for (percent, is_permanent, key) in [
            (
                self.skip_percent,
                self.skip_is_permanent,
                "random_skip_percent",
            ),
            (
                self.error_percent,
                self.error_is_permanent,
                "random_error_percent",
            ),
        ] {
            // A fresh RandomState is seeded at random: all the chance that is needed here.
            if percent > 0 && RandomState::new().hash_one(run) % 100 < u64::from(percent) {
                return Err(Error::OnPurpose { key, is_permanent });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(fuzz: &Fuzz) -> String {
        fuzz.strike(Run(1)).unwrap_err().to_string()
    }

    #[test]
    fn each_failure_names_the_key_that_asked_for_it() {
        let (skip, error) = (
            Fuzz {
                skip_percent: 100,
                ..Fuzz::default()
            },
            Fuzz {
                error_percent: 100,
                error_is_permanent: true,
                ..Fuzz::default()
            },
        );
        for _ in 0..100 {
            assert!(error_of(&skip).contains("random_skip_percent"));
            assert!(error_of(&error).contains("random_error_percent"));
            assert!(Fuzz::default().strike(Run(1)).is_ok());
        }
        let is_permanent = |fuzz: &Fuzz| {
            matches!(
                fuzz.strike(Run(1)),
                Err(Error::OnPurpose {
                    is_permanent: true,
                    ..
                })
            )
        };
        assert_eq!((is_permanent(&skip), is_permanent(&error)), (false, true));
    }

    #[test]
    fn a_share_is_a_share() {
        let strikes = |skip_percent| {
            let fuzz = Fuzz {
                skip_percent,
                ..Fuzz::default()
            };
            (0..4000).filter(|_| fuzz.strike(Run(1)).is_err()).count()
        };
        // Chance fails each of these once in 10^17 times.
        assert!(strikes(99) < 4000);
        assert!((1500..2500).contains(&strikes(50)));
    }
}
