//! The Run Record Archiver: run records of artdaq experiments go into artdaqDB
//! and from there into UconDB, verified.
//!
//! `docs/` of the repository has the design. Dependencies point one way: the
//! stages use the databases, the databases use FHiCL, and never back.

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod app;
pub mod artdaqdb;
pub mod blob;
pub mod check;
pub mod cli;
pub mod clock;
pub mod comparison;
pub mod config;
pub mod deadline;
pub mod disk;
pub mod durable;
pub mod error;
pub mod exposure;
pub mod extract;
pub mod faults;
pub mod fhicl;
pub mod lock;
pub mod logging;
pub mod pipeline;
pub mod regular_file;
pub mod reporter;
pub mod run;
pub mod run_list;
pub mod run_record;
pub mod run_set;
pub mod service;
pub mod shutdown;
pub mod state;
pub mod sys;
pub mod tls;
pub mod ucondb;
pub mod verify;
