//! `load` and the verb `check-config`, on real files.

use std::error::Error;
use std::path::{Path, PathBuf};

use lvs_agent::cli::check_config;
use lvs_agent::config::{LoadError, MAX_FILE_BYTES, load};

use super::GENERATED;

const GOOD: &str = "[check.a]\ntype = 'tls'\nca-file = 'ca.pem'\n\
                    [[service]]\nmatch = ['*:443/tcp']\nchecks = ['a']\n";

fn directory_with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).expect(name);
    }
    directory
}

fn check_config(path: &Path) -> (u8, String) {
    let mut out = Vec::new();
    let code = check_config::run(path, &mut out);
    (
        code,
        String::from_utf8(out)
            .expect("UTF-8")
            .replace(&format!("{}/", path.parent().expect("a directory").display()), ""),
    )
}

fn problems(path: PathBuf) -> Vec<String> {
    match load(&path).expect_err("faults") {
        LoadError::Faults { problems, .. } => problems
            .into_iter()
            .map(|p| format!("{}:{}: {}: {}", p.line, p.column, p.key, p.message))
            .collect(),
        LoadError::Unreadable { source, .. } => panic!("{source}"),
    }
}

#[test]
fn files_are_relative_to_the_configuration() {
    let directory =
        directory_with(&[("c.toml", GOOD.as_bytes()), ("ca.pem", &GENERATED["generated/ca.pem"])]);
    let config = load(&directory.path().join("c.toml")).expect("valid");
    assert_eq!(config.checks, 1);
    assert_eq!(
        check_config(&directory.path().join("c.toml")),
        (0, "c.toml: valid: 1 service, 1 check\n".to_owned())
    );
}

#[test]
fn a_named_file_is_a_regular_one_of_bounded_size() {
    let directory = directory_with(&[("c.toml", GOOD.as_bytes())]);
    std::fs::create_dir(directory.path().join("ca.pem")).expect("ca.pem");
    assert_eq!(
        problems(directory.path().join("c.toml")),
        ["3:11: check.a.ca-file: `ca.pem` cannot be read: not a regular file"]
    );
    let directory = directory_with(&[("c.toml", GOOD.as_bytes()), ("ca.pem", &vec![b'x'; (1 << 20) + 1])]);
    assert_eq!(
        problems(directory.path().join("c.toml")),
        ["3:11: check.a.ca-file: `ca.pem` cannot be read: larger than 1048576 bytes"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_cause() {
    let directory = directory_with(&[]);
    let path = directory.path().join("c.toml");
    let error = load(&path).expect_err("no file");
    assert!(error.to_string().ends_with("/c.toml"), "{error}");
    assert!(error.source().is_some_and(|cause| cause.to_string().contains("No such file")), "{error:?}");
    let (code, out) = check_config(&path);
    assert_eq!(
        (code, out.as_str()),
        (78, "cannot read the configuration c.toml: No such file or directory (os error 2)\n")
    );
    assert_eq!(check_config(directory.path()).0, 78, "a directory");
}

#[test]
fn a_file_has_a_limit() {
    let mut text = GOOD.replace("ca-file = 'ca.pem'\n", "").into_bytes();
    text.resize(MAX_FILE_BYTES as usize, b'\n');
    let directory = directory_with(&[("c.toml", &text)]);
    let path = directory.path().join("c.toml");
    assert!(load(&path).is_ok());
    text.push(b'\n');
    std::fs::write(&path, &text).expect("c.toml");
    assert_eq!(
        check_config(&path),
        (78, "cannot read the configuration c.toml: larger than 4194304 bytes\n".to_owned())
    );
}

#[test]
fn a_large_text_that_is_no_configuration_is_refused_by_its_first_fault() {
    let directory = directory_with(&[("c.toml", "=\n".repeat(1 << 20).as_bytes())]);
    let expected = ["1:1: : unquoted keys cannot be empty, expected letters, numbers, `-`, `_`"];
    assert_eq!(problems(directory.path().join("c.toml")), expected);
    // A large one without faults of syntax has all its other faults reported.
    let text = format!("mode = 1\n{}port = 1\n", "# padding\n".repeat(40_000));
    let directory = directory_with(&[("c.toml", text.as_bytes())]);
    assert_eq!(problems(directory.path().join("c.toml")).len(), 2);
}

#[test]
fn faults_beyond_a_thousand_are_counted() {
    let text: String = (0..1500).map(|i| format!("k{i} = 1\n")).collect();
    let directory = directory_with(&[("c.toml", text.as_bytes())]);
    let problems = problems(directory.path().join("c.toml"));
    assert_eq!(problems.len(), 1001);
    assert!(problems[1000].ends_with("500 more problems are not listed"), "{}", problems[1000]);
}

#[test]
fn there_are_limits_to_checks_and_services() {
    let checks: String = (0..1001).map(|i| format!("[check.c{i}]\ntype = 'tcp'\n")).collect();
    let service = "[[service]]\nmatch = ['10.0.0.1:80/tcp']\nchecks = []\n";
    let directory = directory_with(&[
        ("checks.toml", checks.as_bytes()),
        ("services.toml", service.repeat(10_001).as_bytes()),
    ]);
    let faults = problems(directory.path().join("checks.toml"));
    assert_eq!(faults, ["1:2: check: has 1001 checks: at most 1000"]);
    let faults = problems(directory.path().join("services.toml"));
    assert_eq!(faults, ["1:1: service: there are 10001 services: at most 10000"]);
}

#[test]
fn bytes_that_are_not_text_are_pointed_at() {
    let directory = directory_with(&[("c.toml", b"mode = \"observe\"\n# caf\xe9\n")]);
    assert_eq!(
        check_config(&directory.path().join("c.toml")),
        (
            78,
            "c.toml:2:6: is not UTF-8 from here on\n    2 | # caf\n      |      ^\nc.toml: 1 problem\n"
                .to_owned()
        )
    );
}

#[test]
fn the_verb_lists_every_problem_and_every_warning() {
    let directory = directory_with(&[
        ("bad.toml", b"mode = 1\n[check.a]\ntype = 'tcp'\nport = 0\n"),
        ("warns.toml", b"[check.a]\ntype = 'tcp'\n"),
    ]);
    let (code, out) = check_config(&directory.path().join("bad.toml"));
    assert_eq!(code, 78);
    assert_eq!(
        out,
        "bad.toml:1:8: mode: is a whole number: write \"enforce\" or \"observe\"\n    1 | mode = 1\n      |        ^\n\
         bad.toml:4:8: check.a.port: `0` is out of range: write a port from 1 to 65535\n    4 | port = 0\n      |        ^\n\
         bad.toml: 2 problems\n"
    );
    let (code, out) = check_config(&directory.path().join("warns.toml"));
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "warning: warns.toml:1:8: check.a: no service uses this check\n    1 | [check.a]\n      |        ^\n\
         warns.toml: valid: 0 services, 1 check, 1 warning\n"
    );
}

#[test]
fn output_that_cannot_be_written_is_not_a_valid_configuration() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let directory = directory_with(&[("c.toml", b"mode = 'observe'\n")]);
    assert_eq!(check_config::run(&directory.path().join("c.toml"), &mut Full), 1);
}
