//! The document that the real tools write into an archive when they first
//! connect to it: what made it, where and when.

use std::ffi::CStr;

use serde::Serialize;

use super::index::Oid;
use super::time_stamp;
use crate::error::{Error, Result};

/// The collection of this document.
pub(super) const COLLECTION: &str = "SystemMetadata";

/// The identity of the document of an archive, by its URI without credentials.
pub(super) fn oid(uri: &str) -> Oid {
    Oid::of_names(&[COLLECTION, uri])
}

/// What the document says, in its order.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    name: &'static str,
    uri: String,
    locale: &'static str,
    create_time: String,
    create_user: String,
    uname: Uname,
    /// The version of the database format that the real tools write.
    database_format: i32,
}

#[derive(Debug, Serialize)]
struct Uname {
    sysname: String,
    nodename: String,
    release: String,
    version: String,
    machine: String,
}

impl Facts {
    /// Those of a new archive of that URI without credentials.
    pub(super) fn now(uri: &str) -> Facts {
        let uname = rustix::system::uname();
        let text = |part: &CStr| part.to_string_lossy().into_owned();
        Facts {
            name: "artdaq",
            uri: uri.to_owned(),
            locale: "en_US.UTF-8",
            create_time: time_stamp(),
            create_user: std::env::var("USER").unwrap_or_default(),
            uname: Uname {
                sysname: text(uname.sysname()),
                nodename: text(uname.nodename()),
                release: text(uname.release()),
                version: text(uname.version()),
                machine: text(uname.machine()),
            },
            database_format: 3,
        }
    }
}

/// The document's JSON, as the real tools lay it out.
pub(super) fn text(uri: &str) -> Result<String> {
    let facts = serde_json::to_string(&Facts::now(uri))
        .map_err(|error| Error::Unexpected(format!("{COLLECTION}: {error}")))?;
    let oid = oid(uri);
    Ok(format!(
        "{{\"document\":{facts},\"_id\":{{ \"$oid\":\"{oid}\"}}}}"
    ))
}
