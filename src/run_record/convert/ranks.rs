//! ranks.txt: a table of the processes, one row for each.

use super::Converted;
use super::lists::push_strings;
use super::names::Names;
use super::notes::{Notes, Oddity};

/// The column whose value names a row.
const RANK: &str = "rank";

/// The column whose value names a process.
const LABEL: &str = "label";

/// Makes `ranks.fcl`: a table with the header and a sequence for each row,
/// named by its rank. Rows keep all their columns, however many they are:
/// records of 2018 and 2019 have no subsystem.
#[must_use]
pub fn convert(text: &str) -> Converted {
    let rows: Vec<(usize, Vec<&str>)> = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split_whitespace().collect::<Vec<_>>()))
        .filter(|(_, row)| row.first().is_some_and(|first| !first.starts_with('#')))
        .collect();
    let mut notes = Notes::default();
    let mut out = String::with_capacity(text.len() * 2);
    out.push_str("ranks: {\n");

    let mut body = rows.as_slice();
    let mut header: &[&str] = &[];
    if let Some(((_, first), rest)) = rows.split_first()
        && first.iter().any(|column| column.eq_ignore_ascii_case(RANK))
    {
        header = first;
        body = rest;
        out.push_str("  header: ");
        push_strings(&mut out, header.iter().copied());
        out.push('\n');
    } else if let Some((line, row)) = rows.first() {
        notes.add(
            Oddity::Missing,
            *line,
            &format!("no header above {}", row.join(" ")),
        );
    }
    let rank_column = header
        .iter()
        .position(|column| column.eq_ignore_ascii_case(RANK));

    let mut names = Names::default();
    names.unique("header");
    for (line, row) in body {
        let base = format!("rank{}", rank(row, header.len(), rank_column));
        // A repeated name would replace the first one in a table of FHiCL.
        let name = names.unique(&base);
        if name != base {
            notes.add(Oddity::Another, *line, &format!("{base} as {name}"));
        }
        out.push_str("  ");
        out.push_str(&name);
        out.push_str(": ");
        push_strings(&mut out, row.iter().copied());
        out.push('\n');
    }
    out.push_str("}\n");
    notes.finish(text, out)
}

/// The rank of a row: the value below the header's `rank`, or the last one
/// where the row has not the header's length.
fn rank<'a>(row: &[&'a str], header: usize, column: Option<usize>) -> &'a str {
    column
        .filter(|_| row.len() == header)
        .and_then(|column| row.get(column))
        .or_else(|| row.last())
        .copied()
        .unwrap_or_default()
}

/// Returns the labels of the processes, where the header says which column has them.
#[must_use]
pub fn labels(text: &str) -> Vec<&str> {
    let rows = text.lines().map(|line| line.split_whitespace());
    let mut rows = rows.filter(|row| {
        let first = row.clone().next();
        first.is_some_and(|first| !first.starts_with('#'))
    });
    let column = rows
        .next()
        .and_then(|mut header| header.position(|name| name.eq_ignore_ascii_case(LABEL)));
    match column {
        // Columns that some rows lack come behind it.
        Some(column) => rows.filter_map(|mut row| row.nth(column)).collect(),
        None => Vec::new(),
    }
}
