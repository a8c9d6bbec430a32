//! The agent's only way to the IPVS table: the kernel's over generic netlink, what `/proc` shows of it
//! without privilege, or an embedded one.
//!
//! ```text
//! Table ── kernel.rs    whole reads, confirmed absences, careful writes (write.rs)
//!    │        └ transaction.rs   requests and their answers: sequence, deadline, errors, telemetry
//!    │              └ port.rs    one long-lived netlink socket
//!    │        wire.rs, rows.rs, abi.rs   the pure codec
//!    ├──── proc.rs      /proc/net/ip_vs; procfs.rs: totals and sysctls
//!    └──── memory.rs    the embedded table, read from save_format.rs
//! ```
//!
//! The agent does not own the table: the only thing it ever writes is the weight of a destination that
//! exists (SET_DEST); there is no code here to add or delete anything.

mod abi;
mod kernel;
mod memory;
mod port;
mod proc;
mod procfs;
mod reads;
mod rows;
mod save_format;
mod transaction;
mod wire;
mod write;

#[cfg(test)]
mod encode;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod fixtures;

use crate::model::{ReadFailure, SharedTelemetry, Snapshot, WeightChange, WriteReport};
use crate::os::Clock;

pub use save_format::{Fault, SaveFormatError};

/// One IPVS table. Owned by one task, which awaits one call at a time.
pub struct Table(Source);

enum Source {
    Kernel(Box<kernel::KernelTable>),
    Proc(proc::ProcTable),
    Memory(memory::MemoryTable),
}

impl Table {
    /// The kernel's table in the network namespace of this process. Connects at the first use and
    /// again whenever it has to; every wait has a deadline.
    pub fn kernel(clock: Clock, telemetry: SharedTelemetry) -> Table {
        Table(Source::Kernel(Box::new(kernel::KernelTable::new(Box::new(port::Machine), clock, telemetry))))
    }

    /// What any user may read: weights and connections from `/proc/net/ip_vs`. Writes fail.
    pub fn proc_only(clock: Clock) -> Table {
        Table(Source::Proc(proc::ProcTable::new(clock)))
    }

    /// An embedded table, from the text that `ipvsadm -Sn` prints.
    pub fn memory(save_text: &str, clock: Clock) -> Result<Table, SaveFormatError> {
        Ok(Table(Source::Memory(memory::MemoryTable::new(save_format::parse(save_text)?, clock))))
    }

    /// The whole table, or why it could not be read; never a part of it.
    pub async fn snapshot(&mut self) -> Result<Snapshot, ReadFailure> {
        match &mut self.0 {
            Source::Kernel(table) => table.snapshot().await,
            Source::Proc(table) => table.snapshot(),
            Source::Memory(table) => Ok(table.snapshot()),
        }
    }

    /// Writes weights, each only where the table still shows what the plan was made on.
    pub async fn set_weights(&mut self, changes: &[WeightChange]) -> WriteReport {
        match &mut self.0 {
            Source::Kernel(table) => table.set_weights(changes).await,
            Source::Proc(table) => table.refuse(changes),
            Source::Memory(table) => table.set_weights(changes),
        }
    }

    /// It is this machine's, so that its addresses are here or on another director.
    pub fn is_of_this_machine(&self) -> bool {
        match &self.0 {
            Source::Kernel(_) | Source::Proc(_) => true,
            Source::Memory(_) => false,
        }
    }

    /// Which table this is, for the ledger: a weight taken from one is never given to another.
    pub fn identity(&self) -> std::io::Result<String> {
        match &self.0 {
            Source::Kernel(_) | Source::Proc(_) => procfs::network_namespace(),
            Source::Memory(_) => Ok("embedded".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_to_another_thread<F: Future + Send>(_: &F) {}

    #[tokio::test]
    async fn a_task_may_own_it() {
        let mut table = Table::kernel(Clock::start(), SharedTelemetry::default());
        goes_to_another_thread(&table.snapshot());
        goes_to_another_thread(&table.set_weights(&[]));
    }

    #[tokio::test]
    async fn without_privilege_nothing_is_written() {
        let mut table = Table::proc_only(Clock::start());
        let change = WeightChange {
            service: "10.0.0.1:80/tcp".parse().unwrap(),
            dest: "10.0.0.11:80".parse().unwrap(),
            from: crate::model::Weight(1),
            to: crate::model::Weight(0),
        };
        let report = table.set_weights(&[change]).await;
        assert_eq!(report.results[0].0, change);
        let outcome = &report.results[0].1;
        let refused =
            matches!(outcome, crate::model::WriteOutcome::Failed(why) if why.contains("CAP_NET_ADMIN"));
        assert!(refused, "{outcome:?}");
    }
}
