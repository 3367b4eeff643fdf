//! Where a document's values go as they are written, in their order: into JSON,
//! as a FilesystemDB keeps it, or into BSON for MongoDB.

use super::plain::Plain;

/// The name of a value in the object around it.
#[derive(Debug, Clone, Copy)]
pub(in crate::artdaqdb) enum Key<'k> {
    /// The value is an array's element, or the whole document.
    None,
    /// A name of the format, which needs no escapes.
    Known(&'static str),
    /// A name of FHiCL.
    Name(&'k str),
    /// A name of the format with a number behind it.
    Numbered(&'static str, u32),
}

/// Takes a document's values.
pub(in crate::artdaqdb) trait Sink {
    /// About how many bytes of JSON will come.
    fn expect(&mut self, bytes: impl FnOnce() -> usize);

    /// Begins an object; what comes until it is closed is in it.
    fn open_object(&mut self, key: Key<'_>);

    /// Ends the innermost object.
    fn close_object(&mut self);

    /// Begins an array.
    fn open_array(&mut self, key: Key<'_>);

    /// Ends the innermost array.
    fn close_array(&mut self);

    fn string(&mut self, key: Key<'_>, text: &str);

    fn number(&mut self, key: Key<'_>, number: u32);

    fn boolean(&mut self, key: Key<'_>, value: bool);

    /// An object that is a scalar's plain metadata.
    fn plain(&mut self, key: Key<'_>, plain: &'static Plain);

    /// The document's identity, the object `_id`.
    fn identity(&mut self, oid: &str);
}
