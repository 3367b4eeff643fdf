//! What goes wrong, and when.

use std::time::Duration;

use super::wire::{Head, Reply};

/// What the server does to a request. Counts are of bytes of the body.
#[derive(Debug, Clone)]
pub enum Action {
    /// Answers after a pause.
    Delay(Duration),
    /// Resets the connection after so much of the request's body.
    ResetRequestAfter(u64),
    /// Reads no further after so much of the request's body.
    StallRequestAfter(u64),
    /// Does what was asked and resets the connection instead of answering.
    LoseAnswer,
    /// Does what was asked and never answers.
    StallAnswer,
    /// Closes the connection after so much of the answer's body.
    CloseAnswerAfter(u64),
    /// Resets the connection after so much of the answer's body.
    ResetAnswerAfter(u64),
    /// Sends no more after so much of the answer's body.
    StallAnswerAfter(u64),
    /// Changes a byte of the answer's body.
    ChangeAnswer,
    /// Changes a byte of what is stored.
    ChangeStored,
    /// Leaves out the headers of UconDB's own.
    DropHeaders,
    /// Answers this when the body is read.
    Answer(Reply),
    /// Answers this before the body is read, and closes the connection.
    AnswerEarly(Reply),
    /// Begins an answer with these bytes, headers included, and goes on with the
    /// last of them for as long as the client takes it.
    Endless(Vec<u8>),
    /// Writes these bytes when the body is read, and closes the connection.
    Raw(Vec<u8>),
}

/// An action and the requests that it happens to.
#[derive(Debug, Clone)]
pub struct Fault {
    method: &'static str,
    within: String,
    without: Option<&'static str>,
    skip: u32,
    times: u32,
    action: Option<Action>,
}

impl Fault {
    /// Of the requests with this method whose target holds this, the first.
    /// An empty method is any.
    pub fn on(method: &'static str, within: &str) -> Fault {
        Fault {
            method,
            within: within.to_owned(),
            without: None,
            skip: 0,
            times: 1,
            action: None,
        }
    }

    /// A fault of any kind that passes, of the request of that number.
    pub fn passing(request: u32, random: &mut fastrand::Rng) -> Fault {
        let any = Fault::on("", "").after(request);
        any.then(match random.u8(..10) {
            0 => Action::ResetRequestAfter(random.u64(..2000)),
            1 => Action::LoseAnswer,
            2 => Action::CloseAnswerAfter(random.u64(..40)),
            3 => Action::ResetAnswerAfter(random.u64(..40)),
            4 => Action::Answer(Reply::html(500, "Server Error")),
            5 => Action::Answer(Reply::html(502, "Bad Gateway")),
            6 => Action::AnswerEarly(Reply::text(503, "Service unavailable")),
            7 => Action::Raw(b"HTTP/1.1 503 Service unavailable\n\n".to_vec()),
            8 => Action::Delay(Duration::from_millis(random.u64(..500))),
            _ => Action::StallAnswer,
        })
    }

    /// Of the requests for a blob, the one of that number: only a blob has a
    /// checksum that tells whether it was changed.
    pub fn on_blob(request: u32) -> Fault {
        Fault::on("GET", "/data/")
            .without("meta_only")
            .after(request)
    }

    /// Only those whose target does not hold this.
    pub fn without(mut self, text: &'static str) -> Fault {
        self.without = Some(text);
        self
    }

    /// Not the first so many.
    pub fn after(mut self, requests: u32) -> Fault {
        self.skip = requests;
        self
    }

    /// So many requests.
    pub fn times(mut self, times: u32) -> Fault {
        self.times = times;
        self
    }

    /// Every request.
    pub fn always(self) -> Fault {
        self.times(u32::MAX)
    }

    /// What happens to them.
    pub fn then(mut self, action: Action) -> Fault {
        self.action = Some(action);
        self
    }

    /// The action, if it is due for this request, which is counted.
    pub(super) fn take(&mut self, head: &Head) -> Option<Action> {
        let matches = (self.method.is_empty() || self.method == head.method)
            && head.target.contains(&self.within)
            && self.without.is_none_or(|text| !head.target.contains(text));
        if !matches {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if self.times == 0 {
            return None;
        }
        self.times -= 1;
        self.action.clone()
    }
}
