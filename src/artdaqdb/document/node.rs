//! A document as a tree, kept as one list of its values in the order in which
//! they stand: a run has hundreds of thousands of them, and to allocate for each
//! would take longer than to read it.

use std::borrow::Cow;

use super::plain::Plain;

/// A tree of objects, arrays, strings and tokens.
#[derive(Debug)]
pub(in crate::artdaqdb) struct Tree<'a>(Vec<Node<'a>>);

#[derive(Debug)]
pub(super) struct Node<'a> {
    /// Its name in the object around it; empty in an array.
    key: Cow<'a, str>,
    content: Content<'a>,
    /// How many nodes it is, with all that is in it.
    extent: usize,
    /// How many members or elements it has.
    count: usize,
}

#[derive(Debug)]
enum Content<'a> {
    Object,
    Array,
    String(Cow<'a, str>),
    Token(&'a str),
    /// An object.
    Plain(&'static Plain),
}

/// A string that is the member of an object.
pub(super) const fn string_node(key: &'static str, text: &'static str) -> Node<'static> {
    Node {
        key: Cow::Borrowed(key),
        content: Content::String(Cow::Borrowed(text)),
        extent: 1,
        count: 0,
    }
}

impl Tree<'_> {
    /// The whole tree.
    pub(in crate::artdaqdb) fn root(&self) -> Json<'_> {
        Json(&self.0)
    }
}

/// A value in a tree.
#[derive(Debug, Clone, Copy)]
pub(in crate::artdaqdb) struct Json<'t>(&'t [Node<'t>]);

/// What a value is.
#[derive(Debug)]
pub(in crate::artdaqdb) enum Kind<'t> {
    Object(Members<'t>),
    Array(Members<'t>),
    String(&'t str),
    /// A number, `true`, `false` or `null`, as its token.
    Token(&'t str),
}

impl<'t> Json<'t> {
    pub(in crate::artdaqdb) fn kind(self) -> Kind<'t> {
        let within = Members(&self.0[1..]);
        match &self.0[0].content {
            Content::Object => Kind::Object(within),
            Content::Array => Kind::Array(within),
            Content::String(text) => Kind::String(text),
            Content::Token(token) => Kind::Token(token),
            Content::Plain(plain) => Kind::Object(Members(&plain.members)),
        }
    }

    /// The first member of that name.
    pub(in crate::artdaqdb) fn get(self, name: &str) -> Option<Json<'t>> {
        let mut members = self.members()?;
        members
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The members of an object.
    pub(in crate::artdaqdb) fn members(self) -> Option<Members<'t>> {
        match self.kind() {
            Kind::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The elements of an array; of all else none.
    pub(in crate::artdaqdb) fn elements(self) -> impl Iterator<Item = Json<'t>> {
        let elements = match self.kind() {
            Kind::Array(elements) => elements,
            _ => Members(&[]),
        };
        elements.map(|(_, element)| element)
    }

    pub(in crate::artdaqdb) fn str(self) -> Option<&'t str> {
        match self.kind() {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// About how many members or elements it has.
    pub(super) fn count(self) -> usize {
        self.0[0].count
    }
}

/// The members of an object with their names, or the elements of an array.
#[derive(Debug, Clone)]
pub(in crate::artdaqdb) struct Members<'t>(&'t [Node<'t>]);

impl<'t> Iterator for Members<'t> {
    type Item = (&'t str, Json<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.0.first()?;
        let (member, rest) = self.0.split_at(first.extent);
        self.0 = rest;
        Some((&first.key, Json(member)))
    }
}

/// Makes a tree of the values as they come.
#[derive(Debug, Default)]
pub(in crate::artdaqdb) struct Builder<'a> {
    nodes: Vec<Node<'a>>,
    /// The objects and arrays that are not at their end yet, the innermost last.
    open: Vec<usize>,
}

impl<'a> Builder<'a> {
    /// For about so many values.
    pub(in crate::artdaqdb) fn with_capacity(values: usize) -> Builder<'a> {
        Builder {
            nodes: Vec::with_capacity(values),
            open: Vec::new(),
        }
    }

    fn push(&mut self, key: Cow<'a, str>, content: Content<'a>) {
        if let Some(around) = self.open.last() {
            self.nodes[*around].count += 1;
        }
        self.nodes.push(Node {
            key,
            content,
            extent: 1,
            count: 0,
        });
    }

    pub(in crate::artdaqdb) fn string(&mut self, key: Cow<'a, str>, text: Cow<'a, str>) {
        self.push(key, Content::String(text));
    }

    pub(in crate::artdaqdb) fn token(&mut self, key: Cow<'a, str>, token: &'a str) {
        self.push(key, Content::Token(token));
    }

    /// An object that is a scalar's plain metadata.
    pub(in crate::artdaqdb) fn plain(&mut self, key: Cow<'a, str>, plain: &'static Plain) {
        self.push(key, Content::Plain(plain));
    }

    /// Begins an object; what comes until it is closed is in it.
    pub(in crate::artdaqdb) fn open_object(&mut self, key: Cow<'a, str>) {
        self.open(key, Content::Object);
    }

    /// Begins an array.
    pub(in crate::artdaqdb) fn open_array(&mut self, key: Cow<'a, str>) {
        self.open(key, Content::Array);
    }

    fn open(&mut self, key: Cow<'a, str>, content: Content<'a>) {
        let at = self.nodes.len();
        self.push(key, content);
        self.open.push(at);
    }

    /// Ends the innermost object or array.
    pub(in crate::artdaqdb) fn close(&mut self) {
        if let Some(at) = self.open.pop() {
            self.nodes[at].extent = self.nodes.len() - at;
        }
    }

    /// How many objects and arrays are open.
    pub(in crate::artdaqdb) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether an array is the innermost that is open; nothing if none is.
    pub(super) fn is_in_array(&self) -> Option<bool> {
        let innermost = self.open.last()?;
        Some(matches!(self.nodes[*innermost].content, Content::Array))
    }

    /// The tree, once its one value is complete.
    pub(in crate::artdaqdb) fn finish(self) -> Tree<'a> {
        Tree(self.nodes)
    }
}
