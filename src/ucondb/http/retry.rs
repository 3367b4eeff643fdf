//! Trying again: how often, and after which pause.

use std::time::Duration;

/// How a call that failed is tried again.
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
    /// asked for is the least; half as much again at random keeps the workers
    /// from coming back all at once.
    pub(super) fn pause(&self, attempt: u32, asked: Option<Duration>) -> Duration {
        let doubled = 1_u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let pause = self.pause.saturating_mul(doubled).min(self.longest_pause);
        let pause = asked.map_or(pause, |asked| pause.max(asked));
        pause
            .mul_f64(1.0 + fastrand::f64() / 2.0)
            .min(self.longest_pause)
    }
}

/// What a `Retry-After` header asks for: seconds, or the time to wait for.
pub(super) fn retry_after(value: &str) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            policy.pause(1, Some(Duration::from_secs(3600))),
            Duration::from_secs(10)
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 12 "), Some(Duration::from_secs(12)));
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        assert!(retry_after("Fri, 01 Jan 2100 00:00:00 GMT").unwrap() > Duration::from_secs(3600));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("-1"), None);
    }
}
