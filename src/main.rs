//! The packwise command: parse, run, print what failed and what to do, exit code.

use clap::Parser;
use packwise::cli::{Cli, Command};
use packwise::commands;
use packwise::engine::interrupt;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Called by the loader before the allocator's own start (its priority is 101).
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array.00099")]
static BEFORE_ALLOCATOR: extern "C" fn() = packwise::engine::allocator::in_small_pages;

/// What this process writes holds customers' ids: nobody but its user may read it. A folder's default access list, where
/// there is one, counts instead.
#[cfg(unix)]
fn files_are_mine() {
    // SAFETY: sets a number of this process and cannot fail; no other thread runs yet.
    unsafe { libc::umask(0o077) };
}

#[cfg(not(unix))]
fn files_are_mine() {}

fn main() -> ExitCode {
    files_are_mine();
    let cli = Cli::parse();
    // A lookup is over before that pays.
    if !matches!(cli.command, Command::Lookup(_)) {
        packwise::engine::allocator::give_back_soon();
    }
    match commands::dispatch(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(_) if interrupt::is_stopping() => interrupt::hold(),
        Err(error) => {
            commands::logs::failure(&error, cli.json);
            ExitCode::from(error.exit_code())
        }
    }
}
