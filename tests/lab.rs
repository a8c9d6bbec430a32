//! The lab: real kernel, release binary. Boots the kernel once, runs every tests/lab/NN_*.sh in it, and prints a line a
//! test as the standard harness does. Where the kernel cannot boot, every test fails: none is skipped.
//!
//! `cargo test --test lab [PART_OF_A_NAME]...`; LAB_AGENT names another binary to test, LAB_SHOW_LOGS=1 shows every log,
//! LVS_TEST_LONG=1 repeats more often what is random.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// Seconds for all tests together, and in the long form; room for a machine that is busy.
const LIMIT_S: &str = "1500";
const LONG_LIMIT_S: &str = "2400";

fn main() -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let all = lab_tests()?;
    let args: Vec<String> = env::args().skip(1).collect();
    let exact = args.iter().any(|a| a == "--exact");
    let filters: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let wanted = |test: &LabTest| {
        filters.is_empty()
            || filters.iter().any(|f| if exact { test.name == **f } else { test.name.contains(*f) })
    };
    let count = all.len();
    let tests: Vec<LabTest> = all.into_iter().filter(wanted).collect();
    if args.iter().any(|a| a == "--list") {
        for test in &tests {
            writeln!(out, "{}: test", test.name)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "\nrunning {} tests", tests.len())?;
    let passed = if tests.is_empty() { 0 } else { run(&tests, &mut out)? };
    let failed = tests.len() - passed;
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    let filtered = count - tests.len();
    writeln!(
        out,
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out\n"
    )?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct LabTest {
    name: String,
    script: PathBuf,
}

fn lab_tests() -> io::Result<Vec<LabTest>> {
    let mut tests = Vec::new();
    for entry in fs::read_dir(lab_dir())? {
        let script = entry?.path();
        let file = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(stem) = file.strip_suffix(".sh").filter(|f| f.starts_with(|c: char| c.is_ascii_digit())) {
            tests.push(LabTest { name: format!("lab::{stem}"), script });
        }
    }
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tests)
}

/// Runs them all in one boot, passing on what it prints; gives back how many passed.
fn run(tests: &[LabTest], out: &mut impl Write) -> io::Result<usize> {
    // Separate builds, so that the tested binary has the features that `cargo build --release` gives it, and the
    // tools share what the tests are built from.
    let agent = built("LAB_AGENT", &["--release", "--bin", "lvs-agent"], "release/lvs-agent")?;
    let tools = built("LAB_TOOLS", &["--example", "lab-tools"], "debug/examples/lab-tools")?;
    let ipvs = built("LAB_IPVS_KERNEL", &["--example", "lab-ipvs-kernel"], "debug/examples/lab-ipvs-kernel")?;
    let long = env::var("LVS_TEST_LONG").unwrap_or_default();
    let mut kernel = Command::new(lab_dir().join("boot"))
        .arg(lab_dir().join("suite.sh"))
        .args(tests.iter().map(|t| &t.script))
        .env("LAB_AGENT", agent)
        .env("LAB_TOOLS", tools)
        .env("LAB_IPVS_KERNEL", ipvs)
        .env("LAB_TIMEOUT", if long.is_empty() { LIMIT_S } else { LONG_LIMIT_S })
        .env("LAB_LONG", &long)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut finished: Vec<(String, bool)> = Vec::new();
    if let Some(stdout) = kernel.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            writeln!(out, "{line}")?;
            if let Some((name, verdict)) = line.strip_prefix("test ").and_then(|l| l.split_once(" ... ")) {
                finished.push((name.to_owned(), verdict.starts_with("ok")));
            }
        }
    }
    let status = kernel.wait()?;
    for test in tests.iter().filter(|t| !finished.iter().any(|(name, _)| *name == t.name)) {
        writeln!(
            out,
            "test {} ... FAILED (the kernel never came to it: boot ended with {status})",
            test.name
        )?;
    }
    Ok(tests.iter().filter(|t| finished.contains(&(t.name.clone(), true))).count())
}

/// The path in the variable, else what `cargo build` makes of these arguments.
fn built(variable: &str, args: &[&str], product: &str) -> io::Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        return fs::canonicalize(path);
    }
    let target = Path::new(env!("CARGO_BIN_EXE_lvs-agent")).ancestors().nth(2).unwrap_or(Path::new("target"));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(["build", "--locked", "--quiet", "--target-dir"])
        .arg(target)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("cargo build {} failed", args.join(" "))));
    }
    Ok(target.join(product))
}

fn lab_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab")
}
