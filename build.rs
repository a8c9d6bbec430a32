//! Tells `lvs_agent_build_info` which source and which compiler it was built from. Whatever cannot
//! be found out is "unknown"; a build never fails for it, and the same checkout gives the same text.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> io::Result<()> {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut cargo = io::stdout();
    writeln!(cargo, "cargo::rerun-if-changed=build.rs")?;
    // Packagers build from a tarball, where there is nothing to ask.
    writeln!(cargo, "cargo::rerun-if-env-changed=LVS_AGENT_REVISION")?;
    let revision = std::env::var("LVS_AGENT_REVISION").ok().filter(|revision| !revision.is_empty());
    let revision = match revision {
        Some(revision) => Some(revision),
        None => {
            for path in files_that_change_with_the_revision(&root) {
                writeln!(cargo, "cargo::rerun-if-changed={}", path.display())?;
            }
            checked_out_revision(&root)
        }
    };
    writeln!(
        cargo,
        "cargo::rustc-env=LVS_AGENT_BUILD_REVISION={}",
        revision.as_deref().unwrap_or("unknown")
    )?;
    let rustc = std::env::var_os("RUSTC").and_then(|rustc| output(Command::new(rustc).arg("--version")));
    // "rustc 1.95.0 (hash date)"
    let rustc = rustc.as_deref().and_then(|text| text.split_whitespace().nth(1)).unwrap_or("unknown");
    writeln!(cargo, "cargo::rustc-env=LVS_AGENT_BUILD_RUSTC={rustc}")
}

fn checked_out_revision(root: &Path) -> Option<String> {
    // A source tree unpacked inside another project's checkout is not of that checkout.
    let top = PathBuf::from(git(root, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    git(root, &["rev-parse", "HEAD"])
}

/// Only those that exist: cargo runs the script each time for a file that does not.
fn files_that_change_with_the_revision(root: &Path) -> Vec<PathBuf> {
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    names
        .filter_map(|name| git(root, &["rev-parse", "--git-path", name]))
        .map(|path| root.join(path))
        .filter(|path| path.exists())
        .collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    output(Command::new("git").arg("-C").arg(root).args(arguments))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty() && !text.contains('\n')).then_some(text)
}
