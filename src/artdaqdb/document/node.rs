//! A document's values as they are read, whatever they stand in: JSON or BSON.
//! Nothing is kept of them: a run has hundreds of thousands.

use std::borrow::Cow;

use super::plain::Plain;

/// A value in a document.
pub(in crate::artdaqdb) trait Node<'d>: Copy {
    /// The members of an object with their names, or the elements of an array.
    type Members: Iterator<Item = (Cow<'d, str>, Self)>;

    /// What it is.
    fn kind(self) -> Kind<'d, Self::Members>;

    /// The scalar's plain metadata that it is, if it is one.
    fn plain(self) -> Option<&'static Plain>;

    /// The members of an object.
    fn members(self) -> Option<Self::Members> {
        match self.kind() {
            Kind::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The first member of that name.
    fn get(self, name: &str) -> Option<Self> {
        let mut members = self.members()?;
        members
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The elements of an array; of all else none.
    fn elements(self) -> impl Iterator<Item = Self> {
        let elements = match self.kind() {
            Kind::Array(elements) => Some(elements),
            _ => None,
        };
        elements.into_iter().flatten().map(|(_, element)| element)
    }

    /// The text of a string.
    fn text(self) -> Option<Cow<'d, str>> {
        match self.kind() {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }
}

/// What a value is.
#[derive(Debug)]
pub(in crate::artdaqdb) enum Kind<'d, M> {
    Object(M),
    Array(M),
    String(Cow<'d, str>),
    /// A number, `true`, `false` or `null`, as its token.
    Token(&'d str),
}
