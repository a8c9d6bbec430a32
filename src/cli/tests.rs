//! The commands against real sockets, their output as text.

mod client;
mod drain;
mod probe;
mod slow_kernel;
mod status;

use std::path::Path;

use super::Screen;

/// What a command wrote.
struct Output<T> {
    result: T,
    out: String,
    err: String,
}

macro_rules! on_screen {
    ($colour:expr, |$screen:ident| $body:expr) => {{
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut screen = Screen { out: &mut out, err: &mut err, colour: $colour };
        let $screen = &mut screen;
        let result = $body;
        Output { result, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
    }};
}
use on_screen;

/// Shows both texts whole where they differ.
fn assert_text(now: &str, golden: &str) {
    let now = now.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert!(now == golden, "\n--- now ---\n{now}--- golden ---\n{golden}---");
}

fn text_of(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
