//! Where a MongoDB archive is: the URI, checked, with what the environment adds.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::error::ErrorKind as DriverKind;
use mongodb::options::{
    Acknowledgment, AuthMechanism, ClientOptions, ConnectionString, Credential, HostInfo,
    ReadConcern, Tls, TlsOptions, WriteConcern,
};
use secrecy::{ExposeSecret, SecretString};

use super::failure::failure;
use crate::error::{Disposition, Error, Remedy, Result};
use crate::regular_file;
use crate::sys::url::InvalidAddress;

/// The client's certificate and key in one PEM file, as artdaq_database names it.
const CLIENT_CERT: &str = "ARTDAQ_DATABASE_CLIENT_CERT";
/// The certificate authorities in a PEM file, as artdaq_database names it.
const CA_CERT: &str = "ARTDAQ_DATABASE_CA_CERT";

/// How long to look for a server, unless the URI says otherwise.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a write may wait for a majority of a replica set, unless the URI has
/// a write concern of its own.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Options of the C driver, which the real tools use, that this one does not
/// have. None of them changes what is stored.
const WITHOUT_EFFECT: [&str; 9] = [
    "sockettimeoutms",
    "socketcheckintervalms",
    "serverselectiontryonce",
    "canonicalizehostname",
    "waitqueuetimeoutms",
    "waitqueuemultiple",
    "compressors",
    "zlibcompressionlevel",
    "slaveok",
];

/// The URI of an archive, known to be well formed.
#[derive(Clone)]
pub(in crate::artdaqdb) struct Address {
    /// As it was written.
    written: SecretString,
    /// Without the options that the driver refuses.
    uri: SecretString,
    /// The URI without credentials and options.
    pub(super) location: String,
    pub(super) database: String,
    /// The options that the driver refuses, by name.
    pub(in crate::artdaqdb) without_effect: Vec<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location)
    }
}

impl Address {
    /// Reads the URI of an archive; its path is the database.
    ///
    /// # Errors
    /// The driver can't read it, or it names no database.
    pub(in crate::artdaqdb) fn parse(written: &str) -> Result<Address, InvalidAddress> {
        let wrong = |problem: &str| {
            InvalidAddress(format!(
                "{problem}; it must be as in mongodb://host:27017/database"
            ))
        };
        let (uri, without_effect) = without_effect_removed(written);
        let parsed = ConnectionString::parse(&uri).map_err(|_| wrong(&fault(&uri)))?;
        let database = parsed.default_database.ok_or_else(|| {
            wrong("the URI names no database: it is the path after the server's name")
        })?;
        let servers = match &parsed.host_info {
            HostInfo::HostIdentifiers(hosts) => {
                let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
                format!("mongodb://{}", hosts.join(","))
            }
            HostInfo::DnsRecord(name) => format!("mongodb+srv://{name}"),
            _ => "mongodb://".to_owned(),
        };
        Ok(Address {
            location: format!("{servers}/{database}"),
            database,
            written: written.into(),
            uri: uri.into(),
            without_effect,
        })
    }

    /// The URI as it was written, with its credentials: for the real tools.
    pub(in crate::artdaqdb) fn written(&self) -> &str {
        self.written.expose_secret()
    }

    /// The driver's options. A `mongodb+srv` name is looked up for them.
    pub(super) fn options(&self) -> Result<ClientOptions> {
        let mut options = ClientOptions::parse(self.uri.expose_secret())
            .run()
            .map_err(|error| failure(&self.location, "look up the servers", &error))?;
        options
            .server_selection_timeout
            .get_or_insert(SERVER_SELECTION_TIMEOUT);
        options
            .app_name
            .get_or_insert_with(|| env!("CARGO_PKG_NAME").to_owned());
        // What the archiver reports as archived must outlive any one server.
        options.write_concern.get_or_insert_with(|| {
            WriteConcern::builder()
                .w(Acknowledgment::Majority)
                .journal(true)
                .w_timeout(WRITE_TIMEOUT)
                .build()
        });
        options
            .read_concern
            .get_or_insert_with(ReadConcern::majority);
        self.add_certificates(&mut options)?;
        Ok(options)
    }

    /// Adds the certificates of the environment. What the URI says stands.
    fn add_certificates(&self, options: &mut ClientOptions) -> Result<()> {
        let client = from_environment(CLIENT_CERT);
        if let Some(client) = client {
            let tls = match &mut options.tls {
                Some(Tls::Disabled) => {
                    return Err(self.unusable(format!(
                        "{CLIENT_CERT} is set, but the URI says tls=false; drop one of them"
                    )));
                }
                Some(Tls::Enabled(tls)) => tls,
                none => match none.insert(Tls::Enabled(TlsOptions::default())) {
                    Tls::Enabled(tls) => tls,
                    _ => return Ok(()),
                },
            };
            tls.cert_key_file_path.get_or_insert(client);
            options.credential.get_or_insert_with(|| {
                Credential::builder()
                    .mechanism(AuthMechanism::MongoDbX509)
                    .source("$external".to_owned())
                    .build()
            });
        }
        if let Some(Tls::Enabled(tls)) = &mut options.tls {
            if tls.ca_file_path.is_none() {
                tls.ca_file_path = from_environment(CA_CERT);
            }
            for path in [&tls.ca_file_path, &tls.cert_key_file_path]
                .into_iter()
                .flatten()
            {
                self.check_readable(path)?;
            }
        }
        Ok(())
    }

    /// The driver's own message would not name the file.
    fn check_readable(&self, path: &Path) -> Result<()> {
        regular_file::open(path).map(drop).map_err(|error| {
            self.unusable(format!(
                "cannot read the certificate file {}: {error}.",
                path.display()
            ))
            .with_remedy(Remedy::CorrectMongoCertificates([CLIENT_CERT, CA_CERT]))
            .caused_by(error)
        })
    }

    fn unusable(&self, problem: String) -> Error {
        Error::artdaqdb(self.location.clone(), problem, Disposition::StopStage)
    }
}

fn from_environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The URI without the options that this driver refuses and that existing
/// configurations may have, and their names.
fn without_effect_removed(uri: &str) -> (String, Vec<String>) {
    let Some((before, options)) = uri.split_once('?') else {
        return (uri.to_owned(), Vec::new());
    };
    let name = |option: &str| option.split('=').next().unwrap_or_default().to_owned();
    let (dropped, kept): (Vec<&str>, Vec<&str>) = options
        .split('&')
        .partition(|option| WITHOUT_EFFECT.contains(&name(option).to_ascii_lowercase().as_str()));
    let dropped = dropped.into_iter().map(name).collect();
    match kept.is_empty() {
        true => (before.to_owned(), dropped),
        false => (format!("{before}?{}", kept.join("&")), dropped),
    }
}

/// What is wrong with a URI that the driver refuses. The driver may quote the
/// part that it does not understand, so it is asked again without the credentials.
fn fault(uri: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    match ConnectionString::parse(format!("{scheme}://{rest}")) {
        Err(error) => match &*error.kind {
            DriverKind::InvalidArgument { message, .. } => message.clone(),
            _ => "the URI is not one of MongoDB".to_owned(),
        },
        Ok(_) => "the user or password can't be read: characters other than letters, digits and \
                  -._~ are written as %XX in them, as in p%40ss for p@ss"
            .to_owned(),
    }
}
