//! Log lines to standard error: text for people, JSON for machines.

use std::fmt as std_fmt;

use clap::ValueEnum;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Full, Writer};
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent};
use tracing_subscriber::registry::LookupSpan;

use crate::log_lines::{Lines, Moment};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, clap::Args)]
pub struct LogArgs {
    /// How much is logged: trace shows each probe, debug the inside
    #[arg(long = "log.level", value_name = "LEVEL", env = "LVS_AGENT_LOG_LEVEL", default_value = "info")]
    pub level: Level,
    /// How it is logged
    #[arg(long = "log.format", value_name = "FORMAT", env = "LVS_AGENT_LOG_FORMAT", default_value = "text")]
    pub format: Format,
}

/// Once a process.
pub fn start(args: LogArgs) {
    let level = match args.level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    // The libraries' own lines say nothing that an outcome does not.
    let filter = EnvFilter::new(format!("error,lvs_agent={level}"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines).with_timer(Moment);
    match args.format {
        Format::Text if in_journal() => {
            builder
                .event_format(Journal(fmt::format().with_target(false).with_ansi(false).without_time()))
                .init();
        }
        Format::Text => {
            builder.with_target(false).with_ansi(crate::cli::colour_wanted(&std::io::stderr())).init()
        }
        Format::Json => builder.json().flatten_event(true).with_target(false).init(),
    }
}

/// True if standard error is the journal: systemd names its device and inode (systemd.exec(5)), and
/// the variable alone is inherited by whatever is started from there.
fn in_journal() -> bool {
    let Some(named) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    nix::sys::stat::fstat(std::io::stderr())
        .is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// A line for the journal: it adds the time itself, and takes the priority from a prefix
/// (sd-daemon(3)), so that `journalctl -p warning` finds what it should.
struct Journal(fmt::format::Format<Full, ()>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, DefaultFields> for Journal {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std_fmt::Result {
        let level = *event.metadata().level();
        let priority = match level {
            tracing::Level::ERROR => 3,
            tracing::Level::WARN => 4,
            tracing::Level::INFO => 6,
            tracing::Level::DEBUG | tracing::Level::TRACE => 7,
        };
        write!(writer, "<{priority}>")?;
        self.0.format_event(context, writer, event)
    }
}
