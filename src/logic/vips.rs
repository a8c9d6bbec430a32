//! Which virtual addresses this director holds: those of the table and of the configuration, looked up
//! among the addresses of the machine. It decides no weight: active and backup probe and write alike.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::event::{Command, Note};
use crate::model::{LocalAddresses, Now, Policy, Snapshot, VipSharing, VipView, VipsView, Wall};

#[derive(Debug, Default)]
pub(super) struct Vips {
    /// What the machine was last known to have.
    local: Option<Local>,
    /// The virtual addresses, whether each is here, and what became of it before.
    known: BTreeMap<IpAddr, Vip>,
    /// Of the table as it was last read: the addresses stay known while it cannot be.
    in_table: BTreeSet<IpAddr>,
}

#[derive(Debug)]
enum Local {
    Known(Arc<LocalAddresses>),
    /// They cannot be followed; what was last known may be wrong by now.
    Lost,
}

#[derive(Debug, Default)]
struct Vip {
    present: bool,
    transitions: u64,
    changed: Option<Wall>,
}

impl Vips {
    pub(super) fn addresses(
        &mut self,
        result: Result<Arc<LocalAddresses>, String>,
        policy: &Policy,
        now: Now,
        out: &mut Vec<Command>,
    ) {
        match result {
            Ok(addresses) => {
                for (addr, vip) in &mut self.known {
                    let present = addresses.contains_key(addr);
                    if std::mem::replace(&mut vip.present, present) != present {
                        vip.transitions += 1;
                        vip.changed = Some(now.wall);
                        out.push(Command::Log(Note::VipMoved { addr: *addr, present }));
                    }
                }
                if matches!(self.local, Some(Local::Lost)) {
                    out.push(Command::Log(Note::AddressesBack));
                }
                self.local = Some(Local::Known(addresses));
                self.take_up(policy);
            }
            Err(why) => {
                self.local = Some(Local::Lost);
                out.push(Command::Log(Note::AddressesLost(why)));
            }
        }
    }

    /// A whole read of the table.
    pub(super) fn table(&mut self, snapshot: &Snapshot, policy: &Policy) {
        self.in_table = snapshot.virtual_addresses();
        self.take_up(policy);
    }

    /// After a read or another configuration: an address that is new to us has not moved, and one that
    /// nobody names any more is forgotten.
    pub(super) fn take_up(&mut self, policy: &Policy) {
        // Before they are known, none is here or gone.
        let Some(Local::Known(local)) = &self.local else { return };
        let wanted: BTreeSet<IpAddr> = self.in_table.union(&policy.vips).copied().collect();
        self.known.retain(|addr, _| wanted.contains(addr));
        for addr in wanted {
            let present = local.contains_key(&addr);
            self.known.entry(addr).or_insert(Vip { present, ..Vip::default() });
        }
    }

