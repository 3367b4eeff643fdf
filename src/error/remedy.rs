//! What an operator can do about an error of a database: named by the clients, which
//! know neither configuration keys nor flags, and put into words here.

use std::fmt;

use crate::run::Run;

/// What to do about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The address of artdaqDB is wrong.
    CorrectArtdaqUri,
    /// MongoDB does not answer.
    CheckMongoServer,
    /// MongoDB refuses the credentials.
    CheckMongoCredentials,
    /// The user of MongoDB lacks a role.
    GrantReadWrite,
    /// A certificate for MongoDB can't be used; the environment variables that name
    /// them.
    CorrectMongoCertificates([&'static str; 2]),
    /// An index is damaged or missing.
    RebuildIndex,
    /// The same, on the host of the tools.
    RebuildIndexThere,
    /// A document is damaged or missing.
    RestoreDocument,
    /// Another program holds a lock of the archive.
    FindLockHolder,
    /// A document is larger than the configuration allows.
    RaiseDocumentLimit,
    /// An import was cut short.
    ImportAgain,
    /// The real tools can't store a file of the run.
    ImportWithoutTools,
    /// A tool ran out of time.
    RaiseToolsTimeout,
    /// A tool is not where it should be.
    CorrectToolsDir,
    /// The same, on the host of the tools.
    CorrectToolsDirThere,
    /// A tool is not in `PATH`.
    SetToolsDir,
    /// The same, on the host of the tools.
    SetToolsDirThere,
    /// ssh does not know the host's key.
    KnowHostKey,
    /// ssh can't log in.
    AllowLogin,
    /// ssh does not understand its options.
    CorrectSshOptions,
    /// ssh does not reach the host.
    CheckRemoteHost,
    /// What answers is no UconDB.
    CheckUconUrl,
    /// UconDB does not answer.
    CheckUconServer,
    /// UconDB is elsewhere.
    SetUconUrl,
    /// This UconDB is for reading.
    NameWritingInstance,
    /// The address of UconDB holds credentials.
    UrlWithoutCredentials,
    /// The address of UconDB has more than a path.
    UrlWithoutQuery,
    /// The address of UconDB is to be one of a server.
    UrlOfServer,
    /// The address of UconDB is to be one of a directory.
    UrlOfDirectory,
    /// UconDB lacks the folder.
    CheckFolder,
    /// A name that UconDB can't have.
    PlainName(UconName, String),
    /// A name that a directory can't have.
    DirectoryName(UconName, String),
    /// UconDB refuses the credentials.
    CheckWriter,
    /// UconDB's certificate is not trusted.
    TrustUconCertificate,
    /// UconDB is slow.
    RaiseUconTimeout,
    /// UconDB has another record of the run.
    ChooseRecord(Run),
    /// UconDB has something under the run's key that cannot be read.
    ReplaceBlob(Run),
}

/// Which of the names of a UconDB is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UconName {
    /// The folder.
    Folder,
    /// The object.
    Object,
}

impl UconName {
    fn key(self) -> &'static str {
        match self {
            UconName::Folder => "ucon_db.folder_name",
            UconName::Object => "ucon_db.object_name",
        }
    }
}

