//! TLS and X.509, through the environment variables of artdaq_database and
//! through the URI.
#![cfg(feature = "mongodb")]

use std::fs;
use std::path::Path;

use crate::support::archiver::Test;
use crate::support::mongod::{Kind, Mongod};
use mongodb::bson::doc;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use run_record_archiver::artdaqdb::ArtdaqDb;
use run_record_archiver::artdaqdb::mongo::MongoDb;
use run_record_archiver::error::Disposition;

const CLIENT_CERT: &str = "ARTDAQ_DATABASE_CLIENT_CERT";
const CA_CERT: &str = "ARTDAQ_DATABASE_CA_CERT";

/// Writes `ca.pem`, `server.pem` and `client.pem`, the last two with their keys.
fn write_certificates(directory: &Path) {
    let named = |unit: &str, name: &str| {
        let mut distinguished = DistinguishedName::new();
        distinguished.push(DnType::OrganizationName, "Archive");
        distinguished.push(DnType::OrganizationalUnitName, unit);
        distinguished.push(DnType::CommonName, name);
        distinguished
    };
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name = named("CA", "CA");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    for (name, hosts, usage) in [
        (
            "server",
            vec!["127.0.0.1".to_owned()],
            ExtendedKeyUsagePurpose::ServerAuth,
        ),
        ("client", Vec::new(), ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = named(name, name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        fs::write(
            directory.join(format!("{name}.pem")),
            certificate.pem() + &key.serialize_pem(),
        )
        .unwrap();
    }
}

#[test]
fn certificates_of_the_environment_and_of_the_uri_open_the_archive() {
    let Some(mut server) = Mongod::start(Kind::Standalone) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    server
        .client("")
        .database("$external")
        .run_command(doc! {
            "createUser": "CN=client,OU=client,O=Archive",
            "roles": [{ "role": "readWrite", "db": "archive" }],
            "writeConcern": { "w": 1, "j": true },
        })
        .run()
        .unwrap();
    server.kill();
    server.restart_with(&[
        "--auth",
        "--tlsMode",
        "requireTLS",
        "--tlsCertificateKeyFile",
        &path("server.pem"),
        "--tlsCAFile",
        &path("ca.pem"),
    ]);

    // As the real tools are set up: nothing in the URI.
    let test = Test::new().record(1).set(
        "artdaq_db.database_uri",
        &server.uri("serverSelectionTimeoutMS=2000"),
    );
    let run = |environment: &[(&str, &str)]| {
        let mut command = test.command(&["--incremental"]);
        command.env_remove(CLIENT_CERT).env_remove(CA_CERT);
        command.envs(environment.iter().copied());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, log) = run(&[]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("Cannot reach MongoDB server"), "{log}");
    // A server whose certificate nobody vouches for is not trusted.
    let (code, log) = run(&[(CLIENT_CERT, &path("client.pem"))]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("UnknownIssuer"), "{log}");
    // A name that leads nowhere is never passed over.
    let (code, log) = run(&[(CLIENT_CERT, &path("missing.pem"))]);
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("missing.pem") && log.contains(CLIENT_CERT),
        "{log}"
    );

    let (client, ca) = (path("client.pem"), path("ca.pem"));
    let (code, log) = run(&[(CLIENT_CERT, &client), (CA_CERT, &ca)]);
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("✓ Run 1 migrated successfully"), "{log}");

    // All of it in the URI.
    let options = format!(
        "tls=true&authMechanism=MONGODB-X509&authSource=$external&serverSelectionTimeoutMS=2000&\
         tlsCAFile={ca}&tlsCertificateKeyFile={client}"
    );
    let db = MongoDb::new(&server.uri(&options)).unwrap();
    assert_eq!(db.runs().unwrap().len(), 1);

    // Without a user's certificate nothing is read.
    let options = format!("tls=true&serverSelectionTimeoutMS=2000&tlsCAFile={ca}");
    let error = MongoDb::new(&server.uri(&options))
        .unwrap()
        .runs()
        .unwrap_err();
    assert_eq!(error.disposition(), Disposition::StopStage, "{error}");
}
