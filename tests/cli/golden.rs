//! Texts that are compared as a whole, in tests/cli/golden.
//!
//! After a wanted change run `LVS_AGENT_BLESS=1 cargo test --test cli` and read the difference.

use std::path::Path;

#[track_caller]
pub fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(name);
    if std::env::var_os("LVS_AGENT_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("its directory");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{name}: {error}"));
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(text, expected, "{name}; LVS_AGENT_BLESS=1 writes it anew\n--- now ---\n{text}");
}
