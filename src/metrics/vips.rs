//! `lvs_vip_*` and `lvs_director_active`: who holds the virtual addresses.

use std::borrow::Cow;
use std::fmt;

use super::catalogue as m;
use super::exposition::{Families, bare_if, flag};
use crate::model::{VipView, VipsView};

pub(super) fn encode(out: &mut Families, vips: &VipsView) -> fmt::Result {
    let each = || vips.rows.iter().map(|vip| ([("vip", vip.addr.to_string())], vip));
    out.gauge(m::VIP_PRESENT, each().map(|(labels, vip)| (labels, flag(vip.present()))))?;
    out.info(
        m::VIP_INFO,
        vips.rows.iter().flat_map(|vip| {
            let row = |interface| {
                [
                    ("vip", Cow::Owned(vip.addr.to_string())),
                    ("interface", Cow::Borrowed(interface)),
                    ("sharing", vip.sharing.as_str().into()),
                ]
            };
            interfaces(vip).map(row)
        }),
    )?;
    out.counter(m::VIP_TRANSITIONS, each().map(|(labels, vip)| (labels, vip.transitions)))?;
    out.gauge(m::VIP_CHANGE, each().filter_map(|(labels, vip)| Some((labels, vip.changed?.0))))?;
    out.gauge(m::DIRECTOR_ACTIVE, bare_if(vips.active.map(flag)))
}

/// The interfaces that have it, or an empty name.
fn interfaces(vip: &VipView) -> impl Iterator<Item = &str> {
    let nowhere = (!vip.present()).then_some("");
    vip.interfaces.iter().map(|name| &**name).chain(nowhere)
}
