//! The document that the real tools write into an archive when they first
//! connect to it: what made it, where and when.

use std::path::Path;

use serde_json::json;

use crate::artdaqdb::time_stamp;
use crate::durable;
use crate::error::Result;

/// The version of the database format that the real tools write.
const DATABASE_FORMAT: u32 = 3;

/// Writes the document into `<root>/SystemMetadata`, unless that directory exists.
pub(super) fn create(root: &Path, uri: &str) -> Result<()> {
    let directory = root.join("SystemMetadata");
    if directory.exists() {
        return Ok(());
    }
    durable::create_directory(&directory, 0o777)?;
    let oid = super::name_based_oid(&["SystemMetadata", uri]);
    let name = rustix::system::uname();
    let uname = |part: &std::ffi::CStr| json!(part.to_string_lossy()).to_string();
    // Written field by field: the real tools read it in this order and layout.
    let text = format!(
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
    );
    durable::replace(
        &directory.join(format!("{oid}.json")),
        text.as_bytes(),
        durable::SHARED,
    )
}
