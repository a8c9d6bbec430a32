//! The program: arguments → configuration → logging → run → exit code.
//!
//! Where things are: decisions in `logic`, the nouns in `model`, the kernel's table in `ipvs`, the
//! probes in `probe`, the loop that joins them in `agent`; `config`, `state_file`, `metrics`, `web`
//! and `os` are what their names say. `cli` has one file a command.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lvs_agent::cli::run::{Failure, RunArgs};
use lvs_agent::cli::{self, Screen, colour_wanted};
use lvs_agent::{demo, failpoint, logging};

/// Health checks, weights and metrics for an LVS director: probes the real servers of the kernel's
/// IPVS table, sets a failed one's weight to 0 and gives it back on recovery.
#[derive(Debug, Parser)]
#[command(name = "lvs-agent", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent; without a configuration it only exports
    Run(Box<RunArgs>),
    /// Try it: the same agent on an embedded table with toy real servers, no root needed
    Demo(demo::DemoArgs),
    /// Check a configuration: every problem at once, with its line
    CheckConfig {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show the virtual servers, the real servers and what is decided about them
    Status(cli::status::StatusArgs),
    /// Take a real server out by hand, whatever its checks say
    Drain(cli::drain::DrainArgs),
    /// Give a real server back that was taken out by hand
    Undrain(cli::drain::UndrainArgs),
    /// Probe one real server now; moves no verdict
    Probe(cli::probe::ProbeArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&Failure { code: cli::exit::FAILURE, text: format!("starting failed: {error}") });
        }
    };
    match runtime.block_on(execute(arguments.command)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => fail(&failure),
    }
}

async fn execute(command: Command) -> Result<u8, Failure> {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let colour = colour_wanted(&out);
    match command {
        Command::Run(args) => {
            logging::start(args.log);
            failpoint::arm().map_err(|error| Failure::new(cli::exit::CONFIG, error))?;
            cli::run::run(*args).await
        }
        Command::Demo(args) => {
            logging::start(args.log);
            demo::run(args, &mut out).await
        }
        Command::CheckConfig { file } => Ok(cli::check_config::run(&file, &mut out)),
        Command::Status(args) => {
            let mut screen = Screen { out: &mut out, err: &mut err, colour };
            match cli::status::run(&args, &mut screen).await {
                Ok(code) => Ok(code),
                Err(none) => cli::local::show_table(&args, &none, &mut screen).await,
            }
        }
        Command::Drain(args) => {
            let mut screen = Screen { out: &mut out, err: &mut err, colour };
            Ok(cli::drain::drain(&args, &mut screen).await)
        }
        Command::Undrain(args) => {
            let mut screen = Screen { out: &mut out, err: &mut err, colour };
            Ok(cli::drain::undrain(&args, &mut screen).await)
        }
        Command::Probe(args) => {
            let mut screen = Screen { out: &mut out, err: &mut err, colour };
            match cli::probe::run(&args, &mut screen).await {
                Ok(code) => Ok(code),
                Err(none) => cli::local::probe(&args, &none, &mut screen).await,
            }
        }
    }
}

fn fail(failure: &Failure) -> ExitCode {
    // Where even that cannot be written, the exit code is all there is.
    let _ = writeln!(io::stderr(), "lvs-agent: {}", failure.text);
    ExitCode::from(failure.code)
}
