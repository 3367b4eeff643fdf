//! A short unified diff of two texts.

/// Unchanged lines around a change.
const CONTEXT: usize = 1;
/// How many lines are shown of a file.
const SHOWN_LINES: usize = 12;
/// How much of a line is shown, in characters.
const SHOWN_WIDTH: usize = 120;
/// Of a longer line, how much is shown before its first difference.
const LEAD: usize = 40;
/// How large a table of common lines may be. Larger changes are shown as one.
const LARGEST_TABLE: usize = 4_000_000;

/// Returns the changes that lead from `old` to `new`, a few lines of them.
#[must_use]
pub fn unified(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let mut shown = Vec::new();
    let mut hidden = 0;
    let mut show = |line: String, is_change: bool| {
        if shown.len() < SHOWN_LINES {
            shown.push(line);
        } else if is_change {
            hidden += 1;
        }
    };
    let mut after = 0;
    for change in changes(&old, &new) {
        let context = change.old.start.saturating_sub(CONTEXT).max(after);
        let lead = change.old.start - context;
        let trail = (change.old.end + CONTEXT).min(old.len());
        after = trail;
        let place = |start: usize, lines: usize| match lines {
            1 => format!("{}", start + 1),
            0 => format!("{start},0"),
            _ => format!("{},{lines}", start + 1),
        };
        let unchanged = lead + trail - change.old.end;
        let heading = format!(
            "@@ -{} +{} @@",
            place(context, change.old.len() + unchanged),
            place(change.new.start - lead, change.new.len() + unchanged)
        );
        show(heading, false);
        for line in &old[context..change.old.start] {
            show(format!(" {}", cut(line, 0)), false);
        }
        let (gone, come) = (&old[change.old.clone()], &new[change.new.clone()]);
        for (number, line) in gone.iter().enumerate() {
            let from = come.get(number).map_or(0, |other| common(line, other));
            show(format!("-{}", cut(line, from)), true);
        }
        for (number, line) in come.iter().enumerate() {
            let from = gone.get(number).map_or(0, |other| common(line, other));
            show(format!("+{}", cut(line, from)), true);
        }
        for line in &old[change.old.end..trail] {
            show(format!(" {}", cut(line, 0)), false);
        }
    }
    if hidden > 0 {
        shown.push(format!("and {hidden} more changed lines"));
    }
    shown
}

/// Lines that are replaced by others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    old: std::ops::Range<usize>,
    new: std::ops::Range<usize>,
}

/// Returns the changes in their order, none next to another.
fn changes(old: &[&str], new: &[&str]) -> Vec<Change> {
    let same = |(one, other): &(&&str, &&str)| one == other;
    let start = old.iter().zip(new).take_while(same).count();
    let rest = old[start..].iter().rev().zip(new[start..].iter().rev());
    let end = rest.take_while(same).count();
    let (middle_old, middle_new) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    if middle_old.is_empty() && middle_new.is_empty() {
        return Vec::new();
    }
    let width = middle_new.len() + 1;
    if (middle_old.len() + 1).saturating_mul(width) > LARGEST_TABLE {
        return vec![Change {
            old: start..old.len() - end,
            new: start..new.len() - end,
        }];
    }
    // How many lines the rests of both have in common, from each place on.
    let mut table = vec![0_u32; (middle_old.len() + 1) * width];
    for (row, line) in middle_old.iter().enumerate().rev() {
        for (column, other) in middle_new.iter().enumerate().rev() {
            table[row * width + column] = match line == other {
                true => table[(row + 1) * width + column + 1] + 1,
                false => table[(row + 1) * width + column].max(table[row * width + column + 1]),
            };
        }
    }
    let mut changes: Vec<Change> = Vec::new();
    let (mut row, mut column) = (0, 0);
    while row < middle_old.len() || column < middle_new.len() {
        let is_old_left = row < middle_old.len();
        let is_new_left = column < middle_new.len();
        if is_old_left && is_new_left && middle_old[row] == middle_new[column] {
            row += 1;
            column += 1;
            continue;
        }
        let (from_row, from_column) = (row, column);
        let takes_old = is_old_left
            && (!is_new_left
                || table[(row + 1) * width + column] >= table[row * width + column + 1]);
        match takes_old {
            true => row += 1,
            false => column += 1,
        }
        let change = Change {
            old: start + from_row..start + row,
            new: start + from_column..start + column,
        };
        match changes.last_mut() {
            Some(last) if last.old.end == change.old.start && last.new.end == change.new.start => {
                last.old.end = change.old.end;
                last.new.end = change.new.end;
            }
            _ => changes.push(change),
        }
    }
    changes
}

/// Returns how many characters two lines have in common at their beginning.
fn common(line: &str, other: &str) -> usize {
    let characters = line.chars().zip(other.chars());
    characters.take_while(|(one, other)| one == other).count()
}

/// Cuts a long line to what is around the character `from`.
fn cut(line: &str, from: usize) -> String {
    if line.chars().nth(SHOWN_WIDTH).is_none() {
        return line.to_owned();
    }
    let skipped = match from > SHOWN_WIDTH - LEAD {
        true => from - LEAD,
        false => 0,
    };
    let mut rest = line.chars().skip(skipped);
    let text: String = rest.by_ref().take(SHOWN_WIDTH).collect();
    let before = if skipped > 0 { "…" } else { "" };
    let after = if rest.next().is_some() { "…" } else { "" };
    format!("{before}{text}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> String {
        (1..=count).map(|number| format!("a: {number}\n")).collect()
    }

    #[test]
    fn changes_are_shown_with_what_is_around_them() {
        let old = numbered(20);
        let new = old.replace("a: 4\n", "a: 44\n").replace("a: 9\n", "") + "more\n";
        assert_eq!(
            unified(&old, &new),
            [
                "@@ -3,3 +3,3 @@",
                " a: 3",
                "-a: 4",
                "+a: 44",
                " a: 5",
                "@@ -8,3 +8,2 @@",
                " a: 8",
                "-a: 9",
                " a: 10",
                "@@ -20 +19,2 @@",
                " a: 20",
                "+more",
            ]
        );
        assert_eq!(unified(&old, &old), [""; 0]);
        assert_eq!(unified("", "a\n"), ["@@ -0,0 +1 @@", "+a"]);
    }

    #[test]
    fn many_changes_are_counted() {
        let old = numbered(3000);
        let shown = unified(&old, &old.replace("a:", "b:"));
        assert_eq!(shown.len(), SHOWN_LINES + 1);
        assert_eq!(shown[0], "@@ -1,3000 +1,3000 @@");
        assert_eq!(shown[SHOWN_LINES], "and 5989 more changed lines");
    }

    #[test]
    fn a_long_line_is_shown_where_it_differs() {
        let old = format!("x: [{}1]\n", "0, ".repeat(20_000));
        let new = old.replace("1]", "2]");
        let shown = unified(&old, &new);
        assert_eq!(shown.len(), 3);
        assert!(
            shown[1].starts_with("-…") && shown[1].ends_with("0, 1]"),
            "{shown:?}"
        );
        assert!(
            shown[2].ends_with("0, 2]") && shown[2].len() < 200,
            "{shown:?}"
        );
    }
}
