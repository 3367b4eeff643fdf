//! What the archiver needs of the system, each in one place: how long it waits
//! for others, how it tries again, addresses, characters, the boot.

pub mod boot;
pub mod patience;
pub mod process;
pub mod retry;
pub mod sync;
pub mod text;
pub mod url;
