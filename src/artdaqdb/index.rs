//! A collection's search index, `index.json`, as the real tools read and write it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use indexmap::IndexMap;
use md5::{Digest, Md5};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A document's identity: 24 lower-case hexadecimal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid([u8; 12]);

impl Oid {
    /// The identity of what these names name: the same names give the same one,
    /// so that what is written again after a crash takes the place of what was
    /// written before.
    #[must_use]
    pub fn of_names(names: &[&str]) -> Oid {
        let mut hash = Md5::new();
        for name in names {
            hash.update(name.as_bytes());
            hash.update([0]);
        }
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&hash.finalize()[..12]);
        Oid(bytes)
    }

    /// An identity that sorts just before this one, for what these names name. None if
    /// there is none.
    ///
    /// Of several documents of one entity the real tools read the one that sorts first.
    #[must_use]
    pub fn before(self, names: &[&str]) -> Option<Oid> {
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&self.0);
        let number = u128::from_be_bytes(wide);
        let [a, b, c, d, e, ..] = Oid::of_names(names).0;
        // Far enough that it is no other document's, near enough that there is always
        // room for the next one.
        let step = u128::from(u64::from_be_bytes([0, 0, 0, a, b, c, d, e])) + 1;
        let before = match number.checked_sub(step) {
            Some(before) => before,
            None => number.checked_sub(1)?,
        };
        let mut oid = Oid([0; 12]);
        oid.0.copy_from_slice(&before.to_be_bytes()[4..]);
        Some(oid)
    }

    /// A number that stands for the document in a run's [stamp](super::ArtdaqDb::stamps).
    #[must_use]
    pub fn weight(self) -> u64 {
        let mut text = [0; 24];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        weight(&text)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> [u8; 12] {
        self.0
    }

    /// Reads 24 hexadecimal characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Oid> {
        let text = text.as_bytes();
        if text.len() != 24 {
            return None;
        }
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Oid(bytes))
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// [`Oid::weight`] of an identity that is not parsed: there are millions in an index.
#[inline]
pub(super) fn weight(text: &[u8; 24]) -> u64 {
    let [first, second, third] = text.as_chunks().0 else {
        return 0;
    };
    let mixed = u64::from_le_bytes(*first).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ u64::from_le_bytes(*second)
            .rotate_left(23)
            .wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
        ^ u64::from_le_bytes(*third)
            .rotate_left(41)
            .wrapping_mul(0x1656_67b1_9e37_79f9);
    // Added up over the documents of a run, whatever their order.
    mixed ^ (mixed >> 31)
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            f.write_char(DIGITS[usize::from(byte >> 4)].into())?;
            f.write_char(DIGITS[usize::from(byte & 15)].into())?;
        }
        Ok(())
    }
}

/// The member of an index that lists its documents.
pub(super) const OIDS: &str = "ouid";
const VERSIONS: &str = "version";
/// The member that lists each configuration's documents.
pub(super) const CONFIGURATIONS: &str = "configurations.name";
const ENTITIES: &str = "entities.name";
/// The member that lists each alias's documents.
pub(super) const ALIASES: &str = "aliases.active.name";
const RUNS: &str = "runs.name";
/// The member that lists the times at which each configuration was assigned.
pub(super) const ASSIGNED: &str = "configurations.assigned";
/// The members of an index in their order. All but the first are maps of lists.
pub(super) const MEMBERS: [&str; 7] = [
    OIDS,
    VERSIONS,
    CONFIGURATIONS,
    ENTITIES,
    ALIASES,
    RUNS,
    ASSIGNED,
];

/// From a key to what stands under it, keys in the order in which they came.
type Map<T> = IndexMap<String, Vec<T>>;

/// What the index says of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The document.
    pub oid: Oid,
    /// The version, `12500/BootDAQ`.
    pub version: String,
    /// The configuration, which for all but the oldest documents is the version.
    pub configuration: String,
    /// The entity's name.
    pub entity: String,
    /// The run, in digits.
    pub run: String,
    /// When the configuration was assigned: the document's time stamp.
    pub assigned: String,
}

impl Entry {
    /// In which list of a member the document gets what: the list's name, which is
    /// empty in the member that is one list, and the text.
    pub(super) fn listed(&self, member: &str) -> Option<(&str, String)> {
        let oid = || self.oid.to_string();
        match member {
            OIDS => Some(("", oid())),
            VERSIONS => Some((&self.version, oid())),
            CONFIGURATIONS => Some((&self.configuration, oid())),
            ENTITIES => Some((&self.entity, oid())),
            RUNS => Some((&self.run, oid())),
            ASSIGNED => Some((&self.configuration, self.assigned.clone())),
            _ => None,
        }
    }
}

