//! Sets of run numbers, kept and written as ranges.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::run::Run;

/// A set of runs as ascending ranges that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunSet {
    ranges: Vec<(u64, u64)>,
}

impl RunSet {
    /// Reads `12500-12600,12700`: run numbers and ranges of them, in any
    /// order, separated by commas; blanks around them do no harm.
    ///
    /// # Errors
    /// What is wrong and what would be right, as one sentence.
    pub fn parse(text: &str) -> Result<RunSet, String> {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| Run::parse(text.trim());
            let (Some(first), Some(last)) = (number(first), number(last)) else {
                return Err(format!(
                    "`{part}` is neither a run number nor a range such as 12500-12600"
                ));
            };
            if first > last {
                return Err(format!(
                    "`{part}` runs backwards: write it as {last}-{first}"
                ));
            }
            ranges.push((first.0, last.0));
        }
        Ok(RunSet::from_ranges(ranges))
    }

    fn from_ranges(mut ranges: Vec<(u64, u64)>) -> RunSet {
        if !ranges.is_sorted() {
            ranges.sort_unstable();
        }
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        RunSet { ranges: merged }
    }

    /// Whether the run is in the set.
    #[must_use]
    pub fn contains(&self, run: Run) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= run.0);
        after > 0 && run.0 <= self.ranges[after - 1].1
    }

    /// Whether the set has no run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many runs are in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(first, last)| (last - first).saturating_add(1))
            .fold(0, u64::saturating_add)
    }

    /// The lowest run.
    #[must_use]
    pub fn first(&self) -> Option<Run> {
        self.ranges.first().map(|(first, _)| Run(*first))
    }

    /// The highest run.
    #[must_use]
    pub fn last(&self) -> Option<Run> {
        self.ranges.last().map(|(_, last)| Run(*last))
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<Run>> + '_ {
        self.ranges
            .iter()
            .map(|(first, last)| Run(*first)..=Run(*last))
    }

    /// Every run, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        self.ranges
            .iter()
            .flat_map(|(first, last)| (*first..=*last).map(Run))
    }

    /// The numbers and ranges of the set that hold none of these runs, as text.
    #[must_use]
    pub fn unmatched(&self, runs: &BTreeSet<Run>) -> Vec<String> {
        let empty = self
            .ranges()
            .filter(|range| runs.range(range.clone()).next().is_none());
        empty
            .map(|range| RunSet::all_of(range).to_string())
            .collect()
    }

    /// The numbers between the lowest and the highest run that are not in the set.
    #[must_use]
    pub fn gaps(&self) -> RunSet {
        RunSet {
            ranges: self
                .ranges
                .windows(2)
                .map(|pair| (pair[0].1 + 1, pair[1].0 - 1))
                .collect(),
        }
    }

    /// Every number of a range; none if it runs backwards.
    #[must_use]
    pub fn all_of(range: RangeInclusive<Run>) -> RunSet {
        let (first, last) = (range.start().0, range.end().0);
        RunSet {
            ranges: (first <= last)
                .then_some((first, last))
                .into_iter()
                .collect(),
        }
    }

    /// The runs of either set.
    #[must_use]
    pub fn union(&self, other: &RunSet) -> RunSet {
        let (mut one, mut two) = (self.ranges.as_slice(), other.ranges.as_slice());
        let mut both = Vec::with_capacity(one.len() + two.len());
        while let ([first, rest_of_one @ ..], [second, rest_of_two @ ..]) = (one, two) {
            if first <= second {
                both.push(*first);
                one = rest_of_one;
            } else {
                both.push(*second);
                two = rest_of_two;
            }
        }
        both.extend_from_slice(one);
        both.extend_from_slice(two);
        RunSet::from_ranges(both)
    }

    /// The runs of this set that the other one lacks. Like [`union`](Self::union)
    /// it works on the ranges, however many runs they hold.
    #[must_use]
    pub fn difference(&self, other: &RunSet) -> RunSet {
        let mut ranges = Vec::new();
        let mut taken = other.ranges.iter().peekable();
        for &(first, last) in &self.ranges {
            let mut from = Some(first);
            while let (Some(start), Some(&&(cut, until))) = (from, taken.peek()) {
                if until < start {
                    taken.next();
                    continue;
                }
                if cut > last {
                    break;
                }
                if cut > start {
                    ranges.push((start, cut - 1));
                }
                from = until.checked_add(1).filter(|next| *next <= last);
            }
            ranges.extend(from.map(|start| (start, last)));
        }
        RunSet { ranges }
    }

    /// The runs of both sets.
    #[must_use]
    pub fn intersection(&self, other: &RunSet) -> RunSet {
        self.difference(&self.difference(other))
    }
}

