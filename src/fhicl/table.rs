//! What later assignments do to a table: repeated names, and protections.

use std::borrow::Cow;
use std::collections::HashMap;

use super::tree::{Content, Entry, Protection, Value};

/// Whether something in a value has a weaker protection than `@protect_error`,
/// which fhicl-cpp refuses in a value that has this one.
///
/// fhicl-cpp looks through a copy of the value, so that a protection does not
/// reach what is in it.
pub(super) fn has_weaker_inside(value: &Value) -> bool {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        let inner: &mut dyn Iterator<Item = &Value> = match &value.content {
            Content::Atom(..) => &mut std::iter::empty(),
            Content::Sequence(values) => &mut values.iter(),
            Content::Table(entries) => &mut entries.iter().filter_map(Entry::value),
        };
        for value in inner {
            match value.protection {
                Protection::None => open.push(value),
                Protection::Ignore => return true,
                // Its own value was looked through when it was read.
                Protection::Error => {}
            }
        }
    }
    false
}

/// A table as it is read. A repeated name replaces the earlier value in its
/// place, unless an `@table::` or `#include` stands between the two: that one
/// may set the name as well, so that their order counts.
#[derive(Default)]
pub(super) struct Table<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    /// Behind the last `@table::` or `#include`.
    fence: usize,
    /// Where each name behind the fence stands; filled for large tables only.
    places: HashMap<Cow<'a, str>, usize, foldhash::fast::RandomState>,
}

impl<'a> Table<'a> {
    /// Up to this many entries, looking through them is faster than hashing.
    const SMALL: usize = 16;

    /// Adds an entry. The error is what was expected, and what was found.
    pub(super) fn insert(&mut self, entry: Entry<'a>) -> std::result::Result<(), (String, String)> {
        let Entry::Assignment { name, value } = &entry else {
            self.entries.push(entry);
            self.fence = self.entries.len();
            self.places = HashMap::default();
            return Ok(());
        };
        let Some(place) = self.find(name) else {
            if !self.places.is_empty() {
                self.places.insert(name.clone(), self.entries.len());
            }
            self.entries.push(entry);
            return Ok(());
        };
        if let Entry::Assignment { value: earlier, .. } = &self.entries[place] {
            let line = earlier.line;
            if value.protection > earlier.protection {
                return Err((
                    format!("no stronger protection than that of line {line}"),
                    format!("another value for `{name}`"),
                ));
            }
            match earlier.protection {
                Protection::None => self.entries[place] = entry,
                Protection::Ignore => {}
                Protection::Error => {
                    return Err((
                        format!("no other value for `{name}`, which line {line} protects"),
                        "one".to_owned(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn find(&mut self, name: &str) -> Option<usize> {
        let names = self.entries[self.fence..].iter().map(|entry| match entry {
            Entry::Assignment { name, .. } => Some(name),
            Entry::Include { .. } | Entry::Splice { .. } => None,
        });
        if self.entries.len() - self.fence <= Self::SMALL {
            let place = names.into_iter().position(|n| n.is_some_and(|n| n == name));
            return place.map(|place| self.fence + place);
        }
        if self.places.is_empty() {
            for (place, name) in names.enumerate() {
                if let Some(name) = name {
                    self.places.insert(name.clone(), self.fence + place);
                }
            }
        }
        self.places.get(name).copied()
    }
}
