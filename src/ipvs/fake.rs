//! A kernel of our own making, for what a real one does too rarely: lost acknowledgements, dumps that
//! hide rows, interruptions, silence, a module loaded anew between two requests.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nix::errno::Errno;

use crate::model::{Counters, ServiceKey, SharedTelemetry, VirtualServer};
use crate::os::Clock;

use super::abi::{self, Command};
use super::kernel::KernelTable;
use super::port::{Datagrams, Host, Port};
use super::wire::{self, Message, messages};
use super::{Source, Table, encode, rows, save_format};

const PORT_ID: u32 = 4242;
/// A test that forgets its hold fails instead of hanging.
const LONGEST_HOLD: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct FakeKernel(Arc<Mutex<State>>);

pub struct State {
    pub loaded: bool,
    pub privileged: bool,
    pub family: u16,
    pub services: Vec<VirtualServer>,
    /// IP protocols of services beside those.
    pub foreign: Vec<u16>,
    /// Sockets opened so far.
    pub opened: u32,
    /// Commands received, in order.
    pub log: Vec<u8>,
    /// What happens at the next request of a command.
    script: VecDeque<(Command, Event)>,
    answers: VecDeque<io::Result<Vec<u8>>>,
}

pub enum Event {
    /// Somebody else does something just before the request is carried out.
    Edit(Box<dyn FnOnce(&mut State) + Send>),
    /// A dump that leaves out the rows of these texts.
    Hide(Vec<&'static str>),
    /// A dump that is marked as interrupted.
    Interrupt,
    /// The request is carried out, its answers are lost.
    Overrun,
    Refuse(Errno),
    Silence,
    /// What is no netlink message.
    Garbage,
    /// An answer to an older request comes first, and one for another socket.
    Strays,
}

impl FakeKernel {
    pub fn new(save: &str) -> FakeKernel {
        FakeKernel(Arc::new(Mutex::new(State {
            loaded: true,
            privileged: true,
            family: 28,
            services: save_format::parse(save).unwrap(),
            foreign: Vec::new(),
            opened: 0,
            log: Vec::new(),
            script: VecDeque::new(),
            answers: VecDeque::new(),
        })))
    }

    pub fn table(&self) -> (KernelTable, SharedTelemetry) {
        let telemetry = SharedTelemetry::default();
        (KernelTable::new(Box::new(self.clone()), Clock::start(), telemetry.clone()), telemetry)
    }

    /// The table as the agent has it.
    pub fn agents_table(&self, clock: Clock, telemetry: SharedTelemetry) -> Table {
        Table(Source::Kernel(Box::new(KernelTable::new(Box::new(self.clone()), clock, telemetry))))
    }

    /// The next read stays inside its system call, as behind a lock that somebody else holds, until what
    /// is returned is dropped. Until then the fake cannot be asked either.
    pub fn hold_next_read(&self) -> Sender<()> {
        let (holder, held) = channel();
        let wait = move |_: &mut State| {
            let _ = held.recv_timeout(LONGEST_HOLD);
        };
        self.script(abi::GET_INFO, Event::Edit(Box::new(wait)));
        holder
    }

    /// Reads so far, begun or ended.
    pub fn reads(&self) -> usize {
        self.count(abi::GET_INFO)
    }

    /// Its services as a read shows them: each row with its place.
    pub fn rows(&self) -> Vec<VirtualServer> {
        let mut services = self.state().services.clone();
        for service in &mut services {
            for (place, dest) in service.destinations.iter_mut().enumerate() {
                dest.place = u32::try_from(place).ok();
            }
        }
        services
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn script(&self, command: Command, event: Event) {
        self.state().script.push_back((command, event));
    }

    /// True if everything scripted has happened.
    pub fn script_is_over(&self) -> bool {
        self.state().script.is_empty()
    }

    pub fn count(&self, command: Command) -> usize {
        self.state().log.iter().filter(|number| **number == command.number).count()
    }
}

impl Host for FakeKernel {
    fn has_ipvs(&self) -> bool {
        self.state().loaded
    }

    fn open(&self) -> io::Result<Box<dyn Port>> {
        let mut state = self.state();
        state.opened += 1;
        state.answers.clear();
        Ok(Box::new(self.clone()))
    }

