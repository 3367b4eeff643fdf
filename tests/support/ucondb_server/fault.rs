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
