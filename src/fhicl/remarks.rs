//! Which comments go with a value.

use super::tree::{Comment, Document};

/// Finds the comments of a document by their lines. Values are mostly asked
/// about in the order of their lines, and most have no comment: that takes two
/// comparisons.
#[derive(Debug)]
pub struct Remarks<'d> {
    comments: &'d [Comment<'d>],
    /// The first comment that is not above the last line asked for.
    next: usize,
}

impl<'d> Remarks<'d> {
    /// The comments of this document.
    #[must_use]
    pub fn new(document: &'d Document<'d>) -> Remarks<'d> {
        Remarks {
            comments: &document.comments,
            next: 0,
        }
    }

    /// The annotation of a value that begins on `line`: the comment of that
    /// line, or nothing.
    pub fn annotation(&mut self, line: u32) -> &'d str {
        let comments = self.comments;
        let before = self.next.checked_sub(1).map(|last| &comments[last]);
        let is_past = before.is_none_or(|comment| comment.line < line);
        if !is_past || comments.get(self.next).is_some_and(|c| c.line < line) {
            self.next = comments.partition_point(|comment| comment.line < line);
        }
        match comments.get(self.next) {
            Some(comment) if comment.line == line => &comment.text,
            _ => "",
        }
    }

    /// The comment of a value that begins on `line`: a `#` comment on the line
    /// above, whatever else stands there. A mention of `#include` is none, as
    /// it would be taken for an include when it is read again.
    pub fn comment(&mut self, line: u32) -> &'d str {
        comment_above(self.annotation(line.wrapping_sub(1)))
    }
}

/// What a comment is for the value below it: itself, or nothing.
pub(crate) fn comment_above(comment: &str) -> &str {
    let is_include = comment.contains("#include ") || comment.starts_with("#include");
    if comment.starts_with('/') || is_include {
        ""
    } else {
        comment
    }
}
