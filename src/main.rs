//! The packwise command: parse, run, print what failed and what to do, exit code.

use clap::Parser;
use packwise::cli::Cli;
use packwise::commands;
use packwise::engine::interrupt;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    packwise::engine::allocator::give_back_at_once();
    let cli = Cli::parse();
    match commands::dispatch(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(_) if interrupt::is_stopping() => interrupt::hold(),
        Err(error) => {
            eprint!("{}", commands::render::failure(&error, cli.json));
            ExitCode::from(error.exit_code())
        }
    }
}