impl Remedy {
    /// Joins a problem and its remedy to one text: as a sentence behind a full stop,
    /// as it is behind a colon or where the remedy says it all, else as a clause.
    pub(super) fn join(problem: &str, remedy: &Remedy) -> String {
        let text = remedy.to_string();
        match problem.chars().last() {
            None => text,
            Some(':') => format!("{problem} {text}"),
            Some('.') => {
                let mut characters = text.chars();
                let first = characters.next().map(|first| first.to_ascii_uppercase());
                let rest = characters.as_str();
                format!(
                    "{problem} {}{rest}",
                    first.map_or_else(String::new, String::from)
                )
            }
            Some(_) => format!("{problem}; {text}"),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remedy::CorrectArtdaqUri => "correct artdaq_db.database_uri",
            Remedy::CheckMongoServer => {
                "see that the server runs and is reachable from here, or correct \
                 artdaq_db.database_uri"
            }
            Remedy::CheckMongoCredentials => {
                "correct user, password or authSource in artdaq_db.database_uri"
            }
            Remedy::GrantReadWrite => {
                "the user of artdaq_db.database_uri needs the role readWrite on this database"
            }
            Remedy::CorrectMongoCertificates([client, authorities]) => {
                return write!(
                    f,
                    "correct {client}, {authorities} or the TLS options in artdaq_db.database_uri"
                );
            }
            Remedy::RebuildIndex => {
                "restore the index from a backup, or have a new one made of the documents beside \
                 it with --rebuild-index"
            }
            Remedy::RebuildIndexThere => {
                "restore it from a backup, or have a new one made of the documents with \
                 --rebuild-index on that host"
            }
            Remedy::RestoreDocument => "restore the document from a backup",
            Remedy::FindLockHolder => {
                "find it with `fuser -v` on the file, and let it end or end it"
            }
            Remedy::RaiseDocumentLimit => "if it is a configuration, raise app.max_document_mb",
            Remedy::ImportAgain => "import it again with --import-only",
            Remedy::ImportWithoutTools => "import this run with artdaq_db.use_tools: false",
            Remedy::RaiseToolsTimeout => {
                "if it only needs longer, raise artdaq_db.tools_timeout_seconds"
            }
            Remedy::CorrectToolsDir => "correct artdaq_db.tools_dir, or set use_tools: false",
            Remedy::CorrectToolsDirThere => "correct artdaq_db.tools_dir",
            Remedy::SetToolsDir => {
                "set artdaq_db.tools_dir to its directory, or set use_tools: false"
            }
            Remedy::SetToolsDirThere => "set artdaq_db.tools_dir to its directory there",
            Remedy::KnowHostKey => {
                "its host key is unknown or not the one that is known. Once you are sure of it, \
                 put it into known_hosts (ssh there once by hand as the archiver's user)"
            }
            Remedy::AllowLogin => {
                "let the archiver's user log in there without a password: by a key, or a Kerberos \
                 ticket"
            }
            Remedy::CorrectSshOptions => "correct artdaq_db.ssh_options",
            Remedy::CheckRemoteHost => "check artdaq_db.remote_host, the host and the network",
            Remedy::CheckUconUrl => "check ucon_db.server_url, which usually ends in /app",
            Remedy::CheckUconServer => {
                "check ucon_db.server_url, the network, and that UconDB is up"
            }
            Remedy::SetUconUrl => "set ucon_db.server_url to where UconDB is",
            Remedy::NameWritingInstance => "ucon_db.server_url must name the instance for writing",
            Remedy::UrlWithoutCredentials => {
                "ucon_db.server_url must not hold a user or password: name them in \
                 ucon_db.writer_user and ucon_db.writer_password"
            }
            Remedy::UrlWithoutQuery => {
                "ucon_db.server_url must end with the path, usually /app, without ? or #"
            }
            Remedy::UrlOfServer => "ucon_db.server_url must begin with https:// or http://",
            Remedy::UrlOfDirectory => {
                "ucon_db.server_url is no local directory: it looks like \
                 file:///path/to/directory"
            }
            Remedy::CheckFolder => {
                "check ucon_db.folder_name, or have the UconDB administrators create it"
            }
            Remedy::PlainName(which, name) => {
                return write!(
                    f,
                    "{} is {name:?}: UconDB does not decode its paths, so the name may only hold \
                     letters, digits, '-', '_', '.' and '~'",
                    which.key()
                );
            }
            Remedy::DirectoryName(which, name) => {
                return write!(
                    f,
                    "{} is {name:?}, which can't name a directory",
                    which.key()
                );
            }
            Remedy::CheckWriter => {
                "check ucon_db.writer_user and ucon_db.writer_password, and that this user may \
                 write to the folder"
            }
            Remedy::TrustUconCertificate => {
                "check the server's certificate, or name its CA in ucon_db.ca_file"
            }
            Remedy::RaiseUconTimeout => "if the server is just slow, raise ucon_db.timeout_seconds",
            Remedy::ChooseRecord(run) => {
                return write!(
                    f,
                    "see what differs with --verify --runs {run}; if artdaqDB is right, \
                     --migrate-only --override-existing --runs {run} stores its record as a new \
                     version"
                );
            }
            Remedy::ReplaceBlob(run) => {
                return write!(
                    f,
                    "if it stays so, --migrate-only --override-existing --runs {run} stores the \
                     run as a new version"
                );
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_follows_its_problem_as_the_text_needs_it() {
        for (problem, text) in [
            (
                "it is damaged",
                "it is damaged; import it again with --import-only",
            ),
            (
                "It is damaged.",
                "It is damaged. Import it again with --import-only",
            ),
            (
                "it is damaged:",
                "it is damaged: import it again with --import-only",
            ),
            ("", "import it again with --import-only"),
        ] {
            assert_eq!(Remedy::join(problem, &Remedy::ImportAgain), text);
        }
    }
}