/// Linear for runs that come in ascending order, in which databases and
/// directories are read.
impl FromIterator<Run> for RunSet {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> RunSet {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for Run(run) in runs {
            match ranges.last_mut() {
                Some((first, last)) if *first <= run && run <= last.saturating_add(1) => {
                    *last = run.max(*last);
                }
                _ => ranges.push((run, run)),
            }
        }
        RunSet::from_ranges(ranges)
    }
}

/// As the text that [`RunSet::parse`] reads; the empty set as the empty text.
impl Serialize for RunSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RunSet, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim().is_empty() {
            return Ok(RunSet::default());
        }
        RunSet::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl RunSet {
    /// The runs as `--runs` takes them: without blanks.
    #[must_use]
    pub fn argument(&self) -> String {
        self.to_string().replace(' ', "")
    }
}

/// `12000-12100, 12102-12522`; nothing for the empty set.
impl fmt::Display for RunSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes_ranges() {
        for (text, shown, len) in [
            ("12500", "12500", 1),
            ("12500-12600,12700", "12500-12600, 12700", 102),
            (" 5 , 1 - 3 ", "1-3, 5", 4),
            ("3,2,1", "1-3", 3),
            ("1-10,5-20,20-21", "1-21", 21),
            ("1-2,3-4", "1-4", 4),
            ("18446744073709551615", "18446744073709551615", 1),
            ("0-18446744073709551615", "0-18446744073709551615", u64::MAX),
        ] {
            let set = RunSet::parse(text).unwrap();
            assert_eq!(set.to_string(), shown, "{text}");
            assert_eq!(set.len(), len, "{text}");
        }
    }

    #[test]
    fn is_kept_as_text() {
        for text in ["", "5", "1-3, 5"] {
            let json = serde_json::to_string(text).unwrap();
            let set: RunSet = serde_json::from_str(&json).unwrap();
            assert_eq!(serde_json::to_string(&set).unwrap(), json);
        }
        assert!(serde_json::from_str::<RunSet>("\"5-\"").is_err());
    }

    #[test]
    fn refuses_what_is_no_range() {
        for text in ["", ",", "1,", "1-", "-1", "1-2-3", "a", "1..3", "+1", "2-1"] {
            assert!(RunSet::parse(text).is_err(), "{text}");
        }
        assert!(RunSet::parse("9-7").unwrap_err().contains("7-9"));
    }

    #[test]
    fn huge_ranges_cost_nothing() {
        let all = RunSet::all_of(Run(0)..=Run(u64::MAX));
        let few = RunSet::parse("0,7-9,18446744073709551615").unwrap();
        let rest = all.difference(&few);
        assert_eq!(rest.to_string(), "1-6, 10-18446744073709551614");
        assert_eq!(rest.union(&few), all);
        assert!(few.difference(&all).is_empty());
        assert!(RunSet::all_of(Run(2)..=Run(1)).is_empty());
    }

    #[test]
    fn gaps_lie_inside() {
        let set = RunSet::parse("12000-12100,12102-12498").unwrap();
        assert_eq!(set.gaps().to_string(), "12101");
        assert_eq!(
            (set.first(), set.last()),
            (Some(Run(12000)), Some(Run(12498)))
        );
        assert!(RunSet::default().gaps().is_empty());
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(runs in prop::collection::vec(0_u64..60, 0..40)) {
            let expected: BTreeSet<Run> = runs.iter().copied().map(Run).collect();
            let set: RunSet = runs.iter().copied().map(Run).collect();
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), expected.clone());
            prop_assert_eq!(set.len(), expected.len() as u64);
            for run in (0..60).map(Run) {
                prop_assert_eq!(set.contains(run), expected.contains(&run));
            }
            if !set.is_empty() {
                prop_assert_eq!(&RunSet::parse(&set.to_string()).unwrap(), &set);
                let (first, last) = (set.first().unwrap().0, set.last().unwrap().0);
                prop_assert_eq!(set.len() + set.gaps().len(), last - first + 1);
            }
            prop_assert_eq!(expected.into_iter().collect::<RunSet>(), set);
        }

        #[test]
        fn sets_are_added_and_subtracted(
            one in prop::collection::btree_set(0_u64..60, 0..40),
            other in prop::collection::btree_set(0_u64..60, 0..40),
        ) {
            let set = |runs: &BTreeSet<u64>| runs.iter().copied().map(Run).collect::<RunSet>();
            let (a, b) = (set(&one), set(&other));
            prop_assert_eq!(a.union(&b), set(&(&one | &other)));
            prop_assert_eq!(a.difference(&b), set(&(&one - &other)));
            prop_assert_eq!(a.intersection(&b), set(&(&one & &other)));
        }
    }

    #[test]
    fn ranges_are_what_is_written() {
        let set = RunSet::parse("5,1-3").unwrap();
        assert_eq!(
            set.ranges().collect::<Vec<_>>(),
            [Run(1)..=Run(3), Run(5)..=Run(5)]
        );
        assert!(RunSet::default().is_empty() && !set.is_empty());
    }
}
