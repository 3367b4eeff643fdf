//! What the driver's errors mean for the archiver, and their texts without what
//! only its makers want to know.

use mongodb::error::{
    Error as DriverError, ErrorKind as DriverKind, RETRYABLE_WRITE_ERROR,
    TRANSIENT_TRANSACTION_ERROR, WriteFailure,
};

use crate::error::{Disposition, Error, Remedy};

/// The code of a document whose `_id` is there already.
pub(super) const DUPLICATE_KEY: i32 = 11000;
/// Another transaction holds what this one wants to write.
pub(super) const WRITE_CONFLICT: i32 = 112;
pub(super) const UNAUTHORIZED: i32 = 13;
pub(super) const NAMESPACE_NOT_FOUND: i32 = 26;

/// An error of the driver as one of ours. `action` says what was being done:
/// "read run 7".
pub(super) fn failure(location: &str, action: &str, error: &DriverError) -> Error {
    let disposition = disposition(error);
    let cause = cause(error);
    let cause = cause.trim_end_matches('.');
    let (problem, remedy) = match &*error.kind {
        DriverKind::ServerSelection { .. } | DriverKind::DnsResolve { .. } => (
            format!("Cannot reach MongoDB server to {action}: {cause}."),
            Some(Remedy::CheckMongoServer),
        ),
        DriverKind::Authentication { .. } => (
            format!("cannot {action}: the server refuses the credentials: {cause}."),
            Some(Remedy::CheckMongoCredentials),
        ),
        _ if code(error) == Some(UNAUTHORIZED) => (
            format!("cannot {action}: {cause}."),
            Some(Remedy::GrantReadWrite),
        ),
        _ => (format!("cannot {action}: {cause}"), None),
    };
    let failure = Error::artdaqdb(location, problem, disposition).caused_by(error.clone());
    match remedy {
        Some(remedy) => failure.with_remedy(remedy),
        None => failure,
    }
}

/// What the stage does about it.
fn disposition(error: &DriverError) -> Disposition {
    match &*error.kind {
        DriverKind::ServerSelection { .. }
        | DriverKind::Authentication { .. }
        | DriverKind::DnsResolve { .. }
        | DriverKind::InvalidArgument { .. }
        | DriverKind::InvalidTlsConfig { .. }
        | DriverKind::IncompatibleServer { .. }
        | DriverKind::SessionsNotSupported => Disposition::StopStage,
        _ => match code(error) {
            // Unauthorized, AuthenticationFailed, AtlasError, OutOfDiskSpace.
            Some(UNAUTHORIZED | 18 | 8000 | 14031) => Disposition::StopStage,
            // Documents that are too large or too deep.
            Some(15 | 10334 | 17419 | 17420) => Disposition::FailRun,
            _ => Disposition::RetryRun,
        },
    }
}

/// The server's error code.
pub(super) fn code(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        DriverKind::Command(command) => Some(command.code),
        DriverKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        DriverKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        DriverKind::InsertMany(failed) => {
            let written = failed.write_errors.as_ref().and_then(|all| all.first());
            written
                .map(|error| error.code)
                .or_else(|| failed.write_concern_error.as_ref().map(|e| e.code))
        }
        _ => None,
    }
}

/// Whether the same operation can succeed when it is tried again at once.
pub(super) fn is_passing(error: &DriverError) -> bool {
    match &*error.kind {
        // The driver has waited for a server already.
        DriverKind::ServerSelection { .. } | DriverKind::Authentication { .. } => false,
        DriverKind::Io(_) | DriverKind::ConnectionPoolCleared { .. } => true,
        _ => {
            error.contains_label(TRANSIENT_TRANSACTION_ERROR)
                || error.contains_label(RETRYABLE_WRITE_ERROR)
        }
    }
}

/// Whether nothing failed but documents that are there already.
pub(super) fn is_only_duplicates(error: &DriverError) -> bool {
    let is_id = |code: i32, message: &str| code == DUPLICATE_KEY && message.contains("_id_");
    match &*error.kind {
        DriverKind::InsertMany(failed) => {
            let errors = failed.write_errors.as_deref().unwrap_or_default();
            failed.write_concern_error.is_none()
                && !errors.is_empty()
                && errors.iter().all(|e| is_id(e.code, &e.message))
        }
        DriverKind::Command(command) => is_id(command.code, &command.message),
        DriverKind::Write(WriteFailure::WriteError(e)) => is_id(e.code, &e.message),
        _ => false,
    }
}

/// What went wrong, in the words of the server or the system.
fn cause(error: &DriverError) -> String {
    match &*error.kind {
        DriverKind::Command(command) => {
            format!("{} ({})", command.message, command.code_name)
        }
        DriverKind::InsertMany(failed) => {
            let written = failed.write_errors.as_ref().and_then(|all| all.first());
            written
                .map(|error| error.message.clone())
                .or_else(|| {
                    failed
                        .write_concern_error
                        .as_ref()
                        .map(|e| e.message.clone())
                })
                .unwrap_or_else(|| "the server does not say why".into())
        }
        DriverKind::Write(WriteFailure::WriteError(error)) => error.message.clone(),
        DriverKind::Write(WriteFailure::WriteConcernError(error)) => error.message.clone(),
        DriverKind::Io(error) => error.to_string(),
        DriverKind::ServerSelection { message, .. } => servers(message),
        kind => kind.to_string(),
    }
}

/// The driver describes each server with all that it knows of it; what an
/// operator needs is why none would do.
fn servers(message: &str) -> String {
    let mut reasons: Vec<&str> = Vec::new();
    for part in message.split("Error: Kind: ").skip(1) {
        let end = part.find(", labels:").unwrap_or(part.len());
        if !reasons.contains(&&part[..end]) {
            reasons.push(&part[..end]);
        }
    }
    match reasons.as_slice() {
        [] => message.to_owned(),
        reasons => reasons.join("; "),
    }
}
