//! The tripwire of a check: one idle connection to what it probes, whose end calls for probes at once.

use super::words;

words! {
    /// Why a server is probed at its interval only, although its check has a tripwire.
    WireTrouble {
        /// The server closes idle connections before long.
        Closed = "closed",
        /// The server accepts no further connection, or not within the check's timeout.
        Refused = "refused",
        /// The server sends without end to a client that says nothing.
        Talks = "talks",
        /// Our limit of held connections, or of open files.
        FdLimit = "fd_limit",
        /// Something else on our side.
        LocalError = "local_error",
    }
}

/// How a wire ended, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireEnd {
    /// The server's FIN or RST on a connection that was held.
    Tripped,
    NotHeld(WireTrouble),
}

/// What is known of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TripwireView {
    pub armed: bool,
    pub trips: u64,
    /// Until a wire was held for long.
    pub degraded: Option<WireTrouble>,
}
