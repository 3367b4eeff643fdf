//! The name of this process in the system's lists.

/// What `ps -o comm`, `top` and `pgrep` show: at most 15 bytes.
pub const NAME: &str = "run_archiver";

/// Gives the process its name, from its main thread. The operations manual looks for
/// it with `top | grep run_archiver`.
pub fn take_name() {
    // Without it the process has the name of its program.
    let _ = rustix::thread::set_name(c"run_archiver");
}
