//! How the HTTP client connects: TLS, proxies, redirects, pooled connections,
//! and servers that are none.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use crate::support::test_name;
use crate::support::ucondb_client::{RUN, assert_all_fail, assert_failure, client, put, settings};
use crate::support::ucondb_server::{
    Action, Authentication, Fault, OBJECT, Options, Reply, Tls, Transport, USER, UconDbServer,
};
use bytes::Bytes;
use run_record_archiver::error::Disposition;
use run_record_archiver::run::Run;
use run_record_archiver::ucondb::http::{HttpSettings, HttpUconDb};
use run_record_archiver::ucondb::{Override, UconDb};

fn start(transport: Transport, authentication: Authentication) -> UconDbServer {
    UconDbServer::start(Options {
        transport,
        authentication,
        ..Options::default()
    })
}

#[test]
fn no_redirect_is_followed() {
    let elsewhere = start(Transport::KeepAlive, Authentication::Digest);
    for status in [301, 302, 307, 308] {
        let server = start(Transport::KeepAlive, Authentication::Digest);
        let db = client(&server);
        put(&db, Run(1), b"the nonce is known with this").unwrap();
        let target = elsewhere.url().replace("http://", "http://me:pw@") + "/data?x=1";
        let reply = Reply::html(status, "Found").header("Location", &target);
        server.fault(Fault::on("", "").always().then(Action::Answer(reply)));
        let words = ["redirects to", &elsewhere.url(), "ucon_db.server_url"];
        assert_all_fail(&db, Disposition::StopStage, &words);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn nobody_who_listens_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for url in [
        format!("http://{port}/app"),
        format!("https://{port}/app"),
        "http://no-such-host.invalid/app".to_owned(),
    ] {
        let db = HttpUconDb::new(settings(url.as_str())).unwrap();
        assert_all_fail(&db, Disposition::StopStage, &["can't be reached", &url]);
    }
}

#[test]
fn what_does_not_speak_http_is_no_ucondb() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/app", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
        }
    });
    let db = HttpUconDb::new(settings(url)).unwrap();
    assert_all_fail(&db, Disposition::StopStage, &["no UconDB at", "not HTTP"]);
}

#[test]
fn a_server_is_trusted_by_its_ca_alone() {
    let directory = tempfile::tempdir().unwrap();
    for tls in [Tls::On, Tls::WithoutCloseNotify] {
        let server = UconDbServer::start(Options {
            tls,
            ..Options::default()
        });
        let ca = directory.path().join("ca.pem");
        server.write_ca(&ca);
        let trusting = HttpUconDb::new(HttpSettings {
            ca_file: Some(ca),
            ..settings(server.url())
        })
        .unwrap();
        put(&trusting, RUN, b"blob").unwrap();
        assert_eq!(trusting.download(RUN).unwrap(), b"blob");

        let strange = UconDbServer::start(Options {
            tls,
            ..Options::default()
        });
        let ca = directory.path().join("strange.pem");
        strange.write_ca(&ca);
        for ca_file in [None, Some(ca)] {
            let wary = HttpUconDb::new(HttpSettings {
                ca_file,
                ..settings(server.url())
            })
            .unwrap();
            server.forget_requests();
            let words = ["no trusted TLS connection", "ucon_db.ca_file"];
            assert_all_fail(&wary, Disposition::StopStage, &words);
            assert_eq!(server.requests().len(), 0);
        }

        let careless = HttpUconDb::new(HttpSettings {
            verify_tls: false,
            ..settings(server.url())
        })
        .unwrap();
        assert_eq!(careless.runs().unwrap(), BTreeSet::from([RUN]));
    }
}

