//! known_boardreaders_list.txt: a board reader a line, its columns separated
//! by white space, at the end perhaps a command in quotes.

use super::Converted;
use super::lists::{Item, items};
use super::names::Names;
use super::notes::{Notes, Oddity};
use super::text::{push_string, split_comment, split_list};

struct Row<'a> {
    number: usize,
    name: &'a str,
    columns: Vec<Item>,
    comment: Option<&'a str>,
    /// Whether a quotation mark was left open.
    open: bool,
}

/// Makes `known_boardreaders_list.fcl`: the columns of each board reader as a
/// sequence of strings under its name. A name that is given twice stands
/// twice, in the order of the file.
#[must_use]
pub fn convert(text: &str) -> Converted {
    let rows = || {
        text.lines()
            .enumerate()
            .filter_map(|(index, line)| read_row(index + 1, line))
    };
    let mut names = Names::new(rows().map(|row| row.name));
    let mut notes = Notes::default();
    let mut out = String::with_capacity(text.len() * 2);
    for row in rows() {
        let name = names.name(row.name, row.name).strict(row.name);
        notes.add_name(row.number, row.name, &name);
        if row.open {
            notes.add(Oddity::KeptAsText, row.number, "no closing quotation mark");
        }
        let mut value = String::from("[");
        for (index, column) in row.columns.iter().enumerate() {
            if index > 0 {
                value.push_str(", ");
            }
            push_string(&mut value, &column.text);
        }
        // A command at the end has always had a blank behind it.
        if row.columns.last().is_some_and(|column| column.quoted) {
            value.push(' ');
        }
        value.push(']');
        name.push_entry(&mut out, row.name, &value, row.comment);
    }
    notes.finish(text, out)
}

fn read_row(number: usize, line: &str) -> Option<Row<'_>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    // Some records hold the list as FHiCL already.
    if let Some((name, list)) = line.split_once(':')
        && !name.contains(char::is_whitespace)
        && let Some((list, comment)) = split_list(list.trim_start())
        && let Some(mut columns) = items(list)
    {
        for column in &mut columns {
            column.quoted = false;
        }
        return Some(Row {
            number,
            name,
            columns,
            comment,
            open: false,
        });
    }
    let (name, rest) = line
        .split_once(char::is_whitespace)
        .map_or((line, ""), |(name, rest)| (name, rest.trim_start()));
    let (rest, comment) = split_comment(rest);
    let (columns, open) = split_columns(rest);
    Some(Row {
        number,
        name,
        columns,
        comment,
        open,
    })
}

/// Splits at white space outside double quotes; also says whether the last
/// quotation mark was left open.
fn split_columns(text: &str) -> (Vec<Item>, bool) {
    let mut columns = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|inside| {
            let (column, after) = inside.split_once('"')?;
            // `"a"b` is no quoted column but an odd word.
            (after.is_empty() || after.starts_with(char::is_whitespace)).then_some((column, after))
        });
        let (column, after) = quoted.unwrap_or_else(|| {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        });
        columns.push(Item {
            text: column.to_string(),
            quoted: quoted.is_some(),
        });
        rest = after.trim_start();
    }
    let marks = text.matches('"').count();
    (columns, marks % 2 == 1)
}
