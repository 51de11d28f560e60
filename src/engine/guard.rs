//! Panics of decoders on bytes that nobody wrote, turned into errors.
//!
//! The readers of Parquet and CSV are not ours. Most damage they report; some of it they meet with an assertion. A
//! file must not end the program, so they are called through here and nothing else is.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// A decoder gave up on its input without an error of its own.
#[derive(Debug, thiserror::Error)]
#[error("the decoder stopped: {0}")]
pub struct DecoderStopped(String);

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}
static HOOK: Once = Once::new();

/// Calls a decoder. What it holds must not be used after an error.
pub fn guarded<T>(decode: impl FnOnce() -> T) -> Result<T, DecoderStopped> {
    // What is caught is reported as an error; it is not to be printed as well.
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                print(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(decode));
    GUARDED.set(before);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        DecoderStopped(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
    })
}

/// An iterator that ends with an error where the decoder below it panics.
pub struct Guarded<I>(Option<I>);

impl<I> Guarded<I> {
    pub fn new(inner: I) -> Self {
        Self(Some(inner))
    }
}

impl<I, T, E> Iterator for Guarded<I>
where
    I: Iterator<Item = Result<T, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = Result<T, Box<dyn std::error::Error + Send + Sync>>;

    fn next(&mut self) -> Option<Self::Item> {
        let inner = self.0.as_mut()?;
        match guarded(|| inner.next()) {
            Ok(next) => Some(next?.map_err(Into::into)),
            Err(stopped) => {
                self.0 = None;
                Some(Err(stopped.into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_end() {
        assert_eq!(guarded(|| 7).unwrap(), 7);
        let mut left = 2;
        let decoder = std::iter::from_fn(|| {
            left -= 1;
            assert!(left > 0, "page of -1 bytes");
            Some(Ok::<i32, std::fmt::Error>(left))
        });
        let mut guarded = Guarded::new(decoder);
        assert_eq!(guarded.next().unwrap().unwrap(), 1);
        assert_eq!(guarded.next().unwrap().unwrap_err().to_string(), "the decoder stopped: page of -1 bytes");
        assert!(guarded.next().is_none());
    }
}
