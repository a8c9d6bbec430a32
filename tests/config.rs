//! Configurations as users write them: `config/bad/*.toml` each with the exact report beside it,
//! `config/good/*.toml` with what they come to.
//!
//! After a change of wording, `LVS_AGENT_BLESS=1 cargo test --test config` rewrites the reports;
//! read the difference before it is committed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use lvs_agent::config::{self, Config, Problem};

#[path = "config/docs.rs"]
mod docs;
#[path = "config/effect.rs"]
mod effect;
#[path = "config/files.rs"]
mod files;
#[path = "config/good.rs"]
mod good;
#[path = "config/properties.rs"]
mod properties;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

/// Keys and certificates are made anew for each run: none lies in the repository.
static GENERATED: LazyLock<BTreeMap<&str, Vec<u8>>> = LazyLock::new(|| {
    let pair = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let (ca, client) = (pair("ca.example.com"), pair("client.example.com"));
    BTreeMap::from([
        ("generated/ca.pem", ca.cert.pem().into_bytes()),
        ("generated/client.pem", client.cert.pem().into_bytes()),
        ("generated/client.key", client.signing_key.serialize_pem().into_bytes()),
        ("generated/other.key", ca.signing_key.serialize_pem().into_bytes()),
        ("generated/broken.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec()),
        ("generated/broken.key", b"-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n".to_vec()),
    ])
});

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str().and_then(|name| GENERATED.get(name)) {
        Some(bytes) => Ok(bytes.clone()),
        None => std::fs::read(directory().join(path)),
    }
}

fn parse(text: &str) -> Result<Config, Vec<Problem>> {
    config::parse(text, &read_file)
}

/// The configuration, or a panic with the whole report.
fn valid(text: &str) -> Config {
    parse(text).unwrap_or_else(|problems| panic!("{}", rendered(&problems, "text", text)))
}

fn rendered(problems: &[Problem], file: &str, text: &str) -> String {
    problems.iter().map(|problem| problem.render(file, text)).collect()
}

#[test]
fn every_bad_configuration_is_reported_as_expected() {
    let bless = std::env::var_os("LVS_AGENT_BLESS").is_some();
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(directory().join("bad")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    names.sort();
    assert!(names.len() >= 11, "the bad configurations are gone: {names:?}");
    let mut wrong = String::new();
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let file = format!("bad/{}", path.file_name().unwrap().to_str().unwrap());
        let report = rendered(&parse(&text).expect_err(&file), &file, &text);
        let expected_path = path.with_extension("expected");
        if bless {
            std::fs::write(&expected_path, &report).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if report != expected {
            wrong.push_str(&format!("--- {file}: expected\n{expected}--- but it is\n{report}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
