//! The exposition as scrapers see it.

mod catalogue;
mod conservation;
mod golden;
mod limits;
mod linter;
mod parsed;
mod prometheus;
mod promtool;
mod rows;
mod views;

use std::sync::Arc;

use lvs_agent::metrics::{Format, encode};
use lvs_agent::model::View;

/// The exposition of a view beside the machinery of [`views::machinery`].
fn exposition(view: View, format: Format) -> String {
    let mut text = String::new();
    encode(&Arc::new(view), &views::machinery(), format, &mut text).expect("a string takes everything");
    text
}
