//! One file a subcommand: the only code that prints.

mod check;
mod config;
mod demo;
mod doctor;
mod evaluate;
mod forget;
mod generate;
pub mod logs;
mod lookup;
mod policies;
mod privacy;
mod query;
pub mod render;
mod replay;
mod run;
mod runs;
mod signals;
mod value;

use crate::cli::{Cli, Command, ConfigArgs};
use crate::config::{Config, Layers, load};
use crate::engine::Engine;
use crate::engine::memory::Models;
use crate::engine::progress::Progress;
use crate::engine::stores;
use crate::error::Error;
use clap::CommandFactory;
use std::io::{IsTerminal, Write};

/// Runs the command that was asked for; the number is the exit code.
pub fn dispatch(cli: &Cli) -> Result<u8, Error> {
    logs::start(cli);
    signals::watch(cli.json);
    match &cli.command {
        Command::Demo(args) => demo::run(args, cli.json),
        Command::Generate(args) => generate::run(args, cli.json),
        Command::Forget(args) => forget::run(args, cli.json),
        Command::Privacy { command } => privacy::run(command, cli.json),
        Command::Replay(args) => replay::run(args, cli.json),
        Command::Doctor(args) => doctor::run(args, cli.json),
        Command::Check(args) => check::run(args, cli.json),
        Command::Run(args) => run::run(args, cli.json),
        Command::Evaluate(args) => evaluate::run(args, cli.json),
        Command::Policies(args) => policies::run(args, cli.json),
        Command::Query(args) => query::run(args, cli.json),
        Command::Lookup(args) => lookup::run(args, cli.json),
        Command::Value(args) => value::run(args, cli.json),
        Command::Runs(args) => runs::run(args, cli.json),
        Command::Config(args) => config::run(args, cli.json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "packwise", &mut script);
            print(&script)?;
            Ok(0)
        }
    }
}

/// Writes to standard output; a reader that has closed the pipe ends the command quietly.
fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|source| Error::Io { action: "write to standard output".into(), source }),
    }
}

/// The configuration of a command and the engine that it asks for.
fn prepare(args: &ConfigArgs, json: bool) -> Result<(Config, Layers, Engine), Error> {
    let (config, layers) = load(Some(&args.config), &args.settings())?;
    stores::configure(&config.object_store);
    let engine = engine(&config, json)?;
    Ok((config, layers, engine))
}

fn engine(config: &Config, json: bool) -> Result<Engine, Error> {
    let bars = !json && std::io::stderr().is_terminal();
    let models = Models {
        sample: config.segments.sample as u64,
        pool: config.neighbours.pool as u64,
        tuning: config.recommendations.tuning_sample as u64,
    };
    Engine::new(config.resources.threads, config.resources.memory, models, Progress::new(bars))
        .map_err(|source| Error::Io { action: "start the worker threads".into(), source })
}
