//! The picture of a source: what became of each run, along the run numbers.
//!
//! A strip has few columns, however many runs there are. A column shows the
//! shares of its runs, one above the other; a share that would be too small to
//! see is drawn larger, so that one failed run in a million is not lost.

use crate::run::Run;
use crate::run_set::RunSet;

/// Columns of a strip, at most: with four classes at most 1,000 rectangles.
const COLUMNS: u128 = 250;

/// What became of a run at a source, from the bottom of the picture to the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The source has it.
    Archived,
    /// A source before this one has it, and it is no failure.
    Pending,
    /// No source before this one has it, nor has this one.
    Missing,
    /// It is in a failure log.
    Failed,
}

impl Class {
    /// All of them, as they are stacked.
    pub const ALL: [Class; 4] = [
        Class::Archived,
        Class::Pending,
        Class::Missing,
        Class::Failed,
    ];

    /// The word of the legend, and the name in the style sheet.
    pub fn name(self) -> &'static str {
        match self {
            Class::Archived => "archived",
            Class::Pending => "pending",
            Class::Missing => "missing",
            Class::Failed => "failed",
        }
    }

    /// The least share of a column that it is drawn with.
    fn least_share(self) -> f64 {
        match self {
            Class::Archived => 0.0,
            Class::Pending | Class::Missing => 0.15,
            Class::Failed => 1.0,
        }
    }
}

/// The runs of each class, in the order of [`Class::ALL`].
pub type Classes = [RunSet; 4];

/// A part of a strip in which nothing changes. Lengths are shares of the strip's.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The first run number.
    pub first: Run,
    /// The last one.
    pub last: Run,
    /// Where it begins.
    pub x: f64,
    /// How wide it is.
    pub width: f64,
    /// How many runs of each class it stands for.
    pub counts: [u64; 4],
    /// How high each class is drawn; together 1.
    pub heights: [f64; 4],
}

/// The columns of a strip from `first` to `last`.
pub fn columns(classes: &Classes, first: Run, last: Run) -> Vec<Column> {
    let span = u128::from(last.0.saturating_sub(first.0)) + 1;
    let number = span.min(COLUMNS);
    let column_of = |run: u64| u128::from(run - first.0) * number / span;
    let begin_of = |column: u128| (column * span).div_ceil(number);

    let mut counts = vec![[0_u64; 4]; number as usize];
    for (class, runs) in classes.iter().enumerate() {
        for range in runs.ranges() {
            let (from, to) = (range.start().0.max(first.0), range.end().0.min(last.0));
            if from > to {
                continue;
            }
            for column in column_of(from)..=column_of(to) {
                let begin = u128::from(from - first.0).max(begin_of(column));
                let end = u128::from(to - first.0).min(begin_of(column + 1) - 1);
                let (column, many) = (column as usize, (end - begin + 1) as u64);
                counts[column][class] += many;
            }
        }
    }

    let mut columns: Vec<Column> = Vec::new();
    for (column, counts) in (0_u128..).zip(counts) {
        let heights = heights(counts);
        #[expect(clippy::cast_precision_loss, reason = "at most COLUMNS")]
        let (x, width) = (column as f64 / number as f64, 1.0 / number as f64);
        #[expect(clippy::cast_possible_truncation, reason = "within the strip")]
        let end = Run(first.0 + (begin_of(column + 1) - 1) as u64);
        match columns.last_mut() {
            Some(before) if before.heights == heights => {
                before.last = end;
                before.width += width;
                for (sum, more) in before.counts.iter_mut().zip(counts) {
                    *sum = sum.saturating_add(more);
                }
            }
            _ => {
                #[expect(clippy::cast_possible_truncation, reason = "within the strip")]
                let begin = Run(first.0 + begin_of(column) as u64);
                columns.push(Column {
                    first: begin,
                    last: end,
                    x,
                    width,
                    counts,
                    heights,
                });
            }
        }
    }
    columns
}

fn heights(counts: [u64; 4]) -> [f64; 4] {
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let total = counts.iter().map(|count| *count as f64).sum::<f64>();
    let mut heights = [0.0; 4];
    for ((height, class), count) in heights.iter_mut().zip(Class::ALL).zip(counts) {
        if count > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a picture")]
            let share = count as f64 / total;
            *height = share.max(class.least_share());
        }
    }
    let sum: f64 = heights.iter().sum();
    heights.map(|height| if sum > 0.0 { height / sum } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn classes(sets: [&str; 4]) -> Classes {
        sets.map(|set| match set {
            "" => RunSet::default(),
            set => RunSet::parse(set).unwrap(),
        })
    }

    #[test]
    fn a_few_runs_are_shown_one_by_one() {
        let found = columns(&classes(["1-4,6", "5", "", ""]), Run(1), Run(6));
        let shown: Vec<_> = found.iter().map(|c| (c.first.0, c.last.0)).collect();
        assert_eq!(shown, [(1, 4), (5, 5), (6, 6)]);
        assert_eq!(found[0].counts, [4, 0, 0, 0]);
        assert!((found[0].width - 4.0 / 6.0).abs() < 1e-9);
        assert_eq!(found[1].heights, [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn one_failure_in_a_million_can_be_seen() {
        let sets = classes(["1-499999,500001-1000000", "", "", "500000"]);
        let found = columns(&sets, Run(1), Run(1_000_000));
        assert_eq!(found.len(), 3);
        assert!(found[1].heights[3] > 0.4);
        assert_eq!(found[1].counts, [3999, 0, 0, 1]);
    }

    #[test]
    fn all_numbers_there_are() {
        let sets = classes(["0-18446744073709551615", "", "", ""]);
        let found = columns(&sets, Run(0), Run(u64::MAX));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].last, Run(u64::MAX));
    }

    proptest! {
        #[test]
        fn every_run_is_counted_once(
            runs in prop::collection::btree_set(1_u64..3000, 1..200),
        ) {
            let archived: RunSet = runs.iter().copied().map(Run).collect();
            let (first, last) = (Run(1), Run(3000));
            let missing = RunSet::all_of(first..=last).difference(&archived);
            let sets = [archived, RunSet::default(), missing, RunSet::default()];
            let found = columns(&sets, first, last);
            prop_assert!(found.len() <= 250);
            let sum = |class: usize| found.iter().map(|c| c.counts[class]).sum::<u64>();
            prop_assert_eq!(sum(0), runs.len() as u64);
            prop_assert_eq!(sum(0) + sum(2), 3000);
            prop_assert!(found.windows(2).all(|pair| pair[0].last.0 + 1 == pair[1].first.0));
            prop_assert!((found.iter().map(|c| c.width).sum::<f64>() - 1.0).abs() < 1e-6);
        }
    }
}
