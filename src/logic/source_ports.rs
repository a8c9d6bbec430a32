//! Whether there are enough source ports for what is probed (trap 41): looked at when targets are added, said
//! once for each configuration.

use super::event::{Command, Note};
use super::probes::Probes;
use crate::model::{Overuse, Pool, SourcePorts};

#[derive(Debug)]
pub(super) struct PortWatch {
    ports: SourcePorts,
    /// How many targets there had ever been when it was last looked at; gone ones free ports.
    looked: u64,
    said: bool,
}

impl PortWatch {
    pub fn new(ports: SourcePorts) -> PortWatch {
        PortWatch { ports, looked: 0, said: false }
    }

    pub fn look(&mut self, probes: &Probes, out: &mut Vec<Command>) {
        let ever = probes.targets_ever();
        if self.said || std::mem::replace(&mut self.looked, ever) == ever {
            return;
        }
        let asked = probes.targets.values().map(|t| (Pool::of(&t.target), t.target.spec.fins_per_second()));
        if let Some(overuse) = Overuse::find(asked, self.ports) {
            self.said = true;
            out.push(Command::Log(Note::FewSourcePorts(overuse)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::logic::world::{World, key};
    use crate::model::{Check, Close};

    /// So many checks of each of two real servers, ten probes a second each while their verdicts are being settled.
    fn checked_by(checks: u32, close: Close) -> World {
        let mut world = World::shop(&[1, 1]);
        let web = world.policy.services[0].checks[0].clone();
        let marked = |mark| {
            let mut spec = web.spec.as_ref().clone();
            (spec.mark, spec.close) = (Some(mark), close);
            Arc::new(Check { name: format!("web-{mark}"), spec: Arc::new(spec) })
        };
        world.policy.services[0].checks = (1..=checks).map(marked).collect();
        world
    }

    fn said(world: &World) -> Vec<&Overuse<Pool>> {
        let mut said = Vec::new();
        for note in &world.notes {
            if let Note::FewSourcePorts(overuse) = note {
                said.push(overuse);
            }
        }
        said
    }

    #[test]
    fn too_many_probes_of_one_destination_are_said_once_for_each_configuration() {
        let mut world = checked_by(48, Close::Fin);
        world.reload();
        world.settle();
        let [overuse] = said(&world)[..] else { panic!("{:?}", world.notes) };
        let worst = &overuse.worst;
        assert!([key(1).addr, key(2).addr].contains(&worst.addr.addr) && worst.port == 80, "{worst}");
        assert_eq!((overuse.per_second.round(), overuse.at_most.floor(), overuse.pools), (480.0, 470.0, 2));
        world.table.clear();
        world.settle();
        world.reload();
        world.settle();
        assert_eq!(said(&world).len(), 1, "nothing is probed");
    }

    #[test]
    fn what_leaves_no_time_wait_or_shares_no_destination_is_enough() {
        for (checks, close) in [(48, Close::Rst), (47, Close::Fin)] {
            let mut world = checked_by(checks, close);
            world.reload();
            world.settle();
            assert_eq!(said(&world), Vec::<&Overuse<Pool>>::new(), "{checks} {close:?}");
        }
    }

    #[test]
    fn it_is_looked_at_again_when_targets_come_and_when_the_kernel_has_more_ports() {
        let mut world = checked_by(48, Close::Fin);
        let whole = std::mem::take(&mut world.table);
        world.reload();
        world.settle();
        assert_eq!(said(&world).len(), 0);
        world.table = whole;
        world.settle();
        assert_eq!(said(&world).len(), 1);
        world.reload();
        assert_eq!(said(&world).len(), 2, "it still holds");
        let source_ports = SourcePorts { ports: 49_152, ..SourcePorts::USUAL };
        let policy = Arc::new(world.policy.clone());
        world.send(crate::logic::Event::PolicyLoaded { policy, hash: 2, source_ports });
        world.settle();
        assert_eq!(said(&world).len(), 2);
    }
}
