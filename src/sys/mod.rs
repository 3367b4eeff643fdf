//! What the archiver needs of the system, each in one place: how long it waits
//! for others.

pub mod patience;
