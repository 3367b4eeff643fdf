//! What the code under test logged, of this test alone.

use std::cell::RefCell;
use std::sync::Once;

use log::{Level, LevelFilter, Log, Metadata, Record};

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        LINES.with_borrow_mut(|lines| lines.push((record.level(), record.args().to_string())));
    }

    fn flush(&self) {}
}

/// Begins to listen. Call it before the code under test.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).expect("the only logger");
        log::set_max_level(LevelFilter::Trace);
    });
}

/// The lines logged in this thread so far, of this level and the louder ones.
pub fn logged(level: Level) -> Vec<String> {
    LINES.with_borrow(|lines| {
        let loud = lines.iter().filter(|(of, _)| *of <= level);
        loud.map(|(_, line)| line.clone()).collect()
    })
}
