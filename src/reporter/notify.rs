//! Tells people of an execution in which runs failed or a stage stopped: one
//! message an execution, by mail and to Slack.
//!
//! A notification never changes how an execution ends, and never keeps it for
//! longer than `reporting.timeout_seconds`.

mod email;
mod notice;
mod slack;

use std::thread;
use std::time::{Duration, Instant};

pub use self::email::Mailer;
pub use self::notice::{Context, Notice, StageNotice};
pub use self::slack::Slack;
use crate::config::Reporting;
use crate::deadline::{self, Overdue};
use crate::reporter::summary::Summary;
use crate::shutdown::Shutdown;

/// The pause before a message is tried once more.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a notice goes.
pub trait Channel: Send {
    /// The channel in messages: `mail to team@example.com`.
    fn name(&self) -> String;

    /// Delivers a notice; gives up at `until`.
    ///
    /// # Errors
    /// Why nobody, or not everybody, got it.
    fn deliver(&self, notice: &Notice, until: Instant) -> Result<(), Failure>;
}

/// Why a notice was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The cause and the way out.
    pub problem: String,
    /// After which time another attempt makes sense; `None` if none does.
    pub again: Option<Duration>,
}

impl Failure {
    /// A failure that another attempt won't mend.
    pub fn lasting(problem: impl Into<String>) -> Failure {
        Failure {
            problem: problem.into(),
            again: None,
        }
    }

    /// A failure that may pass.
    pub fn passing(problem: impl Into<String>) -> Failure {
        Failure {
            problem: problem.into(),
            again: Some(PAUSE),
        }
    }
}

/// Sends a notice of what went wrong, if anything did, to everyone whom the
/// configuration names. What can't be delivered is logged.
pub fn send(reporting: &Reporting, summary: &Summary, context: &Context, shutdown: &Shutdown) {
    if !reporting.email.enabled && !reporting.slack.enabled {
        return;
    }
    let Some(notice) = Notice::of(summary, context, shutdown.requested()) else {
        return;
    };
    let mut channels: Vec<Box<dyn Channel>> = Vec::new();
    if reporting.email.enabled {
        match Mailer::new(&reporting.email) {
            Ok(mailer) => channels.push(Box::new(mailer)),
            Err(problem) => log::error!("No notification by mail: {problem}"),
        }
    }
    if reporting.slack.enabled {
        match Slack::new(&reporting.slack) {
            Ok(slack) => channels.push(Box::new(slack)),
            Err(problem) => log::error!("No notification to Slack: {problem}"),
        }
    }
    deliver(channels, &notice, reporting.timeout_seconds, shutdown);
}

/// Delivers to all channels at once, so that one that hangs holds up no other.
fn deliver(channels: Vec<Box<dyn Channel>>, notice: &Notice, limit: Duration, shutdown: &Shutdown) {
    let until = Instant::now() + limit;
    let pending: Vec<_> = channels
        .into_iter()
        .map(|channel| {
            let name = channel.name();
            log::info!("Sending a notification: {name}");
            let notice = notice.clone();
            let work = move || persist(channel.as_ref(), &notice, until);
            (name, deadline::start("notify", limit, work))
        })
        .collect();
    for (name, pending) in pending {
        match pending.wait(shutdown) {
            Ok(Ok(())) => log::info!("Notification sent: {name}"),
            Ok(Err(failure)) => log::error!("Notification failed: {name}: {}", failure.problem),
            Err(Overdue::Late) => log::error!(
                "Notification failed: {name}: not done within {} s; see \
                 reporting.timeout_seconds",
                limit.as_secs_f64()
            ),
            Err(Overdue::Shutdown) => {
                log::error!("Notification failed: {name}: not done before the shutdown");
            }
            Err(Overdue::Broken) => {
                log::error!("Notification failed: {name}: the attempt panicked; see stderr");
            }
        }
    }
}

/// Delivers, with a second attempt where that makes sense and there is time.
fn persist(channel: &dyn Channel, notice: &Notice, until: Instant) -> Result<(), Failure> {
    let first = channel.deliver(notice, until);
    let Err(Failure {
        problem,
        again: Some(pause),
    }) = &first
    else {
        return first;
    };
    if Instant::now() + *pause >= until {
        return first;
    }
    log::warn!(
        "{}: {problem}; trying again in {} s",
        channel.name(),
        pause.as_secs_f64()
    );
    thread::sleep(*pause);
    channel.deliver(notice, until)
}