#[test]
fn http_and_https_are_told_apart() {
    let plain = start(Transport::Bare, Authentication::Digest);
    let encrypted = UconDbServer::start(Options {
        tls: Tls::On,
        ..Options::default()
    });
    let db = HttpUconDb::new(settings(plain.url().replace("http:", "https:"))).unwrap();
    assert_failure(db.runs(), Disposition::StopStage, &["TLS"]);
    let db = HttpUconDb::new(settings(encrypted.url().replace("https:", "http:"))).unwrap();
    assert_failure(db.runs(), Disposition::StopStage, &["https"]);
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let open = || {
        HttpUconDb::new(HttpSettings {
            ca_file: Some(file.clone()),
            ..settings("https://127.0.0.1:1/app")
        })
    };
    let name = file.to_str().unwrap();
    assert_failure(open(), Disposition::StopStage, &[name, "can't be read"]);
    for content in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(&file, content).unwrap();
        assert_failure(open(), Disposition::StopStage, &[name, "certificate"]);
    }
}

#[test]
fn debug_shows_no_password() {
    let settings = settings("http://127.0.0.1:1/app");
    let shown = format!("{settings:?} {:?}", HttpUconDb::new(settings.clone()));
    assert!(shown.contains(USER), "{shown}");
    assert!(!shown.contains("heim"), "{shown}");
}

#[test]
fn connections_are_kept_and_replaced() {
    let server = start(Transport::KeepAlive, Authentication::Digest);
    let db = client(&server);
    for run in 1..=10 {
        put(&db, Run(run), b"blob").unwrap();
    }
    // A connection goes back to the pool a moment after its answer.
    assert!(server.connections() < 5, "{}", server.connections());
    for run in 11..=20 {
        server.close_connections();
        put(&db, Run(run), b"blob").unwrap();
    }
    assert_eq!(server.versions(OBJECT).len(), 20);
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    // The variables are those of a process, so one of its own is behind the proxy.
    if std::env::var_os("UCONDB_TEST_BEHIND_PROXY").is_some() {
        let url = "http://ucondb.invalid/instance/app";
        let db = HttpUconDb::new(settings(url)).unwrap();
        put(&db, RUN, b"through the proxy").unwrap();
        return;
    }
    let server = start(Transport::KeepAlive, Authentication::Digest);
    let output = Command::new(std::env::current_exe().unwrap())
        .arg("--exact")
        .arg(test_name(
            module_path!(),
            "a_proxy_of_the_environment_is_used",
        ))
        .env("HTTP_PROXY", format!("http://{}", server.address()))
        .env("UCONDB_TEST_BEHIND_PROXY", "1")
        .env("http_proxy", format!("http://{}", server.address()))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.blobs(OBJECT)["12500"], b"through the proxy");
}

#[test]
fn a_client_holds_one_copy_of_a_blob() {
    // A peak is a process's, so each blob has one of its own.
    if std::env::var_os("UCONDB_TEST_WORK").is_some() {
        return one_large_blob();
    }
    const SIZE: u64 = 100_000_000;
    for tls in [Tls::Off, Tls::On] {
        let server = UconDbServer::start(Options {
            transport: Transport::KeepAlive,
            tls,
            ..Options::default()
        });
        for (work, copies) in [("upload", 1), ("download", 1)] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    &test_name(module_path!(), "a_client_holds_one_copy_of_a_blob"),
                    "--nocapture",
                ])
                .env("UCONDB_TEST_URL", server.url())
                .env("UCONDB_TEST_WORK", work)
                .env("UCONDB_TEST_SIZE", SIZE.to_string())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let text = String::from_utf8(output.stdout).unwrap();
            let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
            let peak: u64 = peak.unwrap().parse::<u64>().unwrap() * 1024;
            let most = copies * SIZE + 40_000_000;
            assert!(peak > SIZE && peak < most, "{work} {tls:?}: {peak}");
        }
    }
}

fn one_large_blob() {
    let variable = |name| std::env::var(name).unwrap();
    let size = variable("UCONDB_TEST_SIZE").parse().unwrap();
    let db = HttpUconDb::new(HttpSettings {
        verify_tls: false,
        ..settings(variable("UCONDB_TEST_URL"))
    })
    .unwrap();
    if variable("UCONDB_TEST_WORK") == "upload" {
        db.upload(RUN, Bytes::from(vec![1; size]), Override::No)
            .unwrap();
    } else {
        assert_eq!(db.download(RUN).unwrap().len(), size);
    }
    print!(
        "\n{}",
        std::fs::read_to_string("/proc/self/status").unwrap()
    );
}