/// The index of one collection.
///
/// Lists are kept sorted and free of repeats, as the real tools keep them; the
/// order of keys is that of the file, new keys at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    oids: Vec<Oid>,
    versions: Map<Oid>,
    configurations: Map<Oid>,
    entities: Map<Oid>,
    aliases: Map<Oid>,
    runs: Map<Oid>,
    assigned: Map<String>,
    /// What a later version of the real tools may add, kept as it stands.
    unknown: Vec<(String, String)>,
}

impl Index {
    /// Reads an `index.json`, its keys in any order.
    ///
    /// # Errors
    /// The text is no index; the message says where.
    pub fn parse(text: &str) -> Result<Index, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// How many documents the collection has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.oids.len()
    }

    /// Whether the collection has no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.oids.is_empty()
    }

    /// The names of all configurations, in the index's order.
    pub fn configurations(&self) -> impl Iterator<Item = &str> {
        self.configurations.keys().map(String::as_str)
    }

    /// The documents of exactly this configuration.
    #[must_use]
    pub fn documents(&self, configuration: &str) -> &[Oid] {
        self.configurations
            .get(configuration)
            .map_or(&[], Vec::as_slice)
    }

    /// The times at which documents of exactly this configuration were assigned to it.
    #[must_use]
    pub fn assigned(&self, configuration: &str) -> &[String] {
        self.assigned.get(configuration).map_or(&[], Vec::as_slice)
    }

    /// How many of these documents there are of each entity.
    #[must_use]
    pub fn entities(&self, documents: &[Oid]) -> BTreeMap<String, usize> {
        let count = |list: &[Oid]| {
            documents
                .iter()
                .filter(|oid| list.binary_search(oid).is_ok())
                .count()
        };
        self.entities
            .iter()
            .map(|(entity, list)| (entity.clone(), count(list)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The documents of which there are several of one entity in a configuration, sorted.
    #[must_use]
    pub fn doubles(&self) -> Vec<(String, Vec<Oid>)> {
        let mut entities: HashMap<Oid, usize> = HashMap::with_capacity(self.oids.len());
        for (place, list) in self.entities.values().enumerate() {
            entities.extend(list.iter().map(|oid| (*oid, place)));
        }
        let mut doubles = Vec::new();
        for (name, list) in &self.configurations {
            let mut counts: HashMap<usize, usize> = HashMap::new();
            let place = |oid: &Oid| entities.get(oid).copied();
            for place in list.iter().filter_map(place) {
                *counts.entry(place).or_default() += 1;
            }
            let is_double = |oid: &&Oid| {
                let count = place(oid).and_then(|place| counts.get(&place));
                count.is_some_and(|count| *count > 1)
            };
            let oids: Vec<Oid> = list.iter().filter(is_double).copied().collect();
            if !oids.is_empty() {
                doubles.push((name.clone(), oids));
            }
        }
        doubles
    }

    /// Every document, sorted.
    #[must_use]
    pub fn oids(&self) -> &[Oid] {
        &self.oids
    }

    /// Whether the document is in the index.
    #[must_use]
    pub fn contains(&self, oid: Oid) -> bool {
        self.oids.binary_search(&oid).is_ok()
    }

    /// Adds documents. Those that are there already are left as they are.
    pub fn extend(&mut self, entries: &[Entry]) {
        fn add<T: Clone>(map: &mut Map<T>, key: &str, value: &T) {
            match map.get_mut(key) {
                Some(list) => list.push(value.clone()),
                None => {
                    map.insert(key.to_owned(), vec![value.clone()]);
                }
            }
        }
        fn tidy<T: Ord>(list: &mut Vec<T>) {
            // Nothing to do for all but the lists that grew, and found out in one pass.
            if !list.is_sorted_by(|one, next| one < next) {
                list.sort_unstable();
                list.dedup();
            }
        }
        for entry in entries {
            self.oids.push(entry.oid);
            add(&mut self.versions, &entry.version, &entry.oid);
            add(&mut self.configurations, &entry.configuration, &entry.oid);
            add(&mut self.entities, &entry.entity, &entry.oid);
            add(&mut self.runs, &entry.run, &entry.oid);
            add(&mut self.assigned, &entry.configuration, &entry.assigned);
        }
        tidy(&mut self.oids);
        for map in [
            &mut self.versions,
            &mut self.configurations,
            &mut self.entities,
            &mut self.runs,
        ] {
            map.values_mut().for_each(tidy);
        }
        self.assigned.values_mut().for_each(tidy);
    }

    /// Adds documents that another index names, under all that it has them under.
    pub fn carry_over(&mut self, other: &Index, documents: &[Oid]) {
        let carry = |map: &mut Map<Oid>, from: &Map<Oid>| {
            for (key, list) in from {
                let carried = list.iter().filter(|oid| documents.contains(oid));
                let carried: Vec<Oid> = carried.copied().collect();
                if !carried.is_empty() {
                    let list = map.entry(key.clone()).or_default();
                    list.extend(carried);
                    list.sort_unstable();
                    list.dedup();
                }
            }
        };
        let named = other.oids.iter().filter(|oid| documents.contains(oid));
        self.oids.extend(named);
        self.oids.sort_unstable();
        self.oids.dedup();
        carry(&mut self.versions, &other.versions);
        carry(&mut self.configurations, &other.configurations);
        carry(&mut self.entities, &other.entities);
        carry(&mut self.aliases, &other.aliases);
        carry(&mut self.runs, &other.runs);
    }

    /// The text of `index.json`, laid out as the real tools lay it out.
    #[must_use]
    pub fn write(&self) -> String {
        // An oid stands in up to six lists, at 28 bytes a line.
        let mut text = String::with_capacity(4096 + self.oids.len() * 6 * 28);
        let _ = write!(text, "{{\n\"{OIDS}\" : ");
        write_list(&mut text, &self.oids);
        write_map(&mut text, VERSIONS, &self.versions);
        write_map(&mut text, CONFIGURATIONS, &self.configurations);
        write_map(&mut text, ENTITIES, &self.entities);
        write_map(&mut text, ALIASES, &self.aliases);
        write_map(&mut text, RUNS, &self.runs);
        write_map(&mut text, ASSIGNED, &self.assigned);
        for (key, value) in &self.unknown {
            text.push_str(",\n");
            write_string(&mut text, key);
            let _ = write!(text, " : {value}");
        }
        text.push_str("\n}");
        text
    }
}

fn write_map<T: Text>(text: &mut String, name: &str, map: &Map<T>) {
    let _ = write!(text, ",\n\"{name}\" : {{\n");
    for (number, (key, list)) in map.iter().enumerate() {
        if number > 0 {
            text.push_str(",\n");
        }
        write_string(text, key);
        text.push_str(" : ");
        write_list(text, list);
    }
    text.push_str("\n}");
}

fn write_list<T: Text>(text: &mut String, list: &[T]) {
    text.push_str("[\n");
    for (number, value) in list.iter().enumerate() {
        if number > 0 {
            text.push_str(",\n");
        }
        value.write(text);
    }
    text.push_str("\n]");
}

/// What a list holds.
trait Text {
    fn write(&self, text: &mut String);
}

impl Text for Oid {
    fn write(&self, text: &mut String) {
        let _ = write!(text, "\"{self}\"");
    }
}

impl Text for String {
    fn write(&self, text: &mut String) {
        write_string(text, self);
    }
}

/// Writes a JSON string.
pub(super) fn write_string(text: &mut String, string: &str) {
    text.push_str(&serde_json::Value::from(string).to_string());
}

impl<'de> Deserialize<'de> for Oid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Oid, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Oid::parse(text).ok_or_else(|| D::Error::custom(format!("{text:?} is not an oid")))
    }
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Index, D::Error> {
        struct IndexVisitor;
        impl<'de> Visitor<'de> for IndexVisitor {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the index of a collection")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
                let mut index = Index::default();
                let mut has_oids = false;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        OIDS => {
                            index.oids = map.next_value()?;
                            has_oids = true;
                        }
                        VERSIONS => index.versions = map.next_value::<Lists<Oid>>()?.0,
                        CONFIGURATIONS => {
                            index.configurations = map.next_value::<Lists<Oid>>()?.0;
                        }
                        ENTITIES => index.entities = map.next_value::<Lists<Oid>>()?.0,
                        ALIASES => index.aliases = map.next_value::<Lists<Oid>>()?.0,
                        RUNS => index.runs = map.next_value::<Lists<Oid>>()?.0,
                        ASSIGNED => {
                            index.assigned = map.next_value::<Lists<String>>()?.0;
                        }
                        _ => {
                            let value: Box<RawValue> = map.next_value()?;
                            index.unknown.push((key, value.get().to_owned()));
                        }
                    }
                }
                if !has_oids {
                    return Err(A::Error::missing_field(OIDS));
                }
                index.oids.sort_unstable();
                index.oids.dedup();
                index
                    .entities
                    .values_mut()
                    .for_each(|list| list.sort_unstable());
                Ok(index)
            }
        }
        deserializer.deserialize_map(IndexVisitor)
    }
}

/// A map of lists; a key that stands twice has both lists.
struct Lists<T>(Map<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lists<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListsVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListsVisitor<T> {
            type Value = Lists<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of lists")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut map: Map<T> = Map::default();
                while let Some(key) = access.next_key::<String>()? {
                    let list = access.next_value::<Vec<T>>()?;
                    map.entry(key).or_default().extend(list);
                }
                Ok(Lists(map))
            }
        }
        deserializer.deserialize_map(ListsVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests;
