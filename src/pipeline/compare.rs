//! A record against what artdaqDB has of the run, file by file.

use crate::artdaqdb::Configuration;
use crate::fhicl;
use crate::run::{FclFile, SCHEMA_ENTITY};
use crate::run_record::{Generated, RunRecord, SourceDigests};

/// The keys of the times in RunHistory2 and metadata, in lower case.
const TIMES: [&str; 2] = ["daqinterface_start_time:", "daqinterface_stop_time:"];

/// How a record differs from what artdaqDB has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// What artdaqDB lacks: files, and times that the run has by now.
    pub(super) lacks: Vec<FclFile>,
    /// The files of the record that are others than those that were archived.
    pub(super) changed: Vec<String>,
    /// The entities that would be made in another way from the same source.
    pub(super) converted: Vec<String>,
    /// Entities that artdaqDB has and the record does not have any more.
    pub(super) gone: Vec<String>,
    /// Whether artdaqDB has the stop time.
    pub(super) has_stop_time: bool,
}

impl Difference {
    /// Compares. `before` tells the .txt files at the import, if they are known.
    pub(super) fn of(
        record: &RunRecord,
        stored: &Configuration,
        before: Option<&SourceDigests>,
    ) -> Difference {
        let mut found = Difference::default();
        let stored_text = |entity: &str| {
            let mut files = stored.files.iter();
            files
                .find(|it| it.entity == entity)
                .map(|it| it.text.as_str())
        };
        let history = Generated::RunHistory2.entity();
        found.has_stop_time = stored_text(history).is_some_and(has_stop_time);
        for file in record.files.iter().chain(&record.update.files) {
            let generated = record
                .generated
                .iter()
                .copied()
                .find(|one| one.entity() == file.entity);
            let name = match generated {
                Some(generated) => generated.source().to_owned(),
                None => format!("{}.fcl", file.entity),
            };
            let Ok(tree) = fhicl::parse(&file.text) else {
                found.note_changed(name);
                continue;
            };
            let text = fhicl::write(&tree);
            let Some(old) = stored_text(&file.entity) else {
                found.lacks.push(file.clone());
                continue;
            };
            if old == text {
                continue;
            }
            match generated {
                Some(Generated::RunHistory2) if gained_times(old, &text) => {
                    found.lacks.push(file.clone());
                }
                Some(Generated::RunHistory2) => {
                    let mut times = [times(old), times(&text)];
                    times.iter_mut().for_each(|times| times.sort_unstable());
                    match before.is_none() || times[0] == times[1] {
                        true => found.converted.push(file.entity.clone()),
                        false => found.note_changed(name),
                    }
                }
                // The times are in RunHistory2; metadata.fcl stays.
                Some(Generated::Metadata) if gained_times(old, &text) => {}
                Some(generated) => {
                    let place = generated.source_place();
                    let is_same = before.is_none_or(|before| {
                        before[place] == 0 || before[place] == record.sources[place]
                    });
                    match is_same {
                        true => found.converted.push(file.entity.clone()),
                        false => found.note_changed(name),
                    }
                }
                None => found.note_changed(name),
            }
        }
        let files = record.files.iter().chain(&record.update.files);
        for file in &stored.files {
            let is_known = files.clone().any(|it| it.entity == file.entity);
            if file.entity != SCHEMA_ENTITY && !is_known {
                found.gone.push(file.entity.clone());
            }
        }
        found.changed.sort_unstable();
        found
    }

    /// Several files are made from one source.
    fn note_changed(&mut self, name: String) {
        if !self.changed.contains(&name) {
            self.changed.push(name);
        }
    }

    /// The names of what artdaqDB lacks, for an operator.
    pub(super) fn lacking(&self) -> Vec<String> {
        let files = self.lacks.iter();
        files.map(|file| format!("{}.fcl", file.entity)).collect()
    }
}

/// Whether a RunHistory2 as artdaqDB has it says when the run ended.
fn has_stop_time(text: &str) -> bool {
    times(text).iter().any(|line| is_time(line, TIMES[1]))
}

fn is_time(line: &str, key: &str) -> bool {
    let start = line.as_bytes().get(..key.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(key.as_bytes()))
}

/// The lines of a text that are times.
fn times(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    let is_any = |line: &&str| TIMES.iter().any(|key| is_time(line, key));
    lines.filter(is_any).collect()
}

/// Whether a text differs from an older one only in that it has more times.
fn gained_times(old: &str, new: &str) -> bool {
    let others = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim);
        let is_other =
            |line: &&str| !line.is_empty() && !TIMES.iter().any(|key| is_time(line, key));
        lines.filter(is_other).map(str::to_owned).collect()
    };
    let new_times = times(new);
    let mut rest = new_times.iter();
    let old_times = times(old);
    let are_kept = old_times.iter().all(|time| rest.any(|it| it == time));
    are_kept && new_times.len() > old_times.len() && others(old) == others(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "\nDAQInterface_start_time: \"a\" \n";
    const STOP: &str = "\nDAQInterface_stop_time: \"b\" \n";

    #[test]
    fn times_are_gained_only_where_nothing_else_changes() {
        let both = format!("{START}{STOP}");
        assert!(gained_times(START, &both));
        assert!(gained_times(STOP, &format!("{START}{STOP}")));
        assert!(gained_times("", START));
        assert!(!gained_times(&both, START), "lost");
        assert!(!gained_times(&both, &both.replace("\"b\"", "\"c\"")));
        assert!(!gained_times(START, &format!("{both}\nx: 1 \n")));
        assert!(gained_times(
            "\nconfig_name: \"c\" \n",
            "\nconfig_name: \"c\" \n\ndaqinterface_stop_time: \"b\" \n"
        ));
        assert!(has_stop_time(&both) && !has_stop_time(START));
    }
}