    pub(super) fn view(&self, sharing: VipSharing) -> VipsView {
        let local = match &self.local {
            Some(Local::Known(local)) => local,
            // Not knowing must not silence the pages that only the active director sends.
            Some(Local::Lost) => {
                return VipsView { active: Some(true), watched: Some(false), rows: Vec::new() };
            }
            None => return VipsView::default(),
        };
        let row = |(addr, vip): (&IpAddr, &Vip)| VipView {
            addr: *addr,
            interfaces: local.get(addr).cloned().unwrap_or_default(),
            sharing,
            transitions: vip.transitions,
            changed: vip.changed,
        };
        let rows: Vec<VipView> = self.known.iter().map(row).collect();
        let active = rows.is_empty() || rows.iter().any(VipView::present);
        VipsView { active: Some(active), watched: Some(true), rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::world::{World, policy, virtual_server};
    use crate::model::{Floor, Mode};

    const FIRST: &str = "10.0.0.100";
    const SECOND: &str = "10.0.0.101";

    fn local(addresses: &[(&str, &str)]) -> Result<Arc<LocalAddresses>, String> {
        let mut all = LocalAddresses::new();
        for (addr, interface) in addresses {
            all.entry(addr.parse().unwrap()).or_default().insert((*interface).into());
        }
        Ok(Arc::new(all))
    }

    fn at(second: u64) -> Now {
        let mono = crate::model::Mono::from_start(std::time::Duration::from_secs(second));
        Now { mono, wall: Wall(1000.0 + second as f64) }
    }

    struct Scene {
        vips: Vips,
        policy: Policy,
    }

    impl Scene {
        fn new(named: &[&str]) -> Scene {
            let vips = named.iter().map(|addr| addr.parse().unwrap()).collect();
            Scene { vips: Vips::default(), policy: Policy { vips, ..policy(Floor::DEFAULT, Mode::Enforce) } }
        }

        /// A table with a service on each of these addresses.
        fn table(&mut self, addresses: &[&str]) {
            let mut world = World::new(self.policy.clone(), &[]);
            let keys = addresses.iter().map(|addr| format!("{addr}:80/tcp").parse().unwrap());
            world.table = keys.map(|key| (key, virtual_server(key, &[1]))).collect();
            self.vips.table(&world.snapshot(), &self.policy);
        }

        fn addresses(&mut self, second: u64, local: Result<Arc<LocalAddresses>, String>) -> Vec<Command> {
            let mut out = Vec::new();
            self.vips.addresses(local, &self.policy, at(second), &mut out);
            out
        }

        fn rows(&self) -> Vec<(String, bool, u64, Option<f64>)> {
            let rows = self.vips.view(VipSharing::Exclusive).rows;
            let row = |r: &VipView| (r.addr.to_string(), r.present(), r.transitions, r.changed.map(|w| w.0));
            rows.iter().map(row).collect()
        }

        fn active(&self) -> Option<bool> {
            self.vips.view(VipSharing::Exclusive).active
        }
    }

    #[test]
    fn an_address_that_comes_and_goes_is_counted_with_its_time() {
        let mut scene = Scene::new(&[]);
        scene.table(&[FIRST]);
        assert_eq!((scene.rows(), scene.active()), (Vec::new(), None), "nothing is known yet");
        assert!(scene.addresses(1, local(&[("10.0.0.1", "eth0")])).is_empty());
        assert_eq!(scene.rows(), [(FIRST.to_owned(), false, 0, None)]);
        assert_eq!(scene.active(), Some(false));

        let said = scene.addresses(2, local(&[("10.0.0.1", "eth0"), (FIRST, "eth0")]));
        let moved = Note::VipMoved { addr: FIRST.parse().unwrap(), present: true };
        assert!(matches!(said.as_slice(), [Command::Log(note)] if *note == moved), "{said:?}");
        assert_eq!(scene.rows(), [(FIRST.to_owned(), true, 1, Some(1002.0))]);
        assert_eq!(scene.active(), Some(true));

        // Another interface takes it over in between: it is still here.
        assert!(scene.addresses(3, local(&[(FIRST, "eth1")])).is_empty());
        scene.addresses(4, local(&[]));
        assert_eq!(scene.rows(), [(FIRST.to_owned(), false, 2, Some(1004.0))]);
        assert_eq!(scene.active(), Some(false));
    }

    #[test]
    fn the_table_and_the_configuration_say_which() {
        let mut scene = Scene::new(&[SECOND]);
        scene.addresses(1, local(&[(SECOND, "eth0")]));
        assert_eq!(scene.rows(), [(SECOND.to_owned(), true, 0, None)]);
        scene.table(&[FIRST]);
        assert_eq!(scene.rows(), [(FIRST.to_owned(), false, 0, None), (SECOND.to_owned(), true, 0, None)]);
        // One of two is enough: a director may be the active one of some addresses.
        assert_eq!(scene.active(), Some(true));
        scene.table(&[]);
        assert_eq!(scene.rows(), [(SECOND.to_owned(), true, 0, None)]);
    }

    #[test]
    fn where_none_is_known_or_they_are_lost_the_director_pages() {
        let mut scene = Scene::new(&[]);
        scene.addresses(1, local(&[]));
        assert_eq!((scene.rows(), scene.active()), (Vec::new(), Some(true)));
        scene.table(&[FIRST]);
        assert_eq!(scene.active(), Some(false));
        scene.addresses(2, Err("no socket".to_owned()));
        assert_eq!((scene.rows(), scene.active()), (Vec::new(), Some(true)));
        // It came while nobody looked: that is seen now.
        let said = scene.addresses(3, local(&[(FIRST, "eth0")]));
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(scene.rows(), [(FIRST.to_owned(), true, 1, Some(1003.0))]);
    }
}
