//! Trying again what failed: how often, after which pauses, and no longer once the
//! execution is to end.

use std::time::Duration;

use crate::clock;
use crate::shutdown::Shutdown;

/// No server is believed that asks for a longer pause than this. One that sends
/// the largest number there is would overflow every sum.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How what failed is tried again.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; at least one is made.
    pub attempts: u32,
    /// The pause after the first attempt; it doubles with each one.
    pub pause: Duration,
    /// No pause is longer, whatever the server asks for.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            attempts: 4,
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
        }
    }
}

impl RetryPolicy {
    /// The pause after attempt number `attempt` (from 1). What the server
    /// asked for is the least; half as much again at random keeps workers that
    /// failed together from coming back together.
    #[must_use]
    pub fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = 1_u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let pause = self.pause.saturating_mul(doubled);
        let pause = asked.map_or(pause, |asked| pause.max(asked));
        // Bounded before the product, which would panic on an overflow.
        pause
            .min(self.longest_pause)
            .mul_f64(1.0 + fastrand::f64() / 2.0)
            .min(self.longest_pause)
    }
}

/// What is done about an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: another attempt would fail, too.
    GiveUp,
    /// It is tried again, as long as the policy allows it.
    Again {
        /// The pause for which the server asked.
        asked: Option<Duration>,
    },
}

/// Another attempt that is about to be made, after a pause.
#[derive(Debug, Clone, Copy)]
pub struct Again {
    /// The pause before it.
    pub pause: Duration,
    /// Its number, from 2.
    pub attempt: u32,
}

/// Why there was no further attempt, with the last failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped<E> {
    /// It would have failed again, or the policy allowed none.
    Failed(E),
    /// The execution is to end: the failure says nothing of what was attempted.
    Interrupted(E),
}

impl<E> Stopped<E> {
    /// The last failure, whatever ended the attempts.
    pub fn into_failure(self) -> E {
        match self {
            Stopped::Failed(failure) | Stopped::Interrupted(failure) => failure,
        }
    }
}

/// Makes `attempt` until it succeeds, fails for good, has had its chances, or the
/// execution is to end. `judge` says of each failure what is done about it, and
/// `announce` is told of each pause.
///
/// # Errors
/// The last failure.
pub fn retry<T, E>(
    policy: &RetryPolicy,
    shutdown: &Shutdown,
    mut attempt: impl FnMut() -> Result<T, E>,
    mut judge: impl FnMut(&E) -> Next,
    mut announce: impl FnMut(&E, Again),
) -> Result<T, Stopped<E>> {
    let mut made = 1;
    loop {
        let failure = match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let asked = match judge(&failure) {
            Next::Again { asked } if made < policy.attempts => asked,
            _ => return Err(Stopped::Failed(failure)),
        };
        let pause = policy.pause(made, asked);
        made += 1;
        let again = Again {
            pause,
            attempt: made,
        };
        announce(&failure, again);
        if shutdown.wait(clock::pause(pause)) {
            return Err(Stopped::Interrupted(failure));
        }
    }
}

/// What a `Retry-After` header asks for: seconds, or the time to wait for; at most
/// a day. `None` if it says neither.
#[must_use]
pub fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let asked = if is_number {
        // More than fits is more than the longest.
        value.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
        Duration::try_from(until.duration_since(clock::actual())).unwrap_or_default()
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(attempts: u32) -> RetryPolicy {
        RetryPolicy {
            attempts,
            pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(5),
        }
    }

    #[test]
    fn pauses_double_and_are_bounded() {
        let policy = RetryPolicy {
            attempts: 9,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(10),
        };
        for (attempt, least) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (60, 10)] {
            let pause = policy.pause(attempt, None);
            assert!(pause >= Duration::from_secs(least), "{attempt}: {pause:?}");
            assert!(pause <= Duration::from_secs(10), "{attempt}: {pause:?}");
            assert!(pause.as_secs_f64() <= least as f64 * 1.5);
        }
        assert!(policy.pause(1, Some(Duration::from_secs(7))) >= Duration::from_secs(7));
        for asked in [Duration::from_secs(3600), Duration::MAX] {
            assert_eq!(policy.pause(1, Some(asked)), Duration::from_secs(10));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 12 "), Some(Duration::from_secs(12)));
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert!(retry_after("Fri, 01 Jan 2100 00:00:00 GMT").unwrap() > Duration::from_secs(3600));
        for nonsense in ["soon", "-1", "+1", "", "1.5"] {
            assert_eq!(retry_after(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn no_retry_after_is_too_large() {
        for huge in [
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999",
            "Thu, 30 Dec 9999 00:00:00 GMT",
        ] {
            let asked = retry_after(huge);
            assert_eq!(asked, Some(LONGEST_RETRY_AFTER), "{huge}");
            let policy = RetryPolicy::default();
            assert_eq!(policy.pause(1, asked), policy.longest_pause);
        }
    }

    #[test]
    fn an_attempt_is_repeated_as_often_as_the_policy_allows() {
        let shutdown = Shutdown::default();
        let again = |_: &u32| Next::Again { asked: None };
        let mut made = 0;
        let mut announced = Vec::new();
        let attempt = || {
            made += 1;
            Err::<(), u32>(made)
        };
        let note = |_: &u32, again: Again| announced.push(again.attempt);
        let stopped = retry(&policy(3), &shutdown, attempt, again, note);
        assert_eq!(stopped, Err(Stopped::Failed(3)));
        assert_eq!(announced, [2, 3]);
        let stopped = retry(
            &policy(3),
            &shutdown,
            || Err::<(), _>(7),
            |_| Next::GiveUp,
            |_, _| panic!("it gave up"),
        );
        assert_eq!(stopped, Err(Stopped::Failed(7)));
        let mut results = [Err(1), Ok(2)].into_iter();
        let second = retry(
            &policy(3),
            &shutdown,
            || results.next().unwrap(),
            again,
            |_, _| {},
        );
        assert_eq!(second, Ok(2));
    }

    #[test]
    fn a_shutdown_ends_the_attempts() {
        let shutdown = Shutdown::default();
        shutdown.request("test");
        let long = RetryPolicy {
            attempts: 9,
            pause: Duration::from_secs(60),
            longest_pause: Duration::from_secs(60),
        };
        let again = |_: &u32| Next::Again { asked: None };
        let stopped = retry(&long, &shutdown, || Err::<(), _>(1), again, |_, _| {});
        assert_eq!(stopped, Err(Stopped::Interrupted(1)));
    }
}
