//! The Run Record Archiver: run records of artdaq experiments go into artdaqDB
//! and from there into UconDB, verified.
//!
//! `docs/` of the repository has the design; modules depend only downward in
//! the order in which they stand here.

pub mod artdaqdb;
pub mod cli;
pub mod config;
pub mod error;
pub mod fhicl;
pub mod lock;
pub mod logging;
pub mod run;
pub mod run_set;
pub mod shutdown;
pub mod ucondb;
