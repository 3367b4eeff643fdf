//! A program's time, CPU time and memory, as the system accounts them.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a program took from its start to its end.
pub struct Measured {
    /// On the clock.
    pub wall: Duration,
    /// On all processors, in user mode and in the kernel.
    pub cpu: Duration,
    /// The most memory it had at a time, in bytes.
    pub memory: u64,
}

/// Runs a program, which must succeed.
pub fn measure(command: &mut Command) -> Measured {
    measure_until(command, 0)
}

/// Runs a program, which must end with this exit code.
pub fn measure_until(command: &mut Command, code: i32) -> Measured {
    let cpu = children_cpu();
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("the archiver");
    let mut memory = 0;
    let status = loop {
        memory = peak(child.id()).unwrap_or(memory);
        match child.try_wait().expect("its status") {
            Some(status) => break status,
            None => sleep(Duration::from_millis(1)),
        }
    };
    let wall = started.elapsed();
    assert_eq!(status.code(), Some(code), "{status}");
    Measured {
        wall,
        cpu: children_cpu() - cpu,
        memory,
    }
}

/// The most memory that a process had so far, in bytes.
fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The CPU time of all programs that this one started and that have ended.
fn children_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    // Behind the name, which can hold anything: fields 3 and on.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks: u32 = fields
        .split_whitespace()
        .skip(13)
        .take(2)
        .map(|ticks| ticks.parse::<u32>().expect("a number"))
        .sum();
    // Linux counts 100 a second for user space, whatever its own clock.
    Duration::from_millis(10) * ticks
}