    fn sysctls(&self) -> Vec<(&'static str, i64)> {
        vec![("run_estimation", 1)]
    }

    fn totals(&self, _: &[(&'static str, i64)]) -> Option<Counters> {
        Some(Counters { connections: 5, ..Counters::default() })
    }
}

impl Port for FakeKernel {
    fn id(&self) -> u32 {
        PORT_ID
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        for message in messages(request) {
            state.handle(&message.unwrap());
        }
        Ok(())
    }

    fn receive(&self, into: &mut Datagrams) -> io::Result<()> {
        let mut state = self.state();
        match state.answers.pop_front() {
            None => return Err(io::ErrorKind::WouldBlock.into()),
            Some(Err(error)) => return Err(error),
            Some(Ok(datagram)) => assert!(into.push(&datagram)),
        }
        while let Some(Ok(next)) = state.answers.front() {
            if !into.push(next) {
                break;
            }
            state.answers.pop_front();
        }
        Ok(())
    }

    fn readable(&self) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        let silent = self.state().answers.is_empty();
        Box::pin(async move { if silent { std::future::pending().await } else { Ok(()) } })
    }
}

impl State {
    fn handle(&mut self, request: &Message<'_>) {
        let (number, body) = request.generic().unwrap();
        self.log.push(number);
        let event = match self.script.front() {
            Some((command, _)) if command.number == number => self.script.pop_front().map(|(_, event)| event),
            _ => None,
        };
        let (mut hidden, mut flags) = (Vec::new(), 0);
        match event {
            None => {}
            Some(Event::Edit(edit)) => edit(self),
            Some(Event::Hide(texts)) => hidden = texts,
            Some(Event::Interrupt) => flags = abi::NLM_F_DUMP_INTR,
            Some(Event::Refuse(errno)) => return self.error(request, errno as i32),
            Some(Event::Silence) => return,
            Some(Event::Garbage) => return self.answers.push_back(Ok(vec![0xff; 32])),
            Some(Event::Strays) => self.strays(request),
            Some(Event::Overrun) => {
                let before = self.answers.len();
                self.carry_out(request, number, body, &[], 0);
                self.answers.truncate(before);
                return self.answers.push_back(Err(Errno::ENOBUFS.into()));
            }
        }
        self.carry_out(request, number, body, &hidden, flags);
    }

    fn carry_out(&mut self, request: &Message<'_>, number: u8, body: &[u8], hidden: &[&str], flags: u16) {
        if request.kind == abi::GENL_ID_CTRL {
            if !self.loaded {
                return self.error(request, Errno::ENOENT as i32);
            }
            let id = encode::nest(|w| w.put(abi::CTRL_ATTR_FAMILY_ID, &self.family.to_ne_bytes()));
            self.answer(request, abi::GET_FAMILY, 0, &id);
            return self.error(request, 0);
        }
        if request.kind != self.family || !self.loaded {
            return self.error(request, Errno::ENOENT as i32);
        }
        if !self.privileged {
            return self.error(request, Errno::EPERM as i32);
        }
        let dump = request.flags & abi::NLM_F_DUMP != 0;
        if number == abi::GET_SERVICE.number && dump {
            let mut services: Vec<Vec<u8>> = self
                .services
                .iter()
                .filter(|s| !hidden.contains(&s.key.to_string().as_str()))
                .map(|s| encode::nest(|w| w.put(abi::CMD_ATTR_SERVICE, &encode::service(s))))
                .collect();
            services.extend(self.foreign.iter().map(|number| foreign_service(*number)));
            self.dump(request, abi::GET_SERVICE, flags, &services);
        } else if number == abi::GET_SERVICE.number {
            match self.services.iter().find(|s| is_id(body, s.key)).map(encode::service) {
                None => self.error(request, Errno::ESRCH as i32),
                Some(row) => {
                    let row = encode::nest(|w| w.put(abi::CMD_ATTR_SERVICE, &row));
                    self.answer(request, abi::GET_SERVICE, 0, &row);
                    self.error(request, 0);
                }
            }
        } else if number == abi::GET_DEST.number {
            let dests =
                self.services.iter().find(|s| is_id(body, s.key)).map_or(&[][..], |s| &s.destinations);
            let dests: Vec<Vec<u8>> = dests
                .iter()
                .filter(|d| !hidden.contains(&d.key.to_string().as_str()))
                .map(|d| encode::nest(|w| w.put(abi::CMD_ATTR_DEST, &encode::destination(d))))
                .collect();
            self.dump(request, abi::GET_DEST, flags, &dests);
        } else if number == abi::SET_DEST.number {
            let errno = self.set_dest(body);
            self.error(request, errno);
        } else if number == abi::GET_DAEMON.number {
            self.dump(request, abi::GET_DAEMON, flags, &[]);
        } else {
            let (command, kinds) = if number == abi::GET_INFO.number {
                (abi::GET_INFO, [1_u16, 2, 2])
            } else {
                (abi::GET_CONFIG, [4, 5, 6])
            };
            let values = encode::nest(|w| kinds.iter().for_each(|kind| w.put(*kind, &900_u32.to_ne_bytes())));
            self.answer(request, command, 0, &values);
            self.error(request, 0);
        }
    }

