//! Numbered pieces of work shared among threads.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Runs `step` once for every piece below `pieces` on `threads` threads and returns each thread's
/// state, in no useful order. Pieces are handed out in rising order, to whichever thread is free: a
/// result that must not depend on the threads may depend on the piece only, or be a sum.
///
/// After the first error no further piece is started, and that error is returned.
pub(super) fn share_out<S: Send, E: Send>(
    threads: usize,
    pieces: usize,
    start: impl Fn(usize) -> Result<S, E> + Sync,
    step: impl Fn(&mut S, usize) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = |thread: usize| -> Result<S, E> {
        let run = || {
            let mut state = start(thread)?;
            while !failed.load(Ordering::Relaxed) {
                let piece = next.fetch_add(1, Ordering::Relaxed);
                if piece >= pieces {
                    break;
                }
                step(&mut state, piece)?;
            }
            Ok(state)
        };
        let outcome = run();
        if outcome.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
        outcome
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.max(1))
            .map(|thread| {
                let work = &work;
                scope.spawn(move || work(thread))
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once() {
        for threads in [1, 3] {
            let states = share_out::<_, ()>(
                threads,
                100,
                |_| Ok(Vec::new()),
                |seen: &mut Vec<usize>, piece| {
                    seen.push(piece);
                    Ok(())
                },
            )
            .expect("no step fails");
            let mut all: Vec<usize> = states.concat();
            all.sort_unstable();
            assert_eq!(all, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_stops_the_rest() {
        let done = AtomicUsize::new(0);
        let outcome = share_out(
            1,
            100,
            |_| Ok(()),
            |(), piece| {
                done.fetch_add(1, Ordering::Relaxed);
                if piece == 7 { Err(piece) } else { Ok(()) }
            },
        );
        assert_eq!(outcome, Err(7));
        assert_eq!(done.into_inner(), 8);
    }

    #[test]
    fn an_error_stops_the_other_threads() {
        let done = AtomicUsize::new(0);
        let outcome = share_out(
            2,
            1_000,
            |_| Ok(()),
            |(), piece| {
                if piece == 0 {
                    return Err(piece);
                }
                thread::sleep(std::time::Duration::from_millis(1));
                done.fetch_add(1, Ordering::Relaxed);
                Ok(())
            },
        );
        assert_eq!(outcome, Err(0));
        assert!(done.into_inner() < 900);
    }
}
