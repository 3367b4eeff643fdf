//! TLS for every client of ours: whom it trusts, and what it says when that
//! fails.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use reqwest::{Certificate, Client, ClientBuilder, blocking};

use crate::regular_file;

/// Whom a client trusts.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// The authorities of the system, and those of a PEM file; `key` is the
    /// setting that names it.
    System {
        /// The file, if there is one.
        ca_file: Option<&'a Path>,
        /// Its key in the configuration, for messages.
        key: &'static str,
    },
    /// Anyone: certificates are not checked.
    Anyone,
    /// Nobody is asked: connections are not encrypted, and no certificates are
    /// needed on this machine.
    Plain,
}

/// Makes rustls use the one provider of cryptography that is built in.
pub fn install_provider() {
    // Fails only where a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// An HTTP client that trusts so, with `settings` of its own.
///
/// # Errors
/// What keeps TLS from being set up, and the way out.
pub fn client(
    trust: Trust<'_>,
    settings: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> Result<Client, String> {
    build(trust, |builder| settings(builder).build())
}

/// The same for code that waits for each answer.
///
/// # Errors
/// As for [`client`].
pub fn blocking_client(
    trust: Trust<'_>,
    settings: impl FnOnce(blocking::ClientBuilder) -> blocking::ClientBuilder,
) -> Result<blocking::Client, String> {
    build(trust, |builder| {
        settings(blocking::ClientBuilder::from(builder)).build()
    })
}

fn build<T>(
    trust: Trust<'_>,
    finish: impl FnOnce(ClientBuilder) -> reqwest::Result<T>,
) -> Result<T, String> {
    install_provider();
    let builder = Client::builder();
    let mut hint = String::new();
    let builder = match trust {
        Trust::Plain => builder.tls_certs_only([]),
        Trust::Anyone => builder.tls_danger_accept_invalid_certs(true),
        Trust::System { ca_file, key } => {
            hint = format!(" or name the server's CA in {key}");
            match ca_file {
                Some(file) => builder.tls_certs_merge(certificates(&authorities(file, key)?)?),
                None => builder,
            }
        }
    };
    finish(builder).map_err(|error| {
        format!(
            "TLS can't be set up: {}: install the system's CA certificates (package \
             ca-certificates){hint}",
            root_cause(&error)
        )
    })
}

/// The PEM file of authorities that the setting `key` names, checked.
///
/// # Errors
/// It can't be read, or holds no certificates.
pub fn authorities(file: &Path, key: &str) -> Result<Vec<u8>, String> {
    let pem = regular_file::read(file)
        .map_err(|error| format!("{key} {} can't be read: {error}", file.display()))?;
    let certificates = certificates(&pem).map_err(|cause| {
        format!(
            "{key} {} is not a PEM file of certificates: {cause}",
            file.display()
        )
    })?;
    if certificates.is_empty() {
        return Err(format!(
            "{key} {} holds no certificate: it must be a PEM file with \
             -----BEGIN CERTIFICATE-----",
            file.display()
        ));
    }
    Ok(pem)
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    Certificate::from_pem_bundle(pem).map_err(|error| root_cause(&error))
}

/// An error and what caused it. An I/O error made of another error does not
/// give that one as its source, so it is looked into.
pub fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static));
        inner.or_else(|| error.source())
    })
}

/// The innermost cause, which names what happened; the layers around it name
/// themselves. References to a library's manual are left out.
#[must_use]
pub fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let cause = chain(error).last().map(ToString::to_string);
    let cause = cause.unwrap_or_default();
    match cause.split_once(": https://docs.") {
        Some((cause, _)) => cause.to_owned(),
        None => cause,
    }
}