    /// A full replace, as the kernel's.
    fn set_dest(&mut self, body: &[u8]) -> i32 {
        let Some(service) = self.services.iter_mut().find(|s| is_id(body, s.key)) else {
            return Errno::ESRCH as i32;
        };
        let row = rows::nested(body, abi::CMD_ATTR_DEST).unwrap();
        let new = rows::destination(row, service.key.family()).unwrap();
        let Some(dest) = service.destinations.iter_mut().find(|d| d.key == new.key) else {
            return Errno::ENOENT as i32;
        };
        *dest = crate::model::RealServer { counters: dest.counters, ..new };
        0
    }

    fn dump(&mut self, request: &Message<'_>, command: Command, flags: u16, rows: &[Vec<u8>]) {
        for row in rows {
            self.answer(request, command, flags, row);
        }
        let code = 0_i32.to_ne_bytes();
        self.answers.push_back(Ok(raw(abi::NLMSG_DONE, flags, request.seq, PORT_ID, &code)));
    }

    fn answer(&mut self, request: &Message<'_>, command: Command, flags: u16, attributes: &[u8]) {
        let payload = [&[command.answer, 1, 0, 0], attributes].concat();
        self.answers.push_back(Ok(raw(request.kind, flags, request.seq, PORT_ID, &payload)));
    }

    fn error(&mut self, request: &Message<'_>, errno: i32) {
        let payload = [&(-errno).to_ne_bytes()[..], &[0; 16]].concat();
        self.answers.push_back(Ok(raw(abi::NLMSG_ERROR, 0, request.seq, PORT_ID, &payload)));
    }

    fn strays(&mut self, request: &Message<'_>) {
        let payload = [&(-1_i32).to_ne_bytes()[..], &[0; 16]].concat();
        let old = request.seq.wrapping_sub(1);
        self.answers.push_back(Ok(raw(abi::NLMSG_ERROR, 0, old, PORT_ID, &payload)));
        self.answers.push_back(Ok(raw(abi::NLMSG_ERROR, 0, request.seq, 7, &payload)));
        self.answers.push_back(Ok(Vec::new()));
    }
}

/// True if the request is about this service.
fn is_id(body: &[u8], key: ServiceKey) -> bool {
    let id = encode::nest(|w| rows::put_service_id(w, key));
    rows::nested(body, abi::CMD_ATTR_SERVICE) == rows::nested(&id, abi::CMD_ATTR_SERVICE)
}

fn foreign_service(protocol: u16) -> Vec<u8> {
    encode::nest(|w| {
        w.nest(abi::CMD_ATTR_SERVICE, |w| {
            w.put(abi::SVC_ATTR_AF, &abi::AF_INET.to_ne_bytes());
            w.put(abi::SVC_ATTR_PROTOCOL, &protocol.to_ne_bytes());
            w.put(abi::SVC_ATTR_ADDR, &[0; 16]);
            w.put(abi::SVC_ATTR_PORT, &[0; 2]);
        });
    })
}

fn raw(kind: u16, flags: u16, seq: u32, port_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::message(&mut bytes, kind, flags, seq, abi::GET_INFO, |_| {}).unwrap();
    bytes.truncate(16);
    bytes[..4].copy_from_slice(&(16 + payload.len() as u32).to_ne_bytes());
    bytes[12..].copy_from_slice(&port_id.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
