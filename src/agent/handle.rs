//! How the rest of the process asks the agent's loop for something.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use crate::model::ProbeRefused;
use crate::model::{
    Check, DestKey, HandDone, HandRefused, HandRequest, Policy, ProbeReport, ServiceKey, SourcePorts, View,
};

/// Requests waiting for the loop; more wait in the caller.
const QUEUE: usize = 64;

/// What can be asked of the running agent.
#[derive(Debug)]
pub enum Request {
    /// What is known now, on a table read at most `max_age` ago (or a failed attempt to read it).
    View { max_age: Duration, reply: oneshot::Sender<Arc<View>> },
    /// What is known now, whatever its age.
    ViewAtOnce { reply: oneshot::Sender<Arc<View>> },
    /// One probe of each check (or of the named one), now; moves no verdict and no metric.
    Probe {
        service: ServiceKey,
        dest: DestKey,
        check: Option<String>,
        reply: oneshot::Sender<Result<Vec<HandProbe>, ProbeRefused>>,
    },
    /// A drain or undrain by hand; answered once it is on disk.
    Hand { request: HandRequest, reply: oneshot::Sender<Result<Vec<HandDone>, HandRefused>> },
    /// The configuration was read again; `None`: it could not be, the old one stays.
    Reloaded { reloaded: Option<Reloaded>, reply: oneshot::Sender<()> },
    /// End; what becomes of the table, the configuration says.
    Stop,
}

#[derive(Debug, Clone)]
pub struct Reloaded {
    pub policy: Arc<Policy>,
    pub hash: u64,
    pub source_ports: SourcePorts,
}

/// One probe by hand.
#[derive(Debug, Clone)]
pub struct HandProbe {
    pub check: Arc<Check>,
    /// What was probed: address and port.
    pub target: DestKey,
    pub report: ProbeReport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent's loop has ended")]
pub struct AgentGone;

#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// A handle and the end that the loop reads.
    pub fn new() -> (Handle, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        (Handle { requests }, receiver)
    }

    pub async fn view(&self, max_age: Duration) -> Result<Arc<View>, AgentGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::View { max_age, reply }).await.map_err(|_| AgentGone)?;
        answer.await.map_err(|_| AgentGone)
    }

    pub async fn view_at_once(&self) -> Result<Arc<View>, AgentGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::ViewAtOnce { reply }).await.map_err(|_| AgentGone)?;
        answer.await.map_err(|_| AgentGone)
    }

    pub async fn probe(
        &self,
        service: ServiceKey,
        dest: DestKey,
        check: Option<String>,
    ) -> Result<Result<Vec<HandProbe>, ProbeRefused>, AgentGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Probe { service, dest, check, reply }).await.map_err(|_| AgentGone)?;
        answer.await.map_err(|_| AgentGone)
    }

    pub async fn hand(&self, request: HandRequest) -> Result<Result<Vec<HandDone>, HandRefused>, AgentGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Hand { request, reply }).await.map_err(|_| AgentGone)?;
        answer.await.map_err(|_| AgentGone)
    }

    /// Comes back when it is in force (or, with `None`, the refusal is on record).
    pub async fn reloaded(&self, reloaded: Option<Reloaded>) -> Result<(), AgentGone> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Reloaded { reloaded, reply }).await.map_err(|_| AgentGone)?;
        answer.await.map_err(|_| AgentGone)
    }

    pub async fn stop(&self) -> Result<(), AgentGone> {
        self.requests.send(Request::Stop).await.map_err(|_| AgentGone)
    }
}
