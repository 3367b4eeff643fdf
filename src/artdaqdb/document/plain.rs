//! The metadata of a scalar without comment, annotation and protection. Most of
//! a document's bytes are such, in one of eight texts, so they are written and
//! recognised as a whole.

use crate::fhicl::AtomKind;

/// The plain metadata of a kind of scalars.
#[derive(Debug)]
pub(in crate::artdaqdb) struct Plain {
    pub(super) kind: AtomKind,
    /// What documents call the kind.
    name: &'static str,
    /// Its JSON, as the real tools lay it out.
    pub(in crate::artdaqdb) text: &'static str,
    /// The same behind the name of a member.
    pub(super) keyed: &'static str,
}

impl Plain {
    /// Its members, names and texts.
    #[cfg(feature = "mongodb")]
    pub(in crate::artdaqdb) fn fields(&self) -> [(&'static str, &'static str); 3] {
        [("type", self.name), ("comment", ""), ("annotation", "")]
    }
}

macro_rules! plain {
    ($($kind:ident => $name:literal),* $(,)?) => {
        [$(Plain {
            kind: AtomKind::$kind,
            name: $name,
            text: concat!(
                "{\n\"type\" : \"", $name, "\",\n\"comment\" : \"\",\n\"annotation\" : \"\"\n}"
            ),
            keyed: concat!(
                "\" : {\n\"type\" : \"", $name,
                "\",\n\"comment\" : \"\",\n\"annotation\" : \"\"\n}"
            ),
        }),*]
    };
}

/// All of them, the frequent ones first.
pub(in crate::artdaqdb) static ALL: [Plain; 8] = plain![
    Number => "number",
    Bool => "bool",
    DoubleQuoted => "string_doublequoted",
    Unquoted => "string_unquoted",
    SingleQuoted => "string_singlequoted",
    Nil => "nil",
    Complex => "complex",
    TableId => "tableid",
];

/// That of this kind.
pub(super) fn of(kind: AtomKind) -> &'static Plain {
    // Each kind is in the list.
    ALL.iter()
        .find(|plain| plain.kind == kind)
        .unwrap_or(&ALL[0])
}

/// That with which a text begins, if it is one.
pub(in crate::artdaqdb) fn at_start(text: &[u8]) -> Option<&'static Plain> {
    ALL.iter()
        .find(|plain| text.starts_with(plain.text.as_bytes()))
}

/// That which is this text.
pub(super) fn of_text(text: &str) -> Option<&'static Plain> {
    ALL.iter().find(|plain| plain.text == text)
}

/// The name of a scalar's kind.
pub(super) fn name(kind: AtomKind) -> &'static str {
    of(kind).name
}

/// The kind of that name.
pub(super) fn kind(name: &str) -> Option<AtomKind> {
    ALL.iter()
        .find(|plain| plain.name == name)
        .map(|plain| plain.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own() {
        for plain in &ALL {
            assert_eq!(of(plain.kind).name, plain.name);
            assert_eq!(kind(plain.name), Some(plain.kind));
            let followed = format!("{},\n", plain.text);
            assert_eq!(at_start(followed.as_bytes()).unwrap().kind, plain.kind);
        }
        use AtomKind::{Bool, Complex, DoubleQuoted, Nil, Number, SingleQuoted, TableId, Unquoted};
        for kind in [
            Bool,
            Complex,
            DoubleQuoted,
            Nil,
            Number,
            SingleQuoted,
            TableId,
            Unquoted,
        ] {
            assert_eq!(of(kind).kind, kind);
        }
        assert!(at_start(b"{\n\"type\" : \"number\",\n\"comment\" : \"# x\"").is_none());
    }
}
