//! The nouns: what the kernel holds, what the configuration asks for, what a probe found.
//!
//! Pure data. Every name that a user sees (`10.10.0.100:80/tcp`, `fwmark:7/ipv4`, `10.10.0.21:80`,
//! reason words, verdicts) is formatted and parsed here and nowhere else.

mod certificate;
mod check;
mod dialogue;
mod dns;
mod hand;
mod histogram;
mod http;
mod key;
mod limit;
mod policy;
mod share;
mod source_ports;
mod table;
mod telemetry;
mod time;
mod tripwire;
mod view;
mod vip;

pub use certificate::*;
pub use check::*;
pub use dialogue::*;
pub use dns::*;
pub use hand::*;
pub use histogram::*;
pub use http::*;
pub use key::*;
pub use limit::*;
pub use policy::*;
pub use share::*;
pub use source_ports::*;
pub use table::*;
pub use telemetry::*;
pub use time::*;
pub use tripwire::*;
pub use view::*;
pub use vip::*;
