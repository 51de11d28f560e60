//! Ctrl-C and SIGTERM: put in order what is unfinished, say so, and end with 130 or 143. A second one ends at once.

use super::logs;
use crate::engine::interrupt;
use crate::error::Error;
use std::sync::mpsc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The clean-up has so long.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Watches for signals from now on, in a thread of its own. Where that cannot be had, signals end the process as
/// they do without it.
pub fn watch(json: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupts), Ok(mut terminations)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            let first = next(&mut interrupts, &mut terminations).await;
            if interrupt::stop() {
                let (cleaned, done) = mpsc::channel();
                std::thread::spawn(move || {
                    interrupt::clean_up();
                    let _ = cleaned.send(());
                });
                let cleaning = tokio::task::spawn_blocking(move || done.recv_timeout(PATIENCE));
                tokio::select! {
                    _ = cleaning => {}
                    _ = next(&mut interrupts, &mut terminations) => {}
                }
                let error = Error::Interrupted { signal: first };
                logs::failure(&error, json);
                end(&error);
            }
            // It is publishing, which takes a moment; whoever asks twice means it.
            let second = next(&mut interrupts, &mut terminations).await;
            end(&Error::Interrupted { signal: second });
        });
    });
}

async fn next(interrupts: &mut Signal, terminations: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupts.recv() => "SIGINT",
        _ = terminations.recv() => "SIGTERM",
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "workers are in the middle of something; what they leave is cleaned up"
)]
fn end(error: &Error) -> ! {
    std::process::exit(i32::from(error.exit_code()))
}
