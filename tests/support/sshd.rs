//! A real sshd on loopback, with keys of its own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use run_record_archiver::artdaqdb::tools::Settings;

const PROGRAM: &str = "/usr/sbin/sshd";

/// A server for the user who runs the tests; it ends with this.
pub struct Sshd {
    directory: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Sshd {
    /// Starts one. `None`, and a word why, if there is no sshd here; in CI that
    /// is a failure.
    pub fn start() -> Option<Sshd> {
        if !Path::new(PROGRAM).exists() {
            let problem = format!("{PROGRAM} is missing: apt-get install openssh-server");
            assert!(std::env::var_os("CI").is_none(), "{problem}");
            eprintln!("{problem}");
            return None;
        }
        // Where it drops its privileges; only root's sshd needs it, and only root can make it.
        let _ = fs::create_dir_all("/run/sshd");
        let directory = tempfile::tempdir().unwrap();
        for key in ["host", "user", "stranger"] {
            let path = directory.path().join(key);
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path)
                .status();
            assert!(status.unwrap().success());
        }
        fs::create_dir(directory.path().join("tmp")).unwrap();
        let user_key = fs::read_to_string(directory.path().join("user.pub")).unwrap();
        // A login script that talks on standard output, as real ones do.
        let keys = format!(
            "command=\"echo Welcome to daq01; eval \\\"$SSH_ORIGINAL_COMMAND\\\"\" {user_key}"
        );
        fs::write(directory.path().join("authorized_keys"), keys).unwrap();
        // Another process may take the port before sshd does.
        (0..5)
            .find_map(|_| Sshd::listen(&directory))
            .map(|(port, child)| Sshd {
                directory,
                port,
                child,
            })
            .or_else(|| panic!("sshd does not start"))
    }

    fn listen(directory: &tempfile::TempDir) -> Option<(u16, Child)> {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nSetEnv TMPDIR={}\n",
            at("host"),
            at("authorized_keys"),
            at("tmp")
        );
        fs::write(at("sshd_config"), config).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                let host_key = fs::read_to_string(at("host.pub")).unwrap();
                let known = format!("[127.0.0.1]:{port} {host_key}");
                fs::write(at("known_hosts"), known).unwrap();
                return Some((port, child));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        eprintln!("{}", fs::read_to_string(at("log")).unwrap_or_default());
        None
    }

    /// The same tools, through this server.
    pub fn through(&self, settings: Settings) -> Settings {
        Settings {
            remote_host: Some("127.0.0.1".into()),
            ssh_options: self.options("user", "known_hosts"),
            ..settings
        }
    }

    /// Options for ssh, with a key and a file of known hosts of this server's directory.
    pub fn options(&self, key: &str, known_hosts: &str) -> Vec<String> {
        let known_hosts = self.directory.path().join(known_hosts);
        [
            "-F".into(),
            "none".into(),
            "-p".into(),
            self.port.to_string(),
            "-i".into(),
            self.directory.path().join(key).display().to_string(),
            "-oIdentitiesOnly=yes".into(),
            // The cheapest: each step is a connection.
            "-oKexAlgorithms=curve25519-sha256".into(),
            "-oGlobalKnownHostsFile=/dev/null".into(),
            format!("-oUserKnownHostsFile={}", known_hosts.display()),
        ]
        .into()
    }

    /// What is left in the temporary directory on the server's side, once it
    /// has had the time to be removed.
    pub fn temporary_files(&self) -> Vec<PathBuf> {
        let list = || {
            fs::read_dir(self.directory.path().join("tmp"))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect::<Vec<_>>()
        };
        for _ in 0..100 {
            if list().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        list()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
