//! Log lines to standard error: text for people, JSON for machines.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.format {
        Format::Text => {
            builder.with_target(false).with_ansi(crate::cli::colour_wanted(&std::io::stderr())).init()
        }
        Format::Json => builder.json().flatten_event(true).with_target(false).init(),
    }
}
