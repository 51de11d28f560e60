//! Worker threads that take numbered jobs in order.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Runs `job(worker state, number)` for every number below `jobs` on `threads` threads. Numbers are
/// handed out in order. The first error stops the rest and is returned; with several failing jobs the
/// one of the lowest number that was reached. Returns the workers' states.
pub fn for_each<S, E>(
    threads: usize,
    jobs: usize,
    state: impl Fn() -> S + Sync,
    job: impl Fn(&mut S, usize) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E>
where
    S: Send,
    E: Send,
{
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let failure: Mutex<Option<(usize, E)>> = Mutex::new(None);
    let states = Mutex::new(Vec::new());
    let work = || {
        let mut own = state();
        while !failed.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= jobs {
                break;
            }
            if let Err(error) = job(&mut own, number) {
                failed.store(true, Ordering::Relaxed);
                let mut first = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if first.as_ref().is_none_or(|(earlier, _)| number < *earlier) {
                    *first = Some((number, error));
                }
            }
        }
        states.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(own);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(jobs).max(1) {
            scope.spawn(work);
        }
        work();
    });
    match failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(states.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once_whatever_the_threads() {
        for threads in [1, 2, 7] {
            let states: Vec<Vec<usize>> = for_each(threads, 100, Vec::new, |own, number| {
                own.push(number);
                Ok::<(), ()>(())
            })
            .unwrap();
            let mut all: Vec<usize> = states.into_iter().flatten().collect();
            all.sort_unstable();
            assert_eq!(all, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_stops_the_rest_and_comes_back() {
        let result = for_each(3, 1000, || (), |(), number| if number == 17 { Err(number) } else { Ok(()) });
        assert_eq!(result.unwrap_err(), 17);
    }
}
