//! Tests that repeat much and leave much to chance. The test command runs a few
//! minutes of them, `tests/long.sh` hours.

mod faulty;
mod support;

mod bad_input;
mod bad_memory;
mod every_message;
mod every_operation;
mod every_request;
mod full_disk;
mod kill_storm;
mod many_hands;
mod real_outages;
mod soak;
mod two_archivers;
mod year;
