//! What is replaced in MongoDB is kept as files: a document can be there but once.

use std::path::Path;

use mongodb::bson::RawDocumentBuf;

use crate::artdaqdb::document::StoredDocument;
use crate::clock;
use crate::durable;
use crate::error::Result;
use crate::run::Run;

/// The mode of the directories.
const DIRECTORY: u32 = 0o750;

/// Writes a document that is about to be replaced below `directory`: its bytes, as
/// `bsondump` and `mongorestore` read them, and its FHiCL beside them.
///
/// # Errors
/// A file can't be written.
pub(super) fn keep(
    directory: &Path,
    run: Run,
    entity: &str,
    document: &StoredDocument,
    raw: &RawDocumentBuf,
) -> Result<()> {
    let directory = directory.join(run.to_string());
    durable::create_directory(&directory, DIRECTORY)?;
    let time = clock::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let entity = entity.replace('/', "_");
    let path = |end: &str| directory.join(format!("{time}_{}_{entity}.{end}", document.oid));
    durable::replace(&path("fcl"), document.text.as_bytes(), durable::PRIVATE)?;
    durable::replace(&path("bson"), raw.as_bytes(), durable::PRIVATE)
}
