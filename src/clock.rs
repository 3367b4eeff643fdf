//! The time of day, asked for in one place, so that tests can simulate a year.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// Returns the time of now.
///
/// Built with the feature `fault-injection`, which is for tests alone, the
/// environment variable `RUN_RECORD_ARCHIVER_NOW` is the time at which the process
/// started, in seconds since 1970.
#[must_use]
pub fn now() -> Timestamp {
    #[cfg(feature = "fault-injection")]
    if let Some(time) = simulated() {
        return time;
    }
    actual()
}

/// Returns the time that the system has, also where another one is simulated. Behind
/// the year 9999 it is the last that there is.
#[must_use]
pub fn actual() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MAX)
}

/// Returns the same as the time of this machine's time zone.
#[must_use]
pub fn local() -> ZonedDateTime {
    actual().to_zoned_datetime(TimeZone::system())
}

/// Returns how long a pause before another attempt is: as long as asked for.
///
/// Where the time is simulated, a hundredth of it.
#[must_use]
pub fn pause(time: Duration) -> Duration {
    #[cfg(feature = "fault-injection")]
    if simulated().is_some() {
        return time / 100;
    }
    time
}

#[cfg(feature = "fault-injection")]
fn simulated() -> Option<Timestamp> {
    use std::sync::LazyLock;
    use std::time::Instant;

    static START: LazyLock<Option<(Timestamp, Instant)>> = LazyLock::new(|| {
        let seconds = std::env::var("RUN_RECORD_ARCHIVER_NOW").ok()?;
        let start = Timestamp::from_second(seconds.parse().ok()?).ok()?;
        Some((start, Instant::now()))
    });
    let (start, began) = (*START)?;
    start.checked_add(began.elapsed()).ok()
}
