//! The keys of `artdaq_db` that say where the real tools are.

use std::path::Path;
use std::time::Duration;

use run_record_archiver::config::Config;
use run_record_archiver::error::Result;

fn parse(keys: &str) -> Result<Config> {
    let text = format!(
        "app: {{work_dir: /w}}\nsource_files: {{run_records_dir: /r}}\n\
         ucon_db: {{server_url: 'https://h/i/a', folder_name: f, object_name: o}}\n\
         artdaq_db:\n    fcl_conf_dir: /c\n    database_uri: filesystemdb:///a\n{keys}"
    );
    Config::parse(Path::new("config.yaml"), &text, &|_| None)
}

#[test]
fn the_tools_are_in_path_and_have_five_minutes() {
    let artdaq = parse("").unwrap().artdaq_db;
    assert_eq!((artdaq.tools_dir, artdaq.remote_host), (None, None));
    assert_eq!(artdaq.tools_timeout_seconds, Duration::from_secs(300));
    assert_eq!(artdaq.ssh_options, [""; 0]);
}

#[test]
fn options_for_ssh_are_taken_as_they_would_be_typed() {
    let config = parse(
        "    tools_dir: /opt/tools\n    tools_timeout_seconds: 20\n    remote_host: me@daq01\n    \
         ssh_options: \"-p 2222 -o 'ProxyCommand=nc %h %p'\"\n",
    );
    let config = config.unwrap();
    assert_eq!(config.warnings, []);
    let artdaq = config.artdaq_db;
    assert_eq!(artdaq.tools_dir.as_deref(), Some(Path::new("/opt/tools")));
    assert_eq!(artdaq.tools_timeout_seconds, Duration::from_secs(20));
    assert_eq!(artdaq.remote_host.as_deref(), Some("me@daq01"));
    let expected = ["-p", "2222", "-o", "ProxyCommand=nc %h %p"];
    assert_eq!(artdaq.ssh_options, expected);
}

#[test]
fn what_ssh_would_misunderstand_is_refused() {
    for (keys, words) in [
        (
            "remote_host: -oProxyCommand=id",
            "options for ssh belong into ssh_options",
        ),
        ("remote_host: daq01 rm", "expected a host"),
        ("ssh_options: daq01", "expected options"),
        ("ssh_options: \"-o 'x\"", "expected options"),
        (
            "tools_timeout_seconds: 0",
            "expected seconds from 1 to 21600",
        ),
    ] {
        let error = parse(&format!("    {keys}\n")).unwrap_err().to_string();
        let key = keys.split(':').next().unwrap();
        assert!(error.contains(&format!("artdaq_db.{key}")), "{error}");
        assert!(error.contains(words), "{error}");
    }
}
