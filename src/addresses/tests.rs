use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use super::wire::tests::{added, dumped, ended, removed};
use super::*;

const ETH0: u32 = 2;
const ETH1: u32 = 3;
const ID: u32 = 77;

/// What the kernel puts in the way of the socket, one a receive call.
enum Step {
    Datagram(Vec<u8>),
    Error(i32),
}

#[derive(Default)]
struct Kernel {
    queue: VecDeque<Step>,
    /// Answers to dump requests, in turn.
    dumps: VecDeque<Vec<(&'static str, u32)>>,
    requests: u32,
    opened: u32,
    /// Comes between the rows of the next dump and its end.
    amidst: Option<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Kernel>>);

impl Fake {
    fn lock(&self) -> MutexGuard<'_, Kernel> {
        self.0.lock().unwrap()
    }

    fn with_dumps(dumps: &[&[(&'static str, u32)]]) -> Fake {
        let fake = Fake::default();
        fake.lock().dumps = dumps.iter().map(|dump| dump.to_vec()).collect();
        fake
    }

    fn says(&self, step: Step) {
        self.lock().queue.push_back(step);
    }

    /// Dumps asked for, and sockets.
    fn asked(&self) -> (u32, u32) {
        let kernel = self.lock();
        (kernel.requests, kernel.opened)
    }

    fn watcher(&self) -> Watcher {
        Watcher::on(Box::new(self.clone()))
    }
}

impl Host for Fake {
    fn open(&self) -> io::Result<Box<dyn Port>> {
        self.lock().opened += 1;
        Ok(Box::new(self.clone()))
    }

    fn interface(&self, index: u32) -> Option<String> {
        match index {
            ETH0 => Some("eth0".to_owned()),
            ETH1 => Some("eth1".to_owned()),
            _ => None,
        }
    }
}

impl Port for Fake {
    fn id(&self) -> u32 {
        ID
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        let mut kernel = self.lock();
        kernel.requests += 1;
        let seq = u32::from_ne_bytes(request[8..12].try_into().unwrap());
        let rows = kernel.dumps.pop_front().expect("no more dumps were expected");
        for (addr, index) in rows {
            kernel.queue.push_back(Step::Datagram(dumped(addr, index, seq, ID)));
        }
        if let Some(amidst) = kernel.amidst.take() {
            kernel.queue.push_back(Step::Datagram(amidst));
        }
        kernel.queue.push_back(Step::Datagram(ended(seq, ID)));
        Ok(())
    }

    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        match self.lock().queue.pop_front() {
            Some(Step::Datagram(bytes)) => {
                into[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Some(Step::Error(errno)) => Err(io::Error::from_raw_os_error(errno)),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn readable(&self) -> std::pin::Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        Box::pin(async {
            while self.lock().queue.is_empty() {
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    }
}

fn shown(addresses: &LocalAddresses) -> String {
    let row = |(addr, names): (&IpAddr, &std::collections::BTreeSet<Arc<str>>)| {
        format!("{addr}@{}", names.iter().map(|n| &**n).collect::<Vec<_>>().join("+"))
    };
    addresses.iter().map(row).collect::<Vec<_>>().join(" ")
}

async fn news(watcher: &mut Watcher) -> String {
    let next = tokio::time::timeout(Duration::from_secs(60), watcher.next()).await.expect("news");
    next.map_or_else(|error| error, |addresses| shown(&addresses))
}

#[tokio::test]
async fn a_dump_and_then_the_changes() {
    let fake = Fake::with_dumps(&[&[("10.0.0.1", ETH0), ("fd00::1", ETH0)]]);
    let mut watcher = fake.watcher();
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 fd00::1@eth0");
    fake.says(Step::Datagram(added("10.0.0.100", ETH1, 0)));
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 10.0.0.100@eth1 fd00::1@eth0");
    fake.says(Step::Datagram(added("10.0.0.100", ETH0, 0)));
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 10.0.0.100@eth0+eth1 fd00::1@eth0");
    fake.says(Step::Datagram([removed("10.0.0.100", ETH0), removed("10.0.0.100", ETH1)].concat()));
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 fd00::1@eth0");
    assert_eq!(fake.asked(), (1, 1), "nothing is polled");
}

#[tokio::test]
async fn what_changes_nothing_is_no_news() {
    let fake = Fake::with_dumps(&[&[("10.0.0.1", ETH0)]]);
    let mut watcher = fake.watcher();
    news(&mut watcher).await;
    // Another lifetime of the same address; one that is being tested for duplicates; one of no interface.
    for bytes in [added("10.0.0.1", ETH0, 0), added("fd00::7", ETH0, 0x40), added("10.0.0.9", 99, 0)] {
        fake.says(Step::Datagram(bytes));
    }
    fake.says(Step::Datagram(added("10.0.0.2", ETH0, 0)));
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 10.0.0.2@eth0");
    fake.says(Step::Datagram(added("fd00::7", ETH0, 0x80)));
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 10.0.0.2@eth0 fd00::7@eth0");
    // A duplicate was found: the address stays and serves nobody.
    fake.says(Step::Datagram(added("fd00::7", ETH0, 0x08)));
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 10.0.0.2@eth0");
}

#[tokio::test]
async fn an_overrun_is_answered_by_a_new_dump() {
    let fake = Fake::with_dumps(&[&[("10.0.0.1", ETH0)], &[("10.0.0.1", ETH0), ("10.0.0.100", ETH0)]]);
    let mut watcher = fake.watcher();
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0");
    // The message that said so was lost.
    fake.says(Step::Error(nix::libc::ENOBUFS));
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 10.0.0.100@eth0");
    assert_eq!(fake.asked(), (2, 1));
}

#[tokio::test]
async fn a_change_in_the_midst_of_a_dump_has_the_last_word() {
    let fake = Fake::with_dumps(&[&[("10.0.0.1", ETH0), ("10.0.0.100", ETH0)]]);
    fake.lock().amidst = Some([removed("10.0.0.100", ETH0), added("10.0.0.7", ETH0, 0)].concat());
    let mut watcher = fake.watcher();
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 10.0.0.7@eth0");
    assert_eq!(fake.lock().requests, 1);
}

#[tokio::test]
async fn a_broken_socket_is_replaced_and_only_the_second_in_a_row_is_news() {
    let both: &[(&str, u32)] = &[("10.0.0.1", ETH0), ("10.0.0.100", ETH0)];
    let fake = Fake::with_dumps(&[&[("10.0.0.1", ETH0)], both]);
    let mut watcher = fake.watcher();
    news(&mut watcher).await;
    fake.says(Step::Error(nix::libc::EBADF));
    assert_eq!(news(&mut watcher).await, "10.0.0.1@eth0 10.0.0.100@eth0");
    assert_eq!(fake.lock().opened, 2);

    let fake = Fake::with_dumps(&[&[("10.0.0.1", ETH0)], &[]]);
    let mut watcher = fake.watcher();
    news(&mut watcher).await;
    for _ in 0..2 {
        fake.says(Step::Error(nix::libc::EBADF));
    }
    let said = news(&mut watcher).await;
    assert!(said.starts_with("rtnetlink: receive: "), "{said}");
}

/// The machine that the test runs on has its loopback address.
#[tokio::test]
async fn the_machine_is_read() {
    let mut watcher = Watcher::machine();
    let addresses = watcher.next().await.unwrap();
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    assert_eq!(addresses.get(&loopback).map(|names| names.iter().map(|n| &**n).collect()), Some(vec!["lo"]));
}
