//! The document that the real tools write into an archive when they first
//! connect to it: what made it, where and when.

use serde_json::json;

use super::index::Oid;
use super::time_stamp;

/// The collection of this document.
pub(super) const COLLECTION: &str = "SystemMetadata";

/// The version of the database format that the real tools write.
const DATABASE_FORMAT: u32 = 3;

/// The identity of the document of an archive, by its URI without credentials.
pub(super) fn oid(uri: &str) -> Oid {
    Oid::of_names(&[COLLECTION, uri])
}

/// The document's JSON, for the archive of that URI without credentials.
pub(super) fn text(uri: &str) -> String {
    let oid = oid(uri);
    let name = rustix::system::uname();
    let uname = |part: &std::ffi::CStr| json!(part.to_string_lossy()).to_string();
    // Written field by field: the real tools read it in this order and layout.
    format!(
        "{{\"document\":{{\"name\":\"artdaq\",\"uri\":{},\"locale\":\"en_US.UTF-8\",\
         \"create_time\":\"{}\",\"create_user\":{},\"uname\":{{\"sysname\":{},\"nodename\":{},\
         \"release\":{},\"version\":{},\"machine\":{}}},\"database_format\":{DATABASE_FORMAT}}},\
         \"_id\":{{ \"$oid\":\"{oid}\"}}}}",
        json!(uri),
        time_stamp(),
        json!(std::env::var("USER").unwrap_or_default()),
        uname(name.sysname()),
        uname(name.nodename()),
        uname(name.release()),
        uname(name.version()),
        uname(name.machine()),
    )
}
