//! What the archiver needs of the system, each in one place: how long it waits
//! for others, and how it tries again.

pub mod patience;
pub mod retry;
