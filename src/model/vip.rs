//! Virtual addresses, and which of them this director holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Wall, words};

words! {
    /// `[director] vip-sharing`: how many directors may hold a virtual address at one time.
    VipSharing {
        /// One: a second holder is a split brain.
        Exclusive = "exclusive",
        /// Several on purpose (ECMP, anycast).
        Shared = "shared",
    }
}

/// The addresses in use on this machine, and on which interfaces each is.
pub type LocalAddresses = BTreeMap<IpAddr, BTreeSet<Arc<str>>>;

/// What is known of the virtual addresses: those of the table's services and of `[director] vips`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VipsView {
    /// At least one is here, or none is known; `None` before the addresses were first looked at.
    pub active: Option<bool>,
    /// The addresses of this machine are followed: false while that fails, `None` before it began and
    /// where nobody follows them (an embedded table).
    pub watched: Option<bool>,
    /// By address; empty while the machine's own addresses are not known.
    pub rows: Vec<VipView>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VipView {
    pub addr: IpAddr,
    /// Where it is; empty: not on this director.
    pub interfaces: BTreeSet<Arc<str>>,
    pub sharing: VipSharing,
    /// How often it came or went since it is known.
    pub transitions: u64,
    /// When it last did.
    pub changed: Option<Wall>,
}

impl VipView {
    pub fn present(&self) -> bool {
        !self.interfaces.is_empty()
    }
}
