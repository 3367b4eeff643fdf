//! The processes that a record names: each has an .fcl file in a whole record.

use std::collections::BTreeSet;

use crate::run_record::convert::{self, Facts};

/// The files that name processes.
pub(super) const SOURCES: [&str; 3] = ["metadata.txt", "boot.txt", "ranks.txt"];

/// Returns the labels that the sources name. `text` returns the text of a source
/// that is there.
pub(super) fn named<'a>(text: impl Fn(&str) -> Option<&'a str>) -> BTreeSet<String> {
    let mut labels: BTreeSet<String> = BTreeSet::new();
    for source in SOURCES {
        let Some(text) = text(source) else { continue };
        let found: Vec<&str> = match source {
            "metadata.txt" => Facts::read(text).components,
            "boot.txt" => convert::boot::labels(text),
            _ => convert::ranks::labels(text),
        };
        let plain = found.into_iter().map(|label| label.trim_matches('"'));
        labels.extend(plain.filter(|label| !label.is_empty()).map(str::to_owned));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_named(source: &str, text: &str, labels: &[&str]) {
        let found = named(|asked| (asked == source).then_some(text));
        assert_eq!(found.iter().collect::<Vec<_>>(), labels, "{source}: {text}");
    }

    #[test]
    fn each_source_names_processes_in_its_way() {
        let metadata = "Config name: a\nComponent #0: pmt01\nComponent #12: crt-3\nComponents: x\n";
        assert_named("metadata.txt", metadata, &["crt-3", "pmt01"]);
        let boot = "EventBuilder host: localhost\nEventBuilder label: evb1\n\n\
                    #EventBuilder label: evb2\n\nDispatcher label: \"disp\" # the only one\n\
                    Dispatcher port: 5\nlabel: x\n";
        assert_named("boot.txt", boot, &["disp", "evb1"]);
        let ranks = "host  port label subsystem rank\n\nh1 11100 tpc01 1 0\nh2 11101 tpc02 1 1\n\
                     h3 11102 tpc03 2\n# h4 1 tpc04 1 3\n";
        assert_named("ranks.txt", ranks, &["tpc01", "tpc02", "tpc03"]);
        let old = "host\tport\tlabel\trank\nh1\t5\tcomponent01\t0\n";
        assert_named("ranks.txt", old, &["component01"]);
        assert_named("ranks.txt", "h1 5 component01 0\n", &[]);
    }
}
