//! What the archiver itself needs to know from metadata.txt.

/// The facts of a metadata.txt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The value of `Config name:`, sub-configurations joined by a space.
    pub config_name: Option<&'a str>,
    /// The components, in the order in which they stand.
    pub components: Vec<&'a str>,
    /// Start and stop times, in the order in which they stand.
    pub times: Vec<(Time, &'a str)>,
}

/// Which of the two times that are appended to metadata.txt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// `DAQInterface start time`.
    Start,
    /// `DAQInterface stop time`: the run is over.
    Stop,
}

/// The keys of the times.
pub(super) const TIMES: [(&str, Time); 2] = [
    ("DAQInterface start time", Time::Start),
    ("DAQInterface stop time", Time::Stop),
];

/// The key of the configuration name.
pub(super) const CONFIG_NAME: &str = "Config name";

impl<'a> Facts<'a> {
    /// Reads them from the text of a metadata.txt.
    #[must_use]
    pub fn read(text: &'a str) -> Facts<'a> {
        let mut facts = Facts::default();
        for line in written(text).0.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            if value.is_empty() {
                continue;
            }
            if key == CONFIG_NAME {
                facts.config_name.get_or_insert(value);
            } else if is_component(key) {
                facts.components.push(value);
            } else if let Some((_, time)) = TIMES.iter().find(|(name, _)| *name == key) {
                facts.times.push((*time, value));
            }
        }
        facts
    }

    /// Whether the run is over.
    #[must_use]
    pub fn has_stop_time(&self) -> bool {
        self.times.iter().any(|(time, _)| *time == Time::Stop)
    }
}

/// Whether a line of metadata.txt is a time that is added while the run goes on.
#[must_use]
pub fn is_time(line: &str) -> bool {
    let key = line.split_once(':').map(|(key, _)| key.trim());
    TIMES.iter().any(|(name, _)| Some(*name) == key)
}

/// Whether a key of metadata.txt names a component.
pub(super) fn is_component(key: &str) -> bool {
    key.strip_prefix("Component #").is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Splits off a last line that is still being written: the beginning of a time
/// that has neither its line end nor its year yet.
pub(super) fn written(text: &str) -> (&str, Option<&str>) {
    let start = text.rfind('\n').map_or(0, |at| at + 1);
    let last = &text[start..];
    let unfinished = !last.is_empty()
        && TIMES.iter().any(|(key, _)| match last.strip_prefix(key) {
            Some(value) => !ends_with_year(value),
            None => key.starts_with(last),
        });
    if unfinished {
        (&text[..start], Some(last))
    } else {
        (text, None)
    }
}

fn ends_with_year(value: &str) -> bool {
    value
        .split_whitespace()
        .last()
        .is_some_and(|year| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_once_it_is_whole() {
        let whole = "DAQInterface stop time: Mon Jan  5 09:09:41 UTC 2026";
        for end in 0..whole.len() {
            let facts = Facts::read(&whole[..end]);
            assert!(!facts.has_stop_time(), "{:?}", &whole[..end]);
        }
        assert!(Facts::read(whole).has_stop_time());
        assert!(Facts::read("DAQInterface stop time: whenever\n").has_stop_time());
        assert!(!Facts::read("DAQInterface stop time: \n").has_stop_time());
    }
}
